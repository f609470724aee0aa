"""What only SQLite has: functions written in Python, backups, blobs, extensions. `Connection.sqlite` leads here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from asyncstore.dbi import errors
from asyncstore.dbi._connection import Connection, connect
from asyncstore.dbi._lane_session import LaneSession
from asyncstore.dbi._request import Sort
from asyncstore.dbi._session import Apply
from asyncstore.dbi.sqlite._blob import Blob
from asyncstore.dbi.sqlite._database import SQLiteDatabase
from asyncstore.dbi.sqlite._engine import Engine

__all__ = ("SQLiteExtras",)

BACKUP_PAGES = 256  # copied between two looks at whether somebody still waits: 1 MiB

Progress = Callable[[int, int], object]


class SQLiteExtras:
    """SQLite's own, on one connection. Callbacks are called on worker threads, and must not touch the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        session = connection.session
        assert isinstance(session, LaneSession), "of SQLite all are"
        self._engine: Engine = session.engine

    async def _ask(self, doing: str, apply: Apply, timeout: float | None = None) -> Any:  # Any: the outcome of `apply`
        return await self._connection.ask(doing, Sort.ALONE, apply, timeout)

    # Functions

    # Any, in what follows: values are SQLite's.
    async def create_function(
        self, name: str, count: int, function: Callable[..., Any], *, deterministic: bool = False
    ) -> None:
        """Let statements call `function` by `name` with `count` arguments (-1: any number).

        `deterministic`: it gives the same for the same arguments, so that it may stand in an index.
        """
        await self._ask(
            "create_function",
            lambda db: db.create_function(name, count, function, deterministic=deterministic),
        )

    async def create_aggregate(self, name: str, count: int, aggregate: type[Any]) -> None:
        """Let statements call an aggregate: a class with `step(*arguments)` and `finalize()`."""
        await self._ask("create_aggregate", lambda db: db.create_aggregate(name, count, aggregate))

    async def create_window_function(self, name: str, count: int, window: type[Any] | None) -> None:
        """Let statements call a window function: an aggregate with `value` and `inverse(*arguments)`; None ends it."""
        await self._ask("create_window_function", lambda db: db.create_window_function(name, count, window))

    async def create_collation(self, name: str, compare: Callable[[str, str], int] | None) -> None:
        """Let statements order text by `compare`, which returns a number below, above or equal to 0; None ends it."""
        await self._ask("create_collation", lambda db: db.create_collation(name, compare))

    # Watching

    async def trace(self, seen: Callable[[str], object] | None) -> None:
        """Have `seen` called on the loop with each statement that begins, its parameters filled in; None ends it.

        Parameters may be secret: this is for looking at a program, not for logs.
        """
        loop = asyncio.get_running_loop()

        def pass_on(text: str) -> None:
            if seen is not None:
                with contextlib.suppress(RuntimeError):  # of a loop that is closed
                    loop.call_soon_threadsafe(seen, text)

        await self._ask("trace", lambda db: db.set_trace_callback(pass_on if seen is not None else None))

    async def progress(self, called: Callable[[], object] | None) -> None:
        """Have `called` on the worker every few thousand steps; a true value stops the statement. None ends it."""
        await self._ask("progress", lambda _: self._engine.set_progress(called))

    def interrupt(self) -> None:
        """Stop the statement that is being carried out, if any, with `OperationalError`. No other is hit."""
        self._connection.check_open("interrupt")
        self._engine.interrupt()

    # Extensions

    async def load_extension(self, path: str | os.PathLike[str], *, entry_point: str | None = None) -> None:
        """Load a shared library of SQLite extensions. Loading is allowed for the length of this call alone.

        Raises `OperationalError` when that fails, `NotSupportedError` where Python was built without it.
        """
        await self._ask("load_extension", partial(_load, path=os.fspath(path), entry_point=entry_point))

    # Copies

    async def backup(
        self, target: str | os.PathLike[str], *, progress: Progress | None = None, timeout: float | None = None
    ) -> None:
        """Copy the database as it is now into the file `target`, which is replaced once the copy is whole and on disk.

        Statements go on meanwhile, here and elsewhere. `progress(remaining, total)` is called on a worker with pages.
        Raises OSError and `OperationalError`, as for a full disk; then, and after a cancel, `target` is as it was.
        """
        settings = self._engine.settings
        if settings.in_memory:
            await self._ask("backup", _Backup(self._engine, Path(target), progress), timeout)
            return
        database = SQLiteDatabase(settings)  # on a connection of its own, which reads one state for as long as it takes
        async with connect(database, lock_timeout=self._connection.lock_timeout) as other:
            session = other.session
            assert isinstance(session, LaneSession), "of SQLite all are"
            await other.ask("backup", Sort.ALONE, _Backup(session.engine, Path(target), progress), timeout)

    async def serialize(self, *, schema: str = "main") -> bytes:
        """Return the whole database as bytes: what its file would hold."""
        found: bytes = await self._ask("serialize", lambda db: db.serialize(name=schema))
        return found

    async def deserialize(self, data: bytes, *, schema: str = "main") -> None:
        """Make `data`, of `serialize` or a file, the content of a database in memory; it replaces what there was.

        Raises `Misuse` for a database in a file, `DatabaseError` for what is none.
        """
        if not self._engine.settings.in_memory or self._engine.settings.name:
            detail = "it would be cut off from its file; only a connection's own database in memory is replaced"
            raise errors.Misuse(detail, doing="deserialize", of=self._connection.title)
        await self._ask("deserialize", partial(_deserialize, data=data, schema=schema))

    def blob(self, table: str, column: str, rowid: int, *, read_only: bool = False, schema: str = "main") -> Blob:
        """Return one value, a blob or a text, to be read and written in parts inside its ``async with``."""
        return Blob(self._connection, table, column, rowid, read_only=read_only, schema=schema)


