"""Long jobs cut into slices."""

from __future__ import annotations

import asyncio
import threading

import pytest

from asyncstore.aio._slices import Slices, run_slices
from tests.aio.rest import settled


def counting(limit, log, gate=None):
    try:
        for number in range(limit):
            if gate is not None:
                gate.wait(10)
            yield number
    finally:
        log.append(threading.get_ident())


async def test_items_come_in_order_in_slices_of_count():
    slices = Slices(counting(10, log := []), count=4, seconds=10)
    batches = []
    while batch := await slices.next():
        batches.append(batch)
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert slices.ended
    assert log != [threading.get_ident()]
    assert await slices.next() == []
    await slices.aclose()


async def test_the_last_slice_needs_no_further_hop():
    slices = Slices(counting(3, []), seconds=10)
    assert await slices.next() == [0, 1, 2]
    assert slices.ended


async def test_an_exception_comes_after_the_items_before_it():
    def failing():
        yield 1
        raise KeyError("late")

    slices = Slices(failing(), seconds=10)
    assert await slices.next() == [1]
    assert not slices.ended
    with pytest.raises(KeyError):
        await slices.next()
    assert await slices.next() == []


async def test_a_slice_ends_when_its_time_is_up():
    slices = Slices(counting(100, []), seconds=0.0)
    assert await slices.next() == [0]
    await slices.aclose()


async def test_closing_between_slices_closes_the_generator_on_a_worker():
    slices = Slices(counting(10, log := []), count=2)
    await slices.next()
    await slices.aclose()
    assert len(log) == 1
    assert log != [threading.get_ident()]
    assert await slices.next() == []


async def test_a_cancel_in_mid_slice_closes_the_generator_when_it_yields_again():
    gate = threading.Event()
    slices = Slices(counting(10, log := [], gate), seconds=10)
    task = asyncio.create_task(slices.next())
    while slices._state.value != "running":
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == []
    gate.set()
    await settled()
    assert len(log) == 1
    assert slices.ended


async def test_a_cancel_before_the_slice_began_closes_the_generator():
    slices = Slices(counting(10, log := []), count=1)
    await slices.next()
    task = asyncio.create_task(slices.next())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await slices.aclose()  # the task never ran, so the generator is still ours
    assert len(log) == 1


async def test_run_slices_returns_what_the_generator_returns():
    def work():
        yield
        yield
        return "done"

    def nothing():
        return "at once"
        yield

    assert await run_slices(work()) == "done"
    assert await run_slices(nothing()) == "at once"
