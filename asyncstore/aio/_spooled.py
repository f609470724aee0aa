"""A temporary file that stays in memory until it is large."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Generator, Iterable
from types import TracebackType
from typing import Any, Self

from asyncstore.aio import _open
from asyncstore.aio._open_mode import parse_mode
from asyncstore.aio._replacement import write_fully
from asyncstore.aio._temporary import Affix, Place, check_affixes, open_nameless
from asyncstore.aio.errors import FileClosed

__all__ = ("SpooledTemporaryFile",)


class SpooledTemporaryFile:
    """A file in memory that moves to disk when it outgrows `max_size`, as `tempfile.SpooledTemporaryFile`.

    Bytes (characters, of text) beyond `max_size`, `fileno` or `rollover` move it; 0: only those two do. While it is in
    memory no call waits. Calls of several tasks are served one after the other.

    Works as soon as it is made: ``async with`` or ``await`` only to read alike. Raises OSError when it moves and the
    disk refuses; it then stays in memory, whole. Cancelled while it moves, likewise.
    """

    def __init__(  # noqa: PLR0917  # tempfile's signature
        self,
        max_size: int = 0,
        mode: str = "w+b",
        buffering: int = -1,
        encoding: str | None = None,
        newline: str | None = None,
        suffix: Affix = None,
        prefix: Affix = None,
        dir: Place = None,  # noqa: A002  # tempfile's name
        *,
        errors: str | None = None,
    ) -> None:
        check_affixes(suffix, prefix, dir)
        parsed = parse_mode(mode, buffering, encoding, errors, newline)
        self._memory: Any = io.BytesIO()  # BytesIO, or TextIOWrapper over one; None once it is on disk
        if parsed.text:
            self._memory = io.TextIOWrapper(self._memory, encoding=encoding, errors=errors, newline=newline)
        self._disk: Any = None  # the file class that `mode` asks for
        self._max_size = max_size
        self._mode = mode
        self._open_arguments = (mode, buffering, encoding, errors, newline)
        self._place = (suffix, prefix, dir)
        self._turn = asyncio.Lock()
        self._closed = False

    # What never waits

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed

    @property
    def mode(self) -> str:
        """The mode that was asked for."""
        return self._mode

    @property
    def name(self) -> int | None:
        """None: there is no name, and in memory not even a descriptor."""
        return None if self._disk is None else int(self._disk.fileno())

    @property
    def encoding(self) -> str:
        """The encoding of a text file. Raises AttributeError for a binary one."""
        return str(self._either.encoding)

    @property
    def errors(self) -> str:
        """The error handler of a text file. Raises AttributeError for a binary one."""
        return str(self._either.errors)

    @property
    def newlines(self) -> Any:  # Any: None, str or tuple of str, as io has it
        """The line ends met so far in a text file. Raises AttributeError for a binary one."""
        return self._either.newlines

    @property
    def _either(self) -> Any:  # Any: as _memory and _disk
        return self._memory if self._disk is None else self._disk

    def readable(self) -> bool:
        """Return True: it can be read whatever its mode, as tempfile has it."""
        self._check_open()
        return True

    def writable(self) -> bool:
        """Return True: it can be written whatever its mode, as tempfile has it."""
        self._check_open()
        return True

    def seekable(self) -> bool:
        """Return True."""
        self._check_open()
        return True

    def isatty(self) -> bool:
        """Return False."""
        self._check_open()
        return False

    def _check_open(self) -> None:
        if self._closed:
            raise FileClosed

    def __repr__(self) -> str:
        where = "closed" if self._closed else "in memory" if self._disk is None else "on disk"
        return f"<SpooledTemporaryFile {where} max_size={self._max_size}>"

    # Moving to disk

    async def rollover(self) -> None:
        """Move the content to a nameless file on disk, if it is not there yet. Raises OSError."""
        async with self._turn:
            await self._roll_over()

    async def fileno(self) -> int:
        """Move the content to disk and return the file's descriptor."""
        await self.rollover()
        return int(self._disk.fileno())

    async def _roll_over(self) -> None:
        self._check_open()
        if self._disk is not None:
            return
        memory = self._memory
        position = memory.tell()
        memory.flush()
        content = (memory.buffer if isinstance(memory, io.TextIOWrapper) else memory).getvalue()

        def opener(_path: object, _flags: int) -> int:
            return _filled(open_nameless(*self._place), content)

        disk = await _open.open(os.devnull, *self._open_arguments, opener=opener)
        try:
            await disk.seek(position)
        except BaseException:
            await disk.close()
            raise
        self._disk = disk
        self._memory = None

    async def _call(self, method: str, *args: Any) -> Any:  # Any: of the method
        """Call a method of the file, in memory or on disk."""
        async with self._turn:
            self._check_open()
            if self._disk is None:
                return getattr(self._memory, method)(*args)
            return await getattr(self._disk, method)(*args)

    async def _write(self, method: str, data: Any) -> Any:  # Any: of the method
        async with self._turn:
            self._check_open()
            if self._disk is not None:
                return await getattr(self._disk, method)(data)
            result = getattr(self._memory, method)(data)
            if self._max_size and self._memory.tell() > self._max_size:
                await self._roll_over()
            return result

    # io's methods

    async def read(self, n: int | None = -1, /) -> Any:  # Any: bytes or str as the mode says
        """Read up to `n` bytes or characters, all for -1."""
        return await self._call("read", n)

    async def read1(self, n: int = -1, /) -> bytes:
        """Read up to `n` bytes with one read at most. Raises AttributeError for a text file."""
        return bytes(await self._call("read1", n))

    async def readinto(self, b: bytearray | memoryview, /) -> int:
        """Read into `b`, return how many bytes. Raises AttributeError for a text file."""
        return int(await self._call("readinto", b))

    async def readinto1(self, b: bytearray | memoryview, /) -> int:
        """Read into `b` with one read at most. Raises AttributeError for a text file."""
        return int(await self._call("readinto1", b))

    async def readline(self, limit: int | None = -1, /) -> Any:  # Any: as read
        """Read a line, with its end, of `limit` at most."""
        return await self._call("readline", limit)

    async def readlines(self, hint: int | None = -1, /) -> list[Any]:  # Any: as read
        """Read lines until they have `hint` bytes or characters together, all for -1."""
        return list(await self._call("readlines", hint))

    async def write(self, s: Any, /) -> int:  # Any: bytes-like or str as the mode says
        """Write `s` and return its size; moves to disk beyond `max_size`."""
        return int(await self._write("write", s))

    async def writelines(self, lines: Iterable[Any], /) -> None:  # Any: as write
        """Write every one of `lines`; moves to disk beyond `max_size`."""
        await self._write("writelines", lines)

    async def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Set the position and return it."""
        return int(await self._call("seek", offset, whence))

    async def tell(self) -> int:
        """Return the position."""
        return int(await self._call("tell"))

    async def truncate(self, size: int | None = None, /) -> int:
        """Cut or extend to `size` (default: the position); moves to disk beyond `max_size`."""
        async with self._turn:
            self._check_open()
            if self._disk is None and self._max_size and size is not None and size > self._max_size:
                await self._roll_over()
        return int(await self._call("truncate", size))

    async def flush(self) -> None:
        """Write out what is buffered."""
        await self._call("flush")

    async def close(self) -> None:
        """Close: the content is gone. Idempotent. Raises OSError as closing a file does."""
        async with self._turn:
            if self._closed:
                return
            self._closed = True
            if self._disk is not None:
                await self._disk.close()
            else:
                self._memory.close()

    async def aclose(self) -> None:
        """Close: another name of `close`."""
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:  # Any: as read
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def _self(self) -> Self:
        return self

    def __await__(self) -> Generator[Any, Any, Self]:  # Any: what the loop sends
        return self._self().__await__()

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _filled(fd: int, content: bytes) -> int:
    """Write `content` to the new file `fd`, go back to its start and return it; close it when that fails."""
    try:
        write_fully(fd, memoryview(content))
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd
