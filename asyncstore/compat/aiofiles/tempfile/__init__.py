"""Temporary files and directories, as context managers or awaited.

The blocking object of the standard library's `tempfile` makes the file, names it and removes it; reading and writing
goes through `asyncstore.aio`, on a descriptor of its own, unless there is an executor to run it.
"""

# ruff: noqa: A002, ARG001, FBT001, FBT002, N802, PLR0917  # names and signatures are those of tempfile

from __future__ import annotations

import inspect
import os
import tempfile
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial, singledispatch
from io import BufferedRandom, BufferedReader, BufferedWriter, FileIO, TextIOBase
from typing import Any

from asyncstore import aio
from asyncstore.compat.aiofiles.base import AiofilesContextManager, AsyncBase, Loop, call, finish
from asyncstore.compat.aiofiles.tempfile.temptypes import AsyncSpooledTemporaryFile, AsyncTemporaryDirectory
from asyncstore.compat.aiofiles.threadpool import over
from asyncstore.compat.aiofiles.threadpool.binary import AsyncBufferedIOBase, AsyncBufferedReader, AsyncFileIO
from asyncstore.compat.aiofiles.threadpool.text import AsyncTextIOWrapper
from asyncstore.pool import default_pool

__all__ = ["NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile", "TemporaryDirectory"]  # the namesake's order

_DELETE_ON_CLOSE = "delete_on_close" in inspect.signature(tempfile.NamedTemporaryFile).parameters  # Python 3.12


def TemporaryFile(
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: Any = None,
    prefix: Any = None,
    dir: Any = None,
    loop: Loop | None = None,
    executor: Executor | None = None,
) -> AiofilesContextManager:
    """Open a file without a name, gone when it is closed; arguments as `tempfile.TemporaryFile`."""
    make = partial(
        tempfile.TemporaryFile, mode, buffering, encoding=encoding, newline=newline, suffix=suffix, prefix=prefix,
        dir=dir,
    )  # fmt: skip
    return AiofilesContextManager(_opened(make, (mode, buffering, encoding, None, newline), loop, executor))


if _DELETE_ON_CLOSE:

    def NamedTemporaryFile(
        mode: str = "w+b",
        buffering: int = -1,
        encoding: str | None = None,
        newline: str | None = None,
        suffix: Any = None,
        prefix: Any = None,
        dir: Any = None,
        delete: bool = True,
        delete_on_close: bool = True,
        loop: Loop | None = None,
        executor: Executor | None = None,
    ) -> AiofilesContextManager:
        """Open a file with a name, removed at the end; arguments as `tempfile.NamedTemporaryFile`."""
        return _named(
            (mode, buffering, encoding, None, newline), (suffix, prefix, dir), loop, executor,
            delete=delete, delete_on_close=delete_on_close,
        )  # fmt: skip

else:

    def NamedTemporaryFile(  # type: ignore[misc]  # aiofiles has two signatures too, as tempfile has
        mode: str = "w+b",
        buffering: int = -1,
        encoding: str | None = None,
        newline: str | None = None,
        suffix: Any = None,
        prefix: Any = None,
        dir: Any = None,
        delete: bool = True,
        loop: Loop | None = None,
        executor: Executor | None = None,
    ) -> AiofilesContextManager:
        """Open a file with a name, removed when it is closed; arguments as `tempfile.NamedTemporaryFile`."""
        return _named((mode, buffering, encoding, None, newline), (suffix, prefix, dir), loop, executor, delete=delete)


def SpooledTemporaryFile(
    max_size: int = 0,
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: Any = None,
    prefix: Any = None,
    dir: Any = None,
    loop: Loop | None = None,
    executor: Executor | None = None,
) -> AiofilesContextManager:
    """Open a file that stays in memory up to `max_size`; arguments as `tempfile.SpooledTemporaryFile`."""
    make = partial(tempfile.SpooledTemporaryFile, max_size, mode, buffering, encoding, newline, suffix, prefix, dir)

    async def spool() -> AsyncSpooledTemporaryFile:
        return AsyncSpooledTemporaryFile(make(), loop, executor)  # in memory: nothing to wait for

    return AiofilesContextManager(spool())


def TemporaryDirectory(
    suffix: Any = None,
    prefix: Any = None,
    dir: Any = None,
    loop: Loop | None = None,
    executor: Executor | None = None,
) -> AiofilesContextManagerTempDir:
    """Make a directory, removed with its content at the end; ``async with`` gives its path."""
    make: Callable[[], Any] = partial(tempfile.TemporaryDirectory, suffix, prefix, dir)

    async def directory() -> AsyncTemporaryDirectory:
        return AsyncTemporaryDirectory(await call(make, loop, executor, on_discard=_cleanup), loop, executor)

    return AiofilesContextManagerTempDir(directory())


