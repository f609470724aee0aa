"""Statements on a connection: what they give, what they refuse, and how they travel together."""

from __future__ import annotations

import asyncio
import gc
import sqlite3

import pytest

from asyncstore import dbi
from asyncstore.pool import Pool
from asyncstore.testing import cancel_everywhere

SLOW = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000000) SELECT max(n) FROM c"


async def insert(db, *values):
    return await asyncio.gather(
        *(db.execute("INSERT INTO t (v) VALUES (?)", (value,)) for value in values), return_exceptions=True
    )


async def values(db):
    return [row["v"] for row in await db.fetch_all("SELECT v FROM t ORDER BY id")]


async def test_execute_tells_what_it_brought_about(db):
    result = await db.execute("INSERT INTO t (v) VALUES (?), (?)", ("a", "b"))
    assert (result.rowcount, result.last_insert_id, result.rows) == (2, 2, [])
    result = await db.execute("SELECT v FROM t WHERE id < :id ORDER BY id", {"id": 9})
    assert result.columns == ("v",)
    assert result.rows == [("a",), ("b",)]
    result = await db.execute("UPDATE t SET v = v || '!' WHERE id = 1 RETURNING id, v")
    assert [dict(row) for row in result.rows] == [{"id": 1, "v": "a!"}]
    assert result.rowcount == 1


async def test_fetching(db):
    await insert(db, "a", "b")
    assert await db.fetch_all("SELECT * FROM t ORDER BY id") == [(1, "a"), (2, "b")]
    assert (await db.fetch_one("SELECT * FROM t ORDER BY id"))["v"] == "a"
    assert await db.fetch_one("SELECT * FROM t WHERE id = 9") is None
    assert await db.fetch_value("SELECT count(*) FROM t") == 2
    assert await db.fetch_value("SELECT id FROM t WHERE id = 9") is None


async def test_what_was_acknowledged_is_committed(db, path):
    await insert(db, "a", "b")
    other = sqlite3.connect(path)
    assert other.execute("SELECT count(*) FROM t").fetchone() == (2,)
    other.close()


async def test_concurrent_inserts_share_a_commit_and_fail_alone(db):
    before = db.session.engine.commits
    outcomes = await insert(db, *("a", "b", "a", "c", "b"))
    assert [type(outcome) for outcome in outcomes] == [
        dbi.Result, dbi.Result, dbi.errors.IntegrityError, dbi.Result, dbi.errors.IntegrityError,
    ]  # fmt: skip
    assert outcomes[2] is not outcomes[4]
    assert await values(db) == ["a", "b", "c"]
    assert db.session.engine.commits == before + 1


async def test_a_statement_that_undoes_the_common_transaction_costs_nobody_else_theirs(db):
    await insert(db, "there")
    outcomes = await asyncio.gather(
        db.execute("INSERT INTO t (v) VALUES ('before')"),
        db.execute("INSERT OR ROLLBACK INTO t (v) VALUES ('there')"),
        db.execute("INSERT INTO t (v) VALUES ('after')"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], dbi.errors.IntegrityError)
    assert await values(db) == ["there", "before", "after"]


async def test_a_commit_that_is_refused_fails_only_who_is_to_blame(db):
    await db.execute("CREATE TABLE child (parent INTEGER REFERENCES t DEFERRABLE INITIALLY DEFERRED)")
    outcomes = await asyncio.gather(
        db.execute("INSERT INTO t (v) VALUES ('a')"),
        db.execute("INSERT INTO child VALUES (99)"),
        db.execute("INSERT INTO t (v) VALUES ('b')"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], dbi.errors.IntegrityError)
    assert await values(db) == ["a", "b"]
    assert await db.fetch_value("SELECT count(*) FROM child") == 0


@pytest.mark.parametrize(
    ("sql", "parameters", "error", "message"),
    [
        ("SELEC 1", (), dbi.errors.ProgrammingError, 'near "SELEC": syntax error'),
        ("SELECT * FROM nowhere", (), dbi.errors.ProgrammingError, "no such table: nowhere"),
        ("SELECT ?", (), dbi.errors.ProgrammingError, "uses 1, and there are 0 supplied"),
        ("SELECT ?", (1, 2), dbi.errors.ProgrammingError, "uses 1, and there are 2 supplied"),
        ("SELECT :a", {"b": 1}, dbi.errors.ProgrammingError, "binding parameter :a"),
        ("SELECT 1; SELECT 2", (), dbi.errors.ProgrammingError, "one statement at a time"),
        ("SELECT ?", (1 << 64,), dbi.errors.DataError, "too large"),
        ("SELECT ?", ("\ud800",), dbi.errors.DataError, "surrogates"),
        ("BEGIN", (), dbi.errors.Misuse, r"db\.transaction\(\)"),
        ("/* */ commit", (), dbi.errors.Misuse, r"db\.transaction\(\)"),
        ("SELECT ?", (object(),), TypeError, "parameter 1 is of type object"),
        ("SELECT ?", "text", TypeError, "a sequence or a mapping, not str"),
        ("SELECT ?", 1, TypeError, "a sequence or a mapping, not int"),
        (b"SELECT 1", (), TypeError, "a statement is a str, not bytes"),
    ],
)
async def test_what_is_wrong_is_refused_by_name_and_the_connection_goes_on(db, sql, parameters, error, message):
    with pytest.raises(error, match=message):
        await db.execute(sql, parameters)
    assert await db.fetch_value("SELECT 1") == 1


