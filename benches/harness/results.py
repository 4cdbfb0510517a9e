"""From runs to RESULTS.md and results.csv."""

import csv
import os
import platform
import re
import subprocess

from aims import FLOOR, Medians, aims, ratio
from server import SETTINGS, program

MIB = 1 << 20
SECTIONS = {
    "Restoring all victims": ("plan", "apply-", "verify", "copy-in-", "polars-adbc", "duckdb-csv", "pipes-"),
    "Reading back, proving keys": ("copy-out-1", "copy-out-2", "key-proof-"),
    "Extraction alone": ("extract-",),
    "Taking a snapshot of the whole shard": ("create", "pg_dump-", "copy-out-all", "pg_restore"),
}
CSV_HEAD = ["contender", "round", "wall_s", "client_cpu_s", "server_cpu_s", "peak_rss_bytes", "read_bytes", "extra",
            "command"]


class Results:
    def __init__(self, bench):
        self.bench, self.medians = bench, Medians(bench)

    def write(self, folder, command):
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "results.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(CSV_HEAD)
            for run in self.bench.runs:
                m = run.measured
                extra = " ".join(f"{key}={value:.9g}" for key, value in run.extra.items())
                table.writerow([run.name, run.round, f"{m.wall:.3f}", f"{m.client_cpu:.2f}", f"{m.server_cpu:.2f}",
                                m.rss, m.read, extra, run.command])
        (folder / "RESULTS.md").write_text("\n".join(self.markdown(command)) + "\n")

    def markdown(self, command):
        yield f"# Benchmark\n\n`{command}`\n"
        yield from self.facts()
        yield "\n## Aims\n"
        yield "| what | aim | figure | | by CPU seconds | remark |"
        yield "|---|---|---|---|---|---|"
        for aim in aims(self.medians):
            cpu = "" if aim.cpu is None else shown(aim.cpu)
            yield f"| {aim.what} | {aim.limit()} | {shown(aim.figure)} | {aim.verdict()} | {cpu} | {aim.remark} |"
        for title, prefixes in SECTIONS.items():
            names = [name for name in self.medians.names if name.startswith(prefixes)]
            if names:
                yield from self.section(title, names)
        yield "\n## Commands\n"
        yield f"The floor is the faster of {' and '.join(FLOOR)}. `$DATA` is the folder of `--data`.\n"
        for name in self.medians.names:
            yield f"- {name}: `{self.bench.runs_of(name)[0].command}`"

    def facts(self):
        facts, shard = self.bench.shard.facts, self.bench.shard
        for fact in machine():
            yield f"- {fact}"
        yield (f"- shard: {shard.tenants:,} tenants, 13 tables, 27 foreign keys, {facts['rows']:,} rows,"
               f" {facts['database_bytes'] / MIB:,.0f} MiB in PostgreSQL")
        yield (f"- victims: {shard.victims:,} tenants, {facts['victim_rows']:,} rows,"
               f" {facts['victim_bytes'] / MIB:,.1f} MiB as COPY BINARY")
        yield "- each load starts from a byte copy of the damaged shard, indexes in memory, just after a checkpoint"
        yield "- rows are counted after every load; each contender's first result is compared in every row and column"
        yield "- memory is the largest process's; bytes read are those of read calls (files and pipes), without sockets"
        for failure in self.bench.failures:
            yield f"- **failed**: {failure.splitlines()[0].replace(str(self.bench.folder), '$DATA')}"

    def section(self, title, names):
        median, floor = self.medians.of, self.medians.best(FLOOR)
        yield f"\n## {title}\n"
        heads = ["contender", "runs", "median s", "range", "/ floor", "client CPU s", "server CPU s", "peak MiB",
                 "MiB read", "more"]
        yield f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}"
        for name in names:
            walls = self.medians.values(name, "wall")
            more = ", ".join(f"{key} {amount(median(name, key))}" for key in self.bench.runs_of(name)[0].extra)
            cells = [name, str(len(walls)), shown(median(name)), f"{min(walls):.2f}–{max(walls):.2f}",
                     shown(ratio(median(name), floor)), shown(median(name, "client_cpu")),
                     shown(median(name, "server_cpu")), f"{median(name, 'rss') / MIB:.0f}",
                     f"{median(name, 'read') / MIB:.1f}", more]
            yield f"| {' | '.join(cells)} |"


def machine():
    """What matters of this machine; never its name."""
    cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    version = subprocess.run([program("postgres"), "--version"], capture_output=True, text=True).stdout.strip()
    settings = ", ".join(f"{name} {SETTINGS[name]}"
                         for name in ("shared_buffers", "max_wal_size", "maintenance_work_mem", "autovacuum"))
    model = cpu.group(1).strip() if cpu else platform.machine()
    yield f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB"
    yield f"Linux {re.match(r'[0-9.]+', platform.release()).group().strip('.')}, {version}"
    yield f"settings: {settings}; fsync, full_page_writes and synchronous_commit on"
    yield f"load average at the end: {os.getloadavg()[0]:.1f} (the benchmark itself makes 1 to 3)"


def amount(value):
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3f}"


def shown(value):
    return "not measured" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"
