"""Cancelled before it began: it never runs. Cancelled later: it runs to its end and its result is discarded, once."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from tests.pool.conftest import Gate, ticks


async def cancelled(task: asyncio.Task) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("on_lane", [False, True], ids=["shared", "lane"])
async def test_a_job_cancelled_while_queued_never_runs(single, gate: Gate, on_lane):
    runner = single.lane() if on_lane else single
    ran: list[int] = []
    held = asyncio.ensure_future(runner.run(gate.hold))
    await gate.until_begun()
    task = asyncio.ensure_future(runner.run(ran.append, 1, on_discard=ran.append))
    await asyncio.sleep(0)
    await cancelled(task)
    gate.open.set()
    await held
    await runner.run(int)
    assert ran == []
    assert single.stats().dropped == 1


@pytest.mark.parametrize("on_lane", [False, True], ids=["shared", "lane"])
async def test_a_running_job_that_is_cancelled_ends_and_its_result_is_discarded_on_a_worker(
    single, gate: Gate, on_lane
):
    runner = single.lane() if on_lane else single
    discarded: list[tuple[object, bool]] = []

    def on_discard(result: object) -> None:
        discarded.append((result, threading.current_thread() is threading.main_thread()))

    task = asyncio.ensure_future(runner.run(gate.hold, "opened", on_discard=on_discard))
    await gate.until_begun()
    await cancelled(task)
    assert discarded == []
    gate.open.set()
    await runner.run(int)  # the lane stays usable, and the discard came before the lane's next job
    assert discarded == [("opened", False)]
    assert single.stats().discarded == 1


async def test_a_cancel_in_the_tick_in_which_the_result_arrives_discards_the_result(single):
    """Race, decided: 1. the worker has ended; 2. the loop sets the future; 3. before the task runs, it is cancelled."""
    discarded: list[object] = []
    task = asyncio.ensure_future(single.run(int, "5", on_discard=discarded.append))
    single.add_observer(lambda _: task.cancel())  # observers are called right after the future was set
    with pytest.raises(asyncio.CancelledError):
        await task
    await single.run(int)
    assert discarded == [5]


async def test_a_cancel_between_the_end_of_the_job_and_its_delivery_discards_the_result(single, gate: Gate):
    """Race, decided: the loop's thread is inside this test, so the finished job waits in `done` while we cancel."""
    discarded: list[object] = []
    finished = threading.Event()
    task = asyncio.ensure_future(single.run(gate.hold, 9, on_discard=discarded.append))
    await gate.until_begun()
    marker = asyncio.ensure_future(single.run(finished.set))  # runs after it on the only worker
    await asyncio.sleep(0)
    gate.open.set()
    assert finished.wait(30)
    await cancelled(task)
    await marker
    await single.run(int)
    assert discarded == [9]


async def test_a_result_that_was_taken_is_not_discarded(single):
    discarded: list[object] = []
    assert await single.run(int, "3", on_discard=discarded.append) == 3
    await single.run(int)
    assert discarded == []
    assert single.stats().discarded == 0


async def test_a_job_that_raises_after_the_cancel_is_not_discarded_and_harms_nobody(single, gate: Gate):
    discarded: list[object] = []

    def job() -> None:
        gate.hold()
        raise ValueError

    task = asyncio.ensure_future(single.run(job, on_discard=discarded.append))
    await gate.until_begun()
    await cancelled(task)
    gate.open.set()
    await single.run(int)
    assert discarded == []


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
async def test_an_exception_in_on_discard_is_logged_and_the_worker_lives_on(single, gate: Gate, caplog, kind):
    def on_discard(_: object) -> None:
        raise kind("cannot close")

    lane = single.lane()
    task = asyncio.ensure_future(lane.run(gate.hold, on_discard=on_discard))
    await gate.until_begun()
    await cancelled(task)
    with caplog.at_level(logging.ERROR, "asyncstore.pool"):
        gate.open.set()
        assert await lane.run(int) == 0
    assert "on_discard of job Gate.hold failed" in caplog.text
    assert "cannot close" in caplog.text
    assert single.stats().workers == 1


async def test_the_discard_of_a_lane_job_comes_before_all_that_the_lane_still_holds(single, gate: Gate):
    """A begin that nobody took is rolled back before the next user of the connection gets in."""
    order: list[str] = []
    lane = single.lane()
    begin = asyncio.ensure_future(lane.run(gate.hold, "begin", on_discard=lambda _: order.append("rollback")))
    await gate.until_begun()
    following = [asyncio.ensure_future(lane.run(order.append, str(n))) for n in range(3)]
    await asyncio.sleep(0)
    begin.cancel()
    gate.open.set()
    await asyncio.gather(*following)
    assert order == ["rollback", "0", "1", "2"]


async def test_a_result_cancelled_on_its_way_home_is_discarded_before_what_its_lane_still_holds(single, gate: Gate):
    order: list[str] = []
    lane = single.lane()
    begin = asyncio.ensure_future(lane.run(int, on_discard=lambda _: order.append("rollback")))
    held = asyncio.ensure_future(single.run(gate.hold))
    await asyncio.sleep(0)
    assert gate.begun.acquire(timeout=30)  # begin has ended; this thread has not taken its result yet
    following = [lane.submit_nowait(order.append, str(n)) for n in range(2)]
    begin.cancel()
    await ticks(5)
    gate.open.set()
    await asyncio.gather(held, *following)
    assert order == ["rollback", "0", "1"]


async def test_timeouts_compose_with_run(pool, gate: Gate):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await pool.run(gate.hold)


async def test_cancelled_submitters_leave_nothing_behind_on_a_stuck_pool(single, gate: Gate):
    """Calls with a time-out against a pool that stands still must not pile up beyond its bound."""
    held = asyncio.ensure_future(single.run(gate.hold))
    await gate.until_begun()
    single.max_pending = 10
    for _ in range(50):
        task = asyncio.ensure_future(single.run(int))
        await asyncio.sleep(0)
        await cancelled(task)
    stats = single.stats()
    assert stats.queued <= 10
    assert stats.waiting == 0
    gate.open.set()
    await held
    await ticks(3)
