"""Binary files: the driver over `Buffer`, with the API of `io.BufferedReader`, `BufferedWriter` and `BufferedRandom`.

An operation that memory can serve is one coroutine that never suspends. All others take the file's turn.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable

from asyncstore.aio._arguments import as_view
from asyncstore.aio._positional import PositionalFile
from asyncstore.aio.errors import FileClosed

__all__ = ("BinaryFile", "RawFile")

_Data = bytes | bytearray | memoryview


class BinaryFile(PositionalFile):
    """A buffered binary file, what ``aio.open(path, "rb")`` gives; see `File` for what holds for all files."""

    __slots__ = ()

    async def read(self, n: int | None = -1) -> bytes:
        """Return `n` bytes, fewer only at the end of the file; all that is left for None or -1.

        Raises FileClosed, io.UnsupportedOperation when not opened for reading, ValueError for another negative `n`, and
        OSError.
        """
        buffer = self._buffer
        if n is not None and n > 0 and not self._turn.taken and not buffer.lines:
            end = buffer.at + n
            if end <= len(buffer.data):
                data = buffer.data[buffer.at : end]
                buffer.at = end
                return data
        await self._begin_reading()
        try:
            if n is None or n == -1:
                return await buffer.read_all()
            if n < 0:
                raise ValueError("read length must be non-negative or -1")
            return await buffer.read(n)
        finally:
            self._turn.release()

    async def read1(self, n: int = -1) -> bytes:
        """Return up to `n` bytes, by at most one read of the file; -1 means up to the size of the buffer."""
        await self._begin_reading()
        try:
            return await self._buffer.read_once(self._buffer.size if n < 0 else n) if n else b""
        finally:
            self._turn.release()

    async def readall(self) -> bytes:
        """Return all to the end of the file."""
        return await self.read()

    async def readinto(self, b: bytearray | memoryview) -> int:
        """Fill `b`; return the count of bytes, short only at the end of the file.

        Cancelled, `b` may still be written to until the read has ended.
        """
        view = as_view(b, "buffer")
        await self._begin_reading()
        try:
            buffer = self._buffer
            have = len(buffer.data) - buffer.at
            if not buffer.cursor.positional or view.nbytes - have < buffer.size:
                data = await buffer.read(view.nbytes)
                view[: len(data)] = data
                return len(data)
            view[:have] = buffer.data[buffer.at :]
            got = await buffer.cursor.read_into(view[have:])
            buffer.data, buffer.at = b"", 0
            return have + got
        finally:
            self._turn.release()

    async def readinto1(self, b: bytearray | memoryview) -> int:
        """Put into `b` what `read1` would return; return the count of bytes."""
        view = as_view(b, "buffer")
        data = await self.read1(view.nbytes)
        view[: len(data)] = data
        return len(data)

    async def peek(self, n: int = 0) -> bytes:  # noqa: ARG002  # io's signature: the hint that it ignores too
        """Return what is read ahead, after one read of the file if that is nothing, without moving."""
        await self._begin_reading()
        try:
            buffer = self._buffer
            if buffer.at == len(buffer.data):
                await buffer.fill(1)
            return buffer.data[buffer.at :]
        finally:
            self._turn.release()

    async def readline(self, limit: int | None = -1) -> bytes:
        r"""Return the next line with its ``b"\n"``, at most `limit` bytes of it; b"" at the end of the file."""
        lines = self._buffer.lines
        if lines and limit == -1:
            return lines.pop()
        await self._begin_reading()
        try:
            return await self._buffer.readline(-1 if limit is None else limit)
        finally:
            self._turn.release()

    async def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return the lines that are left; with a positive `hint` stop once they exceed so many bytes."""
        await self._begin_reading()
        try:
            found: list[bytes] = []
            size = 0
            while line := await self._buffer.readline(-1):
                found.append(line)
                size += len(line)
                if hint is not None and 0 < hint < size:
                    break
            return found
        finally:
            self._turn.release()

    def __aiter__(self) -> BinaryFile:
        self._check_open()
        return self

    async def __anext__(self) -> bytes:
        lines = self._buffer.lines
        if lines:
            return lines.pop()
        await self._begin_reading()
        try:
            line = await self._buffer.readline(-1)
            if not line:
                raise StopAsyncIteration
            self._buffer.prepare_lines()
            return line
        finally:
            self._turn.release()

    async def _begin_reading(self) -> None:
        """Take the turn, with the buffers ready to be read from."""
        if self._buffer.closed:
            raise FileClosed
        if not self._readable:
            raise io.UnsupportedOperation("read")
        turn = self._turn
        if turn.taken:
            await turn.take()
        else:
            turn.taken = True
        buffer = self._buffer
        try:
            if buffer.lines:
                buffer.settle()
            if buffer.pending_size:
                await buffer.drain()
        except BaseException:
            turn.release()
            raise

    async def write(self, data: _Data) -> int:
        """Take all of `data` into the buffer, writing out what that pushes out; return its length.

        Raises FileClosed, io.UnsupportedOperation when not opened for writing, and OSError: what had been buffered
        before is still buffered, and nothing of `data` is, except what PartialWrite says was written.
        """
        buffer = self._buffer
        if type(data) is not bytes:
            data = bytes(as_view(data))
        if (
            self._writable
            and not self._turn.taken
            and not self._buffer.closed
            and not buffer.lines
            and buffer.accept(data)
        ):
            return len(data)
        await self._begin_writing()
        try:
            await buffer.write(data)
        finally:
            self._turn.release()
        return len(data)

    async def writelines(self, lines: Iterable[_Data]) -> None:
        """Write each of `lines`; no line ends are added. Other tasks' writes do not come in between."""
        pieces = [bytes(as_view(line)) for line in lines]
        await self._begin_writing()
        try:
            for piece in pieces:
                if not self._buffer.accept(piece):
                    await self._buffer.write(piece)
        finally:
            self._turn.release()

    async def _begin_writing(self) -> None:
        if self._buffer.closed:
            raise FileClosed
        if not self._writable:
            raise io.UnsupportedOperation("write")
        await self._turn.take()
        self._buffer.settle()

    async def tell(self) -> int:
        """Return the position; raises FileClosed and OSError (ESPIPE for a pipe)."""
        self._check_open()
        await self._turn.take()
        try:
            self._buffer.settle()
            return await self._buffer.tell()
        finally:
            self._turn.release()

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to `offset` from the start, from here or from the end; return the new position.

        Raises FileClosed, io.UnsupportedOperation for a pipe, ValueError for another `whence`, and OSError.
        """
        self._check_open()
        self._buffer.cursor.check_seekable()
        await self._turn.take()
        try:
            return await self._buffer.seek(offset, whence)
        finally:
            self._turn.release()

    async def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file to `size` bytes, default where it stands; return the size. The position stays.

        Raises FileClosed, io.UnsupportedOperation when not opened for writing, and OSError. Cancelled, it may be done.
        """
        if self._buffer.closed:
            raise FileClosed
        if not self._writable:
            raise io.UnsupportedOperation("truncate")
        await self._turn.take()
        try:
            return await self._buffer.truncate(size)
        finally:
            self._turn.release()


