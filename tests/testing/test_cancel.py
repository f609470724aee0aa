"""cancel_everywhere: it reaches every await at every moment, and reports what swallows, hangs or breaks."""

from __future__ import annotations

import asyncio
import re

import pytest

from asyncstore.testing import CancelHang, CancelMoment, CancelSwallowed, cancel_everywhere

ONCE = (CancelMoment.SUSPENDED, CancelMoment.UNDER_WAY, CancelMoment.RESULT_READY)


async def resolved_soon(value=None):
    """Await a future that is resolved by a later pass of the loop."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(loop.call_soon, loop.call_soon, lambda: future.cancelled() or future.set_result(value))
    return await future


async def three_awaits():
    await asyncio.sleep(0)
    await resolved_soon()
    await asyncio.sleep(0)
    return "done"


@pytest.mark.parametrize("moment", [CancelMoment.SUSPENDED, CancelMoment.RESULT_READY])
async def test_every_await_is_hit_once_for_each_moment(moment):
    report = await cancel_everywhere(three_awaits, moments=(moment,))
    assert [point.k for point in report.cancels] == [1, 2, 3]
    assert report.points == 3
    assert report.runs == 4


async def test_a_cancel_one_pass_later_comes_only_where_the_coroutine_still_waits():
    report = await cancel_everywhere(three_awaits, moments=(CancelMoment.UNDER_WAY,))
    assert [point.k for point in report.cancels] == [2]
    assert report.runs == 4


async def test_all_moments_are_tried_by_default():
    report = await cancel_everywhere(three_awaits)
    assert {point.moment for point in report.cancels} == set(CancelMoment)


async def test_a_task_that_is_cancelled_before_its_first_step_does_not_run():
    entered = []

    async def note():
        entered.append(1)

    report = await cancel_everywhere(note, moments=(CancelMoment.BEFORE_START,))
    assert not entered
    assert report.points == 0
    assert report.runs == 1


async def test_a_point_names_the_innermost_line():
    report = await cancel_everywhere(three_awaits, moments=(CancelMoment.SUSPENDED,))
    assert re.search(r"test_cancel\.py:\d+ in resolved_soon$", report.cancels[1].where)


async def test_with_the_result_ready_the_future_is_done_when_the_cancel_arrives():
    futures, outcomes = [], []

    async def holds_a_result():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        futures.append(future)
        loop.call_soon(lambda: future.cancelled() or future.set_result("a connection"))
        try:
            await future
        except asyncio.CancelledError:
            outcomes.append(future.cancelled())
            raise

    await cancel_everywhere(holds_a_result, moments=(CancelMoment.SUSPENDED,))
    await cancel_everywhere(holds_a_result, moments=(CancelMoment.RESULT_READY,))
    assert outcomes == [True, False]


async def test_a_resource_lost_between_hand_over_and_ownership_is_found_only_with_the_result_ready():
    """The bug class that the moment exists for: clean-up on `future.cancelled()` misses the delivered result."""
    open_resources = set()

    async def acquire():
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def hand_over():
            if not future.cancelled():
                open_resources.add("connection")
                future.set_result("connection")

        loop.call_soon(hand_over)
        connection = await future
        open_resources.discard(connection)

    def nothing_open():
        assert not open_resources

    await cancel_everywhere(acquire, check=nothing_open, moments=(CancelMoment.SUSPENDED, CancelMoment.UNDER_WAY))
    with pytest.raises(AssertionError) as failure:
        await cancel_everywhere(acquire, check=nothing_open)
    assert "with the result ready" in failure.value.__notes__[0]


@pytest.mark.parametrize("moment", [CancelMoment.SUSPENDED, CancelMoment.UNDER_WAY, CancelMoment.RESULT_READY])
async def test_a_swallowed_cancel_is_reported_with_its_line(moment):
    async def swallows():
        try:
            await resolved_soon()
        except asyncio.CancelledError:
            return "anyway"

    with pytest.raises(CancelSwallowed, match=r"await 1 \(.*test_cancel.py.*it returned 'anyway'"):
        await cancel_everywhere(swallows, moments=(moment,))


async def test_a_cancel_that_turns_into_another_exception_is_reported_unless_allowed():
    async def translates():
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise OSError("broken") from None

    with pytest.raises(CancelSwallowed, match=r"became OSError\('broken'\)"):
        await cancel_everywhere(translates)
    report = await cancel_everywhere(translates, may_raise=OSError)
    assert report.points == 1


async def test_a_cancelled_error_out_of_nowhere_is_reported():
    async def lies():
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    with pytest.raises(CancelSwallowed, match="nobody had asked for"):
        await cancel_everywhere(lies, moments=(CancelMoment.SUSPENDED,))


async def test_the_second_cancel_comes_at_each_await_of_the_clean_up():
    interrupted = []

    async def with_clean_up():
        try:
            await asyncio.sleep(0)
        finally:
            for step in range(3):
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    interrupted.append(step)
                    raise

    report = await cancel_everywhere(with_clean_up, moments=(CancelMoment.TWICE,))
    # in the run cancelled at await 1 the clean-up is awaits 2 to 4; cancelled at 2 to 4, the clean-up is over at once
    assert [point.again_at for point in report.cancels if point.k == 1] == [1, 2, 3, 0]
    assert interrupted == [0, 1, 2, 0, 1, 2]


async def test_a_clean_up_that_loses_its_second_cancel_is_reported():
    async def half_deaf():
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                return
            raise

    await cancel_everywhere(half_deaf, moments=ONCE)
    with pytest.raises(CancelSwallowed, match="second cancel 1 awaits later"):
        await cancel_everywhere(half_deaf)


async def test_a_hang_after_the_cancel_is_reported_with_where_it_stands():
    async def hangs():
        try:
            await asyncio.sleep(0)
        finally:
            await asyncio.Event().wait()

    with pytest.raises(CancelHang, match=r"cancelled at await 1 .*not done after 0.05 s, it stands at .* in wait"):
        await cancel_everywhere(hangs, timeout=0.05, moments=(CancelMoment.SUSPENDED,))


async def test_a_coroutine_that_ignores_every_cancel_is_given_up_and_leaves_no_task():
    async def immortal():
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    before = asyncio.all_tasks()
    with pytest.raises(CancelHang):
        await cancel_everywhere(immortal, timeout=0.05, moments=(CancelMoment.SUSPENDED,))
    assert asyncio.all_tasks() == before


async def test_more_awaits_than_the_limit_are_reported():
    async def long():
        for _ in range(10):
            await asyncio.sleep(0)

    with pytest.raises(CancelHang, match="still suspending at await 5"):
        await cancel_everywhere(long, limit=5)
    report = await cancel_everywhere(long, limit=11)
    assert report.points == 10


async def test_what_the_coroutine_raises_uncancelled_comes_out():
    async def fails():
        await asyncio.sleep(0)
        raise LookupError("key")

    with pytest.raises(LookupError, match="key"):
        await cancel_everywhere(fails)


async def test_check_runs_after_every_run_and_a_failure_says_where_the_cancel_was():
    runs = 0

    async def check():
        nonlocal runs
        await asyncio.sleep(0)
        runs += 1
        assert runs < 3

    with pytest.raises(AssertionError) as failure:
        await cancel_everywhere(three_awaits, check=check, moments=(CancelMoment.SUSPENDED,))
    assert re.match(r"check\(\) after: cancelled at await 3 ", failure.value.__notes__[0])


async def test_results_of_runs_that_were_not_cancelled_are_handed_over():
    results = []
    report = await cancel_everywhere(three_awaits, on_result=results.append)
    assert len(results) == report.runs - len(report.cancels)
    assert set(results) == {"done"}


async def test_any_awaitable_is_driven():
    class Opening:
        def __await__(self):
            return three_awaits().__await__()

    report = await cancel_everywhere(Opening)
    assert report.points == 3
    assert "resolved_soon" in report.cancels[2].where


async def test_the_line_inside_an_asynchronous_generator_is_named():
    async def generate():
        await resolved_soon()
        yield 1

    async def iterate():
        async for _ in generate():
            pass

    report = await cancel_everywhere(iterate, moments=(CancelMoment.SUSPENDED,))
    assert report.cancels[0].where.endswith("in resolved_soon")


async def test_a_future_is_driven():
    def make():
        return asyncio.ensure_future(three_awaits())

    report = await cancel_everywhere(make)
    assert report.points == 1


async def test_a_timeout_inside_sees_an_ordinary_task():
    async def with_timeout():
        async with asyncio.timeout(60):
            await resolved_soon()
        assert asyncio.current_task().cancelling() == 0

    assert (await cancel_everywhere(with_timeout)).points == 1


async def test_a_task_group_inside_takes_its_children_along():
    async def with_children():
        async with asyncio.TaskGroup() as group:
            group.create_task(three_awaits())
            group.create_task(three_awaits())

    before = asyncio.all_tasks()

    def no_tasks():
        assert asyncio.all_tasks() == before

    assert (await cancel_everywhere(with_children, check=no_tasks)).points >= 1


async def test_a_cancelled_campaign_cancels_its_run():
    started, ended = asyncio.Event(), asyncio.Event()

    async def waits():
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    campaign = asyncio.create_task(cancel_everywhere(waits, moments=(CancelMoment.RESULT_READY,)))
    await started.wait()
    campaign.cancel()
    with pytest.raises(asyncio.CancelledError):
        await campaign
    await ended.wait()


async def test_an_eager_task_factory_changes_nothing():
    eager = getattr(asyncio, "eager_task_factory", None)
    if eager is None:
        pytest.skip("there are no eager tasks on Python 3.11")

    def factory(loop, coro, *, eager_start=True, **kwargs):  # uvloop passes it, Python 3.13.0 does not take it
        return eager(loop, coro, **kwargs)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        report = await cancel_everywhere(three_awaits)
    finally:
        loop.set_task_factory(None)
    assert report.points == 3
