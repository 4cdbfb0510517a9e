"""What all contenders share: the shard, where things are, and the record of runs."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from measure import Measured, measure

HERE = Path(__file__).parent


@dataclass
class Contender:
    name: str
    run: callable  # takes the Bench, records one or more runs
    once: bool = False  # too long to be repeated, or only preparation of others


@dataclass
class Run:
    name: str
    round: int
    measured: Measured
    command: str
    extra: dict


@dataclass
class Bench:
    shard: object
    reinstate: Path  # the release build
    extract: Path  # the release build of benches/extract.rs
    python: Path  # of the virtual environment
    round: int = 0
    runs: list = field(default_factory=list)
    failures: list = field(default_factory=list)
    checked: set = field(default_factory=set)  # contenders whose result was compared in full

    @property
    def server(self):
        return self.shard.server

    @property
    def folder(self):
        return self.shard.folder

    def time(self, name, *commands, **options):
        """Runs commands side by side and records them under a name."""
        extra = options.pop("extra", {})
        return self.record(name, measure(self.server, *commands, **options), commands, **extra)

    def record(self, name, measured, commands, **extra):
        shown = " & ".join(self.shown(command) for command in commands)
        run = Run(name, self.round, measured, shown, extra)
        self.runs.append(run)
        print(f"  {name}: {measured.wall:.2f} s", flush=True)
        return run

    def shown(self, command):
        """A command line without this machine's folders."""
        text = shlex.join(map(str, command))
        for path, short in ((self.reinstate, "reinstate"), (self.extract, "extract"), (self.python, "python"),
                            (HERE, "benches/harness"), (self.folder, "$DATA")):
            text = text.replace(str(path), short)
        return text.replace(self.server.psql("live")[0], "psql")

    def load(self, name, *commands, **options):
        """A load into a fresh copy of the damaged shard; its result is checked."""
        self.shard.reset()
        run = self.time(name, *commands, **options)
        self.check(name)
        return run

    def check(self, name):
        self.shard.check_rows()
        if name not in self.checked:
            self.shard.check_content()
            self.checked.add(name)

    def needs_restored(self):
        """The live shard with everything back, by whichever load came last."""
        if not self.shard.restored:
            self.shard.reset()
            scripts = self.shard.bulk_scripts(2)
            measure(self.server, *[self.server.psql("live", "-f", s) for s in scripts], env=TRIGGERS_OFF, discard=True)
            self.shard.check_rows()

    def runs_of(self, name):
        return [run for run in self.runs if run.name == name]


TRIGGERS_OFF = {"PGOPTIONS": "-c session_replication_role=replica"}


def bytes_below(path):
    path = Path(path)
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
