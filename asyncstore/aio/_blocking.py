"""Positional I/O that goes on until all is done: what a worker thread runs for a descriptor.

A system call may stop early: at 2 GiB, at a signal, at the last free block of a disk. The loops here go on until all is
done, the file ends or an error says why not.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence

from asyncstore.aio._nowait import MAX_BUFFERS
from asyncstore.aio.errors import PartialWrite

__all__ = ("partial", "pread_all", "pread_direct", "preadv_all", "pwrite_all", "pwrite_direct", "pwritev_all")

LARGE = 1 << 20  # bytes, from which on the file is asked for its size before as much memory is allocated


def pread_all(fd: int, n: int, offset: int) -> bytes:
    """Return `n` bytes from `offset`, fewer only at the end of the file."""
    if n > LARGE:
        n = min(n, _left(fd, offset))
    data = os.pread(fd, n, offset)
    if len(data) == n or not data:
        return data
    parts = [data]
    got = len(data)
    while got < n:
        data = os.pread(fd, n - got, offset + got)
        if not data:
            break
        parts.append(data)
        got += len(data)
    return b"".join(parts)


def pread_direct(fd: int, n: int, offset: int) -> bytes:
    """As `pread_all`, for a file with O_DIRECT, which reads into memory that begins at a page only.

    One read: the next would begin where the file ends, at an offset that O_DIRECT refuses.
    """
    with mmap.mmap(-1, max(n, 1)) as memory, memoryview(memory) as view:
        got = os.preadv(fd, [view[:n]], offset)
        return view[:got].tobytes()


def pwrite_direct(fd: int, view: memoryview, offset: int, done: int = 0) -> int:
    """As `pwrite_all`, for a file with O_DIRECT, which writes out of memory that begins at a page only."""
    if done == view.nbytes:
        return done
    with mmap.mmap(-1, view.nbytes) as memory, memoryview(memory) as copy:
        copy[:] = view
        return pwrite_all(fd, copy, offset, done)


def _left(fd: int, offset: int) -> int:
    """Return the number of bytes that a read from `offset` could give at most: one more than the file is said to have.

    Files of /proc say 0 and have more: for them, and for what else has no size, `LARGE`.
    """
    size = os.fstat(fd).st_size
    return max(size - offset + 1, LARGE)


def preadv_all(fd: int, views: Sequence[memoryview], offset: int) -> int:
    """Fill `views` one after the other from `offset`; return the count of bytes, short only at the end of the file."""
    done = 0
    rest = [view for view in views if view.nbytes]
    while rest:
        got = os.preadv(fd, rest[:MAX_BUFFERS], offset + done)
        if not got:
            break
        done += got
        rest = _after(rest, got)
    return done


def pwrite_all(fd: int, view: memoryview, offset: int, done: int = 0) -> int:
    """Write all of `view` from its byte `done` on, so that it begins at `offset` of the file; return its length.

    Raises PartialWrite when some of it (`done` included) was written before the error, else the plain OSError.
    """
    total = view.nbytes
    try:
        while done < total:
            done += os.pwrite(fd, view[done:], offset + done)
    except OSError as exc:
        if not done:
            raise
        raise partial(exc, done) from exc
    return total


def pwritev_all(fd: int, views: Sequence[memoryview], offset: int) -> int:
    """Write all of `views` one after the other from `offset`; returns and raises as `pwrite_all`."""
    done = 0
    rest = [view for view in views if view.nbytes]
    try:
        while rest:
            got = os.pwritev(fd, rest[:MAX_BUFFERS], offset + done)
            done += got
            rest = _after(rest, got)
    except OSError as exc:
        if not done:
            raise
        raise partial(exc, done) from exc
    return done


def partial(exc: OSError, written: int) -> PartialWrite:
    """Return the error to raise from `exc`, which came after `written` bytes, or without saying how many."""
    error = PartialWrite(exc.errno, exc.strerror)
    error.written = written
    return error


def _after(views: list[memoryview], n: int) -> list[memoryview]:
    """Return `views` without their first `n` bytes."""
    for index, view in enumerate(views):
        if n < view.nbytes:
            return [view[n:], *views[index + 1 :]]
        n -= view.nbytes
    return []
