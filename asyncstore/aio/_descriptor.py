"""An open file: its descriptor, what was learned of it, and the choice of the engine for each operation.

Reads are tried inline (`_nowait`), then go to a worker thread. Writes the same, where the file system can. Everything
that leaves the loop thread holds the descriptor open until it has ended (`_lifetime`). The table with the measurements
behind each choice is ``docs/reference/aio-engines.md``.

A descriptor belongs to the loop on whose thread it is used; it may be used on another one later, after that loop has
ended.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import warnings
from collections.abc import Callable, Sequence
from typing import Self, TypeVar, TypeVarTuple

from asyncstore.aio import _blocking
from asyncstore.aio._arguments import as_view
from asyncstore.aio._budget import spend
from asyncstore.aio._cached import open_regular, restore_blocking
from asyncstore.aio._device import Device, learn
from asyncstore.aio._fifo import opening_waits, wait_apart
from asyncstore.aio._lifetime import Lifetime, State, Use
from asyncstore.aio._nowait import Mode, Nowait, negative_offset
from asyncstore.aio._priority import run as run_on_pool
from asyncstore.aio._rings import SLOT, RingFailed, ring_here
from asyncstore.aio._sync import Syncs
from asyncstore.aio.errors import FileClosed

__all__ = ("Descriptor",)

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
_Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_Buffer = bytes | bytearray | memoryview

_O_DIRECT = getattr(os, "O_DIRECT", 0)  # bypasses the page cache
_O_SYNC = os.O_SYNC | getattr(os, "O_DSYNC", 0)


class Descriptor(Nowait):
    """An open file by its descriptor. Made by `open` and `adopt`; `fd` is -1 once it is closed.

    `flags` are those of ``fcntl(F_GETFL)``, `regular` tells a regular file from a FIFO, device, directory or socket.
    """

    __slots__ = ("_life", "_ringable", "_syncs", "flags", "name", "regular")

    def __init__(self, fd: int, status: os.stat_result, flags: int, device: Device | None, name: object) -> None:
        self.flags = flags
        self.name = name
        self.regular = stat.S_ISREG(status.st_mode)
        inline = self.regular and not flags & _O_DIRECT
        super().__init__(fd, device if inline else None, sync=bool(flags & _O_SYNC))
        read_only = flags & os.O_ACCMODE == os.O_RDONLY
        self._life = Lifetime(fd, quick=read_only and self.regular, bounded=self.regular)
        self._ringable = device is not None and device.local and not device.in_memory
        self._syncs = Syncs(self._life, ringable=self._ringable)

    @classmethod
    async def open(cls, path: _Path, flags: int, mode: int = 0o666, *, dir_fd: int | None = None) -> Self:
        """Open `path`, whatever kind of file it is, as ``os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=dir_fd)``.

        Done on the spot when it creates nothing and the kernel has all names of `path` cached, else on a worker thread;
        a FIFO, whose open waits for its other end, on a thread of its own.
        Raises OSError, and ValueError for a path that holds a NUL. Cancelled, it closes the descriptor that it may
        still get.
        """
        opened = open_regular(path, flags, dir_fd)
        if opened is not None:
            fd, status, device = opened
            restore_blocking(fd, flags)
            opened_by = cls(fd, status, flags, device, path)
            if spend():
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    opened_by.abandon()
                    raise
            return opened_by
        found = await run_on_pool(cls._open_unless_it_waits, path, flags, mode, dir_fd, on_discard=_abandon)
        if found is None:
            return await wait_apart(lambda: cls._open(path, flags, mode, dir_fd), _abandon)
        return found

    @classmethod
    def _open_unless_it_waits(cls, path: _Path, flags: int, mode: int, dir_fd: int | None) -> Self | None:
        return None if opening_waits(path, flags, dir_fd) else cls._open(path, flags, mode, dir_fd)

    @classmethod
    def _open(cls, path: _Path, flags: int, mode: int, dir_fd: int | None) -> Self:
        return cls.adopt(os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=dir_fd), name=path)

    @classmethod
    def adopt(cls, fd: int, *, name: object = None) -> Self:
        """Take over the open descriptor `fd`, and close it when something fails. May block: for worker threads."""
        try:
            status = os.fstat(fd)
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
            device = learn(fd, status.st_dev) if stat.S_ISREG(status.st_mode) else None
            return cls(fd, status, flags, device, fd if name is None else name)
        except BaseException:
            os.close(fd)
            raise

    @property
    def closed(self) -> bool:
        """Whether `close` has begun."""
        return self.fd < 0

    @property
    def local(self) -> bool:
        """Whether fstat(2) on it asks nobody but this machine's kernel, and so may be called on the loop thread."""
        return self._device is not None and self._device.local

    def hold(self) -> Use:
        """Begin a use of its own, for a job that works on two descriptors and runs through the other's `run`.

        Raises FileClosed. The caller drops it when the job is over or was never begun.
        """
        return Use(self._life)

    async def pread(self, n: int, offset: int) -> bytes:
        """Return `n` bytes from `offset`, fewer only at the end of the file.

        Raises FileClosed, ValueError for a negative `n` or `offset` and OSError. Cancelled, it drops the data; the read
        may still be under way.
        """
        data = self.read_cached(n, offset)
        if data is not None:
            if spend():
                await asyncio.sleep(0)
            return data
        return await self.fetch(n, offset)

    async def fetch(self, n: int, offset: int) -> bytes:
        """As `pread`, for whoever has just been told by `read_cached` that it might block."""
        if n < 0:
            raise ValueError(f"a count of bytes should not be negative, got {n}")
        if n <= SLOT and self._ringable and (ring := ring_here()) is not None:
            future = ring.read(self._life, self.fd, n, offset)
            if future is not None:
                try:
                    data = await future
                except (RingFailed, BlockingIOError):  # EAGAIN: a file with O_NONBLOCK, where the kernel knows no way
                    pass
                else:
                    if len(data) == n or self._ends_at(offset + len(data)):
                        return data
        read = _blocking.pread_direct if self.flags & _O_DIRECT else _blocking.pread_all
        return await self.run(read, self.fd, n, offset)

    async def preadv(self, buffers: Sequence[bytearray | memoryview], offset: int) -> int:
        """Fill the writable `buffers`, one after the other, from `offset`; return the count of bytes.

        The count is short only at the end of the file. Raises as `pread`, and TypeError for a buffer that is read-only.
        Cancelled, it leaves the buffers to the read that is under way: they are locked against resizing, and may be
        written to, until that has ended.
        """
        views = [_writable(buffer) for buffer in buffers]
        got = self.readv_cached(views, sum(view.nbytes for view in views), offset)
        if got is not None:
            if spend():
                await asyncio.sleep(0)
            return got
        return await self.run(_blocking.preadv_all, self.fd, views, offset)

    async def pwrite(self, data: _Buffer, offset: int) -> int:
        """Write all of `data` at `offset`; return its length in bytes.

        Raises FileClosed, and OSError when nothing was written; `PartialWrite`, an OSError too, tells how much was
        written before the error. Cancelled, the write may have been applied, wholly or in part, or may still be. `data`
        must not change meanwhile.
        """
        self._check_open()
        view = memoryview(data) if type(data) is bytes else as_view(data)
        total = view.nbytes
        done = self.write_cached(view, offset)
        if done == total:
            if spend():
                await asyncio.sleep(0)
            return total
        ring = ring_here() if total - done <= SLOT and self._ringable else None
        future = None if ring is None else ring.write(self._life, self.fd, view[done:] if done else view, offset + done)
        if future is not None:
            try:
                done += await future
            except BlockingIOError:  # as in pread
                pass
            except OSError as exc:
                if not done and not isinstance(exc, RingFailed):
                    raise
                raise _blocking.partial(exc, done) from exc
            if done == total:
                return total
        write = _blocking.pwrite_direct if self.flags & _O_DIRECT else _blocking.pwrite_all
        return await self.run(write, self.fd, view, offset, done)

    async def pwritev(self, buffers: Sequence[_Buffer], offset: int) -> int:
        """Write all of `buffers`, one after the other, at `offset`; otherwise as `pwrite`."""
        views = [as_view(buffer) for buffer in buffers]
        if sum(view.nbytes for view in views) <= JOIN_LIMIT:
            return await self.pwrite(b"".join(views), offset)
        if offset < 0:
            raise negative_offset(offset)
        return await self.run(_blocking.pwritev_all, self.fd, views, offset)

    async def fsync(self) -> None:
        """Have everything written before this call on the disk, with the metadata of the file.

        Calls that wait at the same time share one fsync(2), if that has not yet begun. Raises FileClosed, and OSError
        when written data may be lost. Cancelled, the fsync goes on for whoever shares it.
        """
        self._check_open()
        await self._syncs.join(self.fd, data_only=False)

    async def fdatasync(self) -> None:
        """As `fsync`, without the metadata that is not needed to read the data back."""
        self._check_open()
        await self._syncs.join(self.fd, data_only=True)

    async def run(
        self,
        fn: Callable[[*_Ts], _T],
        *args: *_Ts,
        on_discard: Callable[[_T], object] | None = None,
    ) -> _T:
        """Run ``fn(*args)``, which uses `fd`, on a worker thread; the descriptor stays open until it has ended.

        Raises FileClosed, and what `fn` raises. Cancelled, `fn` never begins or runs to its end, and then `on_discard`
        gets its result.
        """
        use = Use(self._life)
        try:
            return await run_on_pool(use, fn, *args, on_discard=on_discard)
        finally:
            use.drop()

    @property
    def unused(self) -> bool:
        """Whether it is open and no operation is under way."""
        return self._life.unused

    async def close(self, last: Callable[[int], object] | None = None) -> None:
        """Close the file once the operations under way have ended. Idempotent.

        `last`: a last write, which is handed the descriptor's number on a worker, in the job that then closes it.

        Raises OSError when close(2) reports that written data may be lost; the file is closed nevertheless. Operations
        on a FIFO, a terminal or a socket may never end: there it returns at once, and the last one closes. Cancelled,
        the file is closed all the same, in the background.
        """
        self._forget()
        await self._life.close(last)

    def close_now(self) -> bool:
        """Close the file if that can be done on the spot, without waiting for anything; return whether it is closed."""
        if not self._life.close_now():
            return False
        self._forget()
        return True

    def abandon(self) -> None:
        """Close the file without waiting: at once, on a worker, or when the last operation has ended. Never raises."""
        self._forget()
        self._life.abandon()

    def _forget(self) -> None:
        self.fd = -1
        self._mode = Mode.CLOSED
        self._device = None
        self._ringable = False
        if self._resident is not None:
            self._resident.close()

    def _check_open(self) -> None:
        if self.fd < 0:
            raise FileClosed

    def __repr__(self) -> str:
        return f"<Descriptor {self.name!r} fd={self.fd} {self._life.state.value} reads={self._mode.value}>"

    def __del__(self) -> None:
        life = getattr(self, "_life", None)  # None: __init__ has failed
        if life is None or life.state is State.CLOSED:
            return
        if self.fd >= 0:
            warnings.warn(f"unclosed file {self!r}", ResourceWarning, stacklevel=2, source=self)
        self.abandon()


JOIN_LIMIT = 64 * 1024  # bytes: copying them into one piece costs less than the path of its own that they would need


def _writable(buffer: bytearray | memoryview) -> memoryview:
    view = as_view(buffer, "buffer")
    if view.readonly:
        raise TypeError(f"a buffer to read into should be writable, {type(buffer).__name__} is not")
    return view


def _abandon(opened: Descriptor | None) -> None:
    if opened is not None:
        opened.abandon()
