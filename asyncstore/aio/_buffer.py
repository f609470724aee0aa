"""Read-ahead and write-behind of one file: the state behind `BinaryFile` and `TextFile`, which are its drivers.

At most one of the two holds bytes. With C the cursor's position (where the kernel works) the caller is at

    C - len(data) + at        while `data[at:]` is read ahead,
    C + pending_size          while `pending` waits to be written.

Invariants
1. `pending` is empty or `at == len(data)`: who writes gives up the read-ahead first (`begin_writing`), who reads writes
   out what is pending first (`drain`).
2. While `lines` holds lines prepared for iteration, they are the bytes before `lines_end`, and `at` counts for nothing
   until `settle` has been called.
3. Bytes leave `data` only when the operation that takes them succeeds, and `pending` only when the kernel has them.

Reads grow: the first one after a jump takes `FIRST_AHEAD`, then each twice as much as the last, up to `size`. Random
reads of small pieces so copy little, and sequential ones are few.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable

from asyncstore.aio._budget import spend
from asyncstore.aio._cursor import Cursor
from asyncstore.aio.errors import PartialWrite

__all__ = ("BUFFER_SIZE", "Buffer", "split_lines")

BUFFER_SIZE = 64 * 1024  # bytes: a larger piece makes no copy or hand-over cheaper, and leaves the CPU's cache
FIRST_AHEAD = 8 * 1024  # bytes: what `io` reads ahead


class Buffer:
    """The buffers over `cursor`, of up to `size` bytes each. Coroutines here are called by the holder of the turn."""

    __slots__ = (
        "_ahead",
        "at",
        "closed",
        "cursor",
        "data",
        "lines",
        "lines_end",
        "pending",
        "pending_size",
        "size",
        "text_lines",
        "turn",
    )

    def __init__(self, cursor: Cursor, size: int) -> None:
        self.cursor = cursor
        self.turn = cursor.turn
        self.size = size
        self.closed = False  # by whoever drives it
        self._ahead = min(FIRST_AHEAD, size)
        self.data = b""
        self.at = 0
        self.lines: list[bytes] = []  # the next one last
        self.lines_end = 0
        self.text_lines: list[str] = []  # what a text file on this buffer has prepared for iteration
        self.pending: list[bytes] = []
        self.pending_size = 0

    # reading

    def settle(self) -> None:
        """Put lines that were prepared and not asked for back into the read-ahead."""
        lines = self.lines
        if lines:
            self.at = self.lines_end - sum(map(len, lines))
            lines.clear()

    def take(self, n: int) -> bytes:
        """Return up to `n` of the bytes read ahead."""
        at = self.at
        end = min(at + n, len(self.data))
        self.at = end
        return self.data[at:end]

    async def fill(self, want: int) -> int:
        """Read ahead further, by one read of `want` bytes or more; return the count, 0 at the end of the file."""
        n = max(want, self._ahead)
        self._ahead = min(self._ahead * 2, self.size)
        chunk = self.cursor.read_now(n)
        inline = chunk is not None
        if chunk is None:
            chunk = await self.cursor.read(n)
        # Kept before anything can be cancelled: the cursor has moved.
        self.data = self.data[self.at :] + chunk if self.at < len(self.data) else chunk
        self.at = 0
        if inline and spend():
            await asyncio.sleep(0)
        return len(chunk)

    async def read(self, n: int) -> bytes:
        """Return `n` bytes, fewer only at the end of the file."""
        have = len(self.data) - self.at
        if n > have:
            if not self.cursor.positional:
                return await self._gather(n)
            if n - have >= self.size:
                return await self._read_large(n, have)
            while n > len(self.data) - self.at:
                if not await self.fill(n - (len(self.data) - self.at)):
                    break
        return self.take(n)

    async def _read_large(self, n: int, have: int) -> bytes:
        """Read past the buffer: what would fill it anyway goes straight to the caller."""
        rest = await self.cursor.read_whole(n - have)
        head = self.take(have)
        self.data, self.at = b"", 0
        return head + rest if head else rest

    async def read_all(self) -> bytes:
        """Return all to the end of the file."""
        if not self.cursor.positional:
            return await self._gather(None)
        rest = await self.cursor.read_rest()
        head = self.take(len(self.data))
        self.data, self.at = b"", 0
        return head + rest if head else rest

    async def _gather(self, n: int | None) -> bytes:
        """Read a stream until `n` bytes are there, or its end; on any failure all goes back into the read-ahead."""
        parts = [self.take(len(self.data))]
        got = len(parts[0])
        try:
            while n is None or got < n:
                part = await self.cursor.read(self.size)
                if not part:
                    break
                parts.append(part)
                got += len(part)
        except BaseException:
            self.data, self.at = b"".join(parts), 0
            raise
        self.data, self.at = b"".join(parts), 0
        return self.take(got if n is None else n)

    async def chunk(self, n: int) -> bytes:
        """Return up to `n` bytes of a stream by at most one read; of a file `n`, fewer only at its end."""
        have = len(self.data) - self.at
        if n > have and (self.cursor.positional or not have):
            while await self.fill(n - have) and self.cursor.positional:
                have = len(self.data) - self.at
                if have >= n:
                    break
        return self.take(n)

    async def read_once(self, n: int) -> bytes:
        """Return what is read ahead, up to `n` bytes; if that is nothing, what one read gives."""
        if self.at == len(self.data):
            if n >= self.size:
                return await self.cursor.read(n)
            await self.fill(n)
        return self.take(n)

    async def readline(self, limit: int) -> bytes:
        """Return the next line, at most `limit` bytes unless negative; b"" at the end of the file."""
        scanned = 0
        while True:
            end = self.data.find(b"\n", self.at + scanned) + 1
            have = len(self.data) - self.at
            if 0 <= limit <= (end - self.at if end else have):
                return self.take(limit)
            if end:
                return self.take(end - self.at)
            scanned = have
            # A long line is read in steps as long as what there is of it: copying it together stays linear.
            if not await self.fill(min(have, 1 << 24)):
                return self.take(have)

    def prepare_lines(self) -> None:
        """Split all complete lines that are read ahead into `lines`."""
        end = self.data.rfind(b"\n", self.at) + 1
        if end > self.at:
            self.lines_end = end
            self.lines.extend(split_lines(self.data[self.at : end]))
            self.lines.reverse()
            self.at = end

    # writing

    def begin_writing(self) -> bool:
        """Give up the read-ahead; False when that has to wait, since the position is the kernel's."""
        unread = len(self.data) - self.at
        if unread:
            if not self.cursor.positional:
                return False
            self.cursor.position -= unread
        self.data, self.at = b"", 0
        return True

    def drop_ahead(self) -> None:
        """Forget what is read ahead, since the file has changed under it; the caller stays where it is."""
        self.settle()
        self.begin_writing()

    def accept(self, data: bytes) -> bool:
        """Take `data` to be written later; False when there is no room, or something else has to be done first."""
        size = self.pending_size + len(data)
        if size > self.size or (self.data and not self.begin_writing()):
            return False
        self.pending.append(data)
        self.pending_size = size
        return True

    async def write(self, data: bytes) -> None:
        """Take `data`, and write out what that pushes out.

        Raises OSError: what was pending before stays so, and of `data` PartialWrite tells how much was written; the
        rest of it is not kept.
        """
        await self.rewind()
        if self.accept(data):
            return
        await self.drain()
        if len(data) < self.size:
            self.pending.append(data)
            self.pending_size = len(data)
            return
        self.pending = [data]
        self.pending_size = len(data)
        try:
            await self.drain()
        except OSError as exc:
            written = len(data) - self.pending_size
            self.pending.clear()
            self.pending_size = 0
            if written and not isinstance(exc, PartialWrite):
                failure = PartialWrite(exc.errno, exc.strerror)
                failure.written = written
                raise failure from exc
            raise

    async def rewind(self) -> None:
        """Give up the read-ahead, if need be by moving the kernel's position back."""
        self.settle()
        if not self.begin_writing():
            unread = len(self.data) - self.at
            if self.cursor.seekable:
                await self.cursor.seek(-unread, os.SEEK_CUR)
            self.data, self.at = b"", 0

    async def drain(self) -> None:
        """Write out all that is pending. Raises OSError; what was not written then is still pending.

        Cancelled, what a worker has begun to write is written, and noted; the rest is still pending.
        """
        while self.pending_size:
            view = memoryview(self._joined())
            done = self.cursor.write_now(view)
            if done:
                self._written(done)
                if spend():
                    await asyncio.sleep(0)
                continue
            if not await self.turn.finish(self._write_out(view)):
                await self.cursor.writable()

    def last_write(self) -> Callable[[int], object] | None:
        """Return what writes all that is pending, given a number, on a worker; None when nothing is, or `drain` has to.

        What can be written without waiting is written here. Raises OSError.
        """
        if not self.pending_size:
            return None
        view = memoryview(self._joined())
        done = self.cursor.write_now(view)
        if done:
            self._written(done)
        return self.cursor.last_write(view[done:]) if self.pending_size else None

    async def _write_out(self, view: memoryview) -> int:
        try:
            done = await self.cursor.write_some(view)
        except PartialWrite as exc:
            self._written(exc.written)
            raise
        self._written(done)
        return done

    def _joined(self) -> bytes:
        """Return all that is pending in one piece."""
        if len(self.pending) > 1:
            self.pending = [b"".join(self.pending)]
        return self.pending[0]

    def _written(self, done: int) -> None:
        """Forget the first `done` pending bytes."""
        self.pending_size -= done
        if self.pending_size:
            self.pending[0] = self.pending[0][done:]
        else:
            self.pending = []

    # moving

    async def tell(self) -> int:
        """Return the caller's position."""
        return await self.cursor.tell() - (len(self.data) - self.at) + self.pending_size

    async def seek(self, offset: int, whence: int) -> int:
        """Move the caller; return the new position. Inside what is read ahead nothing is given up."""
        self.settle()
        if self.pending_size:
            await self.drain()
        unread = len(self.data) - self.at
        if self.cursor.positional and whence in (os.SEEK_SET, os.SEEK_CUR):
            start = self.cursor.position - len(self.data)
            target = offset if whence == os.SEEK_SET else self.cursor.position - unread + offset
            if target < 0:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            if start <= target <= self.cursor.position:
                self.at = target - start
                return target
        if whence == os.SEEK_CUR:
            offset -= unread
        position = await self.cursor.seek(offset, whence)
        self.data, self.at = b"", 0
        self._ahead = min(FIRST_AHEAD, self.size)
        return position

    async def truncate(self, size: int | None) -> int:
        """Cut or extend the file to `size` bytes, by default where the caller is; return the size."""
        self.settle()
        await self.drain()
        if size is None:
            size = await self.tell()
        await self.rewind()
        await self.turn.finish(self.cursor.truncate(size))
        return size


def split_lines(data: bytes) -> list[bytes]:
    r"""Return the lines of `data`, which ends with ``b"\n"``; only that ends a line, unlike for `bytes.splitlines`."""
    if b"\r" in data:
        return [line + b"\n" for line in data[:-1].split(b"\n")]
    return data.splitlines(keepends=True)
