"""Request groups: a limit, results in order, failing and being cancelled as one."""

from __future__ import annotations

import asyncio
import contextvars

import pytest
from hypothesis import given, settings, strategies as st

from asyncstore.aio._group import Group
from asyncstore.aio.errors import GroupClosed
from asyncstore.errors import WouldBlock
from asyncstore.testing import cancel_everywhere


class Work:
    """Requests that end when they are told to, and that are counted while they run."""

    def __init__(self) -> None:
        self.running: list[int] = []
        self.most = 0
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self.gates: dict[int, asyncio.Event] = {}

    async def request(self, number: int) -> int:
        self.running.append(number)
        self.most = max(self.most, len(self.running))
        try:
            await self.gates.setdefault(number, asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        finally:
            self.running.remove(number)
        self.ended.append(number)
        return number

    def finish(self, *numbers: int) -> None:
        for number in numbers:
            self.gates.setdefault(number, asyncio.Event()).set()


async def settle(turns: int = 20) -> None:
    """Let everything that is ready run; nothing in these tests waits for time or for the system."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def value(number: int, turns: int = 0) -> int:
    for _ in range(turns):
        await asyncio.sleep(0)
    return number


async def fail(error: Exception) -> int:
    raise error


async def test_results_come_in_the_order_of_adding_and_not_of_ending():
    work = Work()
    async with Group[int]() as group:
        for number in range(4):
            await group.add(work.request(number))
        for number in (2, 0, 3, 1):
            work.finish(number)
            await settle()
    assert work.ended == [2, 0, 3, 1]
    assert group.results() == [0, 1, 2, 3]


async def test_no_more_than_limit_run_at_once_and_add_waits_for_room():
    work = Work()
    async with Group[int](limit=2) as group:
        await group.add(work.request(0))
        await group.add(work.request(1))
        third = asyncio.ensure_future(group.add(work.request(2)))
        await settle()
        assert not third.done()
        assert work.running == [0, 1]
        work.finish(1)
        task = await third
        await settle()
        assert work.running == [0, 2]
        work.finish(0, 2)
        assert await task == 2
    assert work.most == 2


async def test_waiters_get_their_slots_in_the_order_in_which_they_came():
    work = Work()
    async with Group[int](limit=1) as group:
        adds = [asyncio.ensure_future(group.add(work.request(number))) for number in range(4)]
        for number in range(4):
            await settle()
            assert work.running == [number]
            work.finish(number)
        await asyncio.gather(*adds)


async def test_the_limit_can_be_raised_and_lowered_while_requests_run():
    work = Work()
    async with Group[int](limit=1) as group:
        adds = [asyncio.ensure_future(group.add(work.request(number))) for number in range(6)]
        await settle()
        assert work.running == [0]
        group.limit = 3
        await settle()
        assert work.running == [0, 1, 2]
        group.limit = 1
        work.finish(0, 1)
        await settle()
        assert work.running == [2]
        group.limit = None
        await settle()
        assert work.running == [2, 3, 4, 5]
        work.finish(2, 3, 4, 5)
        await asyncio.gather(*adds)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "2"])
async def test_a_limit_that_is_no_count_is_refused(limit):
    with pytest.raises(ValueError, match="a limit is an int of at least 1"):
        Group(limit=limit)
    async with Group[int](limit=1) as group:
        with pytest.raises(ValueError, match="a limit is an int of at least 1"):
            group.limit = limit
        assert group.limit == 1


async def test_the_first_error_cancels_the_rest_and_is_raised_as_it_is():
    work = Work()
    failure = FileNotFoundError("gone")

    async def run() -> None:
        async with Group[int]() as group:
            for number in range(3):
                await group.add(work.request(number))
            await settle()
            await group.add(fail(failure))
            await asyncio.Event().wait()  # the block is interrupted here

    with pytest.raises(FileNotFoundError) as caught:
        await run()
    assert caught.value is failure
    assert sorted(work.cancelled) == [0, 1, 2]
    assert not work.running
    assert asyncio.current_task().cancelling() == 0  # the interruption has left no trace


async def test_errors_after_the_first_are_counted_in_a_note():
    async def fail_when_cancelled() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError(1)

    async def run() -> None:
        async with Group[int]() as group:
            await group.add(fail_when_cancelled())
            await group.add(fail_when_cancelled())
            await settle()
            await group.add(fail(OSError(0)))

    with pytest.raises(OSError, match=r"^0\n") as caught:
        await run()
    assert caught.value.__notes__ == ["2 more failed in the same group, one of them with OSError(1)"]


async def test_an_error_of_the_block_cancels_the_requests_and_stays_itself():
    work = Work()

    async def run() -> None:
        async with Group[int]() as group:
            await group.add(work.request(0))
            await settle()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run()
    assert work.cancelled == [0]


async def test_awaiting_a_task_gives_its_own_result():
    async with Group[int]() as group:
        task = await group.add(value(7, turns=3))
        assert await task == 7


async def test_a_request_may_be_a_function_that_returns_one():
    async with Group[int](limit=1) as group:
        await group.add(lambda: value(1))
        await group.add(lambda: value(2))
    assert group.results() == [1, 2]


async def test_cancel_ends_every_request_and_the_block_goes_on():
    work = Work()
    async with Group[int](limit=3) as group:
        await group.add(value(-1))
        await settle()
        for number in range(2):
            await group.add(work.request(number))
        group.feed(work.request(number) for number in range(10, 20))
        await settle()
        waiting = asyncio.ensure_future(group.add(work.request(5)))
        await settle()
        group.cancel()
        group.cancel()
        with pytest.raises(GroupClosed):
            await waiting
        with pytest.raises(GroupClosed, match="cancelled"):
            await group.add(work.request(6))
        with pytest.raises(GroupClosed):
            group.feed([])
        reached = True
    assert reached
    assert sorted(work.cancelled) == [0, 1, 10]
    assert not work.running
    assert group.results() == [-1]


async def test_a_request_cancelled_before_its_first_step_never_runs():
    work = Work()
    async with Group[int]() as group:
        await group.add(work.request(0))
        group.cancel()
    assert work.cancelled == []
    assert work.gates == {}


async def test_one_request_can_be_cancelled_alone():
    work = Work()
    async with Group[int](limit=2) as group:
        first = await group.add(work.request(0))
        await group.add(work.request(1))
        await settle()
        first.cancel()
        await group.add(work.request(2))  # the slot is free again
        work.finish(1, 2)
    assert group.results() == [1, 2]


async def test_a_feed_pulls_only_when_there_is_room():
    work, pulled = Work(), []

    def source():
        for number in range(6):
            pulled.append(number)
            yield work.request(number)

    async with Group[int](limit=2) as group:
        feeding = group.feed(source())
        await settle()
        assert pulled == [0, 1]
        work.finish(1)
        await settle()
        assert pulled == [0, 1, 2]
        work.finish(*range(6))
        await feeding
    assert group.results() == list(range(6))
    assert work.most == 2


async def test_an_async_feed_is_asked_only_when_there_is_room_and_holds_no_slot_meanwhile():
    work, pulled, more = Work(), [], asyncio.Event()

    async def source():
        for number in range(4):
            pulled.append(number)
            if number == 1:
                await more.wait()
            yield work.request(number)

    async with Group[int](limit=1) as group:
        group.feed(source())
        await settle()
        assert pulled == [0]
        work.finish(0)
        await settle()
        assert pulled == [0, 1]
        await group.add(work.request(9))  # the feeder waits for its source, not in a slot
        work.finish(9)
        more.set()
        work.finish(1, 2, 3)
    assert group.results() == [0, 9, 1, 2, 3]
    assert work.most == 1


async def test_a_feed_of_requests_that_never_suspend_lets_other_tasks_run():
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    async with Group[int](limit=10_000) as group:
        await group.feed(value(number) for number in range(1000))
        assert turns >= 1000 // 64
    task.cancel()
    assert group.results() == list(range(1000))


async def test_an_error_of_the_source_is_the_group_s():
    def source():
        yield value(0)
        raise LookupError("the source failed")

    with pytest.raises(LookupError, match="the source failed"):
        async with Group[int](limit=2) as group:
            group.feed(source())


async def test_a_source_is_closed_when_the_group_is_cancelled():
    closed = []
    work = Work()

    def source():
        try:
            while True:
                yield work.request(0)
        finally:
            closed.append("sync")

    async def async_source():
        try:
            while True:
                yield work.request(1)
        finally:
            closed.append("async")

    async with Group[int](limit=2) as group:
        group.feed(source())
        await settle()
        group.feed(async_source())
        await settle()
        group.limit = 4
        await settle()
        group.cancel()
    assert sorted(closed) == ["async", "sync"]


async def test_what_is_no_request_is_refused():
    async with Group[int](limit=1) as group:
        with pytest.raises(TypeError, match="a request is a coroutine or a function"):
            await group.add(7)
        with pytest.raises(TypeError, match="an iterable or an async iterable, not int"):
            group.feed(7)
    with pytest.raises(TypeError, match="a request is a coroutine or a function"):
        async with Group[int](limit=1) as group:
            group.feed([7])


async def test_feeding_without_a_limit_is_refused():
    async with Group[int]() as group:
        with pytest.raises(ValueError, match="needs a limit"):
            group.feed([])


async def test_add_nowait_starts_or_refuses_at_once():
    work = Work()
    async with Group[int](limit=1) as group:
        task = group.add_nowait(work.request(0))
        with pytest.raises(WouldBlock):
            group.add_nowait(work.request(1))
        work.finish(0)
        assert await task == 0


async def test_a_group_is_used_inside_its_block_only():
    group = Group[int]()
    with pytest.raises(GroupClosed, match="inside"):
        await group.add(value(0))
    async with group:
        pass
    with pytest.raises(GroupClosed, match="closed"):
        await group.add(value(0))
    with pytest.raises(GroupClosed):
        await group.__aenter__()


async def test_without_collecting_nothing_is_kept():
    async with Group[int](limit=4, collect=False) as group:
        group.feed(value(number) for number in range(100))
    assert group._results == []
    with pytest.raises(ValueError, match="collect=False"):
        group.results()


async def test_requests_run_in_the_context_of_who_adds_them():
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def seen() -> int:
        return variable.get()

    async with Group[int]() as group:
        variable.set(5)
        await group.add(seen())
    assert group.results() == [5]


async def test_cancelling_the_block_at_every_await_leaves_nothing_running():
    works: list[Work] = []

    async def block() -> list[int]:
        work = Work()
        works.append(work)
        async with Group[int](limit=2) as group:
            group.feed(value(number, turns=2) for number in range(3))
            first = await group.add(work.request(0))
            asyncio.get_running_loop().call_soon(work.finish, 0)
            await first
            await group.add(value(9, turns=1))
        return group.results()

    def nothing_runs() -> None:
        assert not any(work.running for work in works)
        assert len(asyncio.all_tasks()) == tasks

    tasks = len(asyncio.all_tasks())
    report = await cancel_everywhere(block, check=nothing_runs, on_result=lambda found: None)
    assert report.points >= 3


async def test_a_cancelled_add_gives_its_slot_on():
    """The slot was handed to the waiter in the very pass of the loop in which the waiter was cancelled."""
    work = Work()
    async with Group[int](limit=1) as group:
        holder = await group.add(work.request(0))
        first = asyncio.ensure_future(group.add(work.request(1)))
        second = asyncio.ensure_future(group.add(work.request(2)))
        await settle()
        holder.add_done_callback(lambda _: first.cancel())
        work.finish(0)
        await settle()
        assert first.cancelled()
        assert work.running == [2]
        work.finish(2)
        await second
    assert group._taken == 0


@given(
    limit=st.integers(1, 4),
    plans=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["ok", "cancel"])), max_size=20),
    limits=st.lists(st.integers(1, 5), max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_course_all_slots_come_back_and_the_limit_holds(limit, plans, limits):
    async def main() -> None:
        running = most = 0

        async def request(number: int, turns: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return await value(number, turns)
            finally:
                running -= 1

        async def add(number: int, turns: int) -> None:
            task = await group.add(request(number, turns))
            tasks[number] = task

        tasks: dict[int, asyncio.Task[int]] = {}
        async with Group[int](limit=limit) as group:
            adders = [asyncio.ensure_future(add(number, turns)) for number, (turns, _) in enumerate(plans)]
            for number, (_, fate) in enumerate(plans):
                if fate == "cancel":
                    (tasks.get(number) or adders[number]).cancel()
                await asyncio.sleep(0)
                if number < len(limits):
                    group.limit = limits[number]
            await asyncio.gather(*adders, return_exceptions=True)
        assert (running, group._taken, group.running) == (0, 0, 0)
        assert most <= max([limit, *limits])
        assert set(group.results()) >= {number for number, (_, fate) in enumerate(plans) if fate == "ok"}

    asyncio.run(main())
