"""What the tasks of a pool share: one connection that writes, and some that read beside it.

SQLite has one writer at a time. With a single connection for it, writers take turns in this program's memory instead of
asking for the file's lock again and again, and those of one moment share a commit. In WAL mode nobody reads or writes
for longer because of the other. A database in memory has no such mode: there all use the one connection.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from asyncstore.dbi._connection import Connection
from asyncstore.dbi._lane_session import LaneSession
from asyncstore.dbi._request import Sort
from asyncstore.dbi._session import Options
from asyncstore.dbi._sql import sort_of
from asyncstore.dbi._url import Make
from asyncstore.dbi.sqlite._database import SQLiteDatabase
from asyncstore.dbi.sqlite._engine import Engine
from asyncstore.pool import Pool, heeded

__all__ = ("SQLiteLanes",)

SHORT = 0.002  # seconds that a batch may be under way before others are read by another connection; hops cost, too


class _Reader(NamedTuple):
    connection: Connection
    session: LaneSession[Engine]


class SQLiteLanes:
    """The shared connections of a pool."""

    def __init__(
        self, database: SQLiteDatabase, *, size: int, lock_timeout: float, workers: Pool | None, make: Make
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._database = database
        self._most = size - 1 if database.settings.readers_help else 0
        self._lock_timeout = lock_timeout
        self._workers = workers
        self._make = make
        self._writer: Connection | None = None
        self._readers: list[_Reader] = []
        self._growing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the connection that writes and the first one that reads."""
        self._writer = (await self._open_one(read_only=False)).connection
        if self._most:
            try:
                await self._grow()
            except BaseException:
                self.abort()
                raise

    async def _open_one(self, *, read_only: bool) -> _Reader:
        session = await self._database.connect(
            lock_timeout=self._lock_timeout, workers=self._workers, read_only=read_only
        )
        return _Reader(await self._make(session), session)

    async def _grow(self) -> None:
        self._readers.append(await self._open_one(read_only=True))

    @property
    def size(self) -> int:
        return len(self._readers) + (self._writer is not None)

    def for_statement(self, sql: str) -> Connection | None:
        if self._readers and sort_of(sql) is Sort.READ:
            return self._reader()
        return self._written()

    def for_transaction(self, options: Options) -> Connection | None:
        return self._reader() if options.read_only and self._readers else self._written()

    def _written(self) -> Connection:
        assert self._writer is not None, "opened before anything is asked for"
        return self._writer

    def _reader(self) -> Connection | None:
        """Return one that is free, or will be in a moment; else None, or when there may be no more the least asked."""
        since = self._loop.time() - SHORT
        free = [reader for reader in self._readers if reader.connection.transaction_open is None]
        for reader in free:
            if not reader.session.busy or reader.session.since > since:
                return reader.connection
        if len(self._readers) < self._most:
            return None
        return min((reader.connection for reader in free or self._readers), key=lambda reader: reader.usage.busy)

    async def another(self) -> Connection:
        if self._growing is None or self._growing.done():
            self._growing = self._loop.create_task(self._grow())
            self._growing.add_done_callback(heeded)
        await asyncio.shield(self._growing)
        return self._readers[-1].connection

    async def aclose(self) -> None:
        if self._growing is not None:
            await asyncio.wait([self._growing])
        for connection in self._all():
            await connection.aclose()

    def _all(self) -> list[Connection]:
        readers = [reader.connection for reader in self._readers]
        return readers if self._writer is None else [*readers, self._writer]

    def abort(self) -> None:
        if self._growing is not None:
            self._growing.cancel()
        for connection in self._all():
            connection.abort()
