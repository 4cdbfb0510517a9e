"""What was aimed at and what was reached: ratios of medians within one run."""

import statistics
from dataclasses import dataclass

from ours import offers

MEMORY_SETTING = 512 << 20  # bytes, the default of --memory
FLOOR = ("copy-in-bulk-2-off", "copy-in-tenant-2-off")
PERFECT_SCRIPT = ("copy-in-tenant-2-on", "copy-in-tenant-4-on")
MEASURES = ("wall", "cpu", "client_cpu", "server_cpu", "rss", "read")
NO_AFTER = "`apply` has no --verify yet"


@dataclass
class Aim:
    what: str
    figure: float = None  # None where it was not measured
    at_most: float = None
    at_least: float = None
    cpu: float = None  # the same ratio of CPU seconds, client and server; others on the machine hardly change it
    remark: str = ""

    def limit(self):
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return f"≥ {self.at_least:g}" if self.at_least is not None else "the curve"

    def verdict(self):
        if self.figure is None or self.limit() == "the curve":
            return ""
        reached = self.figure <= self.at_most if self.at_most is not None else self.figure >= self.at_least
        return "reached" if reached else "**missed**"


class Medians:
    """Medians over the rounds; None for what was not measured."""

    def __init__(self, bench):
        self.bench = bench
        self.names = list(dict.fromkeys(run.name for run in bench.runs))

    def values(self, name, what):
        runs = self.bench.runs_of(name)
        if what in MEASURES:
            return [getattr(run.measured, what) for run in runs]
        return [run.extra[what] for run in runs if what in run.extra]

    def of(self, name, what="wall"):
        values = self.values(name, what)
        return statistics.median(values) if values else None

    def best(self, names, what="wall"):
        return min((m for m in (self.of(name, what) for name in names) if m is not None), default=None)

    def sum(self, names, what="wall"):
        values = [self.of(name, what) for name in names]
        return None if None in values else sum(values)


def aims(medians):
    yield from restores(medians)
    yield from extractions(medians)
    yield from snapshots(medians)
    for command, name in (("create", "create"), ("plan", "plan"), ("apply", "apply-2"), ("verify", "verify")):
        yield Aim(f"peak memory of {command} / setting", ratio(medians.of(name, "rss"), MEMORY_SETTING), at_most=1,
                  remark="flatness: compare with a run of ten times the --scale")
    yield Aim("first tenant back after apply starts, s", medians.of("apply-2", "first"), at_most=2)
    yield Aim("apply on 1 connection / on 2", ratio(medians.of("apply-1"), medians.of("apply-2")))
    yield Aim("apply on 1 connection / on 4", ratio(medians.of("apply-1"), medians.of("apply-4")))
    yield Aim("rows/s of apply into 4 clusters / into 1", four_clusters(medians),
              remark="four times the rows, 2 connections in each cluster, as many cores as before")


def four_clusters(medians):
    one, four = medians.of("apply-2"), medians.of("apply-4-clusters")
    return None if None in (one, four) else 4 * one / four


def restores(medians):
    def both(what, figure, after=False, **limit):
        """By wall clock and by CPU; `after` are the lines about `apply --verify=after`."""
        can = not after or offers(medians.bench, "apply", "--verify")
        return Aim(what, figure("wall"), cpu=figure("cpu"), remark="" if can else NO_AFTER, **limit)

    def of(name):
        return lambda m: medians.of(name, m)

    def floor(m):
        return medians.best(FLOOR, m)

    def script(m):
        return medians.best(PERFECT_SCRIPT, m)

    def adbc(m):  # without the start of Python
        return medians.of("polars-adbc", "seconds" if m == "wall" else m)

    def with_read_back(m):
        return added(floor(m), medians.of("copy-out-2", m))

    def by_hand(m):
        return added(medians.of("pg_restore", m), medians.best(("pipes-on", "pipes-off"), m))

    def over(above, below):
        return lambda m: ratio(above(m), below(m))

    def after(m):  # until all are back; the CPU of the verification cannot be told apart
        return medians.of("apply-2-after", "back") if m == "wall" else None

    apply = of("apply-2")
    yield both("apply / (COPY in, trigger-free + COPY out), 2 connections", over(apply, with_read_back), at_most=1.15)
    yield both("apply --verify=after / COPY in, trigger-free, 2 connections", over(after, floor), True, at_most=1.15)
    yield both("COPY in with triggers, a transaction a tenant, 2 to 4 connections / apply", over(script, apply),
               at_least=1.25)
    yield both("the same / apply --verify=after", over(script, after), True, at_least=1.6)
    yield both("Parquet → Polars → ADBC, 2 connections, trigger-free / apply --verify=after", over(adbc, after),
               True, at_least=1)
    yield both("apply / Parquet → Polars → ADBC", over(apply, adbc), at_most=1.25)
    yield both("(pg_restore + pipes) / (plan + apply)",
               lambda m: ratio(by_hand(m), medians.sum(("plan", "apply-2"), m)), at_least=5)


def extractions(medians):
    def engines(order):
        return [f"extract-{engine}-{order}" for engine in ("duckdb", "polars", "datafusion")]

    def store(what):
        return medians.of("extract-store", what)

    share, size = store("share"), medians.of("create", "size")
    of_tenants = share * size if None not in (share, size) else None
    def unclustered(what):
        return ratio(medians.of("extract-ours-unclustered", what), medians.best(engines("unclustered"), what))

    yield Aim("extraction from unclustered Parquet / best engine", unclustered("seconds"), at_most=1,
              cpu=unclustered("cpu"), remark="without the start of Python; CPU with it")
    yield Aim("its peak memory / the least of the engines", unclustered("rss"), at_most=0.33)
    yield Aim("best engine on clustered Parquet / extraction from the store",
              ratio(medians.best(engines("clustered"), "seconds"), store("seconds")), at_least=5,
              cpu=ratio(medians.best(engines("clustered"), "cpu"), store("cpu")),
              remark="without the start of Python; CPU with it")
    one = medians.of("extract-store-one", "seconds")
    yield Aim("one tenant from the store, ms", None if one is None else one * 1000, at_most=100)
    yield Aim("bytes that apply reads / the tenants' bytes in the store",
              ratio(medians.of("apply-2", "read"), of_tenants), at_most=1.2,
              remark="the index of all tenants is in it")
    yield Aim("all victims / 1 tenant of the same size, unclustered source",
              ratio(medians.of("extract-ours-unclustered", "seconds"), medians.of("extract-ours-merged", "seconds")),
              at_most=1.3)


def snapshots(medians):
    def create_to(name, what="wall"):
        return ratio(medians.of("create", what), medians.of(name, what))

    yield Aim("snapshot create / pg_dump -Fd -j2", create_to("pg_dump-Fd"), at_most=0.5,
              cpu=create_to("pg_dump-Fd", "cpu"))
    yield Aim("snapshot create / raw COPY out of everything, 2 connections", create_to("copy-out-all"), at_most=2.5,
              cpu=create_to("copy-out-all", "cpu"))
    yield Aim("size of the snapshot / of pg_dump -Fd", create_to("pg_dump-Fd", "size"), at_most=1)


def ratio(above, below):
    return above / below if above is not None and below else None


def added(one, other):
    return one + other if one is not None and other is not None else None