async def test_an_error_has_the_drivers_own_as_its_cause_and_its_number(db):
    await insert(db, "a")
    with pytest.raises(dbi.errors.IntegrityError) as caught:
        await db.execute("INSERT INTO t (v) VALUES (?)", ("a",))
    assert caught.value.code == sqlite3.SQLITE_CONSTRAINT_UNIQUE
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)
    assert "execute SQLite database" in str(caught.value)


async def test_parameters_are_never_taken_for_sql(db):
    text = "'; DROP TABLE t; --"
    await insert(db, text)
    assert await values(db) == [text]
    assert await db.fetch_value("SELECT id FROM t WHERE v = :v", {"v": text}) == 1


async def test_executemany_stores_all_or_none(db):
    result = await db.executemany("INSERT INTO t (v) VALUES (?)", ([f"v{number}"] for number in range(1000)))
    assert result.rowcount == 1000
    with pytest.raises(dbi.errors.IntegrityError):
        await db.executemany("INSERT INTO t (v) VALUES (:v)", [{"v": "new"}, {"v": "v1"}])
    assert await db.fetch_value("SELECT count(*) FROM t") == 1000
    async with db.transaction():
        with pytest.raises(dbi.errors.IntegrityError):
            await db.executemany("INSERT INTO t (v) VALUES (:v)", [{"v": "new"}, {"v": "v1"}])
        await db.execute("INSERT INTO t (v) VALUES ('kept')")
    assert await db.fetch_value("SELECT count(*) FROM t") == 1001


async def test_executescript(db):
    script = """
        CREATE TABLE s (a); -- a comment; with a semicolon
        CREATE TRIGGER tidy AFTER INSERT ON s BEGIN DELETE FROM s WHERE a = 'x;y'; END;
        INSERT INTO s VALUES ('x;y'), ('z')
    """
    await db.executescript(script)
    assert await db.fetch_all("SELECT a FROM s") == [("z",)]
    with pytest.raises(dbi.errors.ProgrammingError, match="syntax"):
        await db.executescript("INSERT INTO s VALUES (1); nonsense; INSERT INTO s VALUES (2)")
    assert await db.fetch_all("SELECT a FROM s") == [("z",), (1,)]
    async with db.transaction():
        await db.executescript("DELETE FROM s WHERE a = 1; INSERT INTO s VALUES ('in; it')")
    assert await db.fetch_all("SELECT a FROM s") == [("z",), ("in; it",)]


async def test_a_script_that_leaves_a_transaction_open_is_undone_and_told(db):
    with pytest.raises(dbi.errors.ProgrammingError, match="left a transaction open"):
        await db.executescript("BEGIN; INSERT INTO t (v) VALUES ('lost')")
    assert await values(db) == []
    await insert(db, "a")


