"""One io_uring on one event loop: reads, writes and syncs that the page cache cannot serve, without a thread.

The problem: a read that misses the page cache costs 35 us of CPU in a pool of threads, most of it wake-ups. The choice:
a ring that belongs to the loop's thread. What a tick asks for is submitted by one system call at its end, and what the
disk has done meanwhile comes back by one wake-up: about 10 us. SQPOLL was refused: its kernel thread burns a processor.

Buffers. The kernel may write into the buffer of a read until it has posted the completion, whatever has become of
whoever asked for it: a cancelled task, a closed ring, an ended loop. So it never gets the address of a Python object.
Buffers are slots of one slab of memory that the ring owns, a slot is used again only after its completion, and a ring
that cannot get all of its completions back when it is closed leaks the slab on purpose (`_leaked`).

Guarantees
1. A slot, and the hold on the file descriptor of its request, are given back at the completion, and not before.
2. A cancelled future loses its result, nothing else.
3. `close` returns within `CLOSE_TIMEOUT`.
4. After a fork the child has neither the mappings nor the descriptors of its parent's rings.

Assumes: all methods run on the thread that made the ring (SINGLE_ISSUER); `__del__` and `forget` may run on any.
"""

from __future__ import annotations

import asyncio
import os
import threading

from asyncstore.aio._lifetime import Lifetime, State
from asyncstore.aio._rings import SLOT, RingFailed
from asyncstore.aio._syscalls import unmap_memory
from asyncstore.aio._uring_abi import (
    ASYNC_CANCEL,
    CANCEL_EVERYTHING,
    DATASYNC,
    FSYNC,
    READ,
    WRITE,
    Queues,
    map_slab,
)

__all__ = ("Ring",)

ENTRIES = 256  # requests between two submits; a full queue is submitted at once
SLOTS = 512  # requests under way at most; whoever finds none free takes the pool. 32 MiB of address space
CLOSE_TIMEOUT = (
    1.0  # seconds for what is under way: a disk answers in milliseconds, a dead one must not hold up the exit
)
RETRY_DELAY = 0.001  # seconds until a ring that the kernel had no memory for is entered again; arbitrary

_OPEN = State.OPEN  # found faster under this name, once a completion

_leaked: list[tuple[int, int]] = []  # slabs that the kernel may still write to: address and length, never unmapped


