"""What only SQLite has: functions, collations, backups, blobs, extensions, watching and stopping."""

from __future__ import annotations

import asyncio
import sqlite3
import threading

import pytest

from asyncstore import dbi
from asyncstore.testing import full_disk
from tests.dbi.test_connection import SLOW, insert


class Product:
    def __init__(self):
        self.value = 1

    def step(self, value):
        self.value *= value

    def finalize(self):
        return self.value


class Sum:
    def __init__(self):
        self.total = 0

    def step(self, value):
        self.total += value

    def inverse(self, value):
        self.total -= value

    def value(self):
        return self.total

    finalize = value


async def test_functions(db, url):
    await db.sqlite.create_function("twice", 1, lambda value: 2 * value, deterministic=True)
    assert await db.fetch_value("SELECT twice(?)", (21,)) == 42
    await db.execute("CREATE INDEX by_twice ON t (twice(id))")
    async with dbi.connect(url) as other:
        with pytest.raises(dbi.errors.ProgrammingError, match="no such function"):
            await other.fetch_value("SELECT twice(1)")


async def test_a_function_that_raises_fails_its_statement_alone(db):
    await db.sqlite.create_function("fails", 0, lambda: 1 / 0)
    with pytest.raises(dbi.errors.DatabaseError, match="user-defined function raised"):
        await db.fetch_value("SELECT fails()")
    assert await db.fetch_value("SELECT 1") == 1


async def test_aggregates_and_window_functions(db):
    await db.sqlite.create_aggregate("product", 1, Product)
    await db.sqlite.create_window_function("running", 1, Sum)
    await insert(db, "a", "b", "c")
    assert await db.fetch_value("SELECT product(id + 1) FROM t") == 24
    found = await db.fetch_all("SELECT running(id) OVER (ORDER BY id ROWS 1 PRECEDING) FROM t")
    assert found == [(1,), (3,), (5,)]
    await db.sqlite.create_window_function("running", 1, None)
    with pytest.raises(dbi.errors.ProgrammingError, match="no such function"):
        await db.fetch_value("SELECT running(id) OVER (ORDER BY id) FROM t")


async def test_collations(db):
    await db.sqlite.create_collation("backwards", lambda one, other: (one < other) - (one > other))
    await insert(db, "a", "c", "b")
    assert await db.fetch_all("SELECT v FROM t ORDER BY v COLLATE backwards") == [("c",), ("b",), ("a",)]
    await db.sqlite.create_collation("backwards", None)
    with pytest.raises(dbi.errors.OperationalError, match="no such collation"):
        await db.fetch_all("SELECT v FROM t ORDER BY v COLLATE backwards")


async def test_trace_shows_statements_on_the_loop(db):
    seen = []
    await db.sqlite.trace(lambda text: seen.append((text, threading.get_ident())))
    await db.fetch_value("SELECT ?", (7,))
    await asyncio.sleep(0)
    assert seen == [("SELECT 7", threading.get_ident())]
    await db.sqlite.trace(None)
    await db.fetch_value("SELECT 8")
    await asyncio.sleep(0)
    assert len(seen) == 1


async def test_progress_can_stop_a_statement(db):
    called = []
    await db.sqlite.progress(lambda: called.append(1) or len(called) > 5)
    with pytest.raises(dbi.errors.OperationalError, match="interrupted"):
        await db.fetch_value(SLOW)
    await db.sqlite.progress(None)
    with pytest.raises(dbi.errors.QueryTimeout):
        await db.fetch_value(SLOW, timeout=0.05)
    assert len(called) == 6


async def test_interrupt_stops_what_runs_and_nothing_else(db):
    running = asyncio.ensure_future(db.fetch_value(SLOW))
    behind = asyncio.ensure_future(db.fetch_value("SELECT 2"))
    await asyncio.sleep(0.05)
    db.sqlite.interrupt()
    with pytest.raises(dbi.errors.OperationalError, match="interrupted"):
        await running
    assert await behind == 2
    db.sqlite.interrupt()
    assert await db.fetch_value("SELECT 3") == 3


async def test_an_extension_that_is_not_there_and_loading_stays_forbidden(db):
    failures = (dbi.errors.DatabaseError, dbi.errors.NotSupportedError)  # the latter where Python was built without it
    with pytest.raises(failures):
        await db.sqlite.load_extension("/nowhere/at_all")
    with pytest.raises(failures):
        await db.sqlite.load_extension("/nowhere/at_all", entry_point="start")
    with pytest.raises(dbi.errors.DatabaseError, match="not authorized"):
        await db.fetch_value("SELECT load_extension('/nowhere/at_all')")


