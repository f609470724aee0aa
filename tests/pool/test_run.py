"""`Pool.run` gives back exactly what the call gave."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import threading
import traceback
import weakref

import pytest

from asyncstore.pool import Pool, PoolFull
from tests.pool.conftest import Gate

number: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)


async def test_run_returns_the_very_object_that_the_call_returned(pool):
    thing = object()
    assert await pool.run(lambda: thing) is thing


async def test_run_passes_positional_arguments_on(pool):
    assert await pool.run(divmod, 17, 5) == (3, 2)
    assert await pool.run(functools.partial(int, base=16), "ff") == 255


async def test_run_calls_on_a_worker_thread_named_after_the_pool(pool):
    thread = await pool.run(threading.current_thread)
    assert thread is not threading.current_thread()
    assert thread.name.startswith("under-test-")
    assert thread.daemon


async def test_run_raises_the_very_exception_with_the_traceback_of_the_call(pool):
    error = KeyError("gone")

    def inner() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        await pool.run(inner)
    assert caught.value is error
    assert "inner" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


class Stop(BaseException):
    pass


@pytest.mark.parametrize("kind", [Stop, TimeoutError, OSError])
async def test_run_raises_base_exceptions_too_and_the_worker_lives_on(single, kind):
    async def call() -> None:
        def job() -> None:
            raise kind

        await single.run(job)

    with pytest.raises(kind):
        await call()
    assert await single.run(threading.active_count) > 0
    assert single.stats().workers == 1


async def test_stop_iteration_becomes_a_runtime_error_as_pep_479_asks(pool):
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        await pool.run(next, iter(()))
    assert isinstance(caught.value.__cause__, StopIteration)


async def test_a_job_sees_its_submitters_context_and_cannot_change_it(pool):
    def job() -> int:
        before = number.get()
        number.set(before + 1)
        return before

    number.set(41)
    assert await pool.run(job) == 41
    assert number.get() == 41
    assert await asyncio.gather(*(with_number(pool, job, n) for n in range(5))) == list(range(5))


async def with_number(pool: Pool, job, value: int) -> int:
    number.set(value)
    return await pool.run(job)


async def test_higher_priorities_are_begun_first_and_equal_ones_in_order(single, gate: Gate):
    order: list[str] = []
    held = asyncio.ensure_future(single.run(gate.hold))
    await gate.until_begun()
    jobs = [
        asyncio.ensure_future(single.run(order.append, f"{priority:+d}{turn}", priority=priority))
        for turn in "ab"
        for priority in (-4, 0, 4, 2, -1)
    ]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(held, *jobs)
    assert order == ["+4a", "+4b", "+2a", "+2b", "+0a", "+0b", "-1a", "-1b", "-4a", "-4b"]


@pytest.mark.parametrize("priority", [-5, 5, 100, 0.5])
async def test_a_priority_out_of_range_is_refused_before_it_reaches_a_worker(pool, priority):
    with pytest.raises(ValueError, match=r"-4\.\.4"):
        await pool.run(int, priority=priority)
    with pytest.raises(ValueError, match=r"-4\.\.4"):
        pool.submit_nowait(int, priority=priority)
    assert pool.stats().done == 0


async def test_submit_nowait_hands_over_at_once_and_refuses_when_full(gate: Gate):
    async with Pool(max_workers=1, max_pending=2) as pool:
        held = pool.submit_nowait(gate.hold, "held")
        await gate.until_begun()
        queued = [pool.submit_nowait(int), pool.submit_nowait(int)]
        with pytest.raises(PoolFull, match="2 jobs wait") as caught:
            pool.submit_nowait(int)
        assert caught.value.retryable
        gate.open.set()
        assert await held == "held"
        assert await asyncio.gather(*queued) == [0, 0]


async def test_a_job_outside_a_running_loop_is_refused():
    errors: list[BaseException] = []

    def call() -> None:
        try:
            Pool().submit_nowait(int)
        except RuntimeError as error:
            errors.append(error)

    await asyncio.to_thread(call)
    assert "no running event loop" in str(errors[0])


async def test_nothing_keeps_arguments_results_or_exceptions_alive(pool):
    class Thing:
        pass

    class ThingError(Exception):
        pass

    seen: list[weakref.ref] = []

    def job(thing: Thing) -> Thing:
        return thing

    def fail(thing: Thing) -> None:
        raise ThingError

    gc.disable()  # only reference counts may free them: a cycle would live until the next collection
    try:
        thing = Thing()
        seen.append(weakref.ref(thing))
        await pool.run(job, thing)
        try:
            await pool.run(fail, thing)
        except ThingError as error:
            seen.append(weakref.ref(error))
        del thing
        await pool.run(int)
        await asyncio.sleep(0)
        assert [ref() for ref in seen] == [None, None]
    finally:
        gc.enable()


async def test_the_worker_has_let_go_of_a_result_by_the_time_the_caller_has_it(pool):
    class Thing:
        pass

    for _ in range(300):
        thing = await pool.run(Thing)
        await asyncio.sleep(0)  # asyncio's own handle holds the future for the rest of this step
        ref = weakref.ref(thing)
        del thing
        assert ref() is None, "a finaliser would have run at some later time, on the worker"


@pytest.mark.parametrize(
    "options",
    [{"max_workers": 0}, {"max_pending": 0}, {"idle_timeout": 0}, {"max_poll_jobs": 0}, {"max_poll_time": -1}],
)
def test_options_out_of_range_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Pool(**options)
