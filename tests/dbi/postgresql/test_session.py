"""What is PostgreSQL's own: its errors, its prepared statements, its transactions."""

from __future__ import annotations

import asyncio

import pytest

from asyncstore import dbi


@pytest.fixture
async def db(postgresql_url):
    async with dbi.connect(postgresql_url) as connection:
        await connection.execute("CREATE TABLE t (id INT PRIMARY KEY, v TEXT NOT NULL DEFAULT '')")
        yield connection


@pytest.fixture
async def other(db, postgresql_url):
    async with dbi.connect(postgresql_url, lock_timeout=0.2) as connection:
        yield connection


@pytest.mark.parametrize(
    ("sql", "error", "sqlstate"),
    [
        ("INSERT INTO t VALUES (1), (1)", dbi.errors.IntegrityError, "23505"),
        ("INSERT INTO t VALUES (1, NULL)", dbi.errors.IntegrityError, "23502"),
        ("SELECT 1 / 0", dbi.errors.DataError, "22012"),
        ("SELECT 'a'::int", dbi.errors.DataError, "22P02"),
        ("SELECT nothing()", dbi.errors.ProgrammingError, "42883"),
        ("SELECT * FROM nothing.at_all", dbi.errors.ProgrammingError, "42P01"),
        ("DO $$ BEGIN RAISE EXCEPTION 'own'; END $$", dbi.errors.DatabaseError, "P0001"),
        ("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(5)", dbi.errors.QueryTimeout, "57014"),
    ],
)
async def test_errors_have_their_class_and_sqlstate(db, sql, error, sqlstate):
    with pytest.raises(error) as caught:
        await db.execute(sql)
    assert caught.value.sqlstate == sqlstate
    assert caught.value.__cause__ is not None
    assert await db.fetch_value("SELECT 1") == 1


async def test_a_commit_of_a_failed_transaction_is_told(db):
    with pytest.raises(dbi.errors.OperationalError, match="undone the whole transaction"):
        async with db.transaction():
            await db.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(dbi.errors.DataError):
                await db.execute("SELECT 1 / 0")
    assert await db.fetch_value("SELECT count(*) FROM t") == 0


async def test_a_failed_transaction_refuses_until_its_end(db):
    with pytest.raises(dbi.errors.OperationalError) as caught:
        async with db.transaction():
            with pytest.raises(dbi.errors.DataError):
                await db.execute("SELECT 1 / 0")
            await db.execute("INSERT INTO t VALUES (1)")
    assert caught.value.sqlstate == "25P02"
    assert await db.fetch_value("SELECT count(*) FROM t") == 0


async def test_a_refused_commit_undoes_all(db):
    await db.execute("CREATE TABLE child (parent INT REFERENCES t DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(dbi.errors.IntegrityError):
        async with db.transaction():
            await db.execute("INSERT INTO child VALUES (99)")
    assert await db.fetch_value("SELECT count(*) FROM child") == 0


async def test_a_table_that_was_changed_by_another_makes_no_statement_fail(db, other):
    await db.execute("INSERT INTO t VALUES (1)")
    assert await db.fetch_one("SELECT * FROM t") == (1, "")
    await other.execute("ALTER TABLE t ADD w INT DEFAULT 7")
    assert await db.fetch_one("SELECT * FROM t") == (1, "", 7)
    await other.execute("ALTER TABLE t ALTER w TYPE TEXT")
    assert await db.fetch_one("SELECT * FROM t") == (1, "", "7")
    await db.executescript("DEALLOCATE ALL")
    assert await db.fetch_one("SELECT * FROM t") == (1, "", "7")


async def test_more_statements_than_are_kept(postgresql_url):
    for size in (0, 2):
        async with dbi.connect(postgresql_url, cached_statements=size) as db:
            for _ in range(2):
                for number in range(5):
                    assert await db.fetch_value(f"SELECT {number} + ?", (1,)) == number + 1
            assert (
                await db.fetch_value("SELECT count(*) FROM pg_prepared_statements WHERE statement ~ '^SELECT . '") <= 3
            )


async def test_a_lock_that_is_kept_is_told_in_time(db, other):
    await db.execute("INSERT INTO t VALUES (1)")
    async with db.transaction():
        await db.execute("UPDATE t SET v = 'a'")
        with pytest.raises(dbi.errors.Locked) as caught:
            await other.execute("UPDATE t SET v = 'b'")
        assert caught.value.sqlstate == "55P03"
        assert caught.value.retryable


async def test_a_deadlock_is_told_to_one_of_the_two(db, postgresql_url):
    await db.execute("INSERT INTO t VALUES (1), (2)")

    async def both(first, second):
        async with dbi.connect(postgresql_url) as connection, connection.transaction():
            await connection.execute("UPDATE t SET v = 'x' WHERE id = ?", (first,))
            await asyncio.sleep(0.1)
            await connection.execute("UPDATE t SET v = 'x' WHERE id = ?", (second,))

    outcomes = await asyncio.gather(both(1, 2), both(2, 1), return_exceptions=True)
    (failure,) = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(failure, dbi.errors.Deadlock)
    assert failure.retryable


async def test_a_change_by_somebody_else_fails_a_serializable_transaction(db, other):
    await db.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(dbi.errors.SerializationFailure):
        async with db.transaction(isolation="serializable"):
            await db.fetch_one("SELECT * FROM t")
            await other.execute("UPDATE t SET v = 'b'")
            await db.execute("UPDATE t SET v = 'a'")
    assert await db.fetch_value("SELECT v FROM t") == "b"


async def test_two_iterations_and_statements_in_one_transaction(db):
    await db.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(200)])
    async with db.transaction():
        first = db.iterate("SELECT id FROM t ORDER BY id")
        second = db.iterate("SELECT id FROM t ORDER BY id DESC")
        for number in range(200):
            assert (await anext(first))["id"] == number
            assert (await anext(second))["id"] == 199 - number
            if number % 50 == 0:
                await db.execute("UPDATE t SET v = 'seen' WHERE id = ?", (number,))
        await first.aclose()
        await second.aclose()
    assert await db.fetch_value("SELECT count(*) FROM t WHERE v = 'seen'") == 4


async def test_what_an_iteration_changes_is_kept_at_its_end_and_undone_by_an_error(db):
    found = [id_ async for (id_,) in db.iterate("INSERT INTO t SELECT generate_series(1, 100) RETURNING id")]
    assert len(found) == await db.fetch_value("SELECT count(*) FROM t") == 100
    with pytest.raises(dbi.errors.DataError):
        async for _ in db.iterate("SELECT 1 / (50 - id) FROM t ORDER BY id"):
            pass
    assert await db.fetch_value("SELECT 1") == 1


async def test_a_statement_beside_an_iteration_outside_of_a_transaction_is_refused(db):
    await db.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(200)])
    async with db.iterate("SELECT id FROM t") as rows:
        await anext(rows)
        with pytest.raises(dbi.errors.Misuse, match="an iteration holds the connection"):
            await db.execute("DELETE FROM t")
    await db.execute("DELETE FROM t")


async def test_a_late_cancel_hits_no_other_statement(db):
    """Statements are cancelled about when they end, so that the server's signal often comes too late for them."""
    for turn in range(60):
        victim = asyncio.ensure_future(db.fetch_value("SELECT pg_sleep(0.002)"))
        await asyncio.sleep(0.001 + turn % 10 * 0.0003)
        victim.cancel()
        await db.execute("SELECT pg_sleep(0.001)")
        assert await db.fetch_value("SELECT ?::int", (turn,)) == turn
        await asyncio.wait([victim])