async def test_a_backup_is_of_one_state_while_others_write(db, tmp_path):
    await db.executemany("INSERT INTO t (v) VALUES (?)", [(f"{number:0500}",) for number in range(5000)])
    told = []
    loop = asyncio.get_running_loop()
    writing = asyncio.Event()

    def progress(left, total):
        told.append((left, total))
        loop.call_soon_threadsafe(writing.set)

    backup = asyncio.ensure_future(db.sqlite.backup(tmp_path / "copy.db", progress=progress))
    await writing.wait()
    await insert(db, "meanwhile")
    await backup
    assert told[0][0] > told[-1][0] == 0
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("SELECT count(*) FROM t").fetchone() == (5000,)
    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    copy.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "test.db", "test.db-shm", "test.db-wal"]


async def test_a_backup_that_is_cancelled_or_fails_leaves_the_older_one(db, tmp_path):
    await db.executemany("INSERT INTO t (v) VALUES (?)", [(f"{number:0500}",) for number in range(5000)])
    target = tmp_path / "copy.db"
    target.write_text("the older one")

    with pytest.raises(dbi.errors.QueryTimeout):
        await db.sqlite.backup(target, timeout=0.001)
    with pytest.raises(ZeroDivisionError):
        await db.sqlite.backup(target, progress=lambda left, total: 1 / 0)
    with pytest.raises(dbi.errors.OperationalError, match="unable to open"):
        await db.sqlite.backup(tmp_path / "nowhere" / "copy.db")
    assert target.read_text() == "the older one"
    assert not list(tmp_path.glob(".copy*"))
    with full_disk() as folder:
        with pytest.raises(dbi.errors.OperationalError, match="full"):
            await db.sqlite.backup(folder / "copy.db")
        assert not list(folder.glob("*copy*"))


async def test_a_database_in_memory_is_backed_up_serialized_and_made_again(tmp_path):
    async with dbi.connect("sqlite://") as db:
        await db.executescript("CREATE TABLE t (v); INSERT INTO t VALUES (1), (2)")
        await db.sqlite.backup(tmp_path / "copy.db")
        data = await db.sqlite.serialize()
    async with dbi.connect(f"sqlite:///{tmp_path}/copy.db") as copy:
        assert await copy.fetch_value("SELECT sum(v) FROM t") == 3
        with pytest.raises(dbi.errors.Misuse, match="in memory"):
            await copy.sqlite.deserialize(data)
    async with dbi.connect("sqlite://") as again:
        await again.sqlite.deserialize(data)
        assert await again.fetch_value("SELECT sum(v) FROM t") == 3
        with pytest.raises(dbi.errors.DatabaseError, match="not a database"):
            await again.sqlite.deserialize(b"nonsense" * 100)


@pytest.fixture
async def blobs(db):
    """A connection with a column that has no index: of one that has, SQLite writes no blob in parts."""
    await db.execute("CREATE TABLE b (id INTEGER PRIMARY KEY, v)")
    return db


async def test_a_blob_in_parts(blobs, path):
    await blobs.execute("INSERT INTO b (id, v) VALUES (1, zeroblob(100000))")
    async with blobs.sqlite.blob("b", "v", 1) as blob:
        assert blob.size == 100_000
        await blob.write(b"middle", 50_000)
        assert await blob.read(8, 49_999) == b"\0middle\0"
        assert await blob.read(10, 99_995) == bytes(5)
        assert await blob.read(10, 200_000) == b""
        other = sqlite3.connect(path)
        assert other.execute("SELECT substr(v, 50001, 6) FROM b").fetchone() == (b"middle",)
        other.close()
        await insert(blobs, "beside")
        with pytest.raises(ValueError, match="do not fit"):
            await blob.write(b"xx", 99_999)
        with pytest.raises(ValueError, match="not negative"):
            await blob.read(1, -1)
    with pytest.raises(dbi.errors.Closed):
        await blob.read()


async def test_a_blob_in_a_transaction_that_is_undone(blobs):
    await blobs.execute("INSERT INTO b (id, v) VALUES (1, x'00')")
    with pytest.raises(KeyError):
        async with blobs.transaction(), blobs.sqlite.blob("b", "v", 1) as blob:
            await blob.write(b"\x01")
            raise KeyError
    assert [row["v"] for row in await blobs.fetch_all("SELECT v FROM b")] == [b"\0"]


async def test_a_blob_that_is_not_there_or_only_read(blobs):
    with pytest.raises(dbi.errors.ProgrammingError, match="no such rowid"):
        async with blobs.sqlite.blob("b", "v", 99):
            pass
    await blobs.execute("INSERT INTO b (id, v) VALUES (1, x'00')")
    async with blobs.sqlite.blob("b", "v", 1, read_only=True) as blob:
        with pytest.raises(dbi.errors.Misuse, match="for reading"):
            await blob.write(b"\x01")
        await blobs.execute("DELETE FROM b")
        with pytest.raises(dbi.errors.ProgrammingError, match="no such rowid"):
            await blob.read()
