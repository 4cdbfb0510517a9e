"""Builds the shard, lets all contenders run by turns, and writes the results. Started by scripts/bench."""

import argparse
import datetime
import fnmatch
import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import clusters
import floor
import ours
import peers
from bench import Bench
from results import Results, machine
from server import Server
from shard import Shard

EXAMPLES = """examples:
  scripts/bench                                        the full comparison; about two hours, 20 GB
  scripts/bench --scale 0.02 --tenants 400 --victims 40 --keep
                                                       a few minutes; the shard is kept for the next run
  scripts/bench --only 'apply-*' 'copy-in-*-2-*' 'copy-out-2' --runs 5
  scripts/bench --list                                 the names of all contenders
"""


def arguments():
    about = "reinstate beside raw COPY and other tools, on a synthetic damaged shard of its own."
    parser = argparse.ArgumentParser(prog="scripts/bench", description=about, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--scale", type=float, default=1, metavar="X", help="size of the shard; 1 is 9.4 million rows")
    add("--tenants", type=int, default=4000, metavar="N", help="tenants of the shard (default 4000)")
    add("--victims", type=int, default=400, metavar="N", help="deleted tenants (default 400)")
    add("--runs", type=int, default=3, metavar="N", help="runs of each contender, by turns (default 3)")
    add("--only", nargs="+", default=["*"], metavar="NAME", help="contenders; * and ? match")
    add("--list", action="store_true", help="list the contenders and end")
    add("--keep", action="store_true", help="keep the shard, the server's data and the store for the next run")
    add("--data", type=Path, default=Path(tempfile.gettempdir()) / f"reinstate-bench-{os.getuid()}", metavar="DIR",
        help="folder of the server and all files (default: reinstate-bench-UID in the temporary folder)")
    add("--out", type=Path, metavar="DIR", help="folder of the results (default: benches/results/DATE-MACHINE)")
    for name in ("reinstate", "extract", "python"):
        add(f"--{name}", type=Path, required=True, help=argparse.SUPPRESS)  # given by scripts/bench
    args = parser.parse_args()
    if args.victims < 1 or args.tenants % args.victims or args.runs < 1 or args.scale <= 0:
        parser.error("--victims must divide --tenants, --runs and --scale must be positive")
    return args


def main():
    args = arguments()
    data = args.data.absolute()
    shard = Shard(Server(data / "pg"), data, args.scale, args.tenants, args.victims)
    bench = Bench(shard, args.reinstate, args.extract, args.python)
    contenders = [*ours.contenders(bench), *clusters.contenders(), *floor.contenders(), *peers.contenders()]
    wanted = [c for c in contenders if any(fnmatch.fnmatch(c.name, pattern) for pattern in args.only)]
    if args.list:
        sys.exit(print("\n".join(contender.name for contender in wanted)))
    if not wanted:
        sys.exit(f"error: no contender is called {' or '.join(args.only)}\nhint: --list shows them")
    own_data(data)
    bench.server.start()
    try:
        print(f"building the shard in {data}", flush=True)
        bench.shard.build()
        for bench.round in range(1, args.runs + 1):
            print(f"round {bench.round} of {args.runs}", flush=True)
            for contender in wanted:
                if bench.round == 1 or not contender.once:
                    attempt(contender, bench)
        out = args.out or Path(__file__).parent.parent / "results" / name_of_results()
        Results(bench).write(out, command_line())
        print(f"results written to {out}")
        sys.exit(1 if bench.failures else 0)
    finally:
        bench.server.stop()
        if not args.keep:
            shutil.rmtree(data)


def attempt(contender, bench):
    """One contender that fails takes its own figures with it, not those of the others."""
    before = len(bench.runs)
    try:
        contender.run(bench)
    except RuntimeError as error:
        del bench.runs[before:]
        bench.failures.append(f"{contender.name}, round {bench.round}: {error}")
        print(f"  {bench.failures[-1]}", file=sys.stderr, flush=True)


def own_data(folder):
    """Only a folder that this program made is used, and removed."""
    marker = folder / "reinstate-bench"
    if folder.exists() and not marker.exists() and any(folder.iterdir()):
        sys.exit(f"error: unable to use '{folder}': it exists and is not a benchmark's\nhint: choose another --data")
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    marker.touch()


def name_of_results():
    """Date and kind of machine; never its name."""
    words = re.sub(r"[^a-z0-9]+", "-", next(machine()).lower()).strip("-")
    return f"{datetime.date.today()}-{words}"


def command_line():
    hidden = ("--reinstate", "--extract", "--python", "--data", "--out")
    shown, skip = ["scripts/bench"], False
    for word in sys.argv[1:]:
        if not skip and word not in hidden:
            shown.append(word)
        skip = word in hidden
    return shlex.join(shown)


main()
