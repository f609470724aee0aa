"""A descriptor with a position: where the next sequential read or write goes.

Two kinds.

- Positional: a regular file that we opened ourselves. The position is a number of ours and every call is a pread or
  pwrite: a read that is cancelled has moved nothing, and reads out of the page cache are inline.
- Stream: pipes, terminals, devices, and every descriptor that was handed to us as a number, whose position the kernel
  keeps and others may share (a redirected stdout). Calls are read(2) and write(2), made when they do not block.

With O_APPEND the kernel chooses the place of a write; the position is asked for afterwards, in the same job.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from asyncstore.aio._blocking import LARGE, partial, pread_all, preadv_all, pwrite_all
from asyncstore.aio._budget import spend
from asyncstore.aio._descriptor import Descriptor
from asyncstore.aio._nowait import INLINE_LIMIT
from asyncstore.aio._readiness import Readiness, read_if_ready, write_if_ready
from asyncstore.aio._turn import Turn
from asyncstore.aio.errors import FileClosed

__all__ = ("Cursor", "Kind", "kind_of")

_O_DIRECT = getattr(os, "O_DIRECT", 0)
_HOLES = (getattr(os, "SEEK_DATA", -1), getattr(os, "SEEK_HOLE", -1))


@dataclass(frozen=True, slots=True)
class Kind:
    """What a descriptor that is no plain regular file turned out to be."""

    directory: bool
    seekable: bool
    terminal: bool


def kind_of(fd: int) -> Kind:
    """Ask the kernel. May block: for worker threads."""
    try:
        os.lseek(fd, 0, os.SEEK_CUR)
    except OSError:
        seekable = False
    else:
        seekable = True
    return Kind(stat.S_ISDIR(os.fstat(fd).st_mode), seekable, os.isatty(fd))


class _Ending(Enum):
    """Who may still wait for a stream."""

    NOT = "everybody"
    CLOSE = "writers"
    ABORT = "nobody"


class Cursor:
    """`descriptor` and its position. All that waits is called by whoever holds `turn`."""

    __slots__ = (
        "_arrived",
        "_ending",
        "_readiness",
        "_reading",
        "append",
        "descriptor",
        "position",
        "positional",
        "seekable",
        "turn",
    )

    def __init__(self, descriptor: Descriptor, *, positional: bool, seekable: bool) -> None:
        self.descriptor = descriptor
        self.positional = positional
        self.seekable = seekable
        self.append = bool(descriptor.flags & os.O_APPEND)
        self.position = 0  # of a stream: meaningless, the kernel has it
        self.turn = Turn()
        self._readiness = Readiness()
        self._reading = False  # the one that waits is a reader
        self._ending = _Ending.NOT
        self._arrived: bytes | None = None  # what a stream gave to a reader that was cancelled meanwhile

    # reading

    def read_now(self, n: int) -> bytes | None:
        """Return `n` bytes, fewer only at the end of the file, and move on; None when that might block."""
        if not self.positional:
            return None
        data = self.descriptor.read_cached(n, self.position)
        if data is not None:
            self.position += len(data)
        return data

    async def read(self, n: int) -> bytes:
        """Return up to `n` bytes, by one system call, and move on; b"" is the end. A cancel moves nothing."""
        if not self.positional:
            return await self._read_stream(n)
        descriptor = self.descriptor
        data = await descriptor.run(os.pread, descriptor.fd, n, self.position)
        self.position += len(data)
        return data

    async def read_whole(self, n: int) -> bytes:
        """Return `n` bytes of a positional file, fewer only at its end, and move on. A cancel moves nothing."""
        if n <= INLINE_LIMIT:
            data = self.read_now(n)
            if data is not None:
                return data
        descriptor = self.descriptor
        data = await descriptor.run(pread_all, descriptor.fd, n, self.position)
        self.position += len(data)
        return data

    async def read_rest(self) -> bytes:
        """Return all from the position to the end of a positional file, and move on. A cancel moves nothing."""
        data = self.read_now(INLINE_LIMIT)
        if data is not None and len(data) < INLINE_LIMIT:
            return data
        start = self.position - len(data or b"")
        self.position = start
        descriptor = self.descriptor
        data = await descriptor.run(_read_rest, descriptor.fd, start)
        self.position = start + len(data)
        return data

    async def read_into(self, view: memoryview) -> int:
        """Fill `view` from a positional file, short only at its end, and move on. A cancel moves nothing."""
        descriptor = self.descriptor
        got = descriptor.readv_cached([view], view.nbytes, self.position)
        if got is None:
            got = await descriptor.run(preadv_all, descriptor.fd, [view], self.position)
        self.position += got
        return got

    async def _read_stream(self, n: int) -> bytes:
        while True:
            if self._arrived is not None:
                data = self._arrived[:n]
                self._arrived = self._arrived[n:] or None
                return data
            # What arrives for a reader that is gone stays in _arrived: a pipe cannot be read twice.
            await self.turn.finish(self._fetch(n))
            if self._arrived is None:
                if self._ending is not _Ending.NOT:
                    raise FileClosed
                self._reading = True
                try:
                    await self._readiness.wait(self.descriptor.fd, writing=False)
                finally:
                    self._reading = False

    async def _fetch(self, n: int) -> None:
        self._arrived = await self.descriptor.run(read_if_ready, self.descriptor.fd, n)

    # writing

    def write_now(self, view: memoryview) -> int:
        """Write what of `view` can be written without blocking, and move on; return the count."""
        if not self.positional or self.append:
            return 0
        done = self.descriptor.write_cached(view, self.position)
        self.position += done
        return done

    async def write_some(self, view: memoryview) -> int:
        """Write `view` and move on; return the count: all of a positional file's, perhaps 0 of a stream's.

        Raises OSError, and PartialWrite when some of it was written, which the position then tells. To be run to its
        end (`Turn.finish`): it may append.
        """
        descriptor = self.descriptor
        if not self.positional:
            return await descriptor.run(write_if_ready, descriptor.fd, view)
        if self.append:
            written, self.position, failure = await descriptor.run(_append, descriptor.fd, view)
            if failure is None:
                return written
            raise _with_count(failure, written)
        try:
            written = await descriptor.pwrite(view, self.position)
        except OSError as exc:
            self.position += getattr(exc, "written", 0)
            raise
        self.position += written
        return written

    def last_write(self, view: memoryview) -> Callable[[int], object] | None:
        """Return what writes `view` here in one job, given a number; None when that is not all there is to a write."""
        descriptor, position = self.descriptor, self.position
        if not self.positional or not descriptor.unused or descriptor.flags & _O_DIRECT:
            return None
        if self.append:
            return lambda fd: _append_all(fd, view)
        return lambda fd: pwrite_all(fd, view, position)

    async def writable(self) -> None:
        """Wait until a stream has room."""
        if self._ending is _Ending.ABORT:
            raise FileClosed
        await self._readiness.wait(self.descriptor.fd, writing=True)

    # moving

    async def tell(self) -> int:
        """Return the position; raises OSError (ESPIPE) where there is none."""
        if self.positional:
            return self.position
        descriptor = self.descriptor
        return await descriptor.run(os.lseek, descriptor.fd, 0, os.SEEK_CUR) - len(self._arrived or b"")

    async def seek(self, offset: int, whence: int) -> int:
        """Move as lseek(2) does; return the new position. Raises OSError. A cancel of a stream's may have moved it."""
        descriptor = self.descriptor
        if not self.positional:
            if whence == os.SEEK_CUR and self._arrived:
                offset -= len(self._arrived)
            self._arrived = None
            return await descriptor.run(os.lseek, descriptor.fd, offset, whence)
        if whence == os.SEEK_SET:
            target = offset
        elif whence == os.SEEK_CUR:
            target = self.position + offset
        elif whence == os.SEEK_END:
            target = await self.size() + offset
        elif whence in _HOLES:
            target = await descriptor.run(os.lseek, descriptor.fd, offset, whence)
        else:
            raise ValueError(f"whence should be SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA or SEEK_HOLE, got {whence!r}")
        if target < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if target > _LARGEST:
            raise OverflowError(f"a file position should be below 2**63, got {target}")
        self.position = target
        return target

    async def size(self) -> int:
        """Return the size of the file in bytes."""
        return (await self.stat()).st_size

    async def stat(self) -> os.stat_result:
        """Return the stat of the file: on the spot unless a server has to be asked."""
        descriptor = self.descriptor
        if descriptor.local:
            status = os.fstat(descriptor.fd)
            if spend():
                await asyncio.sleep(0)
            return status
        return await descriptor.run(os.fstat, descriptor.fd)

    async def truncate(self, size: int) -> None:
        """Cut or extend the file to `size` bytes; the position stays. To be run to its end."""
        await self.descriptor.run(os.ftruncate, self.descriptor.fd, size)

    def interrupt(self) -> None:
        """Have those who wait for a stream's data give up: it is going to be closed. Writers may finish."""
        if self._ending is _Ending.NOT:
            self._ending = _Ending.CLOSE
        if self._reading:
            self._readiness.abort(FileClosed())

    def abort(self) -> None:
        """Have everybody give up who waits for a stream: whoever closes it waits no longer."""
        self._ending = _Ending.ABORT
        self._readiness.abort(FileClosed())

    def check_seekable(self) -> None:
        """Raise UnsupportedOperation for what has no position."""
        if not self.seekable:
            raise io.UnsupportedOperation("File or stream is not seekable.")


