"""fsync and fdatasync of one file, shared by those who ask at the same time.

A sync covers what was written before it began. Whoever asks while one is under way must not join it, as the disk may be
past the data in question: those wait together for the next one. So two are known at a time, the one that runs and the
one that will. Whoever finds none runs its own in the ring, which needs no task; else a task of the loop runs one after
the other, and ends when nobody waits.

Guarantees: every caller's sync begins after the call. One that is cancelled leaves the others' sync alone. The
descriptor stays open until the last sync that was asked for has ended.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Any

from asyncstore.aio._lifetime import Lifetime, Use
from asyncstore.aio._priority import run as run_on_pool
from asyncstore.aio._rings import RingFailed, ring_here

__all__ = ("Syncs",)

_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has only the larger one


class _Batch:
    """Those who wait for one sync that has not begun. `data_only` while none of them asked for the metadata."""

    __slots__ = ("data_only", "use", "waiters")

    def __init__(self, life: Lifetime) -> None:
        self.use = Use(life)
        self.waiters: list[asyncio.Future[None]] = []
        self.data_only = True

    def settle(self, exc: BaseException | None) -> None:
        """Hand the outcome of the sync to everybody who still waits."""
        for waiter in self.waiters:
            if waiter.done():
                continue
            if exc is None:
                waiter.set_result(None)
            elif isinstance(exc, asyncio.CancelledError):  # the loop is being shut down
                waiter.cancel()
            else:
                waiter.set_exception(exc)


class Syncs:
    """The syncs of the file that `life` keeps open. `ringable`: a ring may be used, which saves the hop to a thread."""

    __slots__ = ("_life", "_next", "_ringable", "_under_way")

    def __init__(self, life: Lifetime, *, ringable: bool) -> None:
        self._life = life
        self._ringable = ringable
        self._next: _Batch | None = None
        self._under_way: asyncio.Future[Any] | None = None  # the sync of one caller in the ring, or the task

    async def join(self, fd: int, *, data_only: bool) -> None:
        """Wait for a sync of `fd` that begins after this call. Raises FileClosed, and OSError as fsync(2) does."""
        loop = asyncio.get_running_loop()
        if self._idle() and await self._alone(fd, data_only=data_only):
            return
        if self._next is None:
            self._next = _Batch(self._life)
        batch = self._next
        batch.data_only = batch.data_only and data_only
        waiter = loop.create_future()
        batch.waiters.append(waiter)
        if self._idle():
            self._begin(fd)
        await waiter

    def _idle(self) -> bool:
        """Whether nothing is under way that would see to the next batch when it ends."""
        under_way = self._under_way
        return under_way is None or under_way.done() or under_way.get_loop().is_closed()

    async def _alone(self, fd: int, *, data_only: bool) -> bool:
        """Run one caller's sync in the ring; return whether that could be done."""
        ring = ring_here() if self._ringable else None
        future = None if ring is None else ring.fsync(self._life, fd, data_only=data_only)
        if future is None:
            return False
        self._under_way = future
        future.add_done_callback(partial(self._begin, fd))
        try:
            await future
        except RingFailed:  # syncing once more is the only way to know
            return False
        return True

    def _begin(self, fd: int, _ended: asyncio.Future[int] | None = None) -> None:
        """Start the task, if somebody waits for the next sync. A cancelled caller's may still run: no harm."""
        if self._next is not None:
            self._under_way = asyncio.get_running_loop().create_task(self._run(fd), name="asyncstore.aio fsync")

    async def _run(self, fd: int) -> None:
        """Run one batch after the other."""
        while (batch := self._next) is not None:
            self._next = None
            outcome: BaseException | None = None
            try:
                await self._sync(fd, batch)
            except asyncio.CancelledError as exc:
                outcome = exc
                raise
            except Exception as exc:  # noqa: BLE001  # whatever it is belongs to those who wait
                outcome = exc
            finally:
                batch.use.drop()
                batch.settle(outcome)

    async def _sync(self, fd: int, batch: _Batch) -> None:
        ring = ring_here() if self._ringable else None
        future = None if ring is None else ring.fsync(self._life, fd, data_only=batch.data_only)
        if future is not None:
            try:
                await future
            except RingFailed:  # syncing once more is the only way to know
                pass
            else:
                return
        await run_on_pool(batch.use, _fdatasync if batch.data_only else os.fsync, fd)
