"""SQL: SQLite through asyncstore, through aiosqlite, through APSW's own threads, and on the loop itself.

"blocking" calls sqlite3 on the loop: the floor of what a statement costs, with everybody else stopped meanwhile. All
write with ``synchronous=FULL`` to a database in WAL mode.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from bench.harness import Case, NotOffered, Participant, Plan, Run

__all__ = ("CASES", "PACKAGES", "PARTICIPANTS", "prepare_data", "rate_aims")

ROWS = 100_000  # of the table that is read
POINT = "SELECT id, v FROM t WHERE id = ?"
THOUSAND = "SELECT id, v FROM t WHERE id >= ? LIMIT 1000"
INSERT = "INSERT INTO w (v) VALUES (?)"
VALUE = "v" * 100
MANY = 10_000  # rows of a bulk insert

CASES = [
    Case("sqlite: point select, 1 task", 1, "select", "point", {"aiosqlite": 1.5}),
    Case("sqlite: point select, 64 tasks", 64, "select", "point", {"aiosqlite": 6}),
    Case("sqlite: 1,000 rows, 1 task", 1, "row", "thousand", {"aiosqlite": 1}),
    Case("sqlite: durable insert, 1 task", 1, "insert", "insert", {"aiosqlite": 1}),
    Case("sqlite: durable insert, 16 tasks", 16, "insert", "insert", {"aiosqlite": 1}),
    Case("sqlite: durable insert, 256 tasks", 256, "insert", "insert", {"aiosqlite": 1}),
    Case("sqlite: bulk insert of 10,000", 1, "row", "bulk", {"aiosqlite": 1}),
    Case("sqlite: stream of 100,000 rows", 1, "row", "stream", {"aiosqlite": 1}),
]
RATE_AIMS = {
    ("sqlite: durable insert, 256 tasks", "aiosqlite"): 5.0,
    ("sqlite: durable insert, 256 tasks", "blocking"): 2.0,
}
PACKAGES = ["asyncstore", "aiosqlite", "apsw", "uvloop"]


def read_path(data: Path) -> Path:
    return data / "sql-read.db"


def prepare_data(data: Path) -> None:
    """Fill the table that is read."""
    path = read_path(data)
    if path.exists():
        return
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", ((number, f"{number:0100}") for number in range(ROWS)))
    connection.commit()
    connection.close()


class Bench(Participant):
    number = 0

    async def prepare(self, case: Case) -> None:
        self.reads = case.operation in {"point", "thousand", "stream"}
        self.path = read_path(self.data) if self.reads else self.data / f"sql-write-{type(self).__name__}.db"
        if not self.reads:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        await self.open()
        if not self.reads:
            await self.run("CREATE TABLE w (id INTEGER PRIMARY KEY, v TEXT)")

    async def open(self) -> None:
        raise NotImplementedError

    async def run(self, sql: str) -> None:
        raise NotImplementedError

    def key(self) -> int:
        self.number += 997
        return self.number % ROWS

    def check(self, row: Any) -> None:
        if row is None or len(row) != 2:
            raise AssertionError("wrong data")


class Asyncstore(Bench):
    async def open(self) -> None:
        from asyncstore import dbi

        self.db = await dbi.connect(f"sqlite:///{self.path}")

    async def run(self, sql: str) -> None:
        await self.db.execute(sql)

    async def point(self) -> None:
        self.check(await self.db.fetch_one(POINT, (self.key(),)))

    async def thousand(self) -> int:
        return len(await self.db.fetch_all(THOUSAND, (self.key() % (ROWS - 1000),)))

    async def insert(self) -> None:
        await self.db.execute(INSERT, (VALUE,))

    async def bulk(self) -> int:
        await self.db.executemany(INSERT, [(VALUE,)] * MANY)
        return MANY

    async def stream(self) -> int:
        count = 0
        async for _ in self.db.iterate("SELECT id, v FROM t"):
            count += 1
        return count

    async def finish(self) -> None:
        await self.db.aclose()


class Aiosqlite(Bench):
    async def open(self) -> None:
        import aiosqlite

        self.db = await aiosqlite.connect(self.path, isolation_level=None)
        await self.db.execute("PRAGMA journal_mode=WAL")
        await self.db.execute("PRAGMA synchronous=FULL")

    async def run(self, sql: str) -> None:
        await self.db.execute(sql)

    async def point(self) -> None:
        async with self.db.execute(POINT, (self.key(),)) as cursor:
            self.check(await cursor.fetchone())

    async def thousand(self) -> int:
        async with self.db.execute(THOUSAND, (self.key() % (ROWS - 1000),)) as cursor:
            return len(list(await cursor.fetchall()))

    async def insert(self) -> None:
        async with self.db.execute(INSERT, (VALUE,)):
            pass

    async def bulk(self) -> int:
        await self.db.execute("BEGIN")
        await self.db.executemany(INSERT, [(VALUE,)] * MANY)
        await self.db.execute("COMMIT")
        return MANY

    async def stream(self) -> int:
        count = 0
        async with self.db.execute("SELECT id, v FROM t") as cursor:
            async for _ in cursor:
                count += 1
        return count

    async def finish(self) -> None:
        await self.db.close()


class Blocking(Bench):
    async def open(self) -> None:
        self.db = sqlite3.connect(self.path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")

    async def run(self, sql: str) -> None:
        self.db.execute(sql)

    async def point(self) -> None:
        self.check(self.db.execute(POINT, (self.key(),)).fetchone())

    async def thousand(self) -> int:
        return len(self.db.execute(THOUSAND, (self.key() % (ROWS - 1000),)).fetchall())

    async def insert(self) -> None:
        self.db.execute(INSERT, (VALUE,))

    async def bulk(self) -> int:
        self.db.execute("BEGIN")
        self.db.executemany(INSERT, [(VALUE,)] * MANY)
        self.db.execute("COMMIT")
        return MANY

    async def stream(self) -> int:
        return sum(1 for _ in self.db.execute("SELECT id, v FROM t"))

    async def finish(self) -> None:
        self.db.close()


class Apsw(Bench):
    async def open(self) -> None:
        import apsw

        if not hasattr(apsw.Connection, "as_async"):
            raise NotOffered("this APSW is not asynchronous")
        self.db = await apsw.Connection.as_async(str(self.path))
        await self.run("PRAGMA journal_mode=WAL")
        await self.run("PRAGMA synchronous=FULL")

    async def run(self, sql: str) -> None:
        await (await self.db.execute(sql)).get

    async def point(self) -> None:
        rows = await (await self.db.execute(POINT, (self.key(),))).fetchall()
        self.check(rows[0])

    async def thousand(self) -> int:
        return len(await (await self.db.execute(THOUSAND, (self.key() % (ROWS - 1000),))).fetchall())

    async def insert(self) -> None:
        await self.db.execute(INSERT, (VALUE,))

    async def bulk(self) -> int:
        await self.db.execute("BEGIN")
        await self.db.executemany(INSERT, [(VALUE,)] * MANY)
        await self.db.execute("COMMIT")
        return MANY

    async def stream(self) -> int:
        count = 0
        async for _ in await self.db.execute("SELECT id, v FROM t"):
            count += 1
        return count

    async def finish(self) -> None:
        await self.db.aclose()


def rate_aims(run: Run, plan: Plan, loop: str) -> list[str]:
    """Return a line for each aim that is about time."""
    lines = []
    for (name, peer), aim in RATE_AIMS.items():
        ours = run.median(plan.suite, name, "asyncstore", loop)
        theirs = run.median(plan.suite, name, peer, loop)
        if ours is not None and theirs is not None:
            ratio = ours[0] / theirs[0]
            verdict = "met" if ratio >= aim else "MISSED"
            lines.append(f"{name}: our rate / rate of {peer} = {ratio:.2f}, aim {aim:g}: {verdict}")
    return lines


PARTICIPANTS: dict[str, type[Bench]] = {
    "asyncstore": Asyncstore,
    "aiosqlite": Aiosqlite,
    "apsw": Apsw,
    "blocking": Blocking,
}
