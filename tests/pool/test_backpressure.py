"""At most `max_pending` jobs wait for a worker; further submitters wait in their order."""

from __future__ import annotations

import asyncio
import gc
import sys

import pytest

from asyncstore.pool import Pool
from tests.pool.conftest import Gate


async def test_submitters_beyond_the_bound_wait_their_turn(gate: Gate):
    async with Pool(max_workers=1, max_pending=3) as pool:
        order: list[int] = []
        held = asyncio.ensure_future(pool.run(gate.hold))
        await gate.until_begun()
        jobs = [asyncio.ensure_future(pool.run(order.append, n)) for n in range(20)]
        await asyncio.sleep(0)
        stats = pool.stats()
        assert (stats.queued, stats.waiting) == (3, 17)
        gate.open.set()
        await asyncio.gather(held, *jobs)
        assert order == list(range(20))
        assert pool.stats().waiting == 0


async def test_lanes_count_towards_the_bound(gate: Gate):
    async with Pool(max_workers=1, max_pending=3) as pool:
        lane = pool.lane()
        held = asyncio.ensure_future(lane.run(gate.hold))
        await gate.until_begun()
        jobs = [asyncio.ensure_future(lane.run(int)) for _ in range(5)]
        await asyncio.sleep(0)
        assert (pool.stats().queued, pool.stats().waiting) == (3, 2)
        gate.open.set()
        await asyncio.gather(held, *jobs)


async def test_a_waiting_submitter_that_is_cancelled_gives_its_turn_to_the_next(gate: Gate):
    async with Pool(max_workers=1, max_pending=1) as pool:
        order: list[int] = []
        held = asyncio.ensure_future(pool.run(gate.hold))
        await gate.until_begun()
        jobs = [asyncio.ensure_future(pool.run(order.append, n)) for n in range(4)]
        await asyncio.sleep(0)
        jobs[1].cancel()
        await asyncio.sleep(0)
        assert pool.stats().waiting == 2
        gate.open.set()
        await asyncio.gather(held, *jobs, return_exceptions=True)
        assert order == [0, 2, 3]


async def test_a_hundred_thousand_queued_jobs_leave_no_memory_behind(single, gate: Gate):
    held = asyncio.ensure_future(single.run(gate.hold))
    await gate.until_begun()
    single.max_pending = 100_000

    def blocks() -> int:
        gc.collect()
        return sys.getallocatedblocks()

    before = blocks()
    futures = [single.submit_nowait(int) for _ in range(100_000)]
    assert single.stats().queued == 100_000
    for future in futures[::2]:
        future.cancel()
    gate.open.set()
    await held
    await single.run(int, priority=-4)
    assert futures[1].result() == 0
    futures.clear()
    await asyncio.sleep(0)
    del held
    assert blocks() - before < 2_000


@pytest.mark.parametrize("limit", [{"max_poll_jobs": 5}, {"max_poll_time": 1e-9}], ids=["jobs", "time"])
async def test_a_poll_limit_spreads_results_over_ticks(gate: Gate, limit):
    async with Pool(max_workers=1, **limit) as pool:
        arrived: list[int] = []
        held = asyncio.ensure_future(pool.run(gate.hold))
        await gate.until_begun()
        for _ in range(20):
            pool.submit_nowait(int).add_done_callback(lambda _: arrived.append(1))
        last = pool.submit_nowait(int)
        gate.open.set()
        await held
        most = 0
        while not last.done():
            before = len(arrived)
            await asyncio.sleep(0)
            most = max(most, len(arrived) - before)
        assert 0 < most <= 5
        assert pool.stats().batch_sizes.quantile(1.0) <= 8  # a power-of-two bound of 5
