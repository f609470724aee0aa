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


async def _batches(
    database: Database[Any], records: Iterable[tuple[Any, bytes]] | AsyncIterable[tuple[Any, bytes]]
) -> AsyncIterator[tuple[list[tuple[Any, bytes]], int]]:
    batch: list[tuple[Any, bytes]] = []
    size = 0
    if isinstance(records, AsyncIterable):
        async for key, value in records:
            database.check_record(key, value)
            batch.append((key, value))
            size += len(value) + 32
            if size >= BYTES or len(batch) == RECORDS:
                yield batch, size
                batch, size = [], 0
    else:
        for key, value in records:
            database.check_record(key, value)
            batch.append((key, value))
            size += len(value) + 32
            if size >= BYTES or len(batch) == RECORDS:
                yield batch, size
                batch, size = [], 0
    if batch:
        yield batch, size
