"""Iteration over a large result, read in batches: neither a hop a row nor the memory of all of them."""

from __future__ import annotations

import warnings
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from asyncstore.dbi import errors
from asyncstore.dbi._request import Sort
from asyncstore.dbi._rows import Row

if TYPE_CHECKING:
    from asyncstore.dbi._connection import Connection
    from asyncstore.dbi.sqlite._operations import Stream

__all__ = ("Rows",)

FIRST_BATCH = 32  # rows: who wants a few pays for few
MAX_BATCH = 1024  # rows: a millisecond of a worker's time


class Rows:
    """The rows of a statement as an async iterator, and an ``async with`` that ends it; made by `Connection.iterate`.

    The database keeps the result open until the end: leave a loop that may stop early by ``async with`` or `aclose`.
    Undoing a transaction on the same connection ends the iteration with `OperationalError`. Not for two tasks at once.
    """

    def __init__(self, connection: Connection, stream: Stream, timeout: float | None) -> None:
        self._connection = connection
        self._stream = stream
        self._timeout = timeout
        self._batch: list[Row] = []
        self._place = 0
        self._count = FIRST_BATCH
        self._more = True
        self._fetching = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Row:
        """Return the next row. Raises StopAsyncIteration at the end, and what `Connection.execute` raises."""
        if self._place >= len(self._batch):
            if not self._more:
                raise StopAsyncIteration
            await self._next_batch()
            if not self._batch:
                raise StopAsyncIteration
        row = self._batch[self._place]
        self._place += 1
        return row

    async def _next_batch(self) -> None:
        connection = self._connection
        if self._fetching:
            raise errors.Misuse("two tasks iterate over one result", doing="iterate", of=connection.title)
        self._fetching = True
        try:
            fetch = partial(self._stream.fetch, count=self._count)
            rows: list[Row] = await connection.ask("iterate", Sort.ALONE, fetch, self._timeout)
        except BaseException:
            self._more = False  # rows may have been lost: there is no going on
            raise
        finally:
            self._fetching = False
        self._batch, self._place = rows, 0
        self._more = len(rows) == self._count
        self._count = min(2 * self._count, MAX_BATCH)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the iteration and let the database give the result up. Idempotent."""
        self._more = False
        self._batch, self._place = [], 0
        if self._stream.cursor is not None and self._connection.usable:
            await self._connection.give_up(self._stream.close)

    def __del__(self) -> None:
        if self._stream.cursor is not None and self._connection.usable:
            text = f"rows of {self._connection.title} were dropped before their end"
            warnings.warn(text, ResourceWarning, source=self, stacklevel=2)
            self._connection.release(self._stream.close)
