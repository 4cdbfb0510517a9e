"""From runs to RESULTS.md and results.csv: medians, ratios within the run, and what was reached of the aims."""

import csv
import os
import platform
import re
import statistics
import subprocess

from ours import offers
from server import SETTINGS, program

MIB = 1 << 20
MEMORY_SETTING = 512 * MIB  # the default of `snapshot create --memory`
FLOOR = ("copy-in-bulk-2-off", "copy-in-tenant-2-off")
PERFECT_SCRIPT = ("copy-in-tenant-2-on", "copy-in-tenant-4-on")
SECTIONS = {
    "Restoring all victims": ("plan", "apply-", "verify", "copy-in-", "polars-adbc", "duckdb-csv", "pipes-"),
    "Reading back, proving keys": ("copy-out-1", "copy-out-2", "key-proof-"),
    "Extraction alone": ("extract-",),
    "Taking a snapshot of the whole shard": ("create", "pg_dump-", "copy-out-all", "pg_restore"),
}


class Results:
    def __init__(self, bench):
        self.bench = bench
        self.names = list(dict.fromkeys(run.name for run in bench.runs))

    def values(self, name, what="wall"):
        runs = self.bench.runs_of(name)
        if what in ("wall", "rss", "read", "client_cpu", "server_cpu"):
            return [getattr(run.measured, what) for run in runs]
        return [run.extra[what] for run in runs if what in run.extra]

    def median(self, name, what="wall"):
        """None where it was not measured."""
        values = self.values(name, what)
        return statistics.median(values) if values else None

    def best(self, names, what="wall"):
        """The smallest of the medians that there are."""
        return min((m for m in (self.median(name, what) for name in names) if m is not None), default=None)

    # --- the aims ---

    def aims(self):
        """(what, aim, figure or None, reached, remark)"""
        floor, out = self.best(FLOOR), self.median("copy-out-2")
        apply, after = self.median("apply-2"), self.median("apply-2-after")
        plan, adbc = self.median("plan"), self.median("polars-adbc")
        script, create = self.best(PERFECT_SCRIPT), self.median("create")
        restored = added(self.median("pg_restore"), self.best(("pipes-on", "pipes-off")))
        clustered = self.best([n for n in self.names if re.fullmatch("extract-.*-clustered", n)], "seconds")
        size, dump_size = self.median("create", "size"), self.median("pg_dump-Fd", "size")
        no_after = "`apply` has no --verify yet" if not offers(self.bench, "apply", "--verify") else ""
        at_most, at_least = (lambda aim: lambda x: x <= aim), (lambda aim: lambda x: x >= aim)
        yield "apply / (COPY in, trigger-free + COPY out), 2 connections", "≤ 1.15", ratio(apply, added(floor, out)), at_most(1.15), ""
        yield "apply --verify=after / COPY in, trigger-free, 2 connections", "≤ 1.15", ratio(after, floor), at_most(1.15), no_after
        yield "COPY in with triggers, a transaction a tenant, 2 to 4 connections / apply", "≥ 1.25", ratio(script, apply), at_least(1.25), ""
        yield "the same / apply --verify=after", "≥ 1.6", ratio(script, after), at_least(1.6), no_after
        yield "Parquet → Polars → ADBC, 2 connections, trigger-free / apply --verify=after", "> 1", ratio(adbc, after), lambda x: x > 1, no_after
        yield "apply / Parquet → Polars → ADBC", "≤ 1.25", ratio(apply, adbc), at_most(1.25), ""
        yield "(pg_restore + pipes) / (plan + apply)", "≥ 5", ratio(restored, added(plan, apply)), at_least(5), ""
        yield "extraction from unclustered Parquet, against the best engine", "faster, 1/3 of the memory", None, None, "unclustered Parquet is no source yet"
        yield "best engine on clustered Parquet / extraction from the store", "≥ 5", ratio(clustered, self.median("extract-store", "seconds")), at_least(5), ""
        yield "one tenant from the store, ms", "milliseconds (< 100)", scaled(self.median("extract-store-one", "seconds"), 1000), at_most(100), ""
        yield "bytes read / the tenants' share of the store (apply)", "≤ 1.2", self.read_ratio("apply-2"), at_most(1.2), "the index of all tenants is in it"
        yield "400 tenants / 1 tenant of the same size, unclustered source", "≤ 1.3", None, None, "unclustered Parquet is no source yet"
        yield "snapshot create / pg_dump -Fd -j2", "≤ 0.5", ratio(create, self.median("pg_dump-Fd")), at_most(0.5), ""
        yield "snapshot create / raw COPY out of everything, 2 connections", "≤ 2.5", ratio(create, self.median("copy-out-all")), at_most(2.5), ""
        yield "size of the snapshot / pg_dump -Fd", "< 1", ratio(size, dump_size), lambda x: x < 1, ""
        yield "peak memory of create / setting", "≤ 1", ratio(self.median("create", "rss"), MEMORY_SETTING), at_most(1), "flatness: run again with --scale times ten"
        yield "peak memory of apply / setting", "≤ 1", ratio(self.median("apply-2", "rss"), MEMORY_SETTING), at_most(1), "the same"
        yield "first tenant back after apply starts, s", "≤ 2", self.median("apply-2", "first"), at_most(2), ""
        yield "apply, 1 → 2 connections", "the curve", ratio(self.median("apply-1"), apply), None, "4 connections: " + shown(ratio(self.median("apply-1"), self.median("apply-4")))
        yield "apply, 1 → 4 shards", "the curve", None, None, "needs four clusters"

    def read_ratio(self, name):
        share, size, read = self.median("extract-store", "share"), self.median("create", "size"), self.median(name, "read")
        return ratio(read, share * size) if None not in (share, size, read) else None

    # --- files ---

    def write(self, folder, command):
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "results.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["contender", "round", "wall_s", "client_cpu_s", "server_cpu_s", "peak_rss_bytes", "read_bytes", "extra", "command"])
            for run in self.bench.runs:
                m = run.measured
                extra = " ".join(f"{key}={value:.9g}" for key, value in run.extra.items())
                table.writerow([run.name, run.round, f"{m.wall:.3f}", f"{m.client_cpu:.2f}", f"{m.server_cpu:.2f}", m.rss, m.read, extra, run.command])
        (folder / "RESULTS.md").write_text("\n".join(self.markdown(command)) + "\n")

    def markdown(self, command):
        facts, shard = self.bench.shard.facts, self.bench.shard
        yield "# Benchmark"
        yield ""
        yield f"`{command}`"
        yield ""
        for fact in machine(self.bench.server):
            yield f"- {fact}"
        yield f"- shard: {shard.tenants:,} tenants, 13 tables, 27 foreign keys, {facts['rows']:,} rows, {facts['database_bytes'] / MIB:,.0f} MiB in PostgreSQL"
        yield f"- victims: {shard.victims:,} tenants, {facts['victim_rows']:,} rows, {facts['victim_bytes'] / MIB:,.1f} MiB as COPY BINARY"
        yield "- each load starts from a byte copy of the damaged shard, indexes in memory, just after a checkpoint"
        yield "- the number of rows is checked after every load, and every column of every row once for each contender"
        yield "- memory is the largest process's; bytes read are those of read calls (files and pipes), without sockets"
        for failure in self.bench.failures:
            yield f"- **failed**: {failure.splitlines()[0].replace(str(self.bench.folder), '$DATA')}"
        yield ""
        yield "## Aims"
        yield ""
        yield "| what | aim | figure | | remark |"
        yield "|---|---|---|---|---|"
        for what, aim, figure, test, remark in self.aims():
            verdict = "" if figure is None or test is None else "reached" if test(figure) else "**missed**"
            yield f"| {what} | {aim} | {shown(figure)} | {verdict} | {remark} |"
        for title, prefixes in SECTIONS.items():
            names = [name for name in self.names if name.startswith(prefixes) and not (title.startswith("Restoring") and name == "copy-out-all")]
            if names:
                yield from self.section(title, names)
        yield from self.commands()

    def section(self, title, names):
        floor = self.best(FLOOR)
        yield f"\n## {title}\n"
        yield "| contender | runs | median s | range | / floor | client CPU s | server CPU s | peak MiB | MiB read | more |"
        yield "|---|---|---|---|---|---|---|---|---|---|"
        for name in names:
            walls = self.values(name)
            more = {key: self.median(name, key) for key in self.bench.runs_of(name)[0].extra}
            yield (f"| {name} | {len(walls)} | {statistics.median(walls):.2f} | {min(walls):.2f}–{max(walls):.2f} | {shown(ratio(self.median(name), floor))}"
                   f" | {self.median(name, 'client_cpu'):.2f} | {self.median(name, 'server_cpu'):.2f} | {self.median(name, 'rss') / MIB:.0f}"
                   f" | {self.median(name, 'read') / MIB:.1f} | {', '.join(f'{key} {amount(value)}' for key, value in more.items())} |")

    def commands(self):
        yield "\n## Commands\n"
        yield "The floor is the faster of " + " and ".join(f"`{name}`" for name in FLOOR) + ". `$DATA` is the folder of `--data`.\n"
        for name in self.names:
            yield f"- {name}: `{self.bench.runs_of(name)[0].command}`"


def machine(server):
    cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    version = subprocess.run([program("postgres"), "--version"], capture_output=True, text=True).stdout.strip()
    yield f"{cpu.group(1).strip() if cpu else platform.machine()}, {len(os.sched_getaffinity(0))} cores, {memory / 2**30:.0f} GiB"
    yield f"Linux {re.match(r'[0-9.]+', platform.release()).group()}, {version}"
    yield "settings: " + ", ".join(f"{name} {value}" for name, value in SETTINGS.items() if name in ("shared_buffers", "max_wal_size", "maintenance_work_mem", "autovacuum")) + "; fsync, full_page_writes, synchronous_commit on"
    yield f"load average at the end: {os.getloadavg()[0]:.1f} (others on this machine make every figure worse)"


def ratio(above, below):
    return above / below if above is not None and below else None


def added(one, other):
    return one + other if one is not None and other is not None else None


def scaled(value, factor):
    return value * factor if value is not None else None


def amount(value):
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3f}"


def shown(value):
    return "not measured" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"