class RawFile(PositionalFile):
    """An unbuffered binary file, ``buffering=0``: each call is at least one system call, as of `io.FileIO`."""

    __slots__ = ()

    async def read(self, n: int | None = -1) -> bytes:
        """Return up to `n` bytes by one read of the file, b"" at its end; all that is left for None or negative."""
        if n is None or n < 0:
            return await self.readall()
        await self._begin(reading=True)
        try:
            buffer = self._buffer
            if buffer.at < len(buffer.data):
                return buffer.take(n)
            data = buffer.cursor.read_now(n)
            return await buffer.cursor.read(n) if data is None else data
        finally:
            self._turn.release()

    async def readall(self) -> bytes:
        """Return all to the end of the file."""
        await self._begin(reading=True)
        try:
            return await self._buffer.read_all()
        finally:
            self._turn.release()

    async def readinto(self, b: bytearray | memoryview) -> int:
        """Put into `b` what one read gives; return the count of bytes."""
        view = as_view(b, "buffer")
        data = await self.read(view.nbytes)
        view[: len(data)] = data
        return len(data)

    async def readline(self, limit: int | None = -1) -> bytes:
        """Return the next line, at most `limit` bytes of it. What a pipe gave beyond it is kept for the next read."""
        await self._begin(reading=True)
        try:
            line = await self._buffer.readline(-1 if limit is None else limit)
            if self._buffer.cursor.seekable:
                await self._buffer.rewind()
            return line
        finally:
            self._turn.release()

    async def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return the lines that are left; with a positive `hint` stop once they exceed so many bytes."""
        found: list[bytes] = []
        size = 0
        while line := await self.readline():
            found.append(line)
            size += len(line)
            if hint is not None and 0 < hint < size:
                break
        return found

    def __aiter__(self) -> RawFile:
        self._check_open()
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def write(self, data: _Data) -> int:
        """Write `data` by one call; return how many bytes the file has taken.

        Of a regular file that is all, or an OSError. Raises as `BinaryFile.write`.
        """
        view = as_view(data)
        await self._begin(reading=False)
        try:
            cursor = self._buffer.cursor
            done = cursor.write_now(view)
            while done == 0 and view.nbytes:
                done = await self._turn.finish(cursor.write_some(view))
                if not done:
                    await cursor.writable()
            return done
        finally:
            self._turn.release()

    async def writelines(self, lines: Iterable[_Data]) -> None:
        """Write each of `lines` wholly; no line ends are added."""
        for line in lines:
            view = as_view(line)
            while view.nbytes:
                view = view[await self.write(view) :]

    async def tell(self) -> int:
        """Return the position; raises FileClosed and OSError (ESPIPE for a pipe)."""
        self._check_open()
        await self._turn.take()
        try:
            return await self._buffer.tell()
        finally:
            self._turn.release()

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to `offset` from the start, from here or from the end; return the new position."""
        self._check_open()
        await self._turn.take()
        try:
            return await self._buffer.seek(offset, whence)
        finally:
            self._turn.release()

    async def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file to `size` bytes, default where it stands; return the size."""
        await self._begin(reading=False, what="truncate")
        try:
            return await self._buffer.truncate(size)
        finally:
            self._turn.release()

    async def _begin(self, *, reading: bool, what: str = "") -> None:
        if self._buffer.closed:
            raise FileClosed
        if not (self._readable if reading else self._writable):
            raise io.UnsupportedOperation(what or ("read" if reading else "write"))
        await self._turn.take()
