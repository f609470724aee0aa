"""How long a file descriptor number stays open: until the last operation on it has ended, and not longer.

The number of a closed descriptor is given to the next file that anybody opens. A job on a worker thread that still
holds the old number would then read, or write, a file that it has never heard of. So every operation that leaves the
loop thread holds the descriptor open, from before it is handed over until it has ended (not until its caller has gone),
and close waits for them.

    OPEN --close, no uses--> CLOSED
    OPEN --close, uses--> CLOSING --last use ended--> CLOSED

Invariants
1. `_uses` counts operations handed to threads and not ended, `in_ring` those in the loop's ring. They rise only in
   OPEN. `in_ring` belongs to the thread of the loop and is counted without the lock.
2. The number is passed to close(2) once, by whoever takes it under the lock (`_take`), and only while both are 0.
   A sync goes into the ring while a hold of its own is counted in `_uses`, also in CLOSING.
3. In CLOSING somebody takes it: the waiting closer, or, if that was cancelled or never waited (`_abandoned`), the last
   use.

Guarantees: any thread may release. Nothing is called with the lock held. Assumes: nothing of the GIL. After a fork the
child's copy of the number is its own, and no use of the parent's is under way in it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from enum import Enum
from typing import TypeVar, TypeVarTuple

from asyncstore.aio._shielded import see_through
from asyncstore.aio.errors import FileClosed
from asyncstore.pool import PoolClosed, default_pool
from asyncstore.pool.errors import PoolFull

__all__ = ("Lifetime", "Use")

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_logger = logging.getLogger("asyncstore.aio")


class _Forks:
    """How often this process has been forked off, and the lock that a fork may have left taken."""

    __slots__ = ("generation", "lock")

    def __init__(self) -> None:
        self.generation = 0
        # One for all descriptors: held for a few instructions, never while anything is called. Reentrant, because a
        # collection may begin among them and finalise another file, which takes the lock too.
        self.lock = threading.RLock()

    def in_child(self) -> None:
        self.generation += 1
        self.lock = threading.RLock()


_forks = _Forks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forks.in_child)


class State(Enum):
    """See the table in the module's docstring."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Lifetime:
    """The number `fd`. `quick`: its close has nothing to write back, and may be done on the loop thread.

    `bounded`: operations on it end by themselves (a regular file), so that close can wait for them.
    """

    __slots__ = ("_abandoned", "_fd", "_generation", "_uses", "_waiters", "bounded", "in_ring", "quick", "state")

    def __init__(self, fd: int, *, quick: bool, bounded: bool) -> None:
        self._fd = fd
        self.quick = quick
        self.bounded = bounded
        self.state = State.OPEN
        self._uses = 0
        self.in_ring = 0
        self._abandoned = False
        self._waiters: list[asyncio.Future[None]] = []
        self._generation = _forks.generation

    def acquire(self) -> None:
        """Begin a use by a thread; raises FileClosed unless the descriptor is open."""
        with _forks.lock:
            if self.state is not State.OPEN:
                raise FileClosed
            self._adopt_after_fork()
            self._uses += 1

    def release(self, *, on_worker: bool = False) -> None:
        """End a use. `on_worker`: on a thread that may block."""
        with _forks.lock:
            self._uses -= 1
        if self.state is not State.OPEN:
            self.settle(on_worker=on_worker)

    def settle(self, *, on_worker: bool = False) -> None:
        """Let the closing go on, if nobody uses the descriptor any more: a use has ended in CLOSING."""
        with _forks.lock:
            if self._uses or self.in_ring:
                return
            waiters, self._waiters = self._waiters, []
            fd = self._take() if self._abandoned else -1
        if fd >= 0:
            self._close_unasked(fd, on_worker=on_worker)
        for waiter in waiters:
            self._wake(waiter, on_worker=on_worker)

    @property
    def unused(self) -> bool:
        """Whether it is open and nobody is using it."""
        return self.state is State.OPEN and not self._uses and not self.in_ring

    async def close(self, last: Callable[[int], object] | None = None) -> None:
        """Close the descriptor once the last use has ended. Idempotent; a second closer waits like the first.

        `last`: what to do with the number first, in the same job; whatever it raises is raised once it is closed.

        Raises OSError for what close(2) reports (EIO, ENOSPC, EDQUOT: written data may be lost); the number is free
        nevertheless. Where uses may last for ever (a FIFO, a terminal) it returns at once and the last use closes.
        Cancelled, it leaves the closing to the last use, or to a worker.
        """
        with _forks.lock:
            self._adopt_after_fork()
            if self.state is State.OPEN:
                self.state = State.CLOSING
            waiter = None
            if self._uses or self.in_ring:
                if not self.bounded:
                    self._abandoned = True
                    return
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
        if waiter is not None:
            try:
                await waiter
            except asyncio.CancelledError:
                self.abandon()
                raise
        fd = self._take_locked()
        if fd < 0:
            return
        if last is not None:
            await see_through(_end_with, last, fd)
        elif self.quick:
            os.close(fd)
        else:
            await see_through(os.close, fd)

    def close_now(self) -> bool:
        """Close on the spot if nobody uses the descriptor and close(2) cannot wait; return whether it is closed."""
        if not self.quick:
            return False
        with _forks.lock:
            self._adopt_after_fork()
            if self.state is not State.OPEN or self._uses or self.in_ring:
                return self.state is State.CLOSED
            fd = self._take()
        os.close(fd)
        return True

    def abandon(self) -> None:
        """Have the last use close the descriptor, or a worker when there is none. Never blocks, never raises."""
        with _forks.lock:
            self._adopt_after_fork()
            self._abandoned = True
            if self.state is State.OPEN:
                self.state = State.CLOSING
            fd = -1 if self._uses or self.in_ring else self._take()
        if fd >= 0:
            self._close_unasked(fd, on_worker=False)

    def _adopt_after_fork(self) -> None:
        """In a forked child: the parent's uses do not exist here. The lock is held."""
        if self._generation != _forks.generation:
            self._generation = _forks.generation
            self._uses = self.in_ring = 0
            self._waiters = []

    def _take(self) -> int:
        """Return the number to be closed, -1 when somebody else has it already. The lock is held."""
        fd, self._fd = self._fd, -1
        self.state = State.CLOSED
        return fd

    def _take_locked(self) -> int:
        with _forks.lock:
            return self._take()

    def _wake(self, waiter: asyncio.Future[None], *, on_worker: bool) -> None:
        try:
            waiter.get_loop().call_soon_threadsafe(_finish, waiter)
        except RuntimeError:  # its loop was closed, and nobody waits any more
            fd = self._take_locked()
            if fd >= 0:
                self._close_unasked(fd, on_worker=on_worker)

    def _close_unasked(self, fd: int, *, on_worker: bool) -> None:
        """Close `fd` for a closer that has gone: on a worker unless that is needless or impossible."""
        if not on_worker and not self.quick:
            try:
                _job = default_pool().submit_nowait(_close_and_log, fd)
            except (PoolFull, PoolClosed, RuntimeError):  # RuntimeError: no loop runs on this thread
                pass  # a close that may wait for the disk beats a descriptor that leaks
            else:
                return
        _close_and_log(fd)


def _end_with(last: Callable[[int], object], fd: int) -> None:
    try:
        last(fd)
    finally:
        os.close(fd)


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _close_and_log(fd: int) -> None:
    try:
        os.close(fd)
    except OSError as exc:
        _logger.warning("closing file descriptor %d, which nobody waits for: %s", fd, exc)


class Use:
    """One job's hold on a descriptor. It ends once: when the job ends, or when the job is dropped before it began."""

    __slots__ = ("_claim", "_life")

    def __init__(self, life: Lifetime) -> None:
        life.acquire()
        self._life = life
        self._claim = [
            None
        ]  # popped by whoever ends the use, the worker that begins the job or `drop`; list.pop is atomic

    def __call__(self, fn: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Run ``fn(*args)`` on a worker thread."""
        self._claim.pop()
        try:
            return fn(*args)
        finally:
            self._life.release(on_worker=True)

    def drop(self) -> None:
        """End the use if its job has not begun and never will. Without effect otherwise."""
        try:
            self._claim.pop()
        except IndexError:
            return
        self._life.release()
