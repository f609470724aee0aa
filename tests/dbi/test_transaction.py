"""Transactions: all or nothing, one task's own, and undone when anything goes wrong."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from asyncstore import dbi
from asyncstore.testing import cancel_everywhere
from tests.dbi.test_connection import SLOW, insert, values


async def put(db, value):
    await db.execute("INSERT INTO t (v) VALUES (?)", (value,))


async def test_a_block_that_ends_well_is_committed(db, path):
    async with db.transaction():
        await put(db, "a")
        other = sqlite3.connect(path)
        assert other.execute("SELECT count(*) FROM t").fetchone() == (0,)
        await put(db, "b")
    assert other.execute("SELECT count(*) FROM t").fetchone() == (2,)
    other.close()


async def test_an_exception_undoes_all(db):
    with pytest.raises(KeyError, match="why"):
        async with db.transaction():
            await put(db, "a")
            raise KeyError("why")
    assert await values(db) == []
    await put(db, "b")


async def test_an_error_of_a_statement_that_is_caught_leaves_the_rest(db):
    async with db.transaction():
        await put(db, "a")
        with pytest.raises(dbi.errors.IntegrityError):
            await put(db, "a")
        await put(db, "b")
    assert await values(db) == ["a", "b"]


async def test_inside_a_transaction_another_is_a_savepoint(db):
    async with db.transaction():
        await put(db, "a")
        async with db.transaction() as inner:
            assert inner.depth == 1
            await put(db, "b")
        with pytest.raises(KeyError):
            async with db.transaction():
                await put(db, "c")
                async with db.transaction() as innermost:
                    assert innermost.depth == 2
                    await put(db, "d")
                raise KeyError
        await put(db, "e")
    assert await values(db) == ["a", "b", "e"]


async def test_statements_of_other_tasks_wait_for_the_end(db):
    async with db.transaction():
        await put(db, "a")
        others = [asyncio.ensure_future(put(db, "b")), asyncio.ensure_future(db.fetch_value("SELECT count(*) FROM t"))]
        await asyncio.sleep(0.02)
        assert not any(other.done() for other in others)
        await put(db, "c")
    assert (await asyncio.gather(*others))[1] in (2, 3)
    assert await values(db) == ["a", "c", "b"]


async def test_transactions_of_many_tasks_take_turns(db):
    await db.execute("CREATE TABLE account (balance INTEGER)")
    await db.execute("INSERT INTO account VALUES (0)")

    async def deposit():
        async with db.transaction():
            balance = await db.fetch_value("SELECT balance FROM account")
            await asyncio.sleep(0)
            await db.execute("UPDATE account SET balance = ?", (balance + 1,))

    await asyncio.gather(*(deposit() for _ in range(50)))
    assert await db.fetch_value("SELECT balance FROM account") == 50


async def test_who_waits_for_a_transaction_too_long_is_told_so(url):
    async with dbi.connect(url, lock_timeout=0.05) as db, db.transaction():
        other = asyncio.ensure_future(db.fetch_value("SELECT 1"))
        with pytest.raises(dbi.errors.Locked, match="another task's transaction"):
            await other

        async def begin():
            async with db.transaction():
                pass

        with pytest.raises(dbi.errors.Locked, match="another task's transaction"):
            await asyncio.ensure_future(begin())
        assert await db.fetch_value("SELECT 2") == 2


async def test_a_transaction_that_sqlite_undid_refuses_to_go_on(db):
    await put(db, "there")
    with pytest.raises(dbi.errors.OperationalError, match="undo the whole transaction"):
        async with db.transaction():
            await put(db, "a")
            with pytest.raises(dbi.errors.IntegrityError):
                await db.execute("INSERT OR ROLLBACK INTO t (v) VALUES ('there')")
            with pytest.raises(dbi.errors.OperationalError, match="undo the whole transaction"):
                await put(db, "b")
    assert await values(db) == ["there"]
    await put(db, "c")


async def test_a_commit_that_is_refused_undoes_all(db):
    await db.execute("CREATE TABLE child (parent INTEGER REFERENCES t DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(dbi.errors.IntegrityError):
        async with db.transaction():
            await put(db, "a")
            await db.execute("INSERT INTO child VALUES (99)")
    assert await values(db) == []
    await put(db, "b")


async def test_a_time_out_inside_undoes_all(db):
    with pytest.raises(dbi.errors.QueryTimeout):
        async with db.transaction():
            await put(db, "a")
            await db.execute(f"INSERT INTO t (v) {SLOW}", timeout=0.05)
    assert await values(db) == []
    await put(db, "b")


async def test_a_writer_of_another_connection_is_waited_for(db, url):
    async with dbi.connect(url) as other:
        async with other.transaction():
            await put(other, "a")
            waiting = asyncio.ensure_future(put(db, "b"))
            await asyncio.sleep(0.02)
            assert not waiting.done()
        await waiting
        assert await values(db) == ["a", "b"]


async def test_a_read_that_grew_old_cannot_become_a_write(db, url):
    async with dbi.connect(url) as other:
        with pytest.raises(dbi.errors.SerializationFailure):
            async with db.transaction(mode="deferred"):
                await values(db)
                await put(other, "newer")
                await put(db, "based on what is old")
    assert await values(db) == ["newer"]


async def test_a_transaction_is_entered_once(db):
    transaction = db.transaction()
    async with transaction:
        pass
    with pytest.raises(dbi.errors.Misuse, match="once"):
        async with transaction:
            pass
    with pytest.raises(ValueError, match="mode is"):
        db.transaction(mode="sometimes")


async def test_closing_in_the_middle_undoes(db, url):
    with pytest.raises(dbi.errors.Closed):
        async with db.transaction():
            await put(db, "a")
            await db.aclose()
    async with dbi.connect(url) as again:
        assert await values(again) == []


async def test_a_cancel_anywhere_leaves_the_connection_clean(db):
    """Whatever await is cancelled: all or nothing is there, and the connection serves others at once."""
    runs = iter(range(10_000))

    async def work():
        number = next(runs)
        async with db.transaction():
            await put(db, f"one {number}")
            async with db.transaction():
                await put(db, f"two {number}")
            await db.fetch_all("SELECT * FROM t")

    async def check():
        async with asyncio.timeout(30):
            found = await values(db)
        assert len(found) % 2 == 0
        assert db.transaction_open is None
        async with db.transaction():
            await put(db, "probe")
            assert await db.fetch_value("SELECT count(*) FROM t") == len(found) + 1
            await db.execute("DELETE FROM t WHERE v = 'probe'")

    report = await cancel_everywhere(work, check=check)
    assert report.points > 5


async def test_many_tasks_that_are_cancelled_lose_nothing_that_was_acknowledged(db):
    kept = []

    async def writer(value):
        await put(db, value)
        kept.append(value)

    for turn in range(20):
        tasks = [asyncio.ensure_future(writer(f"{turn}/{number}")) for number in range(20)]
        for _ in range(turn % 4):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks)
    assert set(kept) <= set(await values(db))
    assert await insert(db, "last")