class Ring:
    """A ring of the running loop. Raises OSError when the kernel refuses one.

    The loop keeps it alive, through the reader of its eventfd. `close` ends it; so does the garbage collector, once the
    loop has been closed without.
    """

    __slots__ = (
        "__weakref__",
        "_base",
        "_event_fd",
        "_flush_scheduled",
        "_free",
        "_new_future",
        "_push",
        "_queues",
        "_requests",
        "_slab",
        "_thread",
        "closed",
        "in_flight",
        "loop",
        "sentinel",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.closed = True  # until it is complete, for __del__
        self.loop = loop
        self.sentinel: object = None  # what ends this ring with the loop, see `_rings`; lives as long as it
        self.in_flight = 0  # requests pushed and not completed
        self._thread = threading.get_ident()
        self._flush_scheduled = False
        self._queues = Queues(ENTRIES)
        self._push = self._queues.push  # bound once: both are called for every request
        self._new_future = loop.create_future
        self._event_fd = -1
        try:
            self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._queues.signal(self._event_fd)
            self._base, self._slab = map_slab(SLOT * SLOTS)
        except BaseException:
            self._close_descriptors()
            raise
        self._free = list(range(SLOTS))  # a stack: the slots used last are those in the processor's cache
        self._requests: list[tuple[asyncio.Future[bytes] | asyncio.Future[int], Lifetime, bool] | None] = [None] * SLOTS
        self.closed = False
        loop.add_reader(self._event_fd, self._on_event)

    def read(self, life: Lifetime, fd: int, n: int, offset: int) -> asyncio.Future[bytes] | None:
        """Begin to read up to `n` bytes (at most `SLOT`) of `fd` at `offset`; None when every slot is taken.

        `life` must be open. The future gets the bytes (short at the end of the file, and where the file system
        pleases), OSError or `RingFailed`.
        """
        free = self._free
        if not free:
            return None
        slot = free.pop()
        future: asyncio.Future[bytes] = self._new_future()
        self._requests[slot] = future, life, True
        self._push(READ, fd, offset, self._base + slot * SLOT, n, 0, slot)
        self._pushed(life)
        return future

    def write(self, life: Lifetime, fd: int, view: memoryview, offset: int) -> asyncio.Future[int] | None:
        """Begin to write `view` (at most `SLOT` bytes, copied here and now) to `fd` at `offset`; else as `read`."""
        if not self._free:
            return None
        slot = self._free.pop()
        start = slot * SLOT
        n = view.nbytes
        self._slab[start : start + n] = view
        future: asyncio.Future[int] = self._new_future()
        self._requests[slot] = future, life, False
        self._push(WRITE, fd, offset, self._base + start, n, 0, slot)
        self._pushed(life)
        return future

    def fsync(self, life: Lifetime, fd: int, *, data_only: bool) -> asyncio.Future[int] | None:
        """Begin to sync `fd`, with fdatasync(2) if `data_only`; else as `read`."""
        if not self._free:
            return None
        slot = self._free.pop()
        future: asyncio.Future[int] = self._new_future()
        self._requests[slot] = future, life, False
        self._push(FSYNC, fd, 0, 0, 0, DATASYNC if data_only else 0, slot)
        self._pushed(life)
        return future

    def _pushed(self, life: Lifetime) -> None:
        """Count the request just pushed, and see that it is submitted at the end of this tick."""
        life.in_ring += 1
        self.in_flight += 1
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self.loop.call_soon(self._flush)
        elif self._queues.unsubmitted >= ENTRIES:
            self._advance()

    def _flush(self) -> None:
        """Submit what this tick has pushed."""
        self._flush_scheduled = False
        if not self.closed and self._queues.calls():
            self._advance()

    def _on_event(self) -> None:
        """Hand out what has completed.

        The kernel adds to the eventfd twice a batch: when the disk has answered, and when io_uring_enter posts it. So
        the eventfd is read only when there is nothing to enter for, which is in the turn after: half the reads, half
        the enters.
        """
        if self.closed:
            return
        if threading.get_ident() != self._thread:
            self._fail(OSError("the loop has moved to another thread"))
            return
        if not self._queues.calls():
            self._clear_event()
            if not self._queues.calls():  # what came between the look and the read must not wait for the next event
                return
        self._advance()

    def _clear_event(self) -> None:
        try:
            os.eventfd_read(self._event_fd)
        except BlockingIOError:
            pass

    def _advance(self) -> None:
        """Submit, let the kernel post, hand out the results."""
        try:
            self._queues.enter()
        except BlockingIOError:
            self._clear_event()  # which would call again and again until then
            self.loop.call_later(RETRY_DELAY, self._flush)
        except OSError as exc:
            self._reap()
            self._fail(exc)
            return
        self._reap()

    def _reap(self, *, deliver: bool = True) -> None:
        """Take back what has completed; `deliver` its results, unless the loop is closed."""
        requests, take_back, slab = self._requests, self._free.append, self._slab
        for slot, result, _flags in self._queues.reap():
            if slot >= SLOTS:  # the answer to the request to cancel
                continue
            request = requests[slot]
            assert request is not None  # the kernel completes a request once
            requests[slot] = None
            future, life, reads = request
            if deliver and not future.done():
                if result < 0:
                    future.set_exception(OSError(-result, os.strerror(-result)))
                elif reads:
                    start = slot * SLOT
                    future.set_result(slab[start : start + result].tobytes())  # type: ignore[arg-type]  # `reads` tells which
                else:
                    future.set_result(result)  # type: ignore[arg-type]  # as above
            take_back(slot)
            self.in_flight -= 1
            life.in_ring -= 1
            if life.state is not _OPEN:
                life.settle()

    def _fail(self, exc: OSError) -> None:
        """Give up: whoever waits gets `RingFailed`, and nobody gets this ring again."""
        unsubmitted = self._queues.unsubmitted
        self._retire(exc)
        if unsubmitted < self.in_flight:
            self._leak()
        self._drop()

    def close(self) -> None:
        """Cancel what is under way, wait up to `CLOSE_TIMEOUT` for it, give everything back. Idempotent.

        Blocks the thread, while disks finish what cannot be cancelled. On another thread than the ring's, and when time
        is up, the memory that the kernel may still write to is leaked.
        """
        if self.closed:
            return
        if self.in_flight and threading.get_ident() == self._thread:
            try:
                self._settle()
            except OSError:  # the kernel does not let us in any more: the memory stays with it
                pass
        self._retire(None)
        if self.in_flight:
            self._leak()
        self._drop()

    def _settle(self) -> None:
        queues = self._queues
        if queues.unsubmitted >= queues.entries:
            queues.enter()
        queues.push(ASYNC_CANCEL, -1, 0, 0, 0, CANCEL_EVERYTHING, SLOTS)
        queues.wait(self.in_flight + 1, CLOSE_TIMEOUT)
        self._reap(deliver=not self.loop.is_closed())

    def _retire(self, cause: OSError | None) -> None:
        """Take no more requests; fail those under way, and let go of their descriptors.

        A request that the kernel has holds the open file by itself; the number is free to be closed.
        """
        self.closed = True
        if not self.loop.is_closed() and threading.get_ident() == self._thread:
            self.loop.remove_reader(self._event_fd)
        for slot, request in enumerate(self._requests):
            if request is None:
                continue
            self._requests[slot] = None
            future, life, _reads = request
            if not future.done() and not self.loop.is_closed():
                error = RingFailed("the ring was closed" if cause is None else str(cause))
                error.errno = cause.errno if cause is not None else None
                error.__cause__ = cause
                future.set_exception(error)
            life.in_ring -= 1
            if life.state is not _OPEN:
                life.settle()

    def _leak(self) -> None:
        _leaked.append((self._base, SLOT * SLOTS))
        self._base = 0

    def _drop(self) -> None:
        if self._base:
            unmap_memory(self._base, SLOT * SLOTS)
            self._base = 0
        self._slab = memoryview(b"")
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        self._queues.close()
        event_fd, self._event_fd = self._event_fd, -1
        if event_fd >= 0:
            os.close(event_fd)

    def forget(self) -> None:
        """In a forked child: drop the parent's ring without touching it."""
        self.closed = True
        self._base = 0
        self._slab = memoryview(b"")
        self._queues.forget()
        event_fd, self._event_fd = self._event_fd, -1
        if event_fd >= 0:
            os.close(event_fd)

    def __repr__(self) -> str:
        return f"<Ring {'closed' if self.closed else 'open'} in_flight={self.in_flight} free={len(self._free)}>"

    def __del__(self) -> None:
        if not self.closed:
            self.close()
