"""A pool: connections in turn, never broken, never dirty, and all of them back at the end."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest

from asyncstore import dbi
from asyncstore.dbi import _async_session, _pool_keeper
from asyncstore.testing import cancel_everywhere
from tests.dbi.fake_database import FakeDatabase


@pytest.fixture
def fake():
    return FakeDatabase()


async def settled(pool):
    """Wait until all that the pool does in the background is done."""
    while pool._opened._tasks:
        await asyncio.wait(pool._opened._tasks)


async def test_a_pool_has_the_methods_of_a_connection(fake):
    async with dbi.Pool(fake) as pool:
        assert await pool.fetch_value("a") == ("a", 0)
        assert await pool.fetch_one("b") == ("b", 0)
        assert await pool.fetch_all("c") == [("c", 0)]
        assert (await pool.execute("d")).rows == [("d", 0)]
        assert (await pool.executemany("e", [(1,), (2,)])).rowcount == 2
        await pool.executescript("f")
        await settled(pool)
        assert fake.connections[0].log == ["a", "b", "c", "d", "e", "e", "f", "reset"]
    assert fake.alive == []


async def test_awaiting_opens_a_pool_too_and_once(fake):
    pool = await dbi.Pool(fake, min_size=3)
    assert pool.statistics().idle == 3
    with pytest.raises(dbi.errors.Misuse, match="opened once"):
        await pool
    await pool.aclose()
    await pool.aclose()
    with pytest.raises(dbi.errors.Closed, match="acquire pool of a fake"):
        await pool.fetch_value("q")


async def test_a_pool_that_was_not_opened_says_so(fake):
    with pytest.raises(dbi.errors.Misuse, match="async with"):
        await dbi.Pool(fake).fetch_value("q")


async def test_a_thousand_tasks_on_ten_connections(fake):
    async with dbi.Pool(fake, max_size=10) as pool:
        found = await asyncio.gather(*(pool.fetch_value(f"q{number}") for number in range(1000)))
        assert [name for name, _ in found] == [f"q{number}" for number in range(1000)]
        assert len(fake.connections) == 10
        assert (pool.statistics().idle, pool.statistics().waiting) == (10, 0)


async def test_who_waits_is_served_in_order(fake):
    order = []

    async def use(pool, number):
        async with pool.acquire() as db:
            order.append(number)
            await db.fetch_value("q")

    async with dbi.Pool(fake, max_size=2) as pool:
        await asyncio.gather(*(use(pool, number) for number in range(20)))
    assert order == list(range(20))


async def test_who_waits_in_vain_is_told_who_has_the_connections(fake):
    async with dbi.Pool(fake, max_size=1, acquire_timeout=0.02) as pool, pool.acquire():
        with pytest.raises(
            dbi.errors.PoolTimeout, match=r"1 of 1 are lent \(the longest for 0.\d s at .*test_pool.py:\d+"
        ):
            await pool.fetch_value("q")
        with pytest.raises(dbi.errors.PoolTimeout):
            await pool.acquire(timeout=0.001)
        assert pool.statistics().timeouts == 2


async def test_a_statements_time_counts_its_wait_for_a_connection(fake):
    async with dbi.Pool(fake, max_size=1) as pool:
        async with pool.acquire():
            with pytest.raises(dbi.errors.PoolTimeout):
                await pool.fetch_value("q", timeout=0.01)
        with pytest.raises(ValueError, match="timeout"):
            await pool.fetch_value("q", timeout=-1)


async def test_more_than_may_wait_are_refused(fake):
    async with dbi.Pool(fake, max_size=1, max_waiting=1) as pool:
        async with pool.acquire():
            waiting = asyncio.ensure_future(pool.fetch_value("q"))
            await asyncio.sleep(0)
            with pytest.raises(dbi.errors.PoolFull, match="1 wait"):
                await pool.fetch_value("q")
        await waiting


async def test_what_a_statement_leaves_in_a_session_is_taken_back(fake):
    async with dbi.Pool(fake, max_size=1) as pool:
        async with pool.acquire() as db:
            await db.execute("SET x = 1")
        await pool.fetch_value("q")
        async with pool.acquire() as db:
            await db.execute("plain")
        await pool.fetch_value("q")
        assert fake.connections[0].log == ["SET x = 1", "reset", "q", "plain", "q"]


async def test_each_connection_is_set_up_before_anybody_gets_it_and_again_when_it_was_cleaned(fake):
    async def setup(db):
        await db.execute("SET ours")

    async with dbi.Pool(fake, max_size=1, setup=setup) as pool:
        await pool.fetch_value("q")
        await pool.execute("SET theirs")
        await pool.fetch_value("q")
        assert fake.connections[0].log == ["SET ours", "q", "SET theirs", "reset", "SET ours", "q"]


async def test_a_connection_that_cannot_be_set_up_is_closed_and_who_waits_is_told(fake):
    async def setup(db):
        await db.execute("fail")

    with pytest.raises(dbi.errors.ProgrammingError, match="refused"):
        await dbi.Pool(fake, setup=setup)
    assert fake.alive == []


async def test_a_connection_given_back_refuses_its_former_holder(fake):
    async with dbi.Pool(fake) as pool:
        db = await pool.acquire()
        await db.aclose()
        await db.aclose()
        with pytest.raises(dbi.errors.Closed):
            await db.fetch_value("q")
        assert pool.statistics().idle == 1


async def test_a_connection_that_was_dropped_is_reported_with_where_it_was_taken_and_replaced(fake):
    async with dbi.Pool(fake, max_size=1) as pool:
        db = await pool.acquire()
        with pytest.warns(ResourceWarning, match=r"taken at .*test_pool.py:\d+, was dropped"):
            del db
            gc.collect()
        assert await pool.fetch_value("q") == ("q", 1)
        assert pool.statistics().leaked == 1
        assert fake.alive == [1]


async def test_a_connection_with_a_cancelled_statement_is_mended_before_somebody_else_gets_it(fake):
    async with dbi.Pool(fake, max_size=1) as pool:
        with pytest.raises(dbi.errors.QueryTimeout):
            await pool.fetch_value("sleep", timeout=0.01)
        assert await pool.fetch_value("q") == ("q", 0)
        assert fake.connections[0].log == ["sleep", "mend", "SELECT 1", "q"]


async def test_one_that_cannot_be_mended_is_replaced(fake, monkeypatch):
    monkeypatch.setattr(_async_session, "MEND_TIMEOUT", 0.01)
    async with dbi.Pool(fake, max_size=1) as pool:
        fake.restless = True
        with pytest.raises(dbi.errors.QueryTimeout):
            await pool.fetch_value("sleep", timeout=0.01)
        assert await pool.fetch_value("q") == ("q", 1)
        assert fake.alive == [1]


async def test_a_lost_connection_is_replaced_and_the_others_are_looked_at(fake):
    async with dbi.Pool(fake, min_size=3, max_size=3) as pool:
        fake.connections[0].alive = False
        with pytest.raises(dbi.errors.ConnectionLost):
            await pool.fetch_value("die")
        found = await asyncio.gather(*(pool.fetch_value("q") for _ in range(10)))
        assert {name for name, _ in found} == {"q"}
        assert pool.statistics().lost == 2
        assert "SELECT 1" in fake.connections[1].log


async def test_one_that_was_at_rest_is_looked_at_before_it_is_lent(fake):
    async with dbi.Pool(fake, check_after=0) as pool:
        fake.connections[0].alive = False
        assert await pool.fetch_value("q") == ("q", 1)
        assert await pool.fetch_value("q") == ("q", 1)
        assert fake.connections[1].log[-2:] == ["SELECT 1", "q"]


async def test_one_that_does_not_answer_is_not_lent(fake, monkeypatch):
    monkeypatch.setattr(_pool_keeper, "CHECK_TIMEOUT", 0.01)
    monkeypatch.setattr(_async_session, "MEND_TIMEOUT", 0.01)
    async with dbi.Pool(fake, check_after=0.05, max_size=1) as pool:
        await asyncio.sleep(0.06)
        fake.silent = fake.restless = True
        asking = asyncio.ensure_future(pool.fetch_value("q"))
        while not fake.connections[0].log:
            await asyncio.sleep(0)
        fake.silent = False
        assert await asking == ("q", 1)
        assert fake.alive == [1]


async def test_a_server_that_is_down_is_told_at_once_to_everybody_and_asked_again_later(fake):
    async with dbi.Pool(fake, min_size=0, max_size=2) as pool:
        fake.refuses = True
        outcomes = await asyncio.gather(*(pool.fetch_value("q") for _ in range(5)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [dbi.errors.OperationalError] * 5
        assert len({id(outcome) for outcome in outcomes}) == 5
        fake.refuses = False
        assert (await pool.fetch_value("q"))[0] == "q"


async def test_a_pool_that_cannot_open_its_first_connections_does_not_open(fake):
    fake.refuses = True
    with pytest.raises(dbi.errors.OperationalError, match="connect a fake: refused"):
        await dbi.Pool(fake, min_size=2)


async def test_what_is_at_rest_for_long_is_closed_and_what_is_old_replaced(fake, monkeypatch):
    monkeypatch.setattr(_pool_keeper, "TICK", 0.01)
    async with dbi.Pool(fake, min_size=1, max_size=3, max_idle=0.05) as pool:
        await asyncio.gather(*(pool.fetch_value("q") for _ in range(3)))
        assert len(fake.alive) == 3
        while len(fake.alive) > 1:
            await asyncio.sleep(0.01)
        assert pool.statistics().idle == 1
    async with dbi.Pool(fake, min_size=1, max_lifetime=0.05) as pool:
        first = fake.alive
        while not fake.alive or fake.alive == first:
            await asyncio.sleep(0.01)
        assert await pool.fetch_value("q")


async def test_a_transaction_binds_the_statements_of_its_task(fake):
    async with dbi.Pool(fake, max_size=2) as pool:
        async with pool.transaction():
            await pool.fetch_value("mine")
            other = asyncio.ensure_future(pool.fetch_value("other's"))
            assert await other == ("other's", 1)
            async with pool.transaction() as inner:
                assert inner.depth == 1
        assert fake.connections[0].log == [
            "BEGIN", "mine", "SAVEPOINT asyncstore_1", "RELEASE SAVEPOINT asyncstore_1", "COMMIT",
        ]  # fmt: skip
        with pytest.raises(KeyError):
            async with pool.transaction():
                raise KeyError
        assert "ROLLBACK" in [*fake.connections[0].log, *fake.connections[1].log]
        assert pool.statistics().lent == 0
        assert pool._bound == {}


async def test_a_cancelled_transaction_is_undone_before_its_connection_is_lent_again(fake):
    async with dbi.Pool(fake, max_size=1) as pool:

        async def change():
            async with pool.transaction():
                await pool.fetch_value("sleep")

        running = asyncio.ensure_future(change())
        await asyncio.sleep(0.01)
        running.cancel()
        assert await pool.fetch_value("q") == ("q", 0)
        assert running.cancelled()
        assert fake.connections[0].log == ["BEGIN", "sleep", "mend", "ROLLBACK", "q"] or (
            fake.connections[0].log == ["BEGIN", "sleep", "mend", "ROLLBACK", "SELECT 1", "q"]
        )


async def test_nothing_is_lost_when_anything_is_cancelled_at_any_moment(fake):
    async with dbi.Pool(fake, min_size=0, max_size=1) as pool:

        async def use():
            await pool.fetch_value("a")
            async with pool.acquire() as db:
                await db.execute("SET x")
            async with pool.transaction():
                await pool.fetch_value("b")

        report = await cancel_everywhere(use)
        assert report.points > 5
        await settled(pool)
        assert (await pool.fetch_value("q"))[0] == "q"
        assert pool.statistics().lent == 0
        assert pool.statistics().leaked == 0
        assert len(fake.alive) == 1


async def test_a_cancel_between_hand_over_and_use_gives_the_connection_to_the_next(fake):
    async with dbi.Pool(fake, max_size=1) as pool:
        db = await pool.acquire()
        first = asyncio.ensure_future(pool.fetch_value("first"))
        second = asyncio.ensure_future(pool.fetch_value("second"))
        await asyncio.sleep(0)
        await db.aclose()  # hands it to the first
        first.cancel()
        assert await second == ("second", 0)
        assert "first" not in fake.connections[0].log


async def test_closing_waits_for_what_is_lent_and_refuses_who_waits(fake):
    pool = await dbi.Pool(fake, max_size=1)
    db = await pool.acquire()
    waiting = asyncio.ensure_future(pool.fetch_value("waiting"))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(pool.aclose())
    with pytest.raises(dbi.errors.Closed, match="the pool was closed"):
        await waiting
    assert await db.fetch_value("running") == ("running", 0)
    assert not closing.done()
    await db.aclose()
    await closing
    assert fake.connections[0].log == ["running", "leave"]


async def test_closing_does_not_wait_for_ever(fake, caplog):
    pool = await dbi.Pool(fake, max_size=1)
    db = await pool.acquire()
    began = time.monotonic()
    await pool.aclose(timeout=0.02)
    assert time.monotonic() - began < 5
    assert fake.alive == []
    assert "1 of 1 are lent" in caplog.text
    await db.aclose()


async def test_a_pool_that_is_dropped_warns_and_closes_its_connections(fake):
    pool = await dbi.Pool(fake)
    with pytest.warns(ResourceWarning, match="was not closed"):
        del pool
        gc.collect()
    assert fake.alive == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_size": 3, "max_size": 2}, "0 <= min_size <= max_size"),
        ({"max_size": 0}, "max_size >= 1"),
        ({"acquire_timeout": 0}, "acquire_timeout is a positive"),
        ({"max_idle": -1}, "max_idle is a positive"),
        ({"check_after": -1}, "check_after"),
        ({"max_waiting": -1}, "max_waiting"),
        ({"lock_timeout": 0}, "lock_timeout"),
    ],
)
def test_limits_that_cannot_be_are_told(fake, options, message):
    with pytest.raises(ValueError, match=message):
        dbi.Pool(fake, **options)


def test_options_of_a_database_that_is_made_are_refused(fake):
    with pytest.raises(TypeError, match="takes no options such as 'mode'"):
        dbi.Pool(fake, mode="ro")
