"""`aio.open`: from the arguments of builtins.open to one of the file classes."""

# ruff: noqa: A001, FBT001, FBT002, PLR0917  # the name and the signature are those of builtins.open

from __future__ import annotations

import errno
import fcntl
import operator
import os
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Generic, Literal, TypeAlias, TypeVar, overload

from asyncstore.aio._arguments import StrOrBytesPath, check_path
from asyncstore.aio._binary import BinaryFile, RawFile
from asyncstore.aio._buffer import BUFFER_SIZE, Buffer
from asyncstore.aio._cursor import Cursor, Kind, kind_of
from asyncstore.aio._descriptor import Descriptor
from asyncstore.aio._file import File, opened_at
from asyncstore.aio._open_mode import OpenMode, parse_mode, text_encoding
from asyncstore.aio._priority import run as run_on_pool
from asyncstore.aio._text import TextFile
from asyncstore.aio._text_core import TextCore

__all__ = ("Opening", "open")

Opener: TypeAlias = Callable[[Any, int], int]  # Any: the path as it was passed to open, as in io
TextMode: TypeAlias = Literal[
    "r", "r+", "+r", "rt", "tr", "rt+", "r+t", "+rt", "tr+", "t+r", "+tr", "w", "w+", "+w", "wt", "tw", "wt+",
    "w+t", "+wt", "tw+", "t+w", "+tw", "a", "a+", "+a", "at", "ta", "at+", "a+t", "+at", "ta+", "t+a", "+ta", "x",
    "x+", "+x", "xt", "tx", "xt+", "x+t", "+xt", "tx+", "t+x", "+tx",
]  # fmt: skip
BinaryMode: TypeAlias = Literal[
    "rb", "br", "rb+", "r+b", "+rb", "br+", "b+r", "+br", "wb", "bw", "wb+", "w+b", "+wb", "bw+", "b+w", "+bw",
    "ab", "ba", "ab+", "a+b", "+ab", "ba+", "b+a", "+ba", "xb", "bx", "xb+", "x+b", "+xb", "bx+", "b+x", "+bx",
]  # fmt: skip

_F_co = TypeVar("_F_co", bound=File, covariant=True)


class Opening(Generic[_F_co]):
    """A file about to be opened: ``await`` it, or use it as an async context manager, which closes the file."""

    __slots__ = ("_file", "_make")

    def __init__(self, make: Callable[[], Any]) -> None:  # Any: a coroutine of the file that the overloads promise
        self._make = make
        self._file: File | None = None

    def __await__(self) -> Generator[Any, Any, _F_co]:
        file: _F_co = yield from self._make().__await__()
        return file

    async def __aenter__(self) -> _F_co:
        if self._file is not None:
            raise RuntimeError("this open() was entered before: call open() again")
        file: _F_co = await self._make()
        self._file = file
        return file

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._file is not None  # entered, or it could not be left
        await self._file.close()


