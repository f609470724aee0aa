"""Listing a directory entry by entry, fetched in batches.

A worker reads up to 4096 entries or for 2 ms and asks each for its type, which the kernel has told with the name
(readdir(3), d_type); where a file system does not tell, the worker stats. After that only following a link and a full
`stat` need the disk.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Generator
from functools import partial
from types import TracebackType
from typing import AnyStr, Generic, Literal, Self, TypeAlias, cast, overload

from asyncstore.aio._arguments import StrOrBytesPath, check_path_or_fd
from asyncstore.aio._priority import run
from asyncstore.aio._slices import COUNT, Slices

__all__ = ("DirEntry", "ScandirIterator", "scandir")

PIECE = 64  # entries a piece
TURN = 128  # entries handed out before other tasks get a turn of the loop: some 50 us of work

Kind: TypeAlias = Literal["file", "directory", "link", "other"]


class DirEntry(Generic[AnyStr]):
    """A name in a directory, with what the listing said about it.

    `name` and `path` as `os.DirEntry` has them. `kind`: "file", "directory", "link" or "other", known without a system
    call.
    """

    __slots__ = ("_entry", "kind")

    _entry: os.DirEntry[AnyStr]

    def __init__(self, entry: os.DirEntry[AnyStr], kind: Kind) -> None:
        self._entry = entry
        self.kind: Kind = kind

    @property
    def name(self) -> AnyStr:
        """The name, without the directory."""
        name: AnyStr = self._entry.name
        return name

    @property
    def path(self) -> AnyStr:
        """The path: that of the directory as it was given, and the name."""
        path: AnyStr = self._entry.path
        return path

    def __fspath__(self) -> AnyStr:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r} {self.kind}>"

    def inode(self) -> int:
        """Return the inode number, which the listing tells."""
        return self._entry.inode()

    def is_symlink(self) -> bool:
        """Tell whether the entry is a symbolic link; never blocks."""
        return self.kind == "link"

    async def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether the entry is a directory or, when links are followed, leads to one; a job only for a link."""
        if self.kind == "link" and follow_symlinks:
            return await run(self._entry.is_dir)
        return self.kind == "directory"

    async def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether the entry is a regular file or, when links are followed, leads to one; a job only for a link."""
        if self.kind == "link" and follow_symlinks:
            return await run(self._entry.is_file)
        return self.kind == "file"

    async def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the status of the entry, asked for once, as `os.DirEntry.stat` does. Raises OSError."""
        return await run(partial(self._entry.stat, follow_symlinks=follow_symlinks))


class ScandirIterator(Generic[AnyStr]):
    """The entries of a directory: ``async for``, best inside ``async with``; ``await`` opens it and reports its errors.

    A worker holds the directory open only while entries are still to come. An iterator left before its end and not
    closed warns ResourceWarning.
    """

    __slots__ = ("__weakref__", "_batch", "_left", "_path", "_slices")

    def __init__(self, path: str | bytes | int) -> None:
        self._path = path
        self._slices: Slices[list[DirEntry[AnyStr]]] | None = Slices(_listing(path), count=COUNT // PIECE)
        self._batch: list[DirEntry[AnyStr]] | None = None
        self._left = TURN

    def __repr__(self) -> str:
        state = "closed" if self._slices is None else "new" if self._batch is None else "open"
        return f"<scandir {self._path!r} {state}>"

    async def _open(self) -> Self:
        if self._batch is None:
            await self._fetch()
        return self

    def __await__(self) -> Generator[object, None, Self]:
        return self._open().__await__()

    async def __aenter__(self) -> Self:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DirEntry[AnyStr]:
        if not self._batch and not await self._fetch():
            raise StopAsyncIteration
        self._left -= 1
        if not self._left:
            self._left = TURN
            await asyncio.sleep(0)
            if not self._batch:  # closed meanwhile by another task
                raise StopAsyncIteration
        assert self._batch  # what _fetch returned true for; for the type checker
        return self._batch.pop()

    async def _fetch(self) -> bool:
        """Get the next batch, last entry first; return whether there is one."""
        slices = self._slices
        if slices is None:
            return False
        batch = [entry for piece in await slices.next() for entry in piece]
        batch.reverse()
        self._batch = batch
        if not batch:
            self._slices = None
        return bool(batch)

    async def aclose(self) -> None:
        """Close the directory; further entries are not delivered. Idempotent."""
        slices, self._slices = self._slices, None
        self._batch = []
        if slices is not None:
            await slices.aclose()

    def __del__(self) -> None:
        slices = getattr(self, "_slices", None)
        if self._batch is not None and slices is not None and not slices.ended:
            warnings.warn(
                f"unclosed {self!r}: use `async with aio.scandir(...)`", ResourceWarning, source=self, stacklevel=2
            )


@overload
def scandir(path: str | os.PathLike[str] | int | None = ".") -> ScandirIterator[str]: ...
@overload
def scandir(path: bytes | os.PathLike[bytes]) -> ScandirIterator[bytes]: ...
def scandir(path: StrOrBytesPath | int | None = ".") -> ScandirIterator[str] | ScandirIterator[bytes]:
    """List the directory `path` (or the open descriptor of one): ``async with aio.scandir(path) as entries``.

    bytes entries for a bytes path. The order is the directory's own.

    Raises OSError at the first entry, or where it is awaited or entered, as `os.scandir` does. Cancelled, the directory
    is closed.
    """
    return ScandirIterator("." if path is None else check_path_or_fd(path))


def _listing(path: str | bytes | int) -> Generator[list[DirEntry[AnyStr]], None, None]:
    """Yield the entries of `path` in pieces: looking at the clock after each would cost as much as the entry."""
    piece: list[DirEntry[AnyStr]] = []
    with os.scandir(path) as entries:
        for entry in entries:
            piece.append(DirEntry(cast("os.DirEntry[AnyStr]", entry), kind_of(entry)))
            if len(piece) == PIECE:
                yield piece
                piece = []
    if piece:
        yield piece


def kind_of(entry: os.DirEntry[str] | os.DirEntry[bytes]) -> Kind:
    """Return the kind of `entry`; blocks only where the file system does not tell with the name."""
    try:
        if entry.is_file(follow_symlinks=False):
            return "file"
        if entry.is_dir(follow_symlinks=False):
            return "directory"
        return "link" if entry.is_symlink() else "other"
    except OSError:
        return "other"  # its stat fails; whoever needs more asks `stat` and gets the error
