"""What the file objects of all kinds have in common, and `wrap` for blocking functions.

A file object has one of two engines under it. `_file` is a file of `asyncstore.aio`, which serves what memory and the
page cache hold without a thread: that is what `open` gives. Or `_file` is a blocking file object, whose methods run as
jobs: that is what `wrap` gives, and `open` when it was given an executor or when `threadpool.sync_open` was replaced by
a test. The first becomes the second when somebody asks for the blocking object inside (`raw`, `buffer`, `detach`).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Executor, Future
from contextlib import AbstractAsyncContextManager
from functools import partial, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any

from asyncstore import aio
from asyncstore.aio import BinaryFile, RawFile, TextFile
from asyncstore.pool import Lane, Pool, PoolState, default_pool

__all__ = ("AiofilesContextManager", "AsyncBase", "AsyncIndirectBase", "call", "wrap")

NATIVE = (BinaryFile, RawFile, TextFile)
_HOT = ("read", "readline", "write")  # bound to the object itself, so that a call is one coroutine, not two

Loop = asyncio.AbstractEventLoop


async def call(
    function: Callable[[], Any],
    loop: Loop | None,
    executor: Executor | None,
    *,
    on_discard: Callable[[Any], object] | None = None,
) -> Any:
    """Run a blocking function: in `executor` when there is one, else on the package's own pool.

    `loop`: the loop that waits for the executor, by default the running one. Cancelled, the function may still run, and
    its result goes to `on_discard`, on the thread that has it.
    """
    if executor is None:
        return await default_pool().run(function, on_discard=on_discard)
    future = executor.submit(function)
    try:
        return await asyncio.wrap_future(future, loop=loop)
    except asyncio.CancelledError:
        if on_discard is not None:
            future.add_done_callback(partial(_discard, on_discard))
        raise


def _discard(on_discard: Callable[[Any], object], future: Future[Any]) -> None:
    if not future.cancelled() and future.exception() is None:
        on_discard(future.result())


async def finish(function: Callable[[], Any], loop: Loop | None, executor: Executor | None) -> None:
    """Run a blocking function as `call` does, to its end whatever happens to the caller."""
    job: asyncio.Future[Any]
    if executor is None:
        job = default_pool().submit_nowait(function)
    else:
        job = asyncio.wrap_future(executor.submit(function), loop=loop)
    await asyncio.shield(job)


def wrap(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return a coroutine function that runs the blocking `func` on a thread.

    It takes the arguments of `func`, and `loop` and `executor` to say which thread (see `call`).
    """

    @wraps(func)
    async def run(*args: Any, loop: Loop | None = None, executor: Executor | None = None, **kwargs: Any) -> Any:
        return await call(partial(func, *args, **kwargs), loop, executor)

    return run


class AsyncBase:
    """An asynchronous file over `file`; its methods come from the decorators of `threadpool.utils`."""

    _own_pool: Pool | None = None  # where its calls run instead of the package's pool

    def __init__(self, file: Any, loop: Loop | None, executor: Executor | None) -> None:
        self._file = file
        self._executor = executor
        self._ref_loop = loop
        self._lane: Lane | None = None
        self._beside_close: Callable[[], object] | None = None
        self._keeper: Any = None  # of a temporary file: the blocking object that removes it
        self._native = isinstance(file, NATIVE)
        if self._native:
            for name in _HOT:
                setattr(self, name, getattr(file, name))

    @property
    def _loop(self) -> Loop:
        """The loop that was given, else the running one."""
        return self._ref_loop or asyncio.get_running_loop()

    def __aiter__(self) -> AsyncBase:
        return self

    def __repr__(self) -> str:
        return f"{super().__repr__()} wrapping {self._file!r}"

    def __anext__(self) -> Awaitable[Any]:
        if self._native:
            following: Awaitable[Any] = self._file.__anext__()
            return following
        return self._next_line()

    async def _next_line(self) -> Any:
        line = await self._call("readline")
        if not line:
            raise StopAsyncIteration
        return line

    async def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the file under this one, without blocking."""
        method = getattr(self._file, name)
        if self._native:
            result = method(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result
        blocking = partial(method, *args, **kwargs)
        if self._executor is not None:
            return await call(blocking, self._loop, self._executor)
        return await self._own_lane().run(blocking)

    def _own_lane(self) -> Lane:
        """Return where blocking calls run without an executor: of several tasks in order, and none beside another."""
        if self._lane is None:
            self._lane = (self._own_pool or default_pool()).lane(name="aiofiles")
        return self._lane

    async def close(self) -> None:
        """Write out what is buffered and close, also when cancelled. Raises OSError; it is closed nevertheless."""
        beside, self._beside_close = self._beside_close, None
        closing = self._file.close() if self._native else self._close_blocking()
        if beside is None:
            await closing
            return
        job = default_pool().submit_nowait(beside)
        try:
            await closing
        finally:
            await asyncio.shield(job)

    async def _close_blocking(self) -> None:
        job: asyncio.Future[None]
        if self._executor is not None:
            job = asyncio.wrap_future(self._executor.submit(self._file.close), loop=self._loop)
        else:
            job = self._own_lane().submit_nowait(self._file.close)
        await asyncio.shield(job)

    def _blocking(self) -> Any:
        """Return the blocking file object under this one, which serves it from now on."""
        if self._native:
            name = self._file.name
            self._file = aio.to_io(self._file)
            _raw_of(self._file).name = name
            self._native = False
            for hot in _HOT:
                delattr(self, hot)
        return self._file

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def _raw_of(file: Any) -> Any:
    """Return the `io.FileIO` at the bottom of a file object of `io`."""
    file = getattr(file, "buffer", file)
    return getattr(file, "raw", file)


class AsyncIndirectBase(AsyncBase):
    """An asynchronous file over whatever `indirect` returns at each call: ``sys.stdout`` may be replaced at any time.

    Its calls run, in order, on a thread of its own, since one that waits for a person would hold up others.
    """

    def __init__(self, name: str, loop: Loop | None, executor: Executor | None, indirect: Callable[[], Any]) -> None:
        self._indirect = indirect
        self._name = name
        super().__init__(None, loop, executor)

    @property
    def _file(self) -> Any:
        return self._indirect()

    @_file.setter
    def _file(self, _file: Any) -> None:
        """Ignore it: there is nothing to keep."""

    def _own_lane(self) -> Lane:
        if self._own_pool is None or self._own_pool.state is PoolState.CLOSED:
            self._own_pool = Pool(max_workers=1, name=f"aiofiles-{self._name}")
            self._lane = None
        return super()._own_lane()


class AiofilesContextManager(Awaitable[Any], AbstractAsyncContextManager[Any, None]):
    """What the functions that open something return: ``await`` it, or use it with ``async with``, which closes."""

    __slots__ = ("_coro", "_obj")

    def __init__(self, coro: Any) -> None:  # Any: a coroutine of what is opened
        self._coro = coro
        self._obj: Any = None

    def __await__(self) -> Generator[Any, Any, Any]:
        if self._obj is None:
            self._obj = yield from self._coro.__await__()
        return self._obj

    async def __aenter__(self) -> Any:
        return await self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        opened, self._obj = self._obj, None
        await opened.close()
