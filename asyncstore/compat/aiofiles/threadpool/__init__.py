"""`open`, `wrap` and the standard streams."""

# ruff: noqa: A001, FBT001, FBT002, PLR0917  # names and signatures are those of builtins.open

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial, singledispatch
from io import BufferedIOBase, BufferedRandom, BufferedReader, BufferedWriter, FileIO, TextIOBase
from typing import Any

from asyncstore import aio
from asyncstore.aio import BinaryFile, RawFile, TextFile
from asyncstore.compat.aiofiles.base import AiofilesContextManager, AsyncBase, Loop, call
from asyncstore.compat.aiofiles.threadpool.binary import (
    AsyncBufferedIOBase,
    AsyncBufferedReader,
    AsyncFileIO,
    AsyncIndirectBufferedIOBase as AsyncIndirectBufferedIOBase,
)
from asyncstore.compat.aiofiles.threadpool.text import (
    AsyncTextIndirectIOWrapper as AsyncTextIndirectIOWrapper,
    AsyncTextIOWrapper,
)
from asyncstore.compat.aiofiles.threadpool.utils import (
    delegate_to_executor as delegate_to_executor,
)

sync_open = open
_builtin_open = open

__all__ = ("open", "stderr", "stderr_bytes", "stdin", "stdin_bytes", "stdout", "stdout_bytes")


def open(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
    *,
    loop: Loop | None = None,
    executor: Executor | None = None,
) -> AiofilesContextManager:
    """Open `file` with the arguments of `builtins.open`; ``await`` the result, or use it with ``async with``.

    `executor`: run every call of this file there, as jobs over a blocking file object, instead of the engines of
    `asyncstore.aio`. `loop`: the loop whose ``run_in_executor`` that is, by default the running one. The same happens
    when ``threadpool.sync_open`` has been replaced, as tests do.

    Raises what `builtins.open` does, when awaited. Cancelled, the file is closed if it has been opened.
    """
    return AiofilesContextManager(
        _open(
            file, mode=mode, buffering=buffering, encoding=encoding, errors=errors, newline=newline, closefd=closefd,
            opener=opener, loop=loop, executor=executor,
        )
    )  # fmt: skip


async def _open(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
    *,
    loop: Loop | None = None,
    executor: Executor | None = None,
) -> AsyncBase:
    """Open `file` and return the asynchronous file."""
    arguments = (file, mode, buffering, encoding, errors, newline, closefd, opener)
    if executor is None and sync_open is _builtin_open:
        return over(await aio.open(*arguments), loop)
    blocking = await call(partial(sync_open, *arguments), loop, executor, on_discard=_close)
    opened: AsyncBase = wrap(blocking, loop=loop, executor=executor)
    return opened


def over(file: Any, loop: Loop | None = None) -> AsyncBase:
    """Return the asynchronous file over `file` of `asyncstore.aio`."""
    if isinstance(file, TextFile):
        return AsyncTextIOWrapper(file, loop, None)
    if isinstance(file, RawFile):
        return AsyncFileIO(file, loop, None)
    return (AsyncBufferedReader if file.readable() else AsyncBufferedIOBase)(file, loop, None)


def _close(file: Any) -> None:
    file.close()


@singledispatch
def wrap(file: Any, *, loop: Loop | None = None, executor: Executor | None = None) -> Any:  # noqa: ARG001  # used below
    """Return the asynchronous file over the blocking file object `file`; its calls run as jobs, one at a time.

    Other types are taught with ``wrap.register(type)(function)``. Raises TypeError for a type that is not known.
    """
    raise TypeError(f"cannot wrap {file!r}: it is no file object of io")


@wrap.register(TextIOBase)
def _(file: Any, *, loop: Loop | None = None, executor: Executor | None = None) -> AsyncTextIOWrapper:
    return AsyncTextIOWrapper(file, loop=loop, executor=executor)


@wrap.register(BufferedWriter)
@wrap.register(BufferedIOBase)
def _(file: Any, *, loop: Loop | None = None, executor: Executor | None = None) -> AsyncBufferedIOBase:
    return AsyncBufferedIOBase(file, loop=loop, executor=executor)


@wrap.register(BufferedReader)
@wrap.register(BufferedRandom)
def _(file: Any, *, loop: Loop | None = None, executor: Executor | None = None) -> AsyncBufferedReader:
    return AsyncBufferedReader(file, loop=loop, executor=executor)


@wrap.register(FileIO)
def _(file: Any, *, loop: Loop | None = None, executor: Executor | None = None) -> AsyncFileIO:
    return AsyncFileIO(file, loop=loop, executor=executor)


@wrap.register(BinaryFile)
@wrap.register(RawFile)
@wrap.register(TextFile)
def _(file: Any, *, loop: Loop | None = None, executor: Executor | None = None) -> AsyncBase:
    if executor is not None:
        raise TypeError("a file of asyncstore.aio has no use for an executor")
    return over(file, loop)


stdin = AsyncTextIndirectIOWrapper("sys.stdin", None, None, indirect=lambda: sys.stdin)
stdout = AsyncTextIndirectIOWrapper("sys.stdout", None, None, indirect=lambda: sys.stdout)
stderr = AsyncTextIndirectIOWrapper("sys.stderr", None, None, indirect=lambda: sys.stderr)
stdin_bytes = AsyncIndirectBufferedIOBase("sys.stdin.buffer", None, None, indirect=lambda: sys.stdin.buffer)
stdout_bytes = AsyncIndirectBufferedIOBase("sys.stdout.buffer", None, None, indirect=lambda: sys.stdout.buffer)
stderr_bytes = AsyncIndirectBufferedIOBase("sys.stderr.buffer", None, None, indirect=lambda: sys.stderr.buffer)
