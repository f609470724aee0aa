"""`submit_for`: an outcome that comes home to something else than a future, and a tick earlier."""

from __future__ import annotations

import asyncio
import time

import pytest

from asyncstore.pool import LaneClosed, Pool, PoolClosed, PoolFull
from tests.pool.conftest import ticks


class Recipient:
    """Notes what it is told and wakes who waits for it."""

    def __init__(self):
        self.outcomes = []
        self.told = asyncio.Event()

    def done(self):
        return bool(self.outcomes)

    def set_result(self, result):
        self.outcomes.append(result)
        self.told.set()

    def set_exception(self, exception):
        self.set_result(exception)


@pytest.fixture
def recipient():
    return Recipient()


async def outcome(recipient):
    async with asyncio.timeout(30):
        await recipient.told.wait()
    (only,) = recipient.outcomes
    return only


async def test_it_is_told_what_the_call_returned(pool, recipient):
    pool.submit_for(recipient, divmod, 17, 5)
    assert await outcome(recipient) == (3, 2)


async def test_it_is_told_what_the_call_raised(pool, recipient):
    pool.submit_for(recipient, int, "seventeen")
    assert isinstance(await outcome(recipient), ValueError)


async def test_it_is_told_in_the_tick_in_which_the_result_comes_home(single, gate):
    """The callbacks of a future that came home with it run after it."""
    order = []
    first = Recipient()
    first.told.set = lambda: order.append("recipient")
    held = single.submit_nowait(gate.hold)
    single.submit_nowait(int).add_done_callback(lambda _: order.append("callback"))
    single.submit_for(first, int)
    gate.open.set()
    while single.stats().done < 3:  # the loop stands still, so all of them come home in one tick
        time.sleep(0.001)  # noqa: ASYNC251 - as meant
    await held
    assert order == ["recipient"]
    await ticks(2)
    assert order == ["recipient", "callback"]


async def test_a_lane_keeps_it_in_order(pool):
    lane = pool.lane()
    order = []
    recipients = [Recipient() for _ in range(3)]
    for number, recipient in enumerate(recipients):
        lane.submit_for(recipient, order.append, number)
    for recipient in recipients:
        await outcome(recipient)
    assert order == [0, 1, 2]


async def test_the_call_is_refused_where_a_future_would_not_be_made(pool, recipient, gate):
    with pytest.raises(ValueError, match="priority"):
        pool.submit_for(recipient, int, priority=9)
    lane = pool.lane()
    await lane.aclose()
    with pytest.raises(LaneClosed):
        lane.submit_for(recipient, int)
    small = Pool(max_workers=1, max_pending=1)
    held = small.submit_nowait(gate.hold)
    await gate.until_begun()
    small.submit_for(recipient, int)
    with pytest.raises(PoolFull):
        small.submit_for(recipient, int)
    gate.open.set()
    await held
    await small.aclose()
    with pytest.raises(PoolClosed):
        small.submit_for(recipient, int)
    assert recipient.outcomes == [0]


async def test_a_pool_that_closes_refuses_what_it_did_not_begin(recipient, gate):
    pool = Pool(max_workers=1)
    held = pool.submit_nowait(gate.hold)
    await gate.until_begun()
    pool.submit_for(recipient, int)
    closing = asyncio.ensure_future(pool.aclose(drain=False))
    assert isinstance(await outcome(recipient), PoolClosed)
    gate.open.set()
    await held
    await closing
