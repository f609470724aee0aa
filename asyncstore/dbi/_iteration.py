"""Iteration over a large result, read in batches: neither a hop a row nor the memory of all of them."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from asyncstore.dbi import errors
from asyncstore.dbi._request import Sort
from asyncstore.dbi._rows import Row
from asyncstore.dbi._session import Stream
from asyncstore.pool import heeded

if TYPE_CHECKING:
    from asyncstore.dbi._connection import Connection

__all__ = ("Rows", "Source")

FIRST_BATCH = 32  # rows: who wants a few pays for few
MAX_BATCH = 1024  # rows: a millisecond of a worker's time


class Source(Protocol):
    """Where an iteration gets its connection."""

    title: str

    async def lend(self, stack: AsyncExitStack, sql: str) -> Connection:
        """Return a connection on which the result of `sql` can be read; closing `stack` gives it back."""


class Rows:
    """The rows of a statement as an async iterator, and an ``async with`` that ends it; made by `Connection.iterate`.

    The database keeps the result open until the end: leave a loop that may stop early by ``async with`` or `aclose`.
    Undoing a transaction on the same connection ends the iteration with `OperationalError`. Not for two tasks at once.
    """

    def __init__(self, source: Source, sql: str, parameters: Any, timeout: float | None) -> None:  # Any: the driver's
        self._source = source
        self._sql = sql
        self._parameters = parameters
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._stack = AsyncExitStack()
        self._connection: Connection | None = None
        self._stream: Stream | None = None
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
        if self._fetching:
            raise errors.Misuse("two tasks iterate over one result", doing="iterate", of=self._source.title)
        self._fetching = True
        try:
            if self._connection is None or self._stream is None:
                self._connection = await self._source.lend(self._stack, self._sql)
                self._stream = self._connection.session.stream(self._sql, self._parameters)
            fetch = partial(self._stream.fetch, count=self._count)
            rows: list[Row] = await self._connection.ask("iterate", Sort.ALONE, fetch, self._timeout)
            self._more = len(rows) == self._count
            if not self._more:
                await self._leave()
        except BaseException as exc:
            self._more = False  # rows may have been lost: there is no going on
            await self._end(exc)
            raise
        finally:
            self._fetching = False
        self._batch, self._place = rows, 0
        self._count = min(2 * self._count, MAX_BATCH)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the iteration and let the database give the result up. Idempotent.

        A cancel leaves that to go on in the background.
        """
        self._more = False
        self._batch, self._place = [], 0
        await self._end()

    async def _end(self, error: BaseException | None = None) -> None:
        """Give up what the database keeps, and then the connection; an `error` undoes what was done for this alone."""
        if self._connection is None:
            await self._stack.aclose()  # of a connection that was not had after all
            return
        _disown(self._connection)
        ending = self._loop.create_task(_give_up(self._connection, self._stream, self._stack, error))
        self._connection = self._stream = None
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            ending.add_done_callback(heeded)
            raise

    async def _leave(self) -> None:
        """Give the connection back after the last row: what the statement changed is kept."""
        self._connection = self._stream = None
        await self._stack.aclose()

    def __del__(self) -> None:
        connection, stream = self._connection, self._stream
        if connection is None or stream is None or not connection.usable:
            return
        text = f"rows of {connection.title} were dropped before their end"
        warnings.warn(text, ResourceWarning, source=self, stacklevel=2)
        _disown(connection)
        if not self._loop.is_closed():
            ending = partial(_begin_to_give_up, self._loop, connection, stream, self._stack)
            with contextlib.suppress(RuntimeError):  # closed by another thread just now
                self._loop.call_soon_threadsafe(ending)


def _disown(connection: Connection) -> None:
    if connection.transaction_open is not None:
        connection.transaction_open.disown()


async def _give_up(
    connection: Connection, stream: Stream | None, stack: AsyncExitStack, error: BaseException | None
) -> None:
    try:
        if stream is not None and stream.open and connection.usable:
            await connection.give_up(stream.close)
    finally:
        await stack.__aexit__(type(error) if error else None, error, None)


def _begin_to_give_up(
    loop: asyncio.AbstractEventLoop, connection: Connection, stream: Stream, stack: AsyncExitStack
) -> None:
    ending = loop.create_task(_give_up(connection, stream, stack, None))
    _ending.add(ending)
    ending.add_done_callback(_ending.discard)
    ending.add_done_callback(heeded)


_ending: set[asyncio.Task[None]] = set()  # what ends in the background; a loop keeps only weak references
