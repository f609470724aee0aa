"""A pool per test, and a way to hold its workers so that races are decided instead of hoped for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from asyncstore.pool import Pool


class Gate:
    """A job that begins, says so, and stays inside until the test lets it go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()

    def hold(self, result: object = None) -> object:
        self.begun.release()
        assert self.open.wait(30), "the test never opened the gate"
        return result

    async def until_begun(self, count: int = 1) -> None:
        """Wait until `count` workers are inside. A plain thread waits, so that the pool under test is not involved."""
        for _ in range(count):
            assert await asyncio.to_thread(self.begun.acquire, True, 30), "no worker began the job"


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    async with Pool(name="under-test") as pool:
        yield pool


@pytest.fixture
async def single() -> AsyncIterator[Pool]:
    """A pool with one worker: what is queued behind a held job stays queued."""
    async with Pool(max_workers=1, name="single") as pool:
        yield pool


async def ticks(count: int) -> None:
    """Let the loop turn `count` times."""
    for _ in range(count):
        await asyncio.sleep(0)