def _load(db: sqlite3.Connection, path: str, entry_point: str | None) -> None:
    if not hasattr(db, "enable_load_extension"):
        raise errors.NotSupportedError("this Python was built without it", doing="load_extension")
    db.enable_load_extension(True)  # noqa: FBT003 - sqlite3 takes it by place alone
    try:
        if entry_point is None:
            db.load_extension(path)
        else:
            db.execute("SELECT load_extension(?, ?)", (path, entry_point))  # Python 3.11 has no other way
    finally:
        db.enable_load_extension(False)  # noqa: FBT003 - as above


class _Backup:
    """Copies all pages of one state, on a worker."""

    def __init__(self, engine: Engine, target: Path, progress: Progress | None) -> None:
        self._engine = engine
        self._target = target
        self._progress = progress

    def __call__(self, db: sqlite3.Connection) -> None:
        unfinished = self._target.with_name(f".{self._target.name}.{uuid4().hex}")
        inside = db.in_transaction
        if not inside:
            db.execute("BEGIN")
        try:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on the state is this one
            copy = sqlite3.connect(unfinished)
            try:
                db.backup(copy, pages=BACKUP_PAGES, progress=self._look)
                copy.execute("PRAGMA journal_mode=delete")  # so that the file alone is everything
            finally:
                copy.close()
            _keep(unfinished, self._target)
        except BaseException:
            for left in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
                left.unlink(missing_ok=True)
            raise
        finally:
            if not inside:
                db.execute("ROLLBACK")

    def _look(self, _: int, left: int, total: int) -> None:
        """Called after each portion, where SQLite's progress handler is not."""
        self._engine.check()
        if self._progress is not None:
            self._progress(left, total)


def _keep(unfinished: Path, target: Path) -> None:
    """Put the copy in its place, so that neither a crash nor a power cut leaves half of one there."""
    handle = os.open(unfinished, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(unfinished, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _deserialize(db: sqlite3.Connection, data: bytes, schema: str) -> None:
    db.deserialize(data, name=schema)
    db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # of what is no database this tells now
