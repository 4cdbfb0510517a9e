"""The same work on one shard and on four: as many clusters, copied from the first, each with a live shard of its own,
and one plan over all of them. A tenant has its rows in every shard."""

import json
import shutil
from pathlib import Path

import ours
from bench import Contender
from measure import measure
from server import Server
from shard import Shard

CLUSTERS = 4
HERE = Path(__file__).parent


def contenders():
    yield Contender("apply-4-clusters", apply)


class Fleet:
    """Four clusters beside the first one, which rests meanwhile."""

    def __init__(self, bench):
        self.bench, self.folder = bench, bench.folder / "clusters"
        self.shards = [self.shard(at) for at in range(CLUSTERS)]

    def shard(self, at):
        own = self.bench.shard
        shard = Shard(Server(self.folder / f"pg{at}"), self.bench.folder, own.scale, own.tenants, own.victims)
        shard.facts = own.facts
        return shard

    def __enter__(self):
        first = self.bench.server
        first.sql("postgres", "drop database if exists live with (force)")
        first.sql("postgres", "drop database if exists scratch with (force)")
        first.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        for shard in self.shards:
            shard.server.folder.mkdir(parents=True)
            copy(first, shard.server)
            shard.server.start()
        return self

    def __exit__(self, *_):
        for shard in self.shards:
            shard.server.stop()
        shutil.rmtree(self.folder)
        self.bench.server.start()
        self.bench.shard.restored = False

    @property
    def environment(self):
        """What `measure` asks of a server: here it is all of them."""
        return {}

    def cpu(self):
        return sum(shard.server.cpu() for shard in self.shards)

    def settings(self, database):
        return {f"REINSTATE_BENCH_URL_{at}": shard.server.url(database) for at, shard in enumerate(self.shards)}


def copy(first, server):
    if server.owner:
        shutil.chown(server.folder, server.owner)
    server.as_owner("cp", "-a", str(first.data), str(server.data))


def configuration(folder):
    """The bench's rules four times; the tenants are listed in the first shard."""
    text = (HERE / "reinstate.toml").read_text()
    version, shard = text[:text.index("[shards")], text[text.index("[shards"):]
    parts = [version]
    for at in range(CLUSTERS):
        part = shard.replace("shards.bench", f"shards.bench{at}").replace("_BENCH_URL", f"_BENCH_URL_{at}")
        root = 'rule = "root", key = "id", name = "name"'
        parts.append(part if at == 0 else part.replace(root, 'rule = "direct", column = "id"'))
    path = folder / "four.toml"
    path.write_text("\n".join(parts))
    return path


def apply(bench):
    folder = bench.folder
    command = [bench.reinstate, "-c", configuration(folder), "--json"]
    store, plan, victims = ["--store", f"file://{folder}/store4"], folder / "plan4.json", str(bench.shard.victims)
    into = [word for at in range(CLUSTERS) for word in ("--into", f"bench{at}")]
    with Fleet(bench) as fleet:
        whole, live = fleet.settings("whole"), fleet.settings("live")
        ours.remove(folder / "store4")
        measure(fleet, [*command, "snapshot", "create", "--no-ties", *store], env=whole, discard=True)
        for shard in fleet.shards:
            shard.reset()
        plan.unlink(missing_ok=True)
        measure(fleet, [*command, "plan", "--tenants", folder / "victims.txt", *store, *into, "--max-tenants",
                             victims, "--reason", "benchmark", "-o", plan], env=live, discard=True)
        for shard in fleet.shards:
            shard.server.sql("postgres", "checkpoint")
        # Two connections in each cluster, as in apply-2.
        restore = [*command, "apply", plan, "--jobs", str(2 * CLUSTERS), "--confirm", victims]
        done = bench.record("apply-4-clusters", measure(fleet, restore, env=live), [restore])
        done.extra["back"] = json.loads(done.measured.output)["elapsed_ms"] / 1000
        for shard in fleet.shards:
            shard.check_rows()
        ours.remove(folder / "store4")
