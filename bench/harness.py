"""What a case and a participant are, how one is measured, and how a table is made of many measurements."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

TIMEOUT = 120  # seconds one measurement may take, preparation included


class NotOffered(Exception):
    """The participant has no such operation."""


@dataclass(frozen=True)
class Case:
    """An operation at a number of concurrent tasks. `unit` is what one operation is."""

    name: str
    tasks: int
    unit: str
    operation: str  # the participant's method
    aims: dict[str, float] = field(default_factory=dict)  # peer -> how many times less CPU than that peer we aim at
    limit: int | None = None  # operations of one measurement at most
    rest: float = 0.0  # seconds before each measurement, in which a disk whose operations are rationed saves some up


@dataclass(frozen=True)
class Figure:
    """One measurement: operations a second and microseconds of CPU per operation."""

    suite: str
    case: str
    participant: str
    loop: str
    rate: float
    cpu_us: float


class Participant:
    """A package under measurement. `prepare` runs inside the loop before the clock starts."""

    def __init__(self, data: Path) -> None:
        self.data = data

    async def prepare(self, case: Case) -> None:
        """Open what the case needs."""

    async def finish(self) -> None:
        """Close it."""


async def measure(participant: Participant, case: Case, seconds: float) -> tuple[float, float]:
    """Run `case.tasks` tasks that repeat the operation for `seconds`; return (operations a second, CPU us each).

    The operation is a coroutine function; it returns how many units it did, None standing for one.
    """
    await participant.prepare(case)
    operation: Callable[[], Awaitable[int | None]] = getattr(participant, case.operation)
    for _ in range(3):
        await operation()
    done = 0
    limit = sys.maxsize if case.limit is None else case.limit
    end = time.perf_counter() + seconds
    clock = time.perf_counter

    async def repeat() -> None:
        nonlocal done
        while clock() < end and done < limit:
            units = await operation()
            done += 1 if units is None else units

    wall, cpu = clock(), time.process_time()
    if case.tasks == 1:
        await repeat()
    else:
        await asyncio.gather(*(repeat() for _ in range(case.tasks)))
    cpu, wall = time.process_time() - cpu, clock() - wall
    await participant.finish()
    return done / wall, cpu / done * 1e6


def run_loop(loop: str, main: Callable[[], Any]) -> Any:
    """Run a coroutine function on the named loop."""
    if loop == "uvloop":
        import uvloop

        return uvloop.run(main())
    return asyncio.run(main())


def measure_here(
    make: Callable[[Path], Participant], case: Case, loop: str, seconds: float, data: Path
) -> tuple[float, float]:
    """Measure in this process."""

    async def main() -> tuple[float, float]:
        return await measure(make(data), case, seconds)

    return run_loop(loop, main)


def measure_apart(suite: str, case: Case, participant: str, loop: str, *, seconds: float, data: Path) -> Figure | str:
    """Measure in a fresh process; a string says why there is no figure."""
    command = [sys.executable, "-m", "bench", "--one", suite, case.name, participant, loop, str(seconds), str(data)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["died without a word"])[-1]
    answer = json.loads(done.stdout.splitlines()[-1])
    if "missing" in answer:
        return str(answer["missing"])
    return Figure(suite, case.name, participant, loop, **answer)


@dataclass(frozen=True)
class Plan:
    """What one suite is to measure."""

    suite: str
    cases: list[Case]
    participants: list[str]
    loops: list[str]


class Run:
    """All figures of one run, and why others are missing."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self.missing: dict[tuple[str, str, str], str] = {}

    def collect(self, plan: Plan, rounds: int, seconds: float, data: Path) -> None:
        """Measure everything, round by round, in a new order each round."""
        jobs = [(case, name, loop) for loop in plan.loops for case in plan.cases for name in plan.participants]
        for number in range(rounds):
            random.shuffle(jobs)
            for place, (case, name, loop) in enumerate(jobs):
                key = (f"{plan.suite}/{case.name}", name, loop)
                if key in self.missing:
                    continue
                progress = f"round {number + 1}/{rounds} {place + 1}/{len(jobs)} {case.name} {name} {loop}"
                if sys.stderr.isatty():
                    print(f"\r\033[K{progress}", end="", file=sys.stderr)
                time.sleep(case.rest)
                figure = measure_apart(plan.suite, case, name, loop, seconds=seconds, data=data)
                if isinstance(figure, Figure):
                    self.figures.append(figure)
                else:
                    self.missing[key] = figure
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)

    def median(self, suite: str, case: str, participant: str, loop: str) -> tuple[float, float] | None:
        """Return the medians of (rate, CPU us), None if the participant has no figure."""
        wanted = (suite, case, participant, loop)
        found = [f for f in self.figures if (f.suite, f.case, f.participant, f.loop) == wanted]
        if not found:
            return None
        return statistics.median(f.rate for f in found), statistics.median(f.cpu_us for f in found)

    def table(self, plan: Plan, loop: str) -> str:
        """Return a Markdown table: a row a case, a column a participant, CPU us per operation (operations a second)."""
        participants = plan.participants
        lines = ["| case | " + " | ".join(participants) + " |", "| --- |" + " ---: |" * len(participants)]
        for case in plan.cases:
            cells = []
            for participant in participants:
                found = self.median(plan.suite, case.name, participant, loop)
                cells.append("-" if found is None else f"{_figure(found[1])} ({_count(found[0])}/s)")
            lines.append(f"| {case.name} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def aims(self, plan: Plan, loop: str) -> list[str]:
        """Return a line for each aim: what was reached, and what was aimed at."""
        lines = []
        for case in plan.cases:
            ours = self.median(plan.suite, case.name, "asyncstore", loop)
            for peer, aim in case.aims.items():
                theirs = self.median(plan.suite, case.name, peer, loop)
                if ours is None or theirs is None:
                    continue
                ratio = theirs[1] / ours[1]
                verdict = "met" if ratio >= aim else "MISSED"
                lines.append(f"{case.name}: CPU of {peer} / ours = {ratio:.2f}, aim {aim:g}: {verdict}")
        return lines

    def dump(self, path: Path) -> None:
        """Write all figures as JSON lines."""
        path.write_text("".join(json.dumps(asdict(figure)) + "\n" for figure in self.figures))


def _figure(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def _count(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
