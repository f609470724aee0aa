"""The standard streams, awaitable.

`stdin`, `stdout`, `stderr` are text and `stdin_bytes`, `stdout_bytes`, `stderr_bytes` their bytes. Each stands for the
stream that ``sys`` has when a call is made, so that redirection and pytest's capture are honoured.

A call runs on a thread of its own pool, one for each stream, and calls on one stream keep their order: a read that
waits for a person at a terminal holds up nobody else, and, its thread being a daemon's, not the end of the process
either. These streams are never closed here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, cast

from asyncstore.pool import Pool, PoolState

__all__ = (
    "StandardStream",
    "stderr",
    "stderr_bytes",
    "stdin",
    "stdin_bytes",
    "stdout",
    "stdout_bytes",
)


_D = TypeVar("_D", str, bytes)


_pools: dict[str, Pool] = {}


def _pool_of(stream: str) -> Pool:
    """Return the pool of one worker that serves the stream and its bytes."""
    pool = _pools.get(stream)
    if pool is None or pool.state is PoolState.CLOSED:
        pool = _pools[stream] = Pool(max_workers=1, name=f"asyncstore-{stream}")
    return pool


class StandardStream(Generic[_D]):
    """One of the standard streams; its methods are those of the file that ``sys`` has, awaitable.

    All raise RuntimeError when ``sys`` has no such stream (a program without a console), and what the stream raises.
    Cancelled, a call that has not begun never does; one that has begun ends in the background, and what it read is
    lost.
    """

    __slots__ = ("_binary", "_name")

    def __init__(self, name: str, *, binary: bool) -> None:
        self._name = name
        self._binary = binary

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}{' bytes' if self._binary else ''}>"

    @property
    def wrapped(self) -> Any:  # a TextIO or BinaryIO, or what the program has put in their place
        """The stream itself, as ``sys`` has it now."""
        stream = getattr(sys, self._name)
        if stream is None:
            raise RuntimeError(f"this program has no {self._name}")
        return stream.buffer if self._binary else stream

    async def _call(self, method: str, *args: object) -> Any:  # whatever that method returns
        call: Callable[..., Any] = getattr(self.wrapped, method)
        return await _pool_of(self._name).run(call, *args)

    async def read(self, n: int = -1) -> _D:
        """Return up to `n` characters or bytes, all until the end of input for a negative `n`."""
        return cast("_D", await self._call("read", n))

    async def readline(self, limit: int = -1) -> _D:
        """Return the next line, empty at the end of input."""
        return cast("_D", await self._call("readline", limit))

    async def readlines(self, hint: int = -1) -> list[_D]:
        """Return the lines until the end of input, or until `hint` characters have come."""
        return cast("list[_D]", await self._call("readlines", hint))

    async def write(self, data: _D) -> int:
        """Write `data` and return its length."""
        return cast("int", await self._call("write", data))

    async def writelines(self, lines: Iterable[_D]) -> None:
        """Write each of `lines`, which are taken here and now."""
        await self._call("writelines", list(lines))

    async def flush(self) -> None:
        """Hand on what is buffered."""
        await self._call("flush")

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        return cast("int", self.wrapped.fileno())

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return cast("bool", self.wrapped.isatty())

    def __aiter__(self) -> StandardStream[_D]:
        return self

    async def __anext__(self) -> _D:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line


stdin: StandardStream[str] = StandardStream("stdin", binary=False)
stdout: StandardStream[str] = StandardStream("stdout", binary=False)
stderr: StandardStream[str] = StandardStream("stderr", binary=False)
stdin_bytes: StandardStream[bytes] = StandardStream("stdin", binary=True)
stdout_bytes: StandardStream[bytes] = StandardStream("stdout", binary=True)
stderr_bytes: StandardStream[bytes] = StandardStream("stderr", binary=True)
