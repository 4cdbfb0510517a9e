"""The damaged shard: databases `whole` (before the accident), `damaged` (after it), `live` (a copy of it for each run),
and the victims' rows as COPY BINARY files, in the ways a script could have prepared them."""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

HERE = Path(__file__).parent
# Parents first.
TABLES = ["workspace", "member", "project", "page", "audit_event", "task", "comment", "worklog", "change_set",
          "attachment", "task_link", "change", "reaction"]
# Tables without the tenant's column: the column that references the parent, and the parent.
CHILDREN = {"change": ("change_set_id", "change_set"), "task_link": ("source_id", "task"),
            "reaction": ("comment_id", "comment")}
PRIMARY_KEYS = {"reaction": "comment_id, member_id, emoji"}
VICTIMS = "select id from bench.victim"
# What a careful person sets for one large read.
READ_OPTIONS = "-c work_mem=256MB -c jit=off"


def rows_of(table, tenants, in_order=False):
    """SQL for the rows of some tenants, given as SQL."""
    key = "id" if table == "workspace" else "workspace_id"
    join = ""
    if table in CHILDREN:
        column, parent = CHILDREN[table]
        join = f" join {parent} x on x.id = r.{column}"
    order = ", ".join("r." + name.strip() for name in PRIMARY_KEYS.get(table, "id").split(","))
    where = f"{'x' if join else 'r'}.{key} in ({tenants})"
    return f"select r.* from {table} r{join} where {where}" + (f" order by {order}" if in_order else "")


