"""Many records at once: cut into batches by their size, two of them on their way at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from asyncstore.bdb._records import MAX_ITEM_BYTES
from asyncstore.pool import heeded

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
    under_way: list[asyncio.Task[Any]] = []  # two at most: while one is written the next is gathered
    try:
        async for batch, size in _batches(database, records):
            under_way.append(asyncio.ensure_future(database.write(database.put_many_operation, batch, size, txn)))
            if len(under_way) == 2:
                await _first(under_way)
            count += len(batch)
        while under_way:
            await _first(under_way)
    finally:
        # The later one first: what is stored of all is a beginning.
        for task in reversed(under_way):
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)
        for task in under_way:
            heeded(task)  # of the one before it its caller is told
    return count


async def _first(under_way: list[asyncio.Task[Any]]) -> None:
    """Wait for the first write, and raise what it raised."""
    await asyncio.wait(under_way[:1])  # a cancel of ours is not to cancel it before the one behind it
    await under_way.pop(0)


async def _batches(
    database: Database[Any], records: Iterable[tuple[Any, bytes]] | AsyncIterable[tuple[Any, bytes]]
) -> AsyncIterator[tuple[list[tuple[Any, bytes]], int]]:
    """Yield batches, each with its size in bytes."""
    if isinstance(records, AsyncIterable):
        pile: list[tuple[Any, bytes]] = []
        size = 0
        async for key, value in records:
            database.check_record(key, value)
            pile.append((key, value))
            size += len(value) + OVERHEAD
            if size >= BYTES or len(pile) == RECORDS:
                yield pile, size
                pile, size = [], 0
        if pile:
            yield pile, size
        return
    source = iter(records)
    while pile := list(islice(source, RECORDS)):
        for batch in _cut(database, pile):
            yield batch


def _cut(database: Database[Any], records: list[tuple[Any, bytes]]) -> Iterator[tuple[list[tuple[Any, bytes]], int]]:
    """Yield `records` in batches of bounded size, up to one that cannot be stored, which raises in its place."""
    failure = _failure(database, records)
    if failure is not None:
        place, error = failure
        records = records[:place]
    size = sum([len(value) for _, value in records]) + OVERHEAD * len(records)
    if size < 2 * BYTES:  # nearly always
        if records:
            yield records, size
    else:
        yield from _cut_by_size(records)
    if failure is not None:
        raise error


def _failure(database: Database[Any], records: list[tuple[Any, bytes]]) -> tuple[int, Exception] | None:
    """Return the place of the first record that cannot be stored, and why; None: all can."""
    if database.plain and _all_bytes(records):
        return None
    for place, record in enumerate(records):
        try:
            key, value = record
            database.check_record(key, value)
        except (TypeError, ValueError) as exc:
            return place, exc
    return None


def _all_bytes(records: list[tuple[Any, bytes]]) -> bool:
    """Tell whether all records are pairs of bytes that are not too long; the loops run in C."""
    try:
        return (
            set(map(len, records)) == {2}
            and set(map(type, chain.from_iterable(records))) == {bytes}
            and max(map(len, chain.from_iterable(records))) <= MAX_ITEM_BYTES
        )
    except TypeError:
        return False


def _cut_by_size(records: list[tuple[Any, bytes]]) -> Iterator[tuple[list[tuple[Any, bytes]], int]]:
    batch: list[tuple[Any, bytes]] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record[1]) + OVERHEAD
        if size >= BYTES:
            yield batch, size
            batch, size = [], 0
    if batch:
        yield batch, size
