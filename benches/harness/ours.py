"""reinstate itself, from the command line alone."""

import json
import os
import re
import shutil
import subprocess
from datetime import datetime

from bench import HERE, Contender, bytes_below
from peers import needs_parquet


def contenders(bench):
    yield Contender("create", create)
    for jobs in (2, 1, 4):
        yield Contender(f"apply-{jobs}", apply(f"apply-{jobs}", jobs))
    if offers(bench, "apply", "--verify"):
        yield Contender("apply-2-after", apply("apply-2-after", 2, apply_flags=["--verify=after"]))
    if offers(bench, "plan", "--constraints"):
        yield Contender("apply-2-server", apply("apply-2-server", 2, plan_flags=["--constraints=server"]))
    yield Contender("extract-store", extract("extract-store", "victims.txt"))
    yield Contender("extract-store-one", extract("extract-store-one", "one.txt"))
    yield Contender("extract-ours-unclustered", extract_unclustered("unclustered", "victims.txt"))
    yield Contender("extract-ours-unclustered-one", extract_unclustered("unclustered", "one.txt", "-one"))
    yield Contender("extract-ours-merged", extract_unclustered("merged", "merged.txt"))


def offers(bench, command, flag):
    told = subprocess.run([bench.reinstate, command, "--help"], capture_output=True, text=True)
    return flag in told.stdout


def command(bench, *arguments):
    return [bench.reinstate, "-c", HERE / "reinstate.toml", *arguments]


def environment(bench, database):
    return {"REINSTATE_BENCH_URL": bench.server.url(database), "NO_COLOR": "1"}


def store(bench):
    return ["--store", f"file://{bench.folder}/store"]


def create(bench):
    """A snapshot of the whole shard; the store is made anew each time, and the last one is kept."""
    remove(bench.folder / "store")
    snapshot = command(bench, "--json", "snapshot", "create", *store(bench))
    run = bench.time("create", snapshot, env=environment(bench, "whole"))
    run.extra["size"] = bytes_below(bench.folder / "store")


def remove(path):
    if path.exists():
        # The store's files are read-only; its folders are not.
        shutil.rmtree(path)


def needs_store(bench):
    if not (bench.folder / "store").exists():
        create(bench)


def apply(name, jobs, plan_flags=(), apply_flags=()):
    def run(bench):
        needs_store(bench)
        bench.shard.reset()
        live, plan = environment(bench, "live"), bench.folder / "plan.json"
        plan.unlink(missing_ok=True)
        victims = str(bench.shard.victims)
        bench.time("plan", command(bench, "--json", "plan", "--tenants", bench.folder / "victims.txt", *store(bench),
                                   "--into", "bench", "--max-tenants", victims, "--reason", "benchmark", "-o", plan,
                                   *plan_flags), env=live)
        bench.server.sql("postgres", "checkpoint")
        done = bench.time(name, command(bench, "--json", "apply", plan, "--jobs", str(jobs), "--confirm", victims,
                                        *apply_flags), env=live)
        bench.check(name)
        done.extra["first"] = first_back(bench, plan, live) - done.measured.started
        # With --verify=after the command goes on when all are back.
        done.extra["back"] = json.loads(done.measured.output)["elapsed_ms"] / 1000
        if name == "apply-2":
            bench.time("verify", command(bench, "--json", "verify", plan), env=live)
    return run


def first_back(bench, plan, live):
    """When the first tenant's journal row was written, in seconds since 1970."""
    status = command(bench, "--json", "status", plan)
    told = subprocess.run(status, env={**os.environ, **live}, capture_output=True, text=True, check=True)
    entries = [entry for shard in json.loads(told.stdout)["shards"] for entry in shard["restored"]]
    # Python reads at most six digits of a fraction.
    instants = [re.sub(r"(\.\d{6})\d+", r"\1", entry["recorded_at"]).replace("Z", "+00:00") for entry in entries]
    return min(datetime.fromisoformat(instant).timestamp() for instant in instants)


def extract(name, tenants):
    def run(bench):
        needs_store(bench)
        done = bench.time(name, [bench.extract, f"file://{bench.folder}/store", "bench", bench.folder / tenants])
        done.extra.update(json.loads(done.measured.output))
        if tenants == "victims.txt" and done.extra["rows"] != bench.shard.facts["victim_rows"]:
            raise RuntimeError(f"{name} found {done.extra['rows']} rows")
    return run


def extract_unclustered(order, tenants, suffix=""):
    """Out of Parquet files; in the merged ones all victims' rows are one tenant's."""
    name = f"extract-ours-{order}{suffix}"

    def run(bench):
        folder = needs_parquet(bench, order)
        # The catalog of the whole shard, as the live one would give it.
        arguments = [bench.extract, "parquet", folder, HERE / "reinstate.toml", "bench", bench.folder / tenants]
        done = bench.time(name, arguments, env=environment(bench, "whole"))
        done.extra.update(json.loads(done.measured.output))
        if tenants == "victims.txt" and done.extra["rows"] != bench.shard.facts["victim_rows"]:
            raise RuntimeError(f"{name} found {done.extra['rows']} rows")
    return run
