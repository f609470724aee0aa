"""Requests travel in batches: those of a tick together, in their order, the urgent ones first."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from asyncstore.errors import Internal
from asyncstore.pool import Gatherer, Pool, Request, Usage, priority


class Asked(Request):
    """A request for the very key that it has."""

    def __init__(self, usage: Usage, key: Any, size: int) -> None:
        self.usage = usage
        self.key = key
        self.size = size


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
    async with Pool(max_workers=1) as pool:
        work, usage = Recorder(), Usage()
        gatherer = Gatherer(pool, work, width=1, max_requests=3, max_bytes=100, patience=1.0)

        def add(key: Any, size: int = 1) -> asyncio.Future[Any]:
            return gatherer.add(Asked(usage, key, size))

        first = add("first")
        await asyncio.to_thread(work.inside.wait, 30)
        yield work, usage, add
        work.go.set()
        await first


async def finish(work, futures):
    work.go.set()
    await asyncio.wait(futures)
    return work.batches[1:]


async def test_what_is_asked_while_a_batch_is_under_way_makes_the_next_ones(gathering):
    work, usage, add = gathering
    futures = [add(number) for number in range(7)]
    assert await finish(work, futures) == [[0, 1, 2], [3, 4, 5], [6]]
    assert [future.result() for future in futures] == list(range(7))
    assert usage.busy == 0


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
    work, usage, add = gathering
    futures = [add(number) for number in range(3)]
    futures[1].cancel()
    assert await finish(work, futures) == [[0, 2]]
    assert usage.busy == 0


async def test_work_that_raises_fails_its_requests_each_with_its_own_error(gathering):
    work, _, add = gathering
    futures = [add(1), add(2)]
    work.batches = None  # what every batch begins with raises
    work.go.set()
    errors = [future.exception() for future in (await asyncio.wait(futures))[0]]
    assert all(isinstance(error, Internal) and "AttributeError" in str(error) for error in errors)
    assert errors[0] is not errors[1]


def answer(requests):
    for request in requests:
        request.result = request.key


async def test_an_eager_gatherer_hands_a_lone_request_over_at_once(pool):
    usage = Usage()
    eager, patient = (
        Gatherer(pool, answer, width=1, max_requests=9, max_bytes=99, patience=1.0, eager=given)
        for given in (True, False)
    )
    for gatherer in (eager, patient):
        assert await gatherer.add(Asked(usage, 1, 1)) == 1  # the first shows that they come one by one
    last = [gatherer.add(Asked(usage, 2, 1)) for gatherer in (eager, patient)]
    assert (eager.busy, patient.busy) == (True, False)
    assert await asyncio.gather(*last) == [2, 2]


async def test_what_met_a_lock_is_asked_again_until_its_time_is_up(pool):
    tries = []

    def locked(requests):
        for request in requests:
            tries.append(request.key)
            request.again = request.key == "never" or tries.count(request.key) < 3
            request.error = OSError("locked") if request.again else None
            request.result = request.key

    usage = Usage()
    gatherer = Gatherer(pool, locked, width=1, max_requests=9, max_bytes=99, patience=0.05)
    soon, never = gatherer.add(Asked(usage, "soon", 1)), gatherer.add(Asked(usage, "never", 1))
    assert await soon == "soon"
    with pytest.raises(OSError, match="locked"):
        await never
    assert tries.count("never") > tries.count("soon") == 3
    assert usage.busy == 0


async def test_a_full_pool_delays_and_a_closed_one_ends_requests():
    usage = Usage()
    async with Pool(max_workers=1, max_pending=1) as pool:
        gatherer = Gatherer(pool, answer, width=1, max_requests=9, max_bytes=99, patience=1.0)
        go = threading.Event()
        held = [pool.submit_nowait(go.wait, 30)]
        while pool.stats().queued:
            await asyncio.sleep(0.001)
        held.append(pool.submit_nowait(int))
        asked = gatherer.add(Asked(usage, 1, 1))
        await asyncio.sleep(0.01)
        assert not gatherer.busy
        go.set()
        assert await asked == 1
        await asyncio.wait(held)
    with pytest.raises(Internal, match="closed"):
        await gatherer.add(Asked(usage, 2, 1))
    assert usage.busy == 0
