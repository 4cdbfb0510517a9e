"""The floor: what PostgreSQL itself takes for the same rows, extracted and encoded beforehand."""

from bench import TRIGGERS_OFF, Contender
from shard import READ_OPTIONS


def contenders():
    for connections in (1, 2, 4):
        for triggers in ("off", "on"):
            for shape in ("bulk", "tenant"):
                yield Contender(f"copy-in-{shape}-{connections}-{triggers}", load(shape, connections, triggers))
    for connections in (1, 2):
        yield Contender(f"copy-out-{connections}", read_back(connections))
    for connections in (1, 2):
        yield Contender(f"key-proof-{connections}", prove(connections))


def load(shape, connections, triggers):
    def run(bench):
        scripts = bench.shard.bulk_scripts(connections) if shape == "bulk" else bench.shard.tenant_scripts(connections)
        commands = [bench.server.psql("live", "-f", script) for script in scripts]
        name = f"copy-in-{shape}-{connections}-{triggers}"
        bench.load(name, *commands, env=TRIGGERS_OFF if triggers == "off" else None, discard=True)
    return run


def read_back(connections):
    def run(bench):
        bench.needs_restored()
        commands = [bench.server.psql("live", "-f", script) for script in bench.shard.read_scripts(connections)]
        bench.time(f"copy-out-{connections}", *commands, discard=True)
    return run


def prove(connections):
    def run(bench):
        bench.needs_restored()
        commands = [bench.server.psql("live", "-f", script) for script in bench.shard.proof_scripts(connections)]
        bench.time(f"key-proof-{connections}", *commands, env={"PGOPTIONS": READ_OPTIONS}, discard=True)
    return run