_LARGEST = (1 << 63) - 1


def _read_rest(fd: int, offset: int) -> bytes:
    """Return all from `offset` on, whatever size the file is said to have (files of /proc say 0)."""
    parts: list[bytes] = []
    while True:
        left = os.fstat(fd).st_size - offset
        part = os.pread(fd, left + 1 if left > 0 else LARGE, offset)
        if not part:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        parts.append(part)
        offset += len(part)


def _append_all(fd: int, view: memoryview) -> int:
    """Append `view`; return its length. Raises as `Cursor.write_some`."""
    written, _, failure = _append(fd, view)
    if failure is None:
        return written
    raise _with_count(failure, written)


def _with_count(failure: OSError, written: int) -> OSError:
    """Return what to raise when `failure` came after `written` bytes."""
    if not written:
        return failure
    raised = partial(failure, written)
    raised.__cause__ = failure
    return raised


def _append(fd: int, view: memoryview) -> tuple[int, int, OSError | None]:
    """Append `view`; return the count of bytes, the position behind them, and the error that stopped it."""
    done = 0
    failure = None
    try:
        while done < view.nbytes:
            done += os.write(fd, view[done:])
    except OSError as exc:
        failure = exc
    return done, os.lseek(fd, 0, os.SEEK_CUR), failure
