"""A connection whose driver is asynchronous: one statement at a time, in order, and nobody reads another's answer."""

from __future__ import annotations

import asyncio

import pytest

from asyncstore import dbi
from asyncstore.dbi import _async_session
from asyncstore.testing import cancel_everywhere
from tests.dbi.fake_database import FakeDatabase


@pytest.fixture
def fake():
    return FakeDatabase()


@pytest.fixture
async def db(fake):
    async with dbi.connect(fake) as connection:
        yield connection


async def test_statements_are_carried_out_in_the_order_in_which_they_were_asked_for(db, fake):
    names = [f"q{number}" for number in range(50)]
    assert await asyncio.gather(*map(db.fetch_value, names)) == [(name, 0) for name in names]
    assert fake.connections[0].log == names


async def test_a_cancelled_statement_is_mended_before_the_next_is_sent(db, fake):
    running = asyncio.ensure_future(db.fetch_value("sleep"))
    behind = [asyncio.ensure_future(db.fetch_value(f"q{number}")) for number in range(3)]
    await asyncio.sleep(0.01)
    running.cancel()
    assert await asyncio.gather(*behind) == [("q0", 0), ("q1", 0), ("q2", 0)]
    assert fake.connections[0].log == ["sleep", "mend", "q0", "q1", "q2"]


async def test_a_timeout_is_a_cancel_that_is_told_by_its_name(db, fake):
    with pytest.raises(dbi.errors.QueryTimeout, match="fetch_value a fake") as caught:
        await db.fetch_value("sleep", timeout=0.01)
    assert caught.value.maybe_applied
    assert await db.fetch_value("next") == ("next", 0)


async def test_one_that_is_cancelled_while_it_waits_is_never_sent(db, fake):
    running = asyncio.ensure_future(db.fetch_value("sleep"))
    waiting = asyncio.ensure_future(db.fetch_value("never"))
    behind = asyncio.ensure_future(db.fetch_value("behind"))
    await asyncio.sleep(0.01)
    waiting.cancel()
    running.cancel()
    assert await behind == ("behind", 0)
    assert "never" not in fake.connections[0].log


async def test_a_cancel_at_every_moment_leaves_the_turn_with_somebody(db):
    async def three():
        neighbour = asyncio.ensure_future(db.fetch_value("neighbour"))
        try:
            for number in range(2):
                assert await db.fetch_value(f"q{number}") == (f"q{number}", 0)
        finally:
            assert await neighbour == ("neighbour", 0)

    report = await cancel_everywhere(three)
    assert report.points >= 2
    assert await db.fetch_value("after") == ("after", 0)


async def test_a_connection_that_does_not_become_quiet_is_closed(db, fake, monkeypatch, caplog):
    monkeypatch.setattr(_async_session, "MEND_TIMEOUT", 0.01)
    fake.restless = True
    with pytest.raises(dbi.errors.QueryTimeout):
        await db.fetch_value("sleep", timeout=0.01)
    with pytest.raises(dbi.errors.ConnectionLost, match="lost before") as caught:
        await db.fetch_value("next")
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert not db.usable
    assert fake.alive == []
    assert "not quiet" in caplog.text


async def test_an_error_of_the_database_leaves_the_connection_in_use(db):
    with pytest.raises(dbi.errors.ProgrammingError, match="fetch_value a fake: refused") as caught:
        await db.fetch_value("fail")
    assert isinstance(caught.value.__cause__, ValueError)
    assert await db.fetch_value("next") == ("next", 0)


async def test_a_lost_connection_fails_all_who_wait(db):
    outcomes = await asyncio.gather(*map(db.fetch_value, ("die", "a", "b")), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [dbi.errors.ConnectionLost] * 3
    assert not db.usable


async def test_closing_waits_for_what_is_under_way_and_takes_leave(fake):
    db = await dbi.connect(fake)
    last = asyncio.ensure_future(db.fetch_value("last"))
    await asyncio.sleep(0)
    await db.aclose()
    assert await last == ("last", 0)
    assert fake.connections[0].log == ["last", "leave"]
    assert fake.alive == []


async def test_aborting_takes_no_leave(fake):
    db = await dbi.connect(fake)
    db.abort()
    db.abort()
    await db.aclose()
    assert fake.connections[0].log == []
    with pytest.raises(dbi.errors.Closed):
        await db.fetch_value("q")
