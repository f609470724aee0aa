"""A lane runs its jobs in order, never two at once, and outlives whatever they do."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

from asyncstore.pool import LaneClosed, Pool
from tests.pool.conftest import Gate


async def test_jobs_of_a_lane_run_in_the_order_of_submission(pool):
    lane = pool.lane()
    order: list[int] = []
    await asyncio.gather(*(lane.run(order.append, n) for n in range(500)))
    assert order == list(range(500))


async def test_no_two_jobs_of_a_lane_run_at_once_while_lanes_run_side_by_side(pool):
    lanes = [pool.lane(name=str(n)) for n in range(4)]
    inside = [0] * 4
    overlaps: list[int] = []
    together = threading.Barrier(2, timeout=30)

    def job(n: int) -> None:
        inside[n] += 1
        if inside[n] > 1:
            overlaps.append(n)
        threading.Event().wait(random.random() / 2000)  # lets the GIL go in the middle
        inside[n] -= 1

    await asyncio.gather(*(lanes[n % 4].run(job, n % 4) for n in range(400)))
    assert not overlaps
    await asyncio.gather(lanes[0].run(together.wait), lanes[1].run(together.wait))  # two lanes meet: two workers


async def test_a_lane_keeps_its_order_whatever_its_priority(single, gate: Gate):
    order: list[str] = []
    held = asyncio.ensure_future(single.run(gate.hold))
    await gate.until_begun()
    late, soon = single.lane(priority=-4), single.lane(priority=4)
    jobs = [
        asyncio.ensure_future(lane.run(order.append, f"{name}{n}"))
        for n in range(3)
        for name, lane in (("late", late), ("soon", soon))
    ]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(held, *jobs)
    assert order == ["soon0", "soon1", "soon2", "late0", "late1", "late2"]


async def test_a_job_that_raises_leaves_the_lane_usable_and_its_neighbours_unharmed(pool):
    lane = pool.lane()
    results = await asyncio.gather(lane.run(int), lane.run(int, "x"), lane.run(int, "7"), return_exceptions=True)
    assert results[0] == 0
    assert isinstance(results[1], ValueError)
    assert results[2] == 7


async def test_a_tick_of_submissions_reaches_the_worker_in_one_hand_over(single):
    lane = single.lane()
    await lane.run(int)
    before = single.stats()
    await asyncio.gather(*(lane.run(int) for _ in range(100)))
    after = single.stats()
    assert after.done - before.done == 100
    assert after.wakeups - before.wakeups < 20  # batches; the exact number is the scheduler's


async def test_a_lane_with_endless_work_lets_other_work_of_its_priority_in(single):
    lane = single.lane()
    stop = threading.Event()
    ran = 0

    def job() -> None:
        nonlocal ran
        ran += 1
        threading.Event().wait(0.0005)

    async def keep_busy() -> None:
        while not stop.is_set():
            await lane.run(job)

    busy = [asyncio.ensure_future(keep_busy()) for _ in range(20)]  # the loop refills the lane while a job sleeps
    while not ran:
        await asyncio.sleep(0)
    before = ran
    await single.run(stop.set)  # would wait for ever behind the lane without its slice
    assert ran - before < 100
    await asyncio.gather(*busy)


async def test_closing_a_lane_runs_what_is_queued_and_refuses_the_rest(pool, gate: Gate):
    lane = pool.lane(name="db")
    queued = [asyncio.ensure_future(lane.run(gate.hold, 1)), asyncio.ensure_future(lane.run(int, 2))]
    await gate.until_begun()
    closing = asyncio.ensure_future(lane.aclose())
    await asyncio.sleep(0)
    with pytest.raises(LaneClosed, match="'db' is closed"):
        await lane.run(int)
    with pytest.raises(LaneClosed):
        lane.submit_nowait(int)
    assert not closing.done()
    gate.open.set()
    await closing
    assert await asyncio.gather(*queued) == [1, 2]
    await lane.aclose()


async def test_closing_a_lane_of_a_closed_pool_does_nothing():
    pool = Pool()
    lane = pool.lane()
    await pool.aclose()
    await lane.aclose()


async def test_a_lane_tells_its_state(pool, gate: Gate):
    lane = pool.lane(name="seen", priority=3)
    assert repr(lane) == "<Lane 'seen' idle queued=0 priority=3>"
    with pytest.raises(ValueError, match=r"-4\.\.4"):
        lane.priority = 9
    held = lane.submit_nowait(gate.hold)
    await gate.until_begun()
    waiting = lane.submit_nowait(int)
    assert repr(lane) == "<Lane 'seen' active queued=1 priority=3>"
    gate.open.set()
    await asyncio.gather(held, waiting)
