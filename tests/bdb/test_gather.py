"""Requests travel in batches: those of a tick together, in their order, the urgent ones first."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from asyncstore.pool import Pool, priority
from tests.bdb.binding import bdb

pytestmark = pytest.mark.usefixtures("bound")


@pytest.fixture
def bound():
    """The binding is there: what is tested imports it."""
    return bdb


class Owner:
    title = "a test"
    handle = None
    guarded = False

    def __init__(self) -> None:
        from asyncstore.bdb._usage import Usage

        self.usage = Usage()


class Recorder:
    """The work of a gatherer: remembers each batch, and holds the first until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.inside = threading.Event()
        self.go = threading.Event()

    def __call__(self, requests: list[Any]) -> None:
        self.batches.append([request.key for request in requests])
        for request in requests:
            request.result = request.key
        self.inside.set()
        assert self.go.wait(30)


@pytest.fixture
async def gathering():
    from asyncstore.bdb._gather import Gatherer
    from asyncstore.bdb._request import Operation, Request

    async with Pool(max_workers=1) as pool:
        work, owner = Recorder(), Owner()
        gatherer = Gatherer(pool, work, width=1, max_requests=3, max_bytes=100, patience=1.0)
        operation = Operation("test", lambda *_: None)

        def add(key: Any, size: int = 1) -> asyncio.Future[Any]:
            return gatherer.add(Request(owner, operation, key, None, size))

        first = add("first")
        await asyncio.to_thread(work.inside.wait, 30)
        yield work, owner, add
        work.go.set()
        await first


async def finish(work, futures):
    work.go.set()
    await asyncio.wait(futures)
    return work.batches[1:]


async def test_what_is_asked_while_a_batch_is_under_way_makes_the_next_ones(gathering):
    work, owner, add = gathering
    futures = [add(number) for number in range(7)]
    assert await finish(work, futures) == [[0, 1, 2], [3, 4, 5], [6]]
    assert [future.result() for future in futures] == list(range(7))
    assert owner.usage.busy == 0


async def test_bytes_cut_a_batch_and_a_large_request_goes_alone(gathering):
    work, _, add = gathering
    assert await finish(work, [add("a", 60), add("b", 60), add("c", 500), add("d", 1)]) == [["a"], ["b"], ["c"], ["d"]]


async def test_urgent_requests_are_taken_first_and_each_priority_keeps_its_order(gathering):
    work, _, add = gathering
    futures = []
    for level in (-4, 0, 4, 0, -4, 4):
        with priority(level):
            futures.append(add(f"{level}/{len(futures)}"))
    assert await finish(work, futures) == [["4/2", "4/5", "0/1"], ["0/3", "-4/0", "-4/4"]]


async def test_what_is_cancelled_before_it_is_handed_over_is_not_carried_out(gathering):
    work, owner, add = gathering
    futures = [add(number) for number in range(3)]
    futures[1].cancel()
    assert await finish(work, futures) == [[0, 2]]
    assert owner.usage.busy == 0


async def test_work_that_raises_fails_its_requests_each_with_its_own_error(gathering):
    from asyncstore.errors import Internal

    work, _, add = gathering
    futures = [add(1), add(2)]
    work.batches = None  # what every batch begins with raises
    work.go.set()
    errors = [future.exception() for future in (await asyncio.wait(futures))[0]]
    assert all(isinstance(error, Internal) and "AttributeError" in str(error) for error in errors)
    assert errors[0] is not errors[1]


async def test_the_priority_of_a_read_reaches_the_pool(env, db, monkeypatch):
    seen = []
    submit = Pool.submit_for

    def watched(self, recipient, fn, /, *args, priority=0):
        seen.append(priority)
        submit(self, recipient, fn, *args, priority=priority)

    monkeypatch.setattr(Pool, "submit_for", watched)
    with bdb.priority(3):
        await db.get(b"k")
    await db.get(b"k")
    assert seen == [3, 0]
