"""The command: ``python -m bench [SUITE ...]``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

from bench.harness import Case, NotOffered, Plan, Run, measure_here
from bench.machine import describe, filesystem

SUITES = ("pool", "aio", "bdb", "dbi")
MEMORY_FILESYSTEMS = ("tmpfs", "ramfs")


def default_data() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "asyncstore-bench"


def one(suite: str, case_name: str, participant: str, loop: str, *, seconds: float, data: Path) -> None:
    """Measure one participant in one case here, and print the figure as JSON; what `measure_apart` starts."""
    module = importlib.import_module(f"bench.{suite}")
    case = next(case for case in module.CASES if case.name == case_name)
    make = module.PARTICIPANTS[participant]
    try:
        if not hasattr(make, case.operation):
            raise NotOffered(f"{participant} has no {case.operation}")
        rate, cpu = measure_here(make, case, loop, seconds, data)
    except (ImportError, NotOffered) as error:
        print(json.dumps({"missing": str(error)}), flush=True)
    else:
        print(json.dumps({"rate": rate, "cpu_us": cpu}), flush=True)
    os._exit(0)  # peers leave threads behind that would hold up the exit


def chosen(module: object, pattern: str | None) -> list[Case]:
    cases: list[Case] = module.CASES  # type: ignore[attr-defined]  # every suite has them
    return [case for case in cases if pattern is None or any(part in case.name for part in pattern.split(","))]


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("suites", nargs="*", metavar="SUITE", help=f"what to measure: {', '.join(SUITES)} (default: all)")
    add("--rounds", type=int, default=5, help="measurements of each figure; the median is shown (default 5)")
    add("--seconds", type=float, default=0.5, help="length of one measurement (default 0.5)")
    add("--loops", default="asyncio,uvloop", help="event loops, separated by commas (default asyncio,uvloop)")
    add("--cases", help="only cases whose name contains one of these words, separated by commas")
    add("--participants", help="only these participants, separated by commas")
    add("--data", type=Path, default=default_data(), help="folder for test files, on a disk (default %(default)s)")
    add("--json", type=Path, help="write every single figure there, a JSON object a line")
    options = parser.parse_args(argv)
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    return options


def report(run: Run, suite: str, options: argparse.Namespace) -> None:
    """Measure one suite and print its tables."""
    module = importlib.import_module(f"bench.{suite}")
    prepare = getattr(module, "prepare_data", None)
    if prepare is not None:
        prepare(options.data)
    cases = chosen(module, options.cases)
    wanted = options.participants.split(",") if options.participants else list(module.PARTICIPANTS)
    participants = [name for name in module.PARTICIPANTS if name in wanted]
    loops = options.loops.split(",")
    plan = Plan(suite, cases, participants, loops)
    run.collect(plan, options.rounds, options.seconds, options.data)
    print(f"\n## {suite}\n\n{describe(options.data, module.PACKAGES)}")
    for loop in loops:
        print(f"\nOn {loop}: CPU microseconds per operation (operations a second)\n")
        print(run.table(plan, loop))
        rate_aims = module.rate_aims(run, plan, loop) if hasattr(module, "rate_aims") else []
        print("\n" + "\n".join(f"* {line}" for line in run.aims(plan, loop) + rate_aims), flush=True)
    for (case, participant, loop), why in run.missing.items():
        if case.startswith(suite + "/") and "has no" not in why:
            print(f"no figure for {case} {participant} on {loop}: {why}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["--one"]:
        suite, case, participant, loop, seconds, data = arguments[1:]
        one(suite, case, participant, loop, seconds=float(seconds), data=Path(data))
    options = parse(arguments)
    options.data.mkdir(parents=True, exist_ok=True)
    if filesystem(options.data) in MEMORY_FILESYSTEMS:
        print(f"{options.data} is in memory: figures of a disk filesystem need --data on one", file=sys.stderr)
        return 2
    run = Run()
    for suite in options.suites or SUITES:
        report(run, suite, options)
    if options.json:
        run.dump(options.json)
    # A participant that gives wrong answers has no figure, and whoever measures has to hear of it.
    return 1 if any("wrong data" in why for why in run.missing.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
