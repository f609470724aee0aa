"""After a close no future is pending and no thread runs, unless it is stuck in a call, and then the caller knows."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings

import pytest

from asyncstore.pool import Pool, PoolClosed, PoolState, default_pool
from tests.pool.conftest import Gate


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name + "-")]


async def test_aclose_finishes_what_is_queued_and_joins_its_threads(gate: Gate):
    pool = Pool(name="closing", max_workers=2)
    lane = pool.lane()
    held = asyncio.ensure_future(pool.run(gate.hold, "held"))
    await gate.until_begun()
    jobs = [asyncio.ensure_future(runner.run(int, str(n))) for n in range(50) for runner in (pool, lane)]
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(pool.aclose())
    await asyncio.sleep(0)
    assert pool.state is PoolState.CLOSING
    with pytest.raises(PoolClosed):
        await pool.run(int)
    with pytest.raises(PoolClosed):
        lane.submit_nowait(int)
    gate.open.set()
    await closing
    assert pool.state is PoolState.CLOSED
    assert threads_of("closing") == []
    assert held.done() or await held == "held"
    assert [await job for job in jobs] == [n for n in range(50) for _ in "pl"]
    await pool.aclose()


async def test_aclose_without_drain_refuses_what_is_queued(gate: Gate):
    pool = Pool(name="refusing", max_workers=1)
    lane = pool.lane()
    ran: list[int] = []
    held = asyncio.ensure_future(lane.run(gate.hold))
    await gate.until_begun()
    jobs = [asyncio.ensure_future(runner.run(ran.append, 1)) for runner in (pool, lane, pool, lane)]
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(pool.aclose(drain=False))
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert all(isinstance(result, PoolClosed) and not result.maybe_applied for result in results)
    gate.open.set()
    await closing
    await held
    assert ran == []


async def test_submitters_that_wait_for_room_are_refused(gate: Gate):
    pool = Pool(max_workers=1, max_pending=1)
    held = asyncio.ensure_future(pool.run(gate.hold))
    await gate.until_begun()
    queued, waiting = asyncio.ensure_future(pool.run(int)), asyncio.ensure_future(pool.run(int))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(pool.aclose())
    with pytest.raises(PoolClosed):
        await waiting
    gate.open.set()
    await closing
    assert await asyncio.gather(held, queued) == [None, 0]


@pytest.mark.parametrize("how", ["timeout", "cancel", "close"])
async def test_a_worker_stuck_in_a_call_is_left_behind_and_its_caller_told(gate: Gate, how):
    pool = Pool(name=f"stuck-{how}", max_workers=1)
    discarded: list[object] = []
    stuck = asyncio.ensure_future(pool.run(gate.hold, "late", on_discard=discarded.append))
    queued = asyncio.ensure_future(pool.run(int))
    await gate.until_begun()
    if how == "timeout":
        await pool.aclose(timeout=0.01)
    elif how == "cancel":
        closing = asyncio.ensure_future(pool.aclose(timeout=None))
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
    else:
        pool.close()
    with pytest.raises(PoolClosed) as caught:
        await stuck
    assert caught.value.maybe_applied
    with pytest.raises(PoolClosed) as refused:
        await queued
    assert not refused.value.maybe_applied
    assert pool.state is PoolState.CLOSED
    gate.open.set()
    for thread in threads_of(f"stuck-{how}"):
        await asyncio.to_thread(thread.join, 30)
    assert discarded == ["late"]
    assert threads_of(f"stuck-{how}") == []


async def test_closing_twice_at_once_is_fine(gate: Gate):
    pool = Pool()
    await pool.run(int)
    await asyncio.gather(pool.aclose(), pool.aclose())
    assert pool.state is PoolState.CLOSED


async def test_a_fresh_pool_closes_at_once():
    async with Pool() as pool:
        assert pool.stats().workers == 0


async def test_a_dropped_pool_warns_and_its_threads_end():
    pool = Pool(name="dropped")
    await pool.run(int)
    while not pool.stats().idle:
        await asyncio.sleep(0.001)
    threads = threads_of("dropped")
    assert threads
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        while "pool" in locals():
            del pool
        await asyncio.sleep(0.005)  # the pump has let go of the pool by then
        gc.collect()
    assert ["unclosed pool 'dropped'" in str(warning.message) for warning in caught] == [True]
    for thread in threads:
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()


async def test_the_default_pool_is_one_and_is_made_anew_once_closed():
    pool = default_pool()
    assert default_pool() is pool
    assert await pool.run(int) == 0
    await pool.aclose()
    assert default_pool() is not pool
    assert await default_pool().run(int) == 0


async def test_the_repr_tells_state_and_counts():
    async with Pool(name="seen") as pool:
        await pool.run(int)
        assert repr(pool) == "<Pool 'seen' open workers=1 queued=0>"
    assert repr(pool) == "<Pool 'seen' closed workers=0 queued=0>"
