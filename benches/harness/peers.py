"""What people do without reinstate, each as strong as it gets."""

import json
import shutil

from bench import HERE, TRIGGERS_OFF, Contender, bytes_below
from measure import measure
from server import program
from shard import READ_OPTIONS, TABLES, VICTIMS, deal, rows_of


def contenders():
    yield Contender("pg_dump-Fc", dump("pg_dump-Fc", "-Fc"), once=True)
    yield Contender("pg_dump-Fd", dump("pg_dump-Fd", "-Fd", "-j2"))
    yield Contender("copy-out-all", copy_out_all)
    yield Contender("pg_restore", restore, once=True)
    for triggers in ("off", "on"):
        yield Contender(f"pipes-{triggers}", pipes(triggers))
    yield Contender("polars-adbc", polars_adbc)
    yield Contender("duckdb-csv", duckdb_csv)
    for order in ("unclustered", "clustered"):
        for engine in ("duckdb", "polars", "datafusion"):
            for tenants in ("", "-one"):
                yield Contender(f"extract-{engine}-{order}{tenants}", extract(engine, order, tenants))


def dump(name, *flags):
    def run(bench):
        path = bench.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        done = bench.time(name, [program("pg_dump"), *flags, "-f", path, "whole"])
        done.extra["size"] = bytes_below(path)
    return run


def copy_out_all(bench):
    """The whole shard as raw COPY files over two connections, tables dealt by size."""
    folder = bench.folder / "copy-out-all"
    folder.mkdir(exist_ok=True)
    sizes = [(table, int(bench.server.sql("whole", f"select pg_table_size('{table}')"))) for table in TABLES]
    scripts = []
    for at, part in enumerate(deal(sizes, 2)):
        lines = [f"\\copy {table} to '{folder}/{table}' with (format binary)" for table, _ in part]
        scripts.append(bench.shard.script(f"copy-out-all-{at}", lines))
    done = bench.time("copy-out-all", *[bench.server.psql("whole", "-f", script) for script in scripts])
    done.extra["size"] = bytes_below(folder)
    shutil.rmtree(folder)


def restore(bench):
    """A whole dump into a scratch database, two jobs."""
    path = bench.folder / "pg_dump-Fc"
    if not path.exists():
        dump("pg_dump-Fc", "-Fc")(bench)
    bench.server.sql("postgres", "drop database if exists scratch with (force)")
    bench.server.sql("postgres", "create database scratch")
    script = f"{program('pg_restore')} -j2 -d scratch {path} && {program('psql')} -Xq -d scratch -c analyze"
    bench.time("pg_restore", ["bash", "-c", script])


def pipes(triggers):
    """psql | psql from the scratch database, table by table."""
    def run(bench):
        if bench.server.sql("postgres", "select 1 from pg_database where datname = 'scratch'") == "":
            restore(bench)
        psql = f"{program('psql')} -XqAt -v ON_ERROR_STOP=1"
        off = TRIGGERS_OFF["PGOPTIONS"] if triggers == "off" else ""
        lines = ["set -e -o pipefail"]
        for table in TABLES:
            query = f"copy ({rows_of(table, VICTIMS)}) to stdout (format binary)"
            lines.append(f"PGOPTIONS='{READ_OPTIONS}' {psql} -d scratch -c \"{query}\" | "
                         f"PGOPTIONS='{off}' {psql} -d live -c 'copy {table} from stdin (format binary)'")
        bench.load(f"pipes-{triggers}", ["bash", bench.shard.script("pipes", lines)])
    return run


def program_of(name, bench, *arguments):
    return [bench.python, HERE / "contenders" / f"{name}.py", *arguments]


def needs_parquet(bench, order):
    """The shard as Parquet files, made once."""
    folder = bench.folder / order
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if order == "unclustered":
            made = program_of("parquet", bench, "export", folder)
        elif order == "merged":
            victims = (bench.folder / "victims.txt").read_text().split()
            (bench.folder / "merged.txt").write_text(victims[0] + "\n")
            made = program_of("parquet", bench, "merge", needs_parquet(bench, "unclustered"), folder,
                              bench.folder / "victims.txt")
        else:
            made = program_of("parquet", bench, "cluster", needs_parquet(bench, "unclustered"), folder)
        measure(bench.server, made)
        done.touch()
    return folder


def polars_adbc(bench):
    folder = needs_parquet(bench, "unclustered")
    done = bench.load("polars-adbc", program_of("polars_adbc", bench, folder, bench.folder / "victims.txt"))
    done.extra.update(json.loads(done.measured.output))


def duckdb_csv(bench):
    """CSV files, then psql on two connections, triggers off; both parts count."""
    folder, out = needs_parquet(bench, "unclustered"), bench.folder / "csv"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    made = bench.time("duckdb-csv-extract", program_of("duckdb_csv", bench, folder, bench.folder / "victims.txt", out))
    sizes = [(table, bytes_below(out / f"{table}.csv")) for table in TABLES]
    scripts = []
    for at, part in enumerate(deal(sizes, 2)):
        lines = [f"\\copy {table} from '{out}/{table}.csv' with (format csv, null '\\N')" for table, _ in part]
        scripts.append(bench.shard.script(f"csv-{at}", lines))
    done = bench.load("duckdb-csv", *[bench.server.psql("live", "-f", script) for script in scripts], env=TRIGGERS_OFF)
    done.extra.update(extract_seconds=made.measured.wall, load_seconds=done.measured.wall)
    done.measured.wall += made.measured.wall
    done.measured.client_cpu += made.measured.client_cpu
    done.measured.rss = max(done.measured.rss, made.measured.rss)


def extract(engine, order, tenants):
    def run(bench):
        folder = needs_parquet(bench, order)
        listed = bench.folder / ("one.txt" if tenants else "victims.txt")
        done = bench.time(f"extract-{engine}-{order}{tenants}", program_of("extract", bench, engine, folder, listed))
        done.extra.update(json.loads(done.measured.output))
        if not tenants and done.extra["rows"] != bench.shard.facts["victim_rows"]:
            raise RuntimeError(f"{engine} found {done.extra['rows']} rows")
    return run