def _cleanup(directory: Any) -> None:
    directory.cleanup()


def _close(keeper: Any) -> None:
    keeper.close()


class AiofilesContextManagerTempDir(AiofilesContextManager):
    """As `AiofilesContextManager`; ``async with`` gives the path of the directory rather than the object."""

    __slots__ = ()

    async def __aenter__(self) -> Any:
        return (await self).name


def _named(
    opening: tuple[Any, ...],
    place: tuple[Any, ...],
    loop: Loop | None,
    executor: Executor | None,
    **deletion: bool,
) -> AiofilesContextManager:
    make = partial(tempfile.NamedTemporaryFile, *opening[:3], opening[4], *place, **deletion)
    if not deletion.get("delete_on_close", True):  # then it is the context manager's end that removes the file
        return _RemovedAtTheEnd(_opened(make, opening, loop, executor))
    return AiofilesContextManager(_opened(make, opening, loop, executor))


class _RemovedAtTheEnd(AiofilesContextManager):
    """The context manager of a named file that outlives its `close`."""

    __slots__ = ()

    async def __aexit__(self, *exc_info: object) -> None:
        file = self._obj
        await super().__aexit__(*exc_info)  # type: ignore[arg-type]  # as the caller had them
        await finish(partial(file._keeper.__exit__, *exc_info), file._ref_loop, file._executor)  # noqa: SLF001  # ours


@singledispatch
def wrap(base_io_obj: Any, file: Any, *, loop: Loop | None = None, executor: Executor | None = None) -> Any:
    """Return the asynchronous file over `file`, of the kind that suits `base_io_obj`, the object of io inside it.

    Raises TypeError for a type that is not known.
    """
    raise TypeError(f"cannot wrap {base_io_obj!r}: it is no file object of io")


@wrap.register(TextIOBase)
def _(base_io_obj: Any, file: Any, *, loop: Loop | None = None, executor: Executor | None = None) -> AsyncTextIOWrapper:
    return AsyncTextIOWrapper(file, loop, executor)


@wrap.register(BufferedWriter)
def _(
    base_io_obj: Any, file: Any, *, loop: Loop | None = None, executor: Executor | None = None
) -> AsyncBufferedIOBase:
    return AsyncBufferedIOBase(file, loop, executor)


@wrap.register(BufferedReader)
@wrap.register(BufferedRandom)
def _(
    base_io_obj: Any, file: Any, *, loop: Loop | None = None, executor: Executor | None = None
) -> AsyncBufferedReader:
    return AsyncBufferedReader(file, loop, executor)


@wrap.register(FileIO)
def _(base_io_obj: Any, file: Any, *, loop: Loop | None = None, executor: Executor | None = None) -> AsyncFileIO:
    return AsyncFileIO(file, loop, executor)


async def _opened(
    make: Callable[[], Any], opening: tuple[Any, ...], loop: Loop | None, executor: Executor | None
) -> AsyncBase:
    """Have `make` create the file on a thread and return the asynchronous file over it."""
    file: AsyncBase
    if executor is not None:
        keeper = await call(make, loop, executor, on_discard=_close)
        file = wrap(getattr(keeper, "file", keeper), keeper, loop=loop, executor=executor)
    else:
        made = _Made(make)
        open_: Callable[..., Awaitable[Any]] = aio.open  # no overload takes a mode in a tuple
        try:
            native = await open_(os.devnull, *opening, opener=made.open)
        except BaseException:
            made.abandon()
            raise
        keeper = made.keeper
        native.name = keeper.name
        file = over(native, loop)
        file._beside_close = keeper.close  # noqa: SLF001  # one object in two modules
    file._keeper = keeper  # noqa: SLF001  # as above
    if hasattr(keeper, "delete"):
        vars(file)["delete"] = keeper.delete  # before Python 3.12
    return file


class _Made:
    """What a worker makes for a caller who may have gone before it is there."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._abandoned = False
        self.keeper: Any = None

    def open(self, _path: object, _flags: int) -> int:
        """Make it and return a descriptor of its file; runs on a worker, as the opener of `aio.open`."""
        keeper = self._make()
        with self._lock:
            self.keeper = keeper
            abandoned = self._abandoned
        fd = os.dup(keeper.fileno())
        if abandoned:
            keeper.close()
        return fd

    def abandon(self) -> None:
        """Close and remove it, now or as soon as it is there; waits for nothing."""
        with self._lock:
            self._abandoned = True
            keeper = self.keeper
        if keeper is not None:
            _job = default_pool().submit_nowait(keeper.close)