@overload
def open(
    file: StrOrBytesPath | int,
    mode: TextMode = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> Opening[TextFile]: ...
@overload
def open(  # type: ignore[overload-overlap]  # a literal 0 is looked for first
    file: StrOrBytesPath | int,
    mode: BinaryMode,
    buffering: Literal[0],
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> Opening[RawFile]: ...
@overload
def open(
    file: StrOrBytesPath | int,
    mode: BinaryMode,
    buffering: int = -1,  # 0 in a variable is taken for a size, too: only the literal is told apart
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> Opening[BinaryFile]: ...
@overload
def open(
    file: StrOrBytesPath | int,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> Opening[Any]: ...
def open(
    file: StrOrBytesPath | int,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> Opening[Any]:
    """Open `file` with the arguments of `builtins.open`; await the result, or use it as an async context manager.

    Gives a `TextFile`, a `BinaryFile`, or for ``buffering=0`` a `RawFile`. The buffer holds 64 KiB unless `buffering`
    says how many bytes. `opener` runs on a worker thread. A descriptor number shares its position with whoever else has
    it, and is read and written where the kernel stands.

    Raises at the call TypeError and ValueError as `builtins.open` does, also where that would open the file first, and
    LookupError for an unknown encoding or error handler; when awaited OSError (IsADirectoryError for any directory).
    Cancelled, the file is closed if it has been opened; with "w", "x" or "a" it may have been created or emptied.
    """
    parsed = parse_mode(mode, buffering, encoding, errors, newline)
    fd = -1
    if isinstance(file, int):
        fd = operator.index(file)
        if fd < 0:
            raise ValueError("negative file descriptor")
    else:
        file = check_path(file, "file")  # a string from here on, as in io: it becomes the name
        if not closefd:
            raise ValueError("Cannot use closefd=False with file name")
    core_arguments = None
    if parsed.text:
        core_arguments = (*text_encoding(encoding, errors, 2), newline)
    where = opened_at(1)

    async def make() -> File:
        kind: Kind | None
        if isinstance(file, int):
            status, status_flags, kind, position = await run_on_pool(_examine, fd, parsed.append)
            # A duplicate shares the position and may be closed. No device: reads go where the kernel stands.
            descriptor = Descriptor(fd if closefd else os.dup(fd), status, status_flags, None, fd)
            try:
                opened = _file(descriptor, kind, parsed, mode, file, core_arguments, where, -1 if closefd else fd)
            except BaseException:
                descriptor.abandon()
                raise
            _mark_order(opened, position)
            return opened
        flags = parsed.flags | getattr(os, "O_CLOEXEC", 0)
        if opener is not None:
            descriptor, start = await run_on_pool(_open_with, opener, file, flags, on_discard=_abandon)
        else:
            descriptor, start = await Descriptor.open(file, flags), 0
        try:
            kind = None if descriptor.regular else await descriptor.run(kind_of, descriptor.fd)
            opened = _file(descriptor, kind, parsed, mode, file, core_arguments, where, -1)
        except BaseException:
            descriptor.abandon()
            raise
        return await _placed(opened, parsed, start)

    return Opening(make)


async def _placed(opened: File, parsed: OpenMode, start: int) -> File:
    """Put a new file where its mode says: at the end to append, else at `start`, where its opener has left it."""
    cursor = opened._buffer.cursor  # noqa: SLF001  # one object in two modules: it is being made here
    try:
        if cursor.positional and parsed.append:
            cursor.position = await cursor.size()
        elif cursor.positional:
            cursor.position = start
        _mark_order(opened, cursor.position)
    except BaseException:
        opened._buffer.closed = True  # noqa: SLF001  # as above
        cursor.descriptor.abandon()
        raise
    return opened


def _mark_order(opened: File, position: int) -> None:
    """Have a text file write no byte order mark unless it begins at the start."""
    if isinstance(opened, TextFile) and position:
        opened._core.place_encoder(at_start=False)  # noqa: SLF001  # it is being made here


def _file(
    descriptor: Descriptor,
    kind: Kind | None,
    parsed: OpenMode,
    mode: str,
    name: object,
    core_arguments: tuple[str, str, str | None] | None,
    where: str,
    number: int,
) -> File:
    """Build the file object on an open descriptor; `kind` is None for a regular file of our own."""
    if kind is not None and kind.directory:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    cursor = Cursor(descriptor, positional=kind is None, seekable=kind is None or kind.seekable)
    if parsed.readable and parsed.writable and parsed.buffer_size:
        cursor.check_seekable()
    buffer = Buffer(cursor, parsed.buffer_size or BUFFER_SIZE)
    make: type[BinaryFile | RawFile] = BinaryFile if parsed.buffer_size else RawFile
    binary = make(
        buffer, name=name, mode=mode, readable=parsed.readable, writable=parsed.writable, number=number, opened_at=where
    )
    if core_arguments is None:
        return binary
    assert isinstance(binary, BinaryFile)  # unbuffered text was refused
    line_buffering = parsed.line_buffering or (parsed.guess_line_buffering and kind is not None and kind.terminal)
    return TextFile(binary, TextCore(*core_arguments), line_buffering=line_buffering)


def _open_with(opener: Opener, path: Any, flags: int) -> tuple[Descriptor, int]:
    """Open `path` with the caller's `opener`, on a worker thread; return where it has left the file, too."""
    fd = opener(path, flags)
    if not isinstance(fd, int):
        raise TypeError("expected integer from opener")
    if fd < 0:
        raise ValueError(f"opener returned {fd}")
    os.set_inheritable(fd, False)  # noqa: FBT003  # its signature
    descriptor = Descriptor.adopt(fd, name=path)
    return descriptor, os.lseek(fd, 0, os.SEEK_CUR) if descriptor.regular else 0


def _abandon(opened: tuple[Descriptor, int]) -> None:
    opened[0].abandon()


def _examine(fd: int, append: bool) -> tuple[os.stat_result, int, Kind, int]:
    """Look at a descriptor that stays the caller's: its stat, its flags, its kind and its position."""
    kind = kind_of(fd)
    if kind.directory:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), fd)
    position = os.lseek(fd, 0, os.SEEK_END if append else os.SEEK_CUR) if kind.seekable else 0
    return os.fstat(fd), fcntl.fcntl(fd, fcntl.F_GETFL), kind, position
