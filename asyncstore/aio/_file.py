"""What files of every kind have: a descriptor, a name, a mode, a life, and the calls that go to the descriptor."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import warnings
from types import TracebackType
from typing import Any, Self

from asyncstore.aio import _space
from asyncstore.aio._buffer import Buffer
from asyncstore.aio._file_lock import FileLock, LockState
from asyncstore.aio.errors import FileClosed

__all__ = ("File", "opened_at")


class File:
    """An open file. Operations of several tasks are served one after the other, each whole.

    Plain attributes and methods, which never wait: `name`, `mode`, `closed`, `fileno()`, `isatty()`, `readable()`,
    `writable()`, `seekable()`. Everything else is a coroutine.

    Cancelled, a read has taken nothing, and a write is applied whole, in its place, or not at all: what a worker has
    begun goes on, and the next operation waits for it.
    """

    __slots__ = ("__weakref__", "_buffer", "_lock_state", "_number", "_opened_at", "_readable", "_turn",
                 "_writable", "mode", "name")  # fmt: skip

    def __init__(
        self, buffer: Buffer, *, name: Any, mode: str, readable: bool, writable: bool, number: int, opened_at: str
    ) -> None:  # Any: what was passed to open, as in io
        self._buffer = buffer
        self._turn = buffer.turn
        self._readable = readable
        self._writable = writable
        self._number = number
        self._opened_at = opened_at
        self._lock_state = LockState()
        self.name: Any = name
        self.mode = mode

    # what never waits

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._buffer.closed

    def fileno(self) -> int:
        """Return the number of the descriptor; raises FileClosed."""
        self._check_open()
        return self._number if self._number >= 0 else self._buffer.cursor.descriptor.fd

    def isatty(self) -> bool:
        """Tell whether it is a terminal; raises FileClosed."""
        self._check_open()
        return os.isatty(self._buffer.cursor.descriptor.fd)

    def readable(self) -> bool:
        """Tell whether it was opened for reading; raises FileClosed."""
        self._check_open()
        return self._readable

    def writable(self) -> bool:
        """Tell whether it was opened for writing; raises FileClosed."""
        self._check_open()
        return self._writable

    def seekable(self) -> bool:
        """Tell whether it has a position; raises FileClosed."""
        self._check_open()
        return self._buffer.cursor.seekable

    def _check_open(self) -> None:
        if self._buffer.closed:
            raise FileClosed

    def _check_readable(self) -> None:
        if self._buffer.closed:
            raise FileClosed
        if not self._readable:
            raise io.UnsupportedOperation("not readable")

    def _check_writable(self) -> None:
        if self._buffer.closed:
            raise FileClosed
        if not self._writable:
            raise io.UnsupportedOperation("not writable")

    # durability, attributes, space

    async def flush(self) -> None:
        """Write out what is buffered. Raises OSError; the data then is still buffered, and the next flush tries again.

        Cancelled, what a worker has begun is written, the rest stays buffered.
        """
        self._check_open()
        if self._buffer.pending_size or self._turn.taken:
            await self._turn.take()
            try:
                await self._buffer.drain()
            finally:
                self._turn.release()

    async def fsync(self) -> None:
        """Write out what is buffered and have all of the file, with its metadata, on the disk. Raises OSError.

        Calls that wait at the same time share one fsync(2). Cancelled, it goes on for the others.
        """
        await self.flush()
        await self._buffer.cursor.descriptor.fsync()

    async def fdatasync(self) -> None:
        """As `fsync`, without metadata that is not needed to read the data back."""
        await self.flush()
        await self._buffer.cursor.descriptor.fdatasync()

    async def stat(self) -> os.stat_result:
        """Return ``os.fstat``; what is buffered does not count yet. Raises FileClosed and OSError."""
        self._check_open()
        return await self._buffer.cursor.stat()

    async def chmod(self, mode: int) -> None:
        """Change the permission bits, fchmod(2). Raises FileClosed and OSError; a cancelled change may be made."""
        self._check_open()
        await self._buffer.cursor.descriptor.run(os.fchmod, self._buffer.cursor.descriptor.fd, mode)

    async def chown(self, uid: int, gid: int) -> None:
        """Change owner and group, fchown(2), -1 leaving one as it is; otherwise as `chmod`."""
        self._check_open()
        await self._buffer.cursor.descriptor.run(os.fchown, self._buffer.cursor.descriptor.fd, uid, gid)

    async def utime(self, times: tuple[float, float] | None = None, *, ns: tuple[int, int] | None = None) -> None:
        """Set access and modification time as `os.utime` does, default now; otherwise as `chmod`."""
        self._check_open()
        descriptor = self._buffer.cursor.descriptor
        if times is not None and ns is not None:
            raise ValueError("utime should get times or ns, not both")
        await descriptor.run(_utime, descriptor.fd, times, ns)

    async def fallocate(self, offset: int, length: int, mode: int = 0) -> None:
        """Reserve, punch or zero `length` bytes from `offset`, fallocate(2); `mode` 0 grows the file.

        Raises FileClosed, and OSError (ENOSPC; EOPNOTSUPP for a mode that the file system or platform lacks).
        Cancelled, it may be done. Modes are those of linux/falloc.h, named in `asyncstore.aio`.
        """
        await self.flush()
        self._check_open()
        descriptor = self._buffer.cursor.descriptor
        await descriptor.run(_space.fallocate, descriptor.fd, mode, offset, length)
        self._turn.when_free(self._buffer.drop_ahead)

    async def fadvise(self, offset: int, length: int, advice: int) -> None:
        """Tell the kernel what will be read, posix_fadvise(2) with ``os.POSIX_FADV_*``; without effect elsewhere."""
        self._check_open()
        descriptor = self._buffer.cursor.descriptor
        if hasattr(os, "posix_fadvise"):
            await descriptor.run(os.posix_fadvise, descriptor.fd, offset, length, advice)

    async def readahead(self, offset: int, count: int) -> None:
        """Have the kernel read `count` bytes from `offset` into its cache, readahead(2). Raises FileClosed, OSError."""
        self._check_open()
        descriptor = self._buffer.cursor.descriptor
        await descriptor.run(_space.readahead, descriptor.fd, offset, count)

    async def sync_range(self, offset: int, length: int) -> None:
        """Write `length` bytes from `offset` to the disk and wait, sync_file_range(2): no metadata, so no durability.

        `length` 0 means to the end. Where the call is missing it is a `fdatasync`. Raises FileClosed and OSError.
        """
        await self.flush()
        self._check_open()
        descriptor = self._buffer.cursor.descriptor
        await descriptor.run(_space.sync_range, descriptor.fd, offset, length)

    # locks

    def lock(self, *, exclusive: bool = True, timeout: float | None = None) -> FileLock:
        """Return a lock on the whole file, to be used with ``async with`` or awaited and ended by `unlock`.

        flock(2): advisory, seen by other processes and by other opens of the file; tasks that share this object exclude
        each other too. `timeout` in seconds, None waits without bound, 0 tries once; then TimeoutError. Waiting holds
        no thread. Cancelled, nothing is locked. Closing the file ends the lock.
        """
        self._check_open()
        return FileLock(self._buffer.cursor.descriptor, self._lock_state, exclusive=exclusive, timeout=timeout)

    async def unlock(self) -> None:
        """End the lock that `lock` gave. Without effect when there is none; raises FileClosed and OSError."""
        self._check_open()
        await self._lock_state.unlock(self._buffer.cursor.descriptor)

    # end of life

    async def close(self) -> None:
        """Write out what is buffered and close. Idempotent.

        Raises OSError when data could not be written, and is lost; the file is closed nevertheless. Cancelled, it goes
        on in the background, and no longer waits for a pipe that takes nothing.
        """
        if self._buffer.closed:
            return
        turn = self._turn
        self._buffer.closed = True
        self._buffer.cursor.interrupt()
        if not turn.taken and not self._buffer.pending_size and self._buffer.cursor.descriptor.close_now():
            self._forget()
            return
        try:
            await turn.take()
        except asyncio.CancelledError:
            self._buffer.cursor.abort()
            turn.when_free(self._abandon)
            raise
        try:
            await turn.finish(self._close())
        except asyncio.CancelledError:
            self._buffer.cursor.abort()
            raise
        finally:
            turn.release()

    async def aclose(self) -> None:
        """Close, by the name that everything else here has for it."""
        await self.close()

    async def _close(self) -> None:
        buffer = self._buffer
        last = None
        try:
            last = buffer.last_write()
            if last is None:
                await buffer.drain()
        except FileClosed:  # a stream that takes nothing more: closing waits for nobody
            raise BlockingIOError(f"{buffer.pending_size} bytes were not written: the stream has no room") from None
        finally:
            self._forget()
            await buffer.cursor.descriptor.close(last)

    def _forget(self) -> None:
        buffer = self._buffer
        buffer.lines.clear()
        buffer.text_lines.clear()
        buffer.data, buffer.at = b"", 0
        buffer.pending, buffer.pending_size = [], 0

    def _abandon(self) -> None:
        """Close without waiting; a closer that was cancelled while it waited for its turn has pending data too."""
        if self._buffer.pending_size:
            task = asyncio.get_running_loop().create_task(self._close())
            task.add_done_callback(_retrieve)
        else:
            self._forget()
            self._buffer.cursor.descriptor.abandon()

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = "closed" if self._buffer.closed else "open"
        return f"<asyncstore.aio.{type(self).__name__} name={self.name!r} mode={self.mode!r} {state}>"

    def __del__(self) -> None:
        if self._buffer.closed:
            return
        self._buffer.closed = True
        lost = self._buffer.pending_size
        what = f", {lost} bytes were never written" if lost else ""
        where = f", opened at {self._opened_at}" if self._opened_at else ""
        self._forget()
        self._buffer.cursor.descriptor.abandon()
        warnings.warn(f"unclosed file {self!r}{what}{where}", ResourceWarning, stacklevel=2, source=self)


def opened_at(depth: int) -> str:
    """Return "file:line" of the caller `depth` frames up under ``-X dev``, "" otherwise: it costs a microsecond."""
    if not sys.flags.dev_mode:
        return ""
    frame = sys._getframe(depth + 1)  # noqa: SLF001  # its name says that it is CPython's, and so are we
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _utime(fd: int, times: tuple[float, float] | None, ns: tuple[int, int] | None) -> None:
    if ns is not None:
        os.utime(fd, ns=ns)
    else:
        os.utime(fd, times)


def _retrieve(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
