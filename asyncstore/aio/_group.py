"""Request groups: many requests with a limit on how many run at once, that succeed, fail or are cancelled as one.

The shape is IO::AIO's group (limit, feed, cancel) on the semantics of `asyncio.TaskGroup`, which carries the tasks: a
request belongs to the block that made it and never outlives it.

Slots. A request holds one of `limit` slots from its start to its end. A slot that comes free goes to the waiter that
came first and is counted as taken in the same step, so that no newcomer can slip in between; a waiter that was
cancelled in the very moment gives it on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable
from enum import Enum
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from asyncstore.aio.errors import GroupClosed
from asyncstore.errors import WouldBlock

__all__ = ("Group", "Request")

T = TypeVar("T")

# Any: what a coroutine yields to the loop and is sent by it concerns nobody here.
Request = Coroutine[Any, Any, T] | Callable[[], Awaitable[T]]

BREATH = 64  # requests that a feeder starts in a row without letting other tasks run

_MISSING = object()  # the place of a result that is not there (yet)


class State(Enum):
    """NEW -> OPEN -> CLOSED at the end of the block, or -> CANCELLED by `cancel` or a failure."""

    NEW = "new"
    OPEN = "open"
    CANCELLED = "cancelled"
    CLOSED = "closed"


class Group(Generic[T]):
    """An async context manager that runs requests, at most `limit` at a time (None: no limit).

    A request is a coroutine (``aio.stat(path)``) or a function of no arguments that returns one. At the end of the
    block the group waits for all requests. The first that fails cancels the rest, interrupts the block, and its
    exception leaves the block as it is (a note counts the others that failed). An exception of the block itself
    cancels the requests, too. A cancel of the block cancels every request and waits until each has ended, and so does
    `cancel`, quietly.

    `collect` false drops the results, for endless feeds. Used on one event loop, entered once.
    """

    def __init__(self, limit: int | None = None, *, collect: bool = True) -> None:
        self._limit = _checked(limit)
        self._collect = collect
        self._tasks = asyncio.TaskGroup()
        self._state = State.NEW
        self._running: set[asyncio.Task[T]] = set()
        self._feeders: set[asyncio.Task[None]] = set()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._taken = 0  # slots
        self._results: list[object] = []
        self._failure: BaseException | None = None

    def __repr__(self) -> str:
        return (
            f"<Group {self._state.value} limit={self._limit} running={len(self._running)} waiting={len(self._waiters)} "
            f"feeders={len(self._feeders)}>"
        )

    @property
    def limit(self) -> int | None:
        """How many requests may run at once. Raising it starts waiting requests; lowering it interrupts none."""
        return self._limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._limit = _checked(limit)
        self._hand_out()

    @property
    def running(self) -> int:
        """How many requests run now."""
        return len(self._running)

    async def __aenter__(self) -> Self:
        if self._state is not State.NEW:
            raise GroupClosed("a group is entered once")
        await self._tasks.__aenter__()
        self._state = State.OPEN
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._failure is None and not isinstance(error, asyncio.CancelledError):
            self._failure = error
        failures: BaseExceptionGroup[BaseException] | None = None
        try:
            await self._tasks.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            failures = group
        finally:
            self._state = State.CANCELLED if self._state is State.CANCELLED else State.CLOSED
            self._refuse_waiters()
        if failures is None:
            return
        first = self._failure or failures.exceptions[0]
        others = [failure for failure in failures.exceptions if failure is not first]
        if others:
            first.add_note(f"{len(others)} more failed in the same group, one of them with {others[0]!r}")
        if first is error:
            return
        # Outside of the except clause: its context stays that of the request, not the group that held it.
        raise first

    async def add(self, request: Request[T]) -> asyncio.Task[T]:
        """Start `request` as soon as there is a slot, and return its task.

        Returning late is the back-pressure: a producer goes on only as fast as requests end. Awaiting the task gives
        the result or the error of this one request. A request that adds to its own group holds a slot while it waits
        for another, and so must not when the limit may be reached.

        Raises `GroupClosed` outside of the block, after `cancel` and after a failure; TypeError for what is no
        request. A cancel while waiting drops the request: it never starts.
        """
        _check_request(request)
        try:
            await self._slot()
        except BaseException:
            _drop(request)
            raise
        return self._start(request)

    def add_nowait(self, request: Request[T]) -> asyncio.Task[T]:
        """Start `request` at once and return its task; raises WouldBlock, dropping it, when there is no slot."""
        _check_request(request)
        try:
            self._check_open()
            if not self._has_room():
                raise WouldBlock(f"{self._limit} requests run already")
        except BaseException:
            _drop(request)
            raise
        self._taken += 1
        return self._start(request)

    def feed(self, source: Iterable[Request[T]] | AsyncIterable[Request[T]]) -> asyncio.Task[None]:
        """Add requests from an iterable or async iterable, each pulled only when there is a slot for it.

        Returns at once; the task it returns ends when the source does, and need not be awaited. An error of the source
        counts as a request's. A source that is a generator is closed at the end, also on a cancel. Several feeds take
        turns.

        Raises ValueError on a group without a limit, where nothing would hold the source back; `GroupClosed` as `add`.
        """
        self._check_open()
        if self._limit is None:
            raise ValueError("feeding needs a limit: without one, the whole source would be started at once")
        if isinstance(source, AsyncIterable):
            feeding = self._feed_async(source)
        elif isinstance(source, Iterable):
            feeding = self._feed(source)
        else:
            raise TypeError(f"a group is fed from an iterable or an async iterable, not {type(source).__name__}")
        task = self._tasks.create_task(self._guarded(feeding), name="aio.Group.feed")
        self._feeders.add(task)
        task.add_done_callback(partial(self._fed, feeding))
        return task

    def results(self) -> list[T]:
        """Return the results of the requests that have succeeded so far, in the order in which they were added.

        After a block that ended without an error or a cancel: those of all. Raises ValueError when the group does not
        collect.
        """
        if not self._collect:
            raise ValueError("this group was made with collect=False")
        return [cast("T", result) for result in self._results if result is not _MISSING]

    def cancel(self) -> None:
        """Cancel every request that has not ended and stop the feeds; the block itself goes on. Idempotent.

        Who waits in `add` gets `GroupClosed`. The end of the block waits for the cancelled requests and raises
        nothing on their account; awaiting the task of one raises CancelledError.
        """
        if self._state is not State.OPEN:
            return
        self._state = State.CANCELLED
        for task in (*self._running, *self._feeders):
            task.cancel()
        self._refuse_waiters()

    def _check_open(self) -> None:
        if self._state is State.NEW:
            raise GroupClosed("requests are added inside the group's `async with` block")
        if self._state is not State.OPEN or self._failure is not None:
            raise GroupClosed(f"the group is {'ended by a failure' if self._failure else self._state.value}")

    def _has_room(self) -> bool:
        return self._limit is None or self._taken < self._limit

    async def _slot(self) -> None:
        """Return with a slot taken."""
        self._check_open()
        if self._has_room() and not self._waiters:
            self._taken += 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back()  # it was handed a slot in the moment of the cancel
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        if self._state is not State.OPEN:
            self._give_back()
            self._check_open()

    def _give_back(self) -> None:
        self._taken -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiters and self._has_room():
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._taken += 1
                waiter.set_result(None)

    def _refuse_waiters(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(GroupClosed(f"the group is {self._state.value}"))

    def _start(self, request: Request[T]) -> asyncio.Task[T]:
        """Start a request, whose slot is taken already."""
        number = len(self._results)
        running = self._carry(number, request)
        try:
            task = self._tasks.create_task(running, name="aio.Group request")
        except RuntimeError as exc:  # the task group is shutting down: the block is being cancelled
            running.close()
            _drop(request)
            self._give_back()
            raise GroupClosed("the group is being cancelled") from exc
        if self._collect:
            self._results.append(_MISSING)
        self._running.add(task)
        # Not in _carry: a task that is cancelled before its first step never runs a line of it.
        task.add_done_callback(partial(self._ended, request))
        return task

    async def _carry(self, number: int, request: Request[T]) -> T:
        result: T = await self._guarded(request() if callable(request) else request)
        if self._collect:
            self._results[number] = result
        return result

    async def _guarded(self, work: Awaitable[Any]) -> Any:
        """Await `work` and remember the group's first failure. Any: requests and feeds come through here."""
        try:
            return await work
        except Exception as exc:
            if self._failure is None:
                self._failure = exc
            raise

    def _ended(self, request: Request[T], task: asyncio.Task[T]) -> None:
        self._running.discard(task)
        _drop(request)
        self._give_back()

    def _fed(self, feeding: Coroutine[Any, Any, None], task: asyncio.Task[None]) -> None:
        self._feeders.discard(task)
        feeding.close()  # for the feed that was cancelled before its first step

    async def _feed(self, source: Iterable[Request[T]]) -> None:
        requests = iter(source)
        try:
            for started in count():
                if started % BREATH == 0:
                    await asyncio.sleep(0)  # requests that end without suspending would starve everybody else
                await self._slot()
                try:
                    request = next(requests)
                    _check_request(request)
                except StopIteration:
                    self._give_back()
                    return
                except BaseException:
                    self._give_back()
                    raise
                _ = self._start(request)  # the task group holds the task
        finally:
            close = getattr(requests, "close", None)
            if close is not None:
                close()

    async def _feed_async(self, source: AsyncIterable[Request[T]]) -> None:
        requests = aiter(source)
        try:
            while True:
                # The slot is not kept while the source is asked: it may wait for requests that need it.
                await self._slot()
                self._give_back()
                try:
                    request = await anext(requests)
                except StopAsyncIteration:
                    return
                _ = await self.add(request)  # the task group holds the task
        finally:
            aclose = getattr(requests, "aclose", None)
            if aclose is not None:
                await aclose()


def _checked(limit: int | None) -> int | None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ValueError(f"a limit is an int of at least 1 or None, not {limit!r}")
    return limit


def _check_request(request: object) -> None:
    if not asyncio.iscoroutine(request) and not callable(request):
        raise TypeError(f"a request is a coroutine or a function that returns one, not {type(request).__name__}")


def _drop(request: Request[T]) -> None:
    """Close a coroutine that will not be awaited any more; nothing for one that has ended."""
    if asyncio.iscoroutine(request):
        request.close()
