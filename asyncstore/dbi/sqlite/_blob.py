"""One value of a table, read and written in parts (sqlite3_blob_open)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from asyncstore.dbi import errors
from asyncstore.dbi._request import Sort

if TYPE_CHECKING:
    from asyncstore.dbi._connection import Connection

__all__ = ("Blob",)

T = TypeVar("T")


class Blob:
    """A blob or text of fixed length, inside an ``async with``; made by `SQLiteExtras.blob`.

    Entering, reading and writing raise `OperationalError` when there is no such value (any more). SQLite's own handle
    is opened for each call: one kept open would keep back the commits of all else that is written meanwhile.
    """

    def __init__(
        self, connection: Connection, table: str, column: str, rowid: int, *, read_only: bool, schema: str
    ) -> None:
        self._connection = connection
        self._place = (table, column, rowid)
        self._read_only = read_only
        self._schema = schema
        self._entered = False
        self.size = 0  # bytes

    async def _with(self, doing: str, use: Callable[[sqlite3.Blob], T], *, read_only: bool) -> T:
        def apply(db: sqlite3.Connection) -> T:
            with db.blobopen(*self._place, readonly=read_only, name=self._schema) as raw:
                return use(raw)

        found: T = await self._connection.ask(doing, Sort.ALONE, apply)
        return found

    async def __aenter__(self) -> Self:
        self.size = await self._with("blob", len, read_only=self._read_only)
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False

    def _check(self, doing: str) -> None:
        if not self._entered:
            raise errors.Closed("a blob is used inside its `async with`", doing=doing, of=self._connection.title)

    async def read(self, size: int = -1, offset: int = 0) -> bytes:
        """Return `size` bytes from `offset` on, fewer at the end; -1: all. Raises ValueError for negative numbers."""
        self._check("read")
        if offset < 0 or size < -1:
            raise ValueError(f"offset is not negative and size not below -1, not {offset!r} and {size!r}")

        def read(raw: Any) -> bytes:  # Any: the stubs know no read without a size
            raw.seek(min(offset, len(raw)))
            found: bytes = raw.read(size)
            return found

        return await self._with("read", read, read_only=True)

    async def write(self, data: bytes | bytearray | memoryview, offset: int = 0) -> None:
        """Write `data` at `offset`; outside of a transaction it is committed when this returns.

        Raises ValueError for what does not fit: a blob keeps its length. `Misuse` when it is only read.
        """
        self._check("write")
        if self._read_only:
            raise errors.Misuse("it was opened for reading", doing="write", of=self._connection.title)
        if offset < 0 or offset + len(data) > self.size:
            raise ValueError(f"{len(data)} bytes at {offset!r} do not fit into the {self.size} of the blob")
        kept = bytes(data)

        def write(raw: sqlite3.Blob) -> None:
            raw.seek(offset)
            raw.write(kept)

        await self._with("write", write, read_only=False)
