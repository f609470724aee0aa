"""Iteration over a range of keys, fetched in batches: not a hop a record, and no cursor held between two batches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from asyncstore.bdb import errors
from asyncstore.bdb._records import bounds
from asyncstore.bdb._scan import Duplicates, Scan

__all__ = ("Range", "plan_range", "whole")

FIRST_BATCH = 32  # records: a consumer that wants a few pays for few
MAX_BATCH = 4096  # records: 4 ms of a worker's time; for small ones, as BATCH_BYTES bounds the others
BATCH_BYTES = 256 * 1024  # bytes of keys and values, so that large records do not pile up in memory

R = TypeVar("R", bound=tuple[Any, ...])


# Any: keys are bytes or ints by access method.
def plan_range(
    start: Any,
    stop: Any,
    prefix: bytes | None,
    *,
    reverse: bool,
    duplicates: Duplicates = Duplicates.NONE,
    order: Callable[[Any], Any] | None = None,
    numbered: bool = False,
) -> tuple[Scan, bool]:
    """Return the first batch of a range, and whether the range is empty by its bounds. Raises ValueError."""
    if prefix is not None:
        if order is not None or numbered:
            raise ValueError("a prefix is for keys that are bytes and sorted as such")
        start, stop = bounds(start, stop, prefix)
    comparable = order or (lambda key: key)
    empty = start is not None and stop is not None and not comparable(start) < comparable(stop)
    plan = Scan(
        start, stop, reverse=reverse, records=FIRST_BATCH, size=BATCH_BYTES, duplicates=duplicates, order=order,
        numbered=numbered,
    )  # fmt: skip
    return plan, empty


def whole() -> Scan:
    """Return the first batch of everything, in whatever order."""
    return Scan(None, None, reverse=False, records=FIRST_BATCH, size=BATCH_BYTES)


async def _nothing() -> None:
    return None


class Range(Generic[R]):
    """The records of a range as an async iterator of tuples; made by `Database.range` and `Index.range`.

    Each batch is read by a cursor of its own that is closed before the batch arrives, so that nothing is locked while
    the consumer works, and one that stops early has nothing to release. The price: what another writer commits behind
    the last record fetched may be seen or not, batch by batch; every record is one that was committed. In a
    transaction the range has that transaction's isolation. Databases without an order of keys (hash, heap) are read
    by one cursor, which is held until the end: leave them by ``async with`` or `aclose`.

    ``async with`` and `aclose` drop what was fetched ahead and end the iteration. Not for two tasks at once.
    """

    def __init__(
        self,
        fetch: Callable[[Scan], Awaitable[tuple[list[R], bool]]],
        title: str,
        plan: Scan,
        *,
        empty: bool,
        limit: int | None,
        close: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self._fetch = fetch
        self._title = title
        self._plan = plan
        self._left = limit
        self._close = close
        self._batch: list[R] = []
        self._place = 0
        self._more = not empty and limit != 0
        self._fetching = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        """Return the next record.

        Raises StopAsyncIteration at the end, `Closed` when the database was closed meanwhile, and the errors of a
        read. A cancel leaves the iterator where it was: the next call fetches the same batch again.
        """
        while self._place >= len(self._batch):
            if not self._more:
                raise StopAsyncIteration
            await self._next_batch()
        record = self._batch[self._place]
        self._place += 1
        return record

    async def batches(self) -> AsyncIterator[list[R]]:
        """Yield the records a batch at a time, as lists: for bulk work, at half the cost of one by one."""
        while self._more or self._place < len(self._batch):
            if self._place >= len(self._batch):
                await self._next_batch()
            batch, self._batch, start, self._place = self._batch, [], self._place, 0
            if batch:
                yield batch[start:] if start else batch

    async def _next_batch(self) -> None:
        if self._fetching:
            raise errors.Misuse(doing="range", of=self._title, detail="two tasks iterate over one range")
        plan = self._plan
        if self._left is not None and self._left < plan.records:
            plan = replace(plan, records=self._left)
        self._fetching = True
        try:
            batch, more = await self._fetch(plan)
        finally:
            self._fetching = False
        if not self._more:
            return  # closed by another task while the batch was on its way
        self._batch, self._place = batch, 0
        if self._left is not None:
            self._left -= len(batch)
        self._more = more and self._left != 0
        if batch:
            self._plan = replace(self._plan, after=plan.behind(batch), records=min(2 * self._plan.records, MAX_BATCH))
        if not self._more:
            await self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the iteration, and give up the cursor where there is one. Idempotent."""
        self._more = False
        self._batch, self._place = [], 0
        await self._close()
