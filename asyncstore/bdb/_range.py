"""Iteration over a range of keys, fetched in batches: not a hop a record, and no cursor held between two batches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from asyncstore.bdb import errors
from asyncstore.bdb._read import Scan

__all__ = ("Range",)

FIRST_BATCH = 32  # records: a consumer that wants a few pays for few
MAX_BATCH = 1024  # records: 1 ms of a worker's time; larger batches gain nothing measurable
BATCH_BYTES = 256 * 1024  # bytes of keys and values, so that large records do not pile up in memory

Fetch = Callable[[Scan], Awaitable[tuple[list[tuple[bytes, bytes]], bool]]]


class Range:
    """The records of a range as an async iterator of (key, value); made by `Database.range`.

    Each batch is read by a cursor of its own that is closed before the batch arrives, so that nothing is locked while
    the consumer works, and one that stops early has nothing to release. The price: what another writer commits behind
    the last record fetched may be seen or not, batch by batch; every record is one that was committed.

    ``async with`` and `aclose` drop what was fetched ahead and end the iteration. Not for two tasks at once.
    """

    __slots__ = (
        "_after",
        "_batch",
        "_fetch",
        "_fetching",
        "_high",
        "_left",
        "_low",
        "_more",
        "_place",
        "_reverse",
        "_size",
        "_title",
    )

    def __init__(
        self, fetch: Fetch, title: str, low: bytes, high: bytes | None, *, reverse: bool, limit: int | None
    ) -> None:
        self._fetch = fetch
        self._title = title
        self._low = low
        self._high = high
        self._reverse = reverse
        self._left = limit
        self._after: bytes | None = None
        self._batch: list[tuple[bytes, bytes]] = []
        self._place = 0
        self._size = FIRST_BATCH
        self._more = (high is None or low < high) and limit != 0
        self._fetching = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[bytes, bytes]:
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

    async def _next_batch(self) -> None:
        if self._fetching:
            raise errors.Misuse(doing="range", of=self._title, detail="two tasks iterate over one range")
        records = self._size if self._left is None else min(self._size, self._left)
        self._fetching = True
        try:
            plan = Scan(self._low, self._high, self._after, self._reverse, records, BATCH_BYTES)
            batch, more = await self._fetch(plan)
        finally:
            self._fetching = False
        if not self._more:
            return  # closed by another task while the batch was on its way
        self._batch, self._place = batch, 0
        self._size = min(2 * self._size, MAX_BATCH)
        if self._left is not None:
            self._left -= len(batch)
        self._more = more and self._left != 0
        if batch:
            self._after = batch[-1][0]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the iteration. Idempotent, waits for nothing."""
        self._more = False
        self._batch, self._place = [], 0
