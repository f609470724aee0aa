"""Text files: the driver over `TextCore` and `Buffer`, with the API and the rules of `io.TextIOWrapper`.

Text that is written is encoded at once and buffered as bytes, with the binary file's rules. Unlike io, `tell` works
during iteration: lines that were prepared and not yet handed out are known.
"""

# ruff: noqa: SLF001  # a text file and the binary file that it is made of are one object in two modules

from __future__ import annotations

import io
import locale
import os
from collections.abc import Iterable
from types import EllipsisType

from asyncstore.aio._binary import BinaryFile
from asyncstore.aio._buffer import Buffer
from asyncstore.aio._file import File
from asyncstore.aio._text_core import CHUNK, NEWLINES, TextCore
from asyncstore.aio._text_position import Cookie
from asyncstore.aio.errors import FileClosed

__all__ = ("TextFile", "check_newline", "resolve_encoding")


class TextFile(File):
    """A text file, what ``aio.open(path)`` gives; see `File` for what holds for all files.

    `buffer` is the binary file underneath, for positional I/O and for bytes. `encoding`, `errors`, `newlines`,
    `line_buffering` and `write_through` are plain attributes to read.
    """

    __slots__ = ("_core", "_line_buffering", "_plain", "_write_through", "buffer")

    def __init__(self, buffer: BinaryFile, core: TextCore, *, line_buffering: bool = False) -> None:
        super().__init__(
            buffer._buffer, name=buffer.name, mode=buffer.mode, readable=buffer._readable, writable=buffer._writable,
            number=buffer._number, opened_at=buffer._opened_at,
        )  # fmt: skip
        self._lock_state = buffer._lock_state
        self.buffer = buffer
        self._line_buffering = line_buffering
        self._write_through = False
        self._buffer.text_lines = core.lines
        self._core = core
        self._plain = not line_buffering

    @property
    def encoding(self) -> str:
        """The name of the encoding, as it was given."""
        return self._core.encoding

    @property
    def errors(self) -> str:
        """The name of the error handler."""
        return self._core.errors

    @property
    def line_buffering(self) -> bool:
        """Whether a write that holds a line end is written out at once; `reconfigure` changes it."""
        return self._line_buffering

    @property
    def write_through(self) -> bool:
        """Whether every write is written out at once; `reconfigure` changes it."""
        return self._write_through

    @property
    def newlines(self) -> str | tuple[str, ...] | None:
        r"""The line ends met so far (None, "\n", "\r", "\r\n" or a tuple of them), when newline is None or ""."""
        return self._core.newlines

    # reading

    async def read(self, n: int | None = -1) -> str:
        """Return `n` characters, fewer only at the end of the file; all that is left for None or a negative `n`.

        Raises FileClosed, io.UnsupportedOperation when not opened for reading, UnicodeDecodeError, and OSError.
        """
        core = self._core
        if n is not None and n >= 0 and not self._turn.taken and not core.lines and not self._buffer.closed:
            text = core.take(n) if n else None
            if text is not None:
                return text
        await self._begin_reading()
        try:
            if n is None or n < 0:
                return core.feed_all(await self._buffer.read_all())
            while (text := core.take(n)) is None:
                if not await self._feed(core.wanted(n - len(core.chars) + core.used)):
                    return core.take_rest()
            return text
        finally:
            self._turn.release()

    async def readline(self, limit: int | None = -1) -> str:
        """Return the next line with its end, at most `limit` characters of it; "" at the end of the file."""
        lines = self._core.lines
        if lines and limit == -1:
            return lines.pop()
        await self._begin_reading()
        try:
            return await self._readline(-1 if limit is None else limit)
        finally:
            self._turn.release()

    async def readlines(self, hint: int | None = -1) -> list[str]:
        """Return the lines that are left; with a positive `hint` stop once they exceed so many characters."""
        await self._begin_reading()
        try:
            found: list[str] = []
            size = 0
            while line := await self._readline(-1):
                found.append(line)
                size += len(line)
                if hint is not None and 0 < hint < size:
                    break
            return found
        finally:
            self._turn.release()

    def __aiter__(self) -> TextFile:
        self._check_open()
        return self

    async def __anext__(self) -> str:
        lines = self._core.lines
        if lines:
            return lines.pop()
        await self._begin_reading()
        try:
            line = await self._readline(-1)
            if not line:
                raise StopAsyncIteration
            self._core.prepare_lines()
            return line
        finally:
            self._turn.release()

    async def _readline(self, limit: int) -> str:
        core = self._core
        scanned = 0
        while True:
            line, scanned = core.find_line(limit, scanned)
            if line is not None:
                return line
            if not await self._feed(CHUNK):
                rest = core.take_rest()
                if not rest:
                    core.forget()
                return rest

    async def _feed(self, n: int) -> bool:
        """Decode the next chunk; return whether there was one."""
        buffer = self._buffer
        if n <= len(buffer.data) - buffer.at:
            chunk = buffer.take(n)
        else:
            chunk = await buffer.chunk(n)
        return self._core.feed(chunk)

    async def _begin_reading(self) -> None:
        """Take the turn, with the buffers ready to be read from."""
        if self._buffer.closed:
            raise FileClosed
        if not self._readable:
            raise io.UnsupportedOperation("not readable")
        turn = self._turn
        if turn.taken:
            await turn.take()
        else:
            turn.taken = True
        try:
            if self._core.lines:
                self._core.settle()
            buffer = self._buffer
            if buffer.lines:
                buffer.settle()
            if buffer.pending_size:
                await buffer.drain()
        except BaseException:
            turn.release()
            raise

    # writing

    async def write(self, text: str) -> int:
        """Take all of `text` into the buffer, writing out what that pushes out; return its length in characters.

        Raises FileClosed, TypeError, io.UnsupportedOperation when not opened for writing, UnicodeEncodeError (nothing
        is written then), and OSError as `BinaryFile.write`.
        """
        if type(text) is not str and not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        core = self._core
        if self._writable and self._plain and not self._turn.taken and not self._buffer.closed and core.fresh:
            data = core.encode(text)
            if self._buffer.accept(data):
                return len(text)
            await self._begin_writing()
        else:
            await self._begin_writing()
            try:
                data = core.encode(text)
            except BaseException:
                self._turn.release()
                raise
        try:
            await self._write(text, data)
        finally:
            self._turn.release()
        return len(text)

    async def _write(self, text: str, data: bytes) -> None:
        """Write `data`, the bytes of `text`."""
        self._core.begin_writing()
        await self._buffer.write(data)
        if self._write_through or (self._line_buffering and ("\n" in text or "\r" in text)):
            await self._buffer.drain()

    async def writelines(self, lines: Iterable[str]) -> None:
        """Write each of `lines`; no line ends are added. Other tasks' writes do not come in between."""
        found = list(lines)
        for line in found:
            if not isinstance(line, str):
                raise TypeError(f"write() argument must be str, not {type(line).__name__}")
        await self._begin_writing()
        try:
            for line in found:
                await self._write(line, self._core.encode(line))
        finally:
            self._turn.release()

    async def _begin_writing(self) -> None:
        if self._buffer.closed:
            raise FileClosed
        if not self._writable:
            raise io.UnsupportedOperation("not writable")
        await self._turn.take()
        self._core.settle()
        self._buffer.settle()

    # moving

    async def tell(self) -> int:
        """Return a cookie for the position, of use only to `seek`; with UTF-8 it mostly is the offset in bytes.

        Raises FileClosed, io.UnsupportedOperation for a pipe, and OSError.
        """
        self._check_open()
        self._check_seekable()
        await self._turn.take()
        try:
            self._core.settle()
            return await self._tell()
        finally:
            self._turn.release()

    async def _tell(self) -> int:
        await self._buffer.drain()
        return self._core.cookie(await self._buffer.tell())

    async def seek(self, cookie: int, whence: int = os.SEEK_SET) -> int:
        """Go to what `tell` returned, or to the start (0), the end (0, SEEK_END) or nowhere (0, SEEK_CUR).

        Returns the new position. Raises FileClosed, io.UnsupportedOperation for a pipe and for another offset from here
        or from the end, ValueError for a negative cookie or another `whence`, and OSError for a cookie of another file.
        """
        self._check_open()
        self._check_seekable()
        _check_seek(cookie, whence)
        await self._turn.take()
        try:
            self._core.settle()
            buffer = self._buffer
            if whence == os.SEEK_CUR:
                cookie = await self._tell()
            await buffer.drain()
            if whence == os.SEEK_END:
                position = await buffer.seek(0, os.SEEK_END)
                self._core.forget()
                self._core.decoder.reset()
                self._core.place_encoder(at_start=position == 0)
                return position
            target = Cookie.unpack(cookie)
            await buffer.seek(target.start, os.SEEK_SET)
            data = await buffer.read(target.feed) if target.skip else b""
            self._core.go_to(target, data)
            self._core.place_encoder(at_start=target.start == 0 and target.flags == 0)
            return cookie
        finally:
            self._turn.release()

    async def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file to `size` bytes; return the size.

        None means where the bytes stand, which is behind all that was read ahead, as in io: give the size, or seek
        first. Raises FileClosed, io.UnsupportedOperation when not opened for writing, and OSError.
        """
        self._check_open()
        if not self._writable:
            raise io.UnsupportedOperation("truncate")
        await self._turn.take()
        try:
            self._core.settle()
            return await self._buffer.truncate(size)
        finally:
            self._turn.release()

    def _check_seekable(self) -> None:
        if not self._buffer.cursor.seekable:
            raise io.UnsupportedOperation("underlying stream is not seekable")

    # changing

    async def reconfigure(
        self,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | EllipsisType | None = ...,
        line_buffering: bool | None = None,
        write_through: bool | None = None,
    ) -> None:
        """Change how text is made of bytes from here on; None leaves a setting as it is, ... `newline`.

        Raises FileClosed, io.UnsupportedOperation for another encoding or newline once text was read, LookupError,
        ValueError, and OSError from writing out what is buffered.
        """
        self._check_open()
        core = self._core
        recode = encoding is not None or errors is not None or newline is not ...
        if recode and (core.segments or core.chars):
            raise io.UnsupportedOperation(
                "It is not possible to set the encoding or newline of stream after the first read"
            )
        if newline is not ...:
            check_newline(newline)
        await self._turn.take()
        try:
            await self._buffer.drain()
            if recode:
                if errors is None:
                    errors = core.errors if encoding is None else "strict"
                core.configure(
                    core.encoding if encoding is None else resolve_encoding(encoding),
                    errors,
                    core.newline if newline is ... else newline,
                )
                if self._buffer.cursor.seekable:
                    core.place_encoder(at_start=await self._buffer.tell() == 0)
            if line_buffering is not None:
                self._line_buffering = line_buffering
            if write_through is not None:
                self._write_through = write_through
            self._plain = not self._line_buffering and not self._write_through
        finally:
            self._turn.release()

    async def detach(self) -> BinaryFile:
        """Write out what is buffered and return the binary file; this object then counts as closed."""
        await self.flush()
        buffer = self.buffer
        self._core.settle()
        self._core.forget()
        # From here on this object has a buffer of its own, which is closed.
        self._buffer = Buffer(self._buffer.cursor, self._buffer.size)
        self._buffer.closed = True
        return buffer


def _check_seek(cookie: int, whence: int) -> None:
    """Refuse what `TextFile.seek` cannot do."""
    if whence in (os.SEEK_CUR, os.SEEK_END):
        if cookie:
            kind = "cur" if whence == os.SEEK_CUR else "end"
            raise io.UnsupportedOperation(f"can't do nonzero {kind}-relative seeks")
    elif whence != os.SEEK_SET:
        raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
    elif cookie < 0:
        raise ValueError(f"negative seek position {cookie}")


def check_newline(newline: str | None) -> None:
    """Raise TypeError or ValueError for what `open` does not take as newline."""
    if newline is not None and not isinstance(newline, str):
        raise TypeError(f"newline should be str or None, not {type(newline).__name__}")
    if newline not in NEWLINES:
        raise ValueError(f"illegal newline value: {newline!r}")


def resolve_encoding(encoding: str) -> str:
    """Return the name of the encoding that "locale" stands for, others unchanged."""
    return locale.getencoding() if encoding == "locale" else encoding
