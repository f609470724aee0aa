"""A pool on SQLite: one connection writes for all tasks, and others read beside it."""

from __future__ import annotations

import asyncio
import gc

import pytest

from asyncstore import dbi
from asyncstore.testing import cancel_everywhere
from tests.dbi.test_connection import SLOW


@pytest.fixture(params=["file", "memory"])
async def pool(request, url):
    async with dbi.Pool(url if request.param == "file" else "sqlite://", max_size=4) as pool:
        await pool.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v UNIQUE)")
        yield pool


async def insert(pool, *values):
    return await asyncio.gather(
        *(pool.execute("INSERT INTO t (v) VALUES (?)", (value,)) for value in values), return_exceptions=True
    )


async def test_what_was_written_is_read_at_once(pool):
    for number in range(50):
        await insert(pool, number)
        assert await pool.fetch_value("SELECT max(v) FROM t") == number


async def test_concurrent_writes_share_a_commit_and_fail_alone(pool):
    writer = pool._lanes.for_statement("INSERT")
    before = writer.session.engine.commits
    outcomes = await insert(pool, *range(100), 5)
    assert isinstance(outcomes[-1], dbi.errors.IntegrityError)
    assert writer.session.engine.commits == before + 1
    assert await pool.fetch_value("SELECT count(*) FROM t") == 100


async def test_a_long_query_holds_up_neither_reads_nor_writes(url):
    async with dbi.Pool(url, max_size=4) as pool:
        await pool.execute("CREATE TABLE t (v)")
        slow = []
        for _ in range(2):
            slow.append(asyncio.ensure_future(pool.fetch_value(SLOW)))
            await asyncio.sleep(0.05)
        async with asyncio.timeout(30):
            await pool.execute("INSERT INTO t VALUES (1)")
            assert await pool.fetch_value("SELECT v FROM t") == 1
        assert not any(query.done() for query in slow)
        assert pool.statistics().shared == 4
        for query in slow:
            query.cancel()
        await asyncio.wait(slow)


async def test_a_transaction_is_its_tasks_own_and_others_read_what_was_before(url):
    async with dbi.Pool(url) as pool:
        await pool.execute("CREATE TABLE t (v)")
        async with pool.transaction():
            await pool.execute("INSERT INTO t VALUES (1)")
            assert await pool.fetch_value("SELECT count(*) FROM t") == 1
            other = asyncio.ensure_future(pool.fetch_value("SELECT count(*) FROM t"))
            assert await other == 0
        assert await pool.fetch_value("SELECT count(*) FROM t") == 1


async def test_transactions_of_many_tasks_take_turns(pool):
    await insert(pool, 0)

    async def add():
        async with pool.transaction():
            value = await pool.fetch_value("SELECT v FROM t")
            await asyncio.sleep(0)
            await pool.execute("UPDATE t SET v = ?", (value + 1,))

    await asyncio.gather(*(add() for _ in range(50)))
    assert await pool.fetch_value("SELECT v FROM t") == 50


async def test_a_transaction_that_only_reads_sees_one_state_and_refuses_to_write(pool):
    await insert(pool, 1)
    async with pool.transaction(read_only=True):
        assert await pool.fetch_value("SELECT count(*) FROM t") == 1
        with pytest.raises(dbi.errors.OperationalError, match="readonly"):
            await pool.execute("DELETE FROM t")
    await insert(pool, 2)
    assert await pool.fetch_value("SELECT count(*) FROM t") == 2


async def test_readers_go_on_in_their_snapshot_while_others_write(url):
    async with dbi.Pool(url) as pool:
        await pool.execute("CREATE TABLE t (v)")
        async with pool.transaction(read_only=True):
            assert await pool.fetch_value("SELECT count(*) FROM t") == 0
            await asyncio.ensure_future(pool.execute("INSERT INTO t VALUES (1)"))
            assert await pool.fetch_value("SELECT count(*) FROM t") == 0


async def test_an_iteration_runs_beside_everything_else(pool):
    await insert(pool, *range(3000))
    count = 0
    async with pool.iterate("SELECT v FROM t ORDER BY id") as rows:
        async for (value,) in rows:
            assert value == count
            count += 1
            if count % 1000 == 0 and pool._lanes.size > 1:
                await insert(pool, f"more {count}")
    assert count >= 3000
    assert pool.statistics().lent == 0


async def test_an_acquired_connection_sees_the_same_database(pool):
    await insert(pool, 1)
    async with pool.acquire() as db:
        assert await db.fetch_value("SELECT v FROM t") == 1
        await db.execute("INSERT INTO t (v) VALUES (2)")
        await db.execute("PRAGMA cache_size = 10")
    assert await pool.fetch_value("SELECT count(*) FROM t") == 2
    while pool._opened._tasks:
        await asyncio.wait(pool._opened._tasks)
    assert pool.statistics().idle == 0, "one whose settings were changed is closed"


async def test_all_connections_are_set_up(url):
    async def setup(db):
        await db.sqlite.create_function("twice", 1, lambda value: 2 * value)

    async with dbi.Pool(url, setup=setup) as pool:
        await pool.execute("CREATE TABLE t (v)")
        await pool.execute("INSERT INTO t VALUES (twice(21))")
        assert await pool.fetch_value("SELECT twice(v) FROM t") == 84
        async with pool.acquire() as db:
            assert await db.fetch_value("SELECT twice(2)") == 4


async def test_two_pools_in_memory_are_two_databases():
    async with dbi.Pool("sqlite://") as one, dbi.Pool("sqlite://") as other:
        await one.execute("CREATE TABLE t (v)")
        with pytest.raises(dbi.errors.ProgrammingError, match="no such table"):
            await other.fetch_all("SELECT * FROM t")


async def test_a_database_that_is_only_read(url):
    async with dbi.connect(url) as db:
        await db.execute("CREATE TABLE t (v)")
    async with dbi.Pool(url, mode="ro") as pool:
        assert await pool.fetch_value("SELECT count(*) FROM t") == 0
        with pytest.raises(dbi.errors.OperationalError, match="readonly"):
            await pool.execute("INSERT INTO t VALUES (1)")


async def test_a_closed_pool_refuses(url):
    pool = await dbi.Pool(url)
    await pool.aclose()
    for use in (pool.fetch_value("SELECT 1"), pool.execute("CREATE TABLE t (v)"), anext(pool.iterate("SELECT 1"))):
        with pytest.raises(dbi.errors.Closed):
            await use


async def test_a_dropped_pool_lets_go_of_the_file(url):
    pool = await dbi.Pool(url)
    with pytest.warns(ResourceWarning, match="was not closed"):
        del pool
        gc.collect()
    async with dbi.connect(url, journal_mode="delete") as db:  # which needs the file alone
        await db.execute("CREATE TABLE t (v)")


async def test_opening_that_fails_or_is_cancelled_leaves_nothing(url, tmp_path):
    with pytest.raises(dbi.errors.OperationalError, match="unable to open"):
        await dbi.Pool(f"sqlite:///{tmp_path}/nowhere/a.db")

    async def opened():
        return await dbi.Pool(url, max_size=3)

    report = await cancel_everywhere(opened, on_result=lambda pool: pool.aclose())
    assert report.points >= 2
    gc.collect()
    async with dbi.connect(url, journal_mode="delete") as db:
        await db.execute("CREATE TABLE t (v)")