class Shard:
    def __init__(self, server, folder, scale, tenants, victims):
        self.server, self.folder = server, Path(folder)
        self.scale, self.tenants, self.victims = scale, tenants, victims
        self.files = self.folder / "files"
        self.restored = False

    def build(self):
        """Builds everything once; a kept folder with the same shard is used again."""
        facts = self.folder / "shard.json"
        sources = b"".join((HERE / name).read_bytes() for name in ("shard.sql", "delete.sql", "shard.py"))
        key = [self.scale, self.tenants, self.victims, hashlib.sha256(sources).hexdigest()]
        if not facts.exists() or json.loads(facts.read_text())["key"] != key:
            self.clear()
            started = time.monotonic()
            self.build_databases()
            self.build_files()
            made = {"key": key, **self.count(), "seconds": round(time.monotonic() - started, 1)}
            facts.write_text(json.dumps(made, indent=1))
        self.facts = json.loads(facts.read_text())

    def clear(self):
        """Removes what was made from another shard."""
        for path in self.folder.iterdir():
            if path.is_dir() and path != self.server.folder:
                shutil.rmtree(path)
        (self.folder / "shard.json").unlink(missing_ok=True)

    def build_databases(self):
        server = self.server
        for name in ("live", "damaged", "whole", "scratch"):
            server.sql("postgres", f"drop database if exists {name} with (force)")
        server.sql("postgres", "create database whole")
        values = {"scale": self.scale, "tenants": self.tenants, "victims": self.victims}
        settings = [part for name, value in values.items() for part in ("-v", f"{name}={value}")]
        server.run("whole", *settings, "-f", HERE / "shard.sql")
        server.sql("whole", "create extension pg_prewarm schema bench")
        server.sql("postgres", "create database damaged template whole strategy file_copy")
        server.run("damaged", "-f", HERE / "delete.sql")

    def build_files(self):
        copies = []
        sizes = self.victims_by_size()
        for connections in (1, 2, 4):
            for at, part in enumerate(deal(sizes, connections)):
                tenants = ", ".join(f"'{tenant}'" for tenant, _ in part) or "null"
                folder = self.files / "bulk" / str(connections) / str(at)
                copies += [(rows_of(table, tenants, True), folder / table) for table in TABLES]
        for tenant, _ in sizes:
            folder = self.files / "tenant" / tenant
            copies += [(rows_of(table, f"'{tenant}'", True), folder / table) for table in TABLES]
        for folder in {path.parent for _, path in copies}:
            folder.mkdir(parents=True, exist_ok=True)
        lines = [f"\\copy ({query}) to '{path}' with (format binary)" for query, path in copies]
        self.server.run("whole", "-f", self.script("extract", lines), options=READ_OPTIONS)
        (self.folder / "victims.txt").write_text("".join(tenant + "\n" for tenant, _ in sizes))
        (self.folder / "one.txt").write_text(sizes[len(sizes) // 2][0] + "\n")

    def victims_by_size(self):
        query = """select v.id, (select count(*) from task where workspace_id = v.id) as size from bench.victim v
            order by size desc, number"""
        lines = [line.split("|") for line in self.server.sql("whole", query).splitlines()]
        return [(tenant, int(size)) for tenant, size in lines]

    def count(self):
        counts = {"victim_rows": 0, "victim_bytes": 0, "rows": 0}
        for table in TABLES:
            counts["rows"] += int(self.server.sql("whole", f"select count(*) from {table}"))
            of_victims = f"select count(*) from ({rows_of(table, VICTIMS)}) r"
            counts["victim_rows"] += int(self.server.sql("whole", of_victims))
            counts["victim_bytes"] += (self.files / "bulk/1/0" / table).stat().st_size
        counts["database_bytes"] = int(self.server.sql("postgres", "select pg_database_size('whole')"))
        return counts

    def reset(self):
        """A byte copy of the damaged shard, its indexes in memory, a checkpoint just before: each page that is
        touched first costs a full-page image, the worst case of the log."""
        self.restored = False
        self.server.sql("postgres", "drop database if exists live with (force)")
        self.server.sql("postgres", "create database live template damaged strategy file_copy")
        self.server.sql("live", """select sum(bench.pg_prewarm(oid)) from pg_class
            where relkind = 'i' and relnamespace = 'public'::regnamespace""")
        self.server.sql("postgres", "checkpoint")

    def check_rows(self):
        """Every row is back, by number."""
        counts = [int(self.server.sql("live", f"select count(*) from {table}")) for table in TABLES]
        if sum(counts) != self.facts["rows"]:
            raise RuntimeError(f"{sum(counts)} rows after the restore, {self.facts['rows']} expected")
        self.restored = True

    def check_content(self):
        """Every row is back, by a hash over all columns of all rows."""
        for table in TABLES:
            query = f"select count(*), sum(hashtextextended(r::text, 0)::numeric) from {table} r"
            if self.server.sql("live", query) != self.server.sql("whole", query):
                raise RuntimeError(f"table '{table}' differs from the original after the restore")

    def script(self, name, lines):
        """A file of psql commands."""
        path = self.folder / f"{name}.psql"
        path.write_text("\n".join(lines) + "\n")
        return path

    def bulk_scripts(self, connections):
        """Each connection loads its tenants' rows table by table, in one transaction."""
        for at in range(connections):
            folder = self.files / "bulk" / str(connections) / str(at)
            yield self.script(f"bulk-{connections}-{at}", ["begin;", *copies_of(folder), "commit;"])

    def tenant_scripts(self, connections):
        """Each connection loads its tenants one after the other, each in a transaction."""
        for at, part in enumerate(deal(self.victims_by_size(), connections)):
            lines = []
            for tenant, _ in part:
                lines += ["begin;", *copies_of(self.files / "tenant" / tenant), "commit;"]
            yield self.script(f"tenant-{connections}-{at}", lines)

    def read_scripts(self, connections):
        """Each connection reads its tenants' rows back, tenant by tenant and table by table."""
        for at, part in enumerate(deal(self.victims_by_size(), connections)):
            queries = [rows_of(table, f"'{tenant}'") for tenant, _ in part for table in TABLES]
            lines = [f"copy ({query}) to stdout (format binary);" for query in queries]
            yield self.script(f"read-{connections}-{at}", lines)

    def proof_scripts(self, connections):
        """Each connection looks for restored rows whose foreign keys lead nowhere, key by key."""
        keys = [line.split("|") for line in self.server.sql("damaged", """
            select conrelid::regclass, a.attname, confrelid::regclass, b.attname
            from pg_constraint join pg_attribute a on a.attrelid = conrelid and a.attnum = conkey[1]
            join pg_attribute b on b.attrelid = confrelid and b.attnum = confkey[1] where contype = 'f'
            """).splitlines()]
        sizes = {table: (self.files / "bulk/1/0" / table).stat().st_size for table in TABLES}
        for at, part in enumerate(deal([(key, sizes[key[0]]) for key in keys], connections)):
            lines = ["set max_parallel_workers_per_gather = 0;"]
            for (table, column, parent, key), _ in part:
                found = f"exists (select 1 from {parent} p where p.{key} = r.{column})"
                lines.append(f"select 1 / (count(*) = 0)::int from ({rows_of(table, VICTIMS)}) r"
                             f" where {column} is not null and not {found};")
            yield self.script(f"proof-{connections}-{at}", lines)


def copies_of(folder):
    """psql commands that load a folder's files. An empty table's file has only a header and a trailer."""
    full = [table for table in TABLES if os.path.getsize(folder / table) > 21]
    return [f"\\copy {table} from '{folder / table}' with (format binary)" for table in full]


def deal(items, hands):
    """Deals (thing, size) pairs to so many hands, largest first, each to the lightest hand."""
    dealt, weights = [[] for _ in range(hands)], [0] * hands
    for item in sorted(items, key=lambda item: -item[1]):
        lightest = weights.index(min(weights))
        dealt[lightest].append(item)
        weights[lightest] += item[1]
    return dealt
