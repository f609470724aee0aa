"""Many records at once: cut into batches by their size, two of them on their way at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncstore.bdb._database import Database
    from asyncstore.bdb._transaction import Transaction

__all__ = ("put_many",)

RECORDS = 1024  # of a batch at most: each may lock a page of its own
OVERHEAD = 32  # bytes of a record besides its value: its key and its place on a page, about
BYTES = 256 * 1024  # of a batch, about: what comes with it in its group waits no longer than for a large record


async def put_many(
    database: Database[Any],
    records: Iterable[tuple[Any, bytes]] | AsyncIterable[tuple[Any, bytes]],
    txn: Transaction | None,
) -> int:
    """Store `records` in their order; see `Database.put_many`."""
    count = 0
    before: asyncio.Task[Any] | None = None
    try:
        async for batch, size in _batches(database, records):
            now = asyncio.ensure_future(database.write(database.put_many_operation, batch, size, txn))
            last, before = before, now  # while one is written the next is gathered
            if last is not None:
                await last
            count += len(batch)
        if before is not None:
            await before
    finally:
        if before is not None and not before.done():
            before.cancel()
            await asyncio.wait([before])
        if before is not None and before.done() and not before.cancelled():
            before.exception()  # told by the one before it
    return count


class _Pile:
    """Records that are gathered until they make a batch."""

    __slots__ = ("_check", "_records", "_size")

    def __init__(self, database: Database[Any]) -> None:
        self._check = database.check_record
        self._records: list[tuple[Any, bytes]] = []
        self._size = 0

    def add(self, key: Any, value: bytes) -> bool:
        """Take a record; tell whether there are enough."""
        self._check(key, value)
        self._records.append((key, value))
        self._size += len(value) + OVERHEAD
        return self._size >= BYTES or len(self._records) == RECORDS

    def take(self) -> tuple[list[tuple[Any, bytes]], int]:
        """Return what is there and its size in bytes, and begin anew."""
        taken = self._records, self._size
        self._records, self._size = [], 0
        return taken


async def _batches(
    database: Database[Any], records: Iterable[tuple[Any, bytes]] | AsyncIterable[tuple[Any, bytes]]
) -> AsyncIterator[tuple[list[tuple[Any, bytes]], int]]:
    pile = _Pile(database)
    if isinstance(records, AsyncIterable):
        async for key, value in records:
            if pile.add(key, value):
                yield pile.take()
    else:
        for key, value in records:
            if pile.add(key, value):
                yield pile.take()
    last = pile.take()
    if last[0]:
        yield last
