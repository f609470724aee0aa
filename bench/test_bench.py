"""The same cases under pytest-benchmark: ``pytest bench --benchmark-timer=time.process_time``.

All participants share one process here, so figures are less clean than those of ``python -m bench``; the grouping,
comparison and storage of runs that pytest-benchmark has are what this is for.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bench import aio, bdb, dbi, pool
from bench.__main__ import default_data
from bench.harness import Case, NotOffered

BATCH = 50  # operations of each task in one round: enough to drown the start of the tasks
LONG = ("scan", "batches", "put_many", "bulk", "stream")  # thousands of records each: one drowns it too

ROWS = [
    pytest.param(suite, case, name, id=f"{case.name}-{name}")
    for suite in (pool, aio, bdb, dbi)
    for case in suite.CASES
    for name in suite.PARTICIPANTS
    if "beside" not in case.name  # these measure latency, and run for as long as they are let
]


@pytest.fixture(scope="session")
def data() -> Path:
    folder = default_data()
    folder.mkdir(parents=True, exist_ok=True)
    aio.prepare_data(folder)
    bdb.prepare_data(folder)
    dbi.prepare_data(folder)
    return folder


@pytest.mark.parametrize(("suite", "case", "name"), ROWS)
def test_row(benchmark: Any, data: Path, suite: Any, case: Case, name: str) -> None:
    benchmark.group = case.name
    with asyncio.Runner() as runner:
        try:
            participant = suite.PARTICIPANTS[name](data)
            operation = getattr(participant, case.operation)
            runner.run(participant.prepare(case))
        except (ImportError, AttributeError, NotOffered) as error:
            pytest.skip(str(error))

        repeats = 1 if case.operation in LONG else BATCH

        async def repeat() -> None:
            for _ in range(repeats):
                await operation()

        async def batch() -> None:
            await asyncio.gather(*(repeat() for _ in range(case.tasks)))

        benchmark.extra_info["operations"] = repeats * case.tasks
        benchmark.pedantic(lambda: runner.run(batch()), rounds=5, warmup_rounds=1)
        runner.run(participant.finish())
