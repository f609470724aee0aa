"""Reads and writes that are done on the spot or not at all: the half of a descriptor that never blocks.

preadv2(2) with RWF_NOWAIT copies what the page cache holds and otherwise says EAGAIN. It costs 1 us where a hop to a
thread costs ten to a hundred. What it answers is not to be taken at its word:

1. A short count is not the end of the file: the pages behind it may just not be cached. Only a count that reaches the
   size which fstat(2) tells is (and Linux 5.9 and 5.10 return 0 where they should say EAGAIN).
2. EOPNOTSUPP belongs to the file system (see `_device`), not to the file.
3. After `MISSES` misses in a row the attempt is most likely wasted: only every `RETRY`-th read tries again.
4. Only regular files. A FIFO, a terminal, a socket or a device has no page cache, and what its read waits for is
   anybody's guess.

Files in memory (tmpfs, ramfs) refuse RWF_NOWAIT but have nothing to wait for: plain pread(2) and pwrite(2). Where the
refusal comes from another file system (overlayfs, the root of every container), mincore(2) tells whether the pages are
there (see `_resident`).

Buffers: preadv copies into a scratch buffer of exactly the asked size, then the bytes object is made of it. The buffers
belong to the thread, as the GIL is released inside preadv, and loops of several threads would overwrite each other's.
"""

from __future__ import annotations

import errno
import os
import threading
from enum import Enum

from asyncstore.aio._device import Device
from asyncstore.aio._resident import Resident
from asyncstore.aio.errors import FileClosed

__all__ = ("INLINE_LIMIT", "MAX_BUFFERS", "RWF_NOWAIT", "Nowait", "negative_offset", "whole_file_buffer")

INLINE_LIMIT = 256 * 1024  # bytes: copying them takes 30 us, which is what a hop to a thread costs
MISSES = 8  # in a row, after which trying first costs more than it gains
RETRY = 64  # of so many reads one tries again
MAX_BUFFERS = 1024  # in one preadv(2) or pwritev(2): IOV_MAX of Linux and of the BSDs
SCRATCH_BYTES = 1 << 20  # kept per thread: four buffers of the largest size, or hundreds of the usual ones

RWF_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)

if hasattr(os, "preadv"):
    _preadv = os.preadv
else:  # pragma: no cover  # a system without preadv never gets into the mode that calls it

    def _preadv(fd: int, buffers: object, offset: int, flags: int = 0, /) -> int:
        raise NotImplementedError


class _Scratch(threading.local):
    """Buffers that reads are copied through; `slots` maps a size to a list of one buffer, as preadv wants it."""

    def __init__(self) -> None:
        self.slots: dict[int, list[bytearray]] = {}
        self.held = 0  # bytes in `slots`
        self.whole: tuple[list[bytearray], memoryview] | None = None

    def make(self, n: int) -> list[bytearray] | None:
        """Return a new buffer of `n` bytes and keep it; None when `n` is beyond what is read inline."""
        if n > INLINE_LIMIT:
            return None
        if self.held + n > SCRATCH_BYTES or len(self.slots) >= 1024:
            self.slots.clear()
            self.held = 0
        slot = self.slots[n] = [bytearray(n)]
        self.held += n
        return slot


_scratch = _Scratch()


def whole_file_buffer() -> tuple[list[bytearray], memoryview]:
    """Return this thread's buffer for a whole file (`INLINE_LIMIT` bytes and one more), and a view of it."""
    whole = _scratch.whole
    if whole is None:
        buffer = bytearray(INLINE_LIMIT + 1)
        whole = _scratch.whole = [buffer], memoryview(buffer)
    return whole


class Mode(Enum):
    """How reads are tried inline."""

    NOWAIT = "nowait"  # preadv with RWF_NOWAIT
    PAUSED = "paused"  # as NOWAIT, but too many misses in a row
    MEMORY = "memory"  # plain pread: the file is nowhere but in memory
    RESIDENT = "resident"  # plain pread, if mincore says that the pages are there
    NEVER = "never"  # not a regular file, or one that bypasses the cache
    CLOSED = "closed"


# Global names are found faster than attributes, and the read below takes 1 us.
_NOWAIT, _PAUSED, _MEMORY, _RESIDENT = Mode.NOWAIT, Mode.PAUSED, Mode.MEMORY, Mode.RESIDENT
_copy = b"".join  # of the one buffer in a slot: the fastest way to a bytes object