async def test_a_timeout_stops_the_statement(db):
    with pytest.raises(dbi.errors.QueryTimeout, match="fetch_value SQLite database") as caught:
        await db.fetch_value(SLOW, timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.retryable
    async with asyncio.timeout(30):
        assert await db.fetch_value("SELECT 1") == 1
    with pytest.raises(ValueError, match="timeout"):
        await db.fetch_value("SELECT 1", timeout=0)


async def test_a_timeout_counts_the_wait_behind_another_statement(db):
    running = asyncio.ensure_future(db.fetch_value(SLOW))
    await asyncio.sleep(0.02)
    with pytest.raises(dbi.errors.QueryTimeout, match="its time was up") as caught:
        await db.execute("INSERT INTO t (v) VALUES ('late')", timeout=0.05)
    assert not caught.value.maybe_applied
    running.cancel()
    async with asyncio.timeout(30):
        assert await values(db) == []


async def test_a_timeout_counts_the_wait_for_another_tasks_transaction(db):
    async with db.transaction():
        waiting = asyncio.ensure_future(db.execute("INSERT INTO t (v) VALUES ('late')", timeout=0.05))
        with pytest.raises(dbi.errors.QueryTimeout):
            await waiting
    assert await values(db) == []


async def test_a_cancel_stops_the_statement_and_those_behind_it_go_on(db):
    running = asyncio.ensure_future(db.fetch_value(SLOW))
    await asyncio.sleep(0.05)
    behind = asyncio.ensure_future(db.fetch_value("SELECT 2"))
    running.cancel()
    async with asyncio.timeout(30):
        assert await behind == 2
    assert running.cancelled() or (await asyncio.wait([running]))


async def test_a_cancel_hits_no_other_statement(db):
    """A hundred statements are cancelled at every moment of their lives; their neighbours come home whole."""

    async def neighbour(number):
        return await db.fetch_value("SELECT ?", (number,))

    for turn in range(100):
        victims = [asyncio.ensure_future(db.fetch_value("SELECT count(*) FROM t, t AS o")) for _ in range(3)]
        neighbours = [asyncio.ensure_future(neighbour(number)) for number in range(3)]
        for _ in range(turn % 5):
            await asyncio.sleep(0)
        for victim in victims:
            victim.cancel()
        assert await asyncio.gather(*neighbours) == [0, 1, 2]


async def test_an_interrupted_write_leaves_its_neighbours_writes(db):
    big = f"INSERT INTO t (v) SELECT 'big' || n FROM ({SLOW.replace('max(n)', 'n')})"
    stopped = asyncio.ensure_future(db.execute(big, timeout=0.1))
    outcomes = await insert(db, "a", "b")
    with pytest.raises(dbi.errors.QueryTimeout):
        await stopped
    assert all(isinstance(outcome, dbi.Result) for outcome in outcomes)
    assert await values(db) == ["a", "b"]


async def test_a_lock_of_another_process_is_waited_for_without_a_worker(db, path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.ensure_future(insert(db, "a", "b"))
    await asyncio.sleep(0.05)
    assert await db.fetch_value("SELECT count(*) FROM t") == 0, "a reader waits for a writer"
    assert not waiting.done()
    other.execute("COMMIT")
    other.close()
    assert all(isinstance(outcome, dbi.Result) for outcome in await waiting)


async def test_a_lock_that_is_kept_is_told_in_time(url, path):
    async with dbi.connect(url, lock_timeout=0.1) as db:
        await db.execute("CREATE TABLE t (v)")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(dbi.errors.Locked, match="locked") as caught:
            await db.execute("INSERT INTO t VALUES (1)")
        assert caught.value.retryable
        other.close()
        await db.execute("INSERT INTO t VALUES (2)")
        assert await db.fetch_all("SELECT v FROM t") == [(2,)]


async def test_a_database_in_memory():
    async with dbi.connect("sqlite://") as db:
        await db.execute("CREATE TABLE t (v)")
        await asyncio.gather(*(db.execute("INSERT INTO t VALUES (?)", (number,)) for number in range(50)))
        assert await db.fetch_value("SELECT sum(v) FROM t") == sum(range(50))


async def test_opening_what_is_no_database_says_so(tmp_path):
    with pytest.raises(dbi.errors.OperationalError, match="unable to open"):
        await dbi.connect(f"sqlite:///{tmp_path}/nowhere/a.db")
    with pytest.raises(dbi.errors.OperationalError, match="unable to open"):
        await dbi.connect(f"sqlite:///{tmp_path}/a.db", mode="rw")
    (tmp_path / "text").write_text("this is no database at all " * 100)
    with pytest.raises(dbi.errors.DatabaseError, match="not a database"):
        await dbi.connect(f"sqlite:///{tmp_path}/text")


async def test_a_database_opened_for_reading_refuses_to_write(db, url):
    await insert(db, "a")
    async with dbi.connect(url, mode="ro") as reader:
        assert await values(reader) == ["a"]
        with pytest.raises(dbi.errors.OperationalError, match="readonly"):
            await reader.execute("DELETE FROM t")


async def test_a_closed_connection_refuses_and_closes_twice(url):
    db = await dbi.connect(url)
    last = asyncio.ensure_future(db.execute("CREATE TABLE t (v)"))
    await asyncio.sleep(0)
    await db.aclose()
    await db.aclose()
    await last
    with pytest.raises(dbi.errors.Closed, match="execute SQLite database"):
        await db.execute("SELECT 1")


async def test_a_dropped_connection_warns_and_lets_go_of_the_file(url):
    db = await dbi.connect(url)
    await db.execute("CREATE TABLE t (v)")
    with pytest.warns(ResourceWarning, match="was not closed"):
        del db
        gc.collect()
    async with dbi.connect(url, journal_mode="delete") as again:  # which needs the file alone
        await again.execute("INSERT INTO t VALUES (1)")


async def test_a_pool_that_is_closed_first_ends_requests_with_a_clear_error(url):
    pool = Pool(max_workers=1)
    db = await dbi.connect(url, workers=pool)
    await pool.aclose()
    with pytest.raises(dbi.errors.Closed, match="pool"):
        await db.execute("SELECT 1")
    await db.aclose()


def test_another_loop_is_refused(url):
    async def use(db):
        with pytest.raises(dbi.errors.Misuse, match="another event loop"):
            await db.execute("SELECT 1")

    with asyncio.Runner() as runner:
        db = runner.run(_connected(url))
        asyncio.run(use(db))
        runner.run(db.aclose())


async def _connected(url):
    return await dbi.connect(url)


async def test_nothing_is_left_when_opening_is_cancelled(url):
    report = await cancel_everywhere(lambda: _connected(url), on_result=lambda db: db.aclose())
    assert report.points >= 1
    gc.collect()
    async with dbi.connect(url, journal_mode="delete") as db:  # which needs the file alone
        await db.execute("CREATE TABLE t (v)")
