"""Temporary files and directories: made by `tempfile` on a worker thread, opened by `aio.open`."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Self, TypeAlias

from asyncstore.aio import _open
from asyncstore.aio._arguments import StrOrBytesPath, check_path
from asyncstore.aio._priority import run
from asyncstore.aio._shielded import leave_to_worker, see_through, start

__all__ = (
    "NamedTemporaryFile",
    "TemporaryDirectory",
    "TemporaryFile",
    "gettempdir",
    "mkdtemp",
    "mkstemp",
)

Affix: TypeAlias = str | bytes | None
Place: TypeAlias = StrOrBytesPath | None


def check_affixes(suffix: Affix, prefix: Affix, dir: Place) -> None:  # noqa: A002  # tempfile's name
    """Refuse what `tempfile` would refuse on the worker: raises TypeError and ValueError."""
    kinds = set()
    for name, value in (("suffix", suffix), ("prefix", prefix), ("dir", dir)):
        if value is None:
            continue
        if name != "dir" and not isinstance(value, str | bytes):
            raise TypeError(f"{name} should be str, bytes or None, not {type(value).__name__}")
        kinds.add(type(check_path(value, name)))
    if len(kinds) > 1:
        raise TypeError("suffix, prefix and dir should be all str or all bytes")


async def gettempdir() -> str:
    """Return the directory for temporary files, which is tried out the first time, as `tempfile.gettempdir` does.

    Raises FileNotFoundError when there is none that can be written.
    """
    return await run(tempfile.gettempdir)


async def mkstemp(
    suffix: Affix = None,
    prefix: Affix = None,
    dir: Place = None,  # noqa: A002  # tempfile's name
    text: bool = False,  # noqa: FBT001, FBT002  # tempfile takes it by position
) -> tuple[int, Any]:  # Any: str or bytes as the arguments are
    """Make a file that only this user can use; return its open descriptor and its path, as `tempfile.mkstemp` does.

    Raises OSError. Cancelled, the file is closed and removed; once returned, both are the caller's.
    """
    check_affixes(suffix, prefix, dir)
    return await run(_mkstemp, suffix, prefix, dir, text, on_discard=_unmake)


async def mkdtemp(
    suffix: Affix = None,
    prefix: Affix = None,
    dir: Place = None,  # noqa: A002  # tempfile's name
) -> Any:  # Any: str or bytes as the arguments are
    """Make a directory that only this user can use and return its path, as `tempfile.mkdtemp` does.

    Raises OSError. Cancelled, the directory is removed; once returned, it is the caller's.
    """
    check_affixes(suffix, prefix, dir)
    return await run(_mkdtemp, suffix, prefix, dir, on_discard=os.rmdir)


def TemporaryFile(  # noqa: N802, PLR0917  # tempfile's name and signature
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: Affix = None,
    prefix: Affix = None,
    dir: Place = None,  # noqa: A002  # tempfile's name
    *,
    errors: str | None = None,
) -> _open.Opening[Any]:  # Any: the file class that `mode` asks for
    """Open a file without a name, as `tempfile.TemporaryFile` does: it is gone when it is closed, or killed with us.

    Raises OSError when awaited or entered. Cancelled, the file is closed.
    """
    check_affixes(suffix, prefix, dir)

    def opener(_path: object, _flags: int) -> int:
        return open_nameless(suffix, prefix, dir)

    return _open.open(os.devnull, mode, buffering, encoding, errors, newline, opener=opener)


class NamedTemporaryFile:
    """A file with a name, as `tempfile.NamedTemporaryFile` makes one: ``async with``, or ``await`` and then `close`.

    `name` is its path once it is open; everything else is the file's, see `aio.open`. `delete`: remove it, with
    `delete_on_close` when it is closed, else at the end of the block (or when the object is dropped).

    Raises OSError when awaited or entered. Cancelled, the file is closed and removed, whatever `delete` says, unless
    the caller has it already. `close` removes the file although it is cancelled.
    """

    def __init__(  # noqa: PLR0917  # tempfile's signature
        self,
        mode: str = "w+b",
        buffering: int = -1,
        encoding: str | None = None,
        newline: str | None = None,
        suffix: Affix = None,
        prefix: Affix = None,
        dir: Place = None,  # noqa: A002  # tempfile's name
        delete: bool = True,  # noqa: FBT001, FBT002  # tempfile takes it by position
        *,
        errors: str | None = None,
        delete_on_close: bool = True,
    ) -> None:
        check_affixes(suffix, prefix, dir)
        self.delete = delete
        self.delete_on_close = delete_on_close
        self._made = _Made(suffix, prefix, dir)
        self._opening = _open.open(os.devnull, mode, buffering, encoding, errors, newline, opener=self._made.open)
        self._finalizer: weakref.finalize[..., Any] | None = None
        self.file: Any = None  # the open file, of the class that `mode` asks for

    @property
    def name(self) -> Any:  # Any: str or bytes as the arguments are
        """The path of the file. Raises ValueError before it is open."""
        if self._made.path is None:
            raise ValueError("the temporary file is not open yet: await it or use `async with`")
        return self._made.path

    def __getattr__(self, attribute: str) -> Any:  # Any: whatever the file has
        if attribute == "file":  # not yet set: __init__ has failed
            raise AttributeError(attribute)
        if self.file is None:
            raise AttributeError(f"{attribute!r}: the temporary file is not open yet, await it or use `async with`")
        return getattr(self.file, attribute)

    def __repr__(self) -> str:
        return f"<NamedTemporaryFile {self._made.path!r} {'new' if self.file is None else self.file!r}>"

    def __await__(self) -> Generator[Any, Any, Self]:  # Any: what the loop sends
        return self._open().__await__()

    async def _open(self) -> Self:
        if self.file is not None:
            raise RuntimeError("this temporary file was opened before: make a new one")
        try:
            self.file = await self._opening
        except BaseException:
            self._made.abandon()
            raise
        if self.delete:
            self._finalizer = weakref.finalize(self, _unlink, self._made.path)
        return self

    async def __aenter__(self) -> Self:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.close()
        finally:
            removal = self._begin_removal()
            if removal is not None:
                await asyncio.shield(removal)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:  # Any: bytes or str as `mode` says
        return await self.file.__anext__()

    async def close(self) -> None:
        """Close the file, and remove it if `delete` and `delete_on_close`. Idempotent. Raises OSError."""
        if self.file is None:
            return
        removal = self._begin_removal() if self.delete_on_close else None
        try:
            await self.file.close()
        finally:
            if removal is not None:
                await asyncio.shield(removal)

    async def aclose(self) -> None:
        """Close the file: another name of `close`."""
        await self.close()

    def _begin_removal(self) -> asyncio.Future[None] | None:
        """Have a worker remove the name, beside whatever else goes on; None when that was done, or shall not be."""
        if self._finalizer is None or self._finalizer.detach() is None:
            return None
        return start(_unlink, self._made.path)


class TemporaryDirectory:
    """A directory, as `tempfile.TemporaryDirectory` makes one: ``async with TemporaryDirectory() as path``.

    Or ``directory = await TemporaryDirectory()``, with its `name` and `cleanup`. `ignore_cleanup_errors`: go on when
    something in it cannot be removed. Not `delete`: it stays.

    Raises OSError when awaited or entered. Cancelled, the directory is removed. `cleanup` removes it although it is
    cancelled.
    """

    def __init__(
        self,
        suffix: Affix = None,
        prefix: Affix = None,
        dir: Place = None,  # noqa: A002  # tempfile's name
        ignore_cleanup_errors: bool = False,  # noqa: FBT001, FBT002  # tempfile takes it by position
        *,
        delete: bool = True,
    ) -> None:
        check_affixes(suffix, prefix, dir)
        self._arguments = (suffix, prefix, dir, ignore_cleanup_errors)
        self._delete = delete
        self._directory: tempfile.TemporaryDirectory[Any] | None = None  # Any: str or bytes as the arguments are
        self._name: Any = None  # as above

    @property
    def name(self) -> Any:  # Any: str or bytes as the arguments are
        """The path of the directory. Raises ValueError before it is made."""
        if self._name is None:
            raise ValueError("the temporary directory is not made yet: await it or use `async with`")
        return self._name

    def __repr__(self) -> str:
        return f"<TemporaryDirectory {self._name!r}>"

    def __await__(self) -> Generator[Any, Any, Self]:  # Any: what the loop sends
        return self._make().__await__()

    async def _make(self) -> Self:
        if self._name is not None:
            raise RuntimeError("this temporary directory was made before: make a new one")
        if self._delete:
            # A worker may hold its last result for a moment longer than we do: it holds the empty list, and the
            # directory has one owner, whose end is noticed.
            holder = await run(_directory, *self._arguments, on_discard=_discard)
            self._directory = holder.pop()
            self._name = self._directory.name
        else:
            self._name = await mkdtemp(*self._arguments[:3])
        return self

    async def __aenter__(self) -> Any:  # Any: str or bytes as the arguments are
        return (await self._make()).name

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.cleanup()

    async def cleanup(self) -> None:
        """Remove the directory with everything in it. Idempotent; does nothing when it is not to be deleted.

        Raises OSError unless `ignore_cleanup_errors`.
        """
        directory, self._directory = self._directory, None
        if directory is not None:
            await see_through(_cleanup, directory)

    async def aclose(self) -> None:
        """Remove the directory: another name of `cleanup`."""
        await self.cleanup()


class _Made:
    """A named file that a worker makes for a caller who may have gone before it is there."""

    def __init__(self, suffix: Affix, prefix: Affix, dir: Place) -> None:  # noqa: A002  # tempfile's name
        self._arguments = (suffix, prefix, dir)
        self._lock = threading.Lock()
        self._abandoned = False
        self.path: Any = None  # str or bytes as the arguments are

    def open(self, _path: object, _flags: int) -> int:
        """Make the file and return its descriptor; runs on a worker, as the opener of `aio.open`."""
        fd, path = _mkstemp(*self._arguments, False)  # noqa: FBT003  # no text mode: it means nothing here
        with self._lock:
            self.path = path
            abandoned = self._abandoned
        if abandoned:
            _unlink(path)
        return fd

    def abandon(self) -> None:
        """Remove the file, now or as soon as it is made; waits for nothing."""
        with self._lock:
            self._abandoned = True
            path = self.path
        if path is not None:
            leave_to_worker(lambda: _unlink(path))


def open_nameless(suffix: Affix, prefix: Affix, dir: Place) -> int:  # noqa: A002  # tempfile's name
    """Return a descriptor, open for reading and writing, of a file without a name; blocks."""
    make: Callable[..., Any] = tempfile.TemporaryFile  # Any: affixes and dir are of one kind, which no stub can say
    with make("w+b", 0, suffix=suffix, prefix=prefix, dir=dir) as file:
        return os.dup(file.fileno())


# The four below hand on str and bytes alike: Any because the stubs have an overload for each, and none for "either".


def _mkstemp(suffix: Any, prefix: Any, dir: Any, text: bool) -> tuple[int, Any]:  # noqa: A002, FBT001  # tempfile's
    return tempfile.mkstemp(suffix, prefix, dir, text)


def _mkdtemp(suffix: Any, prefix: Any, dir: Any) -> Any:  # noqa: A002  # tempfile's name
    return tempfile.mkdtemp(suffix, prefix, dir)


def _directory(suffix: Any, prefix: Any, dir: Any, ignore: bool) -> list[tempfile.TemporaryDirectory[Any]]:  # noqa: A002, FBT001  # tempfile's
    return [tempfile.TemporaryDirectory(suffix, prefix, dir, ignore)]


def _cleanup(directory: tempfile.TemporaryDirectory[Any]) -> None:
    directory.cleanup()


def _discard(holder: list[tempfile.TemporaryDirectory[Any]]) -> None:
    holder.pop().cleanup()


def _unmake(made: tuple[int, Any]) -> None:  # Any: str or bytes
    """Undo mkstemp."""
    os.close(made[0])
    _unlink(made[1])


def _unlink(path: str | bytes) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # its user has removed or renamed it, which is allowed
