"""The loop is woken once a batch, and a loop that never rests does not starve the pool."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tests.pool.conftest import Gate


async def test_results_that_gather_while_the_loop_is_away_cost_one_wake_up(single):
    await single.run(int)
    before = single.stats().wakeups
    finished = threading.Event()
    futures = [single.submit_nowait(int) for _ in range(500)]
    last = single.submit_nowait(finished.set)
    assert finished.wait(30)  # this thread is the loop's: nothing is taken home meanwhile
    await asyncio.gather(*futures, last)
    assert 1 <= single.stats().wakeups - before <= 2  # the last job may end just after the batch was taken
    assert single.stats().batch_sizes.quantile(1.0) >= 500


async def test_a_submission_wakes_no_second_worker_for_quick_jobs(pool):
    for _ in range(20):
        await asyncio.gather(*(pool.run(int) for _ in range(50)))
    assert pool.stats().workers <= 2


async def test_blocked_workers_are_joined_by_others_while_work_waits(pool, gate: Gate):
    """Nothing behind a job that blocks waits for it, however many block."""
    held = [asyncio.ensure_future(pool.run(gate.hold)) for _ in range(12)]
    await gate.until_begun(12)
    assert await pool.run(int) == 0
    assert pool.stats().running == 12
    gate.open.set()
    await asyncio.gather(*held)


async def test_no_more_than_max_workers_run(gate: Gate):
    from asyncstore.pool import Pool

    async with Pool(max_workers=3) as pool:
        held = [asyncio.ensure_future(pool.run(gate.hold)) for _ in range(6)]
        await gate.until_begun(3)
        await asyncio.sleep(0.05)  # long enough for the pump to add workers if it could
        stats = pool.stats()
        assert (stats.workers, stats.running, stats.queued) == (3, 3, 3)
        gate.open.set()
        await asyncio.gather(*held)


async def test_idle_workers_end_and_come_back_on_demand():
    from asyncstore.pool import Pool

    async with Pool(idle_timeout=0.01) as pool:
        await pool.run(int)
        deadline = time.monotonic() + 30
        while pool.stats().workers:
            assert time.monotonic() < deadline, "the idle worker never ended"
            await asyncio.sleep(0.005)
        assert await pool.run(int) == 0
        assert pool.stats().done == 2


@pytest.mark.parametrize("tick", [0.0002, 0.002])
async def test_a_loop_that_never_rests_gets_its_results_within_a_few_ticks(pool, tick):
    """Counts ticks of the busy task, not time: executors take thousands of them."""
    stop = False
    turns = 0

    async def hog() -> None:
        nonlocal turns
        while not stop:
            end = time.perf_counter() + tick
            while time.perf_counter() < end:
                pass
            turns += 1
            await asyncio.sleep(0)

    await pool.run(int)
    busy = asyncio.ensure_future(hog())
    taken: list[int] = []
    for _ in range(300 if tick < 0.001 else 120):
        before = turns
        await pool.run(time.sleep, 0)
        taken.append(turns - before)
    stop = True
    await busy
    bound = max(4, 0.002 / tick)  # ticks: four of them or 2 ms
    assert sorted(taken)[len(taken) // 2] <= bound
    assert sum(taken) / len(taken) <= 2 * bound  # without the pump's donation single jobs take thousands


async def test_a_worker_that_meets_slow_jobs_wakes_the_next_without_help_of_the_loop(pool):
    """The loop's thread stays inside this test, so its pump cannot add a worker: only a worker can."""
    for _ in range(100):  # the estimate rises slowly, as one slow measurement proves nothing
        await pool.run(time.sleep, 0.0002)
    met = threading.Barrier(3, timeout=30)
    both = [pool.submit_nowait(met.wait), pool.submit_nowait(met.wait)]
    met.wait()
    await asyncio.gather(*both)