class Nowait:
    """The descriptor `fd` of a regular file on `device`.

    `device` None: never inline. `sync`: each write waits for the disk.
    """

    __slots__ = ("_device", "_misses", "_mode", "_resident", "_skip", "_sync", "_write_misses", "fd")

    def __init__(self, fd: int, device: Device | None, *, sync: bool = False) -> None:
        self.fd = fd
        self._device = device
        self._misses = 0  # reads in a row that were not cached
        self._skip = 0  # reads left until the next attempt, in PAUSED
        self._write_misses = 0
        self._sync = sync
        self._resident: Resident | None = None
        self._mode = self._first_mode()

    def _first_mode(self) -> Mode:
        device = self._device
        if device is None:
            return Mode.NEVER
        if device.in_memory:
            return Mode.MEMORY
        if device.nowait_reads:
            return Mode.NOWAIT
        return Mode.RESIDENT if device.local else Mode.NEVER

    def read_cached(self, n: int, offset: int) -> bytes | None:
        """Return `n` bytes from `offset`, fewer only at the end of the file; None when that might block.

        Raises FileClosed, ValueError for a negative `n` or `offset`, OSError for what the file system reports (EIO).
        Counts as one hit for `_budget.spend`, which is the caller's to call.
        """
        if offset < 0:
            raise negative_offset(offset)
        mode = self._mode
        if mode is not _NOWAIT:
            if mode is _PAUSED and self._skip > 1:
                self._skip -= 1
                return None
            return self._read_otherwise(n, offset)
        scratch = _scratch
        slot = scratch.slots.get(n) or scratch.make(n)
        if slot is None:
            return None
        try:
            got = _preadv(self.fd, slot, offset, RWF_NOWAIT)
        except OSError as exc:
            return self._read_refused(exc, n, offset)
        if got == n:
            self._misses = 0
            return _copy(slot)
        if self._ends_at(offset + got):
            return bytes(memoryview(slot[0])[:got])
        return self._missed()

    def readv_cached(self, views: list[memoryview], total: int, offset: int) -> int | None:
        """Fill `views`, of `total` bytes, as `read_cached` would; return the count, None when it might block."""
        if offset < 0:
            raise negative_offset(offset)
        mode = self._mode
        if total > INLINE_LIMIT or len(views) > MAX_BUFFERS or (mode is not _NOWAIT and mode is not _MEMORY):
            return None
        try:
            got = _preadv(self.fd, views, offset, RWF_NOWAIT if mode is _NOWAIT else 0)
        except OSError as exc:
            self._read_refused(exc, 0, offset)
            return None
        if got == total or self._ends_at(offset + got):
            self._misses = 0
            return got
        self._missed()
        return None

    def write_cached(self, view: memoryview, offset: int) -> int:
        """Write what of `view` can be written at `offset` without blocking; return the count, 0 when that is nothing.

        Raises ValueError for a negative `offset`, OSError as pwrite(2) does.
        """
        if offset < 0:
            raise negative_offset(offset)
        device = self._device
        if device is None or self._sync or view.nbytes > INLINE_LIMIT:
            return 0
        if device.in_memory:
            return os.pwrite(self.fd, view, offset)
        if not device.nowait_writes or self._write_misses >= MISSES:
            return 0
        try:
            got = os.pwritev(self.fd, [view], offset, RWF_NOWAIT)
        except BlockingIOError:  # btrfs always answers so
            self._write_misses += 1
            return 0
        except OSError as exc:
            if exc.errno != errno.EOPNOTSUPP:
                raise
            device.nowait_writes = False
            return 0
        self._write_misses = 0
        return got

    def _read_otherwise(self, n: int, offset: int) -> bytes | None:
        """Serve a read in the modes other than NOWAIT, whose buffers refuse a negative count by themselves."""
        if n < 0 and self._mode is not Mode.CLOSED:
            raise ValueError(f"a count should not be negative, got {n}")
        mode = self._mode
        if mode is _MEMORY:
            return self._read_plain(n, offset) if n <= INLINE_LIMIT else None
        if mode is _RESIDENT:
            return self._read_resident(n, offset) if n <= INLINE_LIMIT else None
        if mode is _PAUSED:  # the last read that was to be skipped
            self._mode = self._first_mode()
            return self.read_cached(n, offset)
        if mode is Mode.CLOSED:
            raise FileClosed
        return None

    def _read_resident(self, n: int, offset: int) -> bytes | None:
        resident = self._resident
        if resident is None:
            resident = self._resident = Resident(self.fd)
        if not resident.holds(n, offset):
            return self._missed()
        self._misses = 0
        return self._read_plain(n, offset)

    def _read_plain(self, n: int, offset: int) -> bytes | None:
        data = os.pread(self.fd, n, offset)
        return data if len(data) == n or self._ends_at(offset + len(data)) else None

    def _read_refused(self, exc: OSError, n: int, offset: int) -> bytes | None:
        """Tell a miss from an error: EAGAIN, or a file system that does not know RWF_NOWAIT."""
        if exc.errno == errno.EAGAIN:
            return self._missed()
        if exc.errno != errno.EOPNOTSUPP:
            raise exc
        device = self._device
        assert device is not None  # no device, no inline read
        device.nowait_reads = False
        self._mode = self._first_mode()
        return self._read_otherwise(n, offset)

    def _missed(self) -> bytes | None:
        """Count a miss; return None, as the reads do that call it."""
        self._misses += 1
        if self._misses >= MISSES:
            self._mode = Mode.PAUSED
            self._skip = RETRY
        return None

    def _ends_at(self, end: int) -> bool:
        """Whether the file ends at or before `end`. Its device is local, so fstat asks nobody."""
        device = self._device
        return device is not None and device.local and os.fstat(self.fd).st_size <= end


def negative_offset(offset: int) -> ValueError:
    """Return the error for an offset before the file; preadv2(2) and io_uring take -1 for the current position."""
    return ValueError(f"an offset should not be negative, got {offset}")
