"""Cancelling a coroutine at each of its awaits in turn.

Most cancellation bugs sit at one particular await: a resource was handed over and not yet owned, a reply was half
read, a result arrived in the very tick of the cancel. So the coroutine is run again and again: the k-th run is
cancelled at the k-th suspension, for k = 1, 2, ... until a run ends without getting that far.

Suspensions are counted by driving the coroutine: an awaitable between the task and the coroutine passes every ``send``
and ``throw`` through, sees what is yielded, and knows where the coroutine stands. That needs nothing but the awaitable
protocol (PEP 492), so it works on every asyncio loop, and code under test sees an ordinary task. Only the suspensions
of that task count: tasks that it starts are its own business, and to be cancelled with it.

When a cancel arrives matters as much as where: see `CancelMoment`.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import gc
import inspect
import reprlib
import types
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeVar

from asyncstore.testing.errors import CancelHang, CancelSwallowed

T = TypeVar("T")

DEFAULT_LIMIT = 1000  # awaits: far above any single operation, low enough to end an endless loop of them; arbitrary
DEFAULT_TIMEOUT = 30.0  # seconds for one run: a busy CI machine needs one, a hang needs an end

# what coroutine.__await__() and asyncgen.asend() return does not tell whom it drives; the garbage collector does
_DRIVERS = frozenset({"async_generator_asend", "async_generator_athrow", "coroutine_wrapper"})


class CancelMoment(enum.Enum):
    """When the cancel arrives at the k-th await."""

    BEFORE_START = "before the first step"
    """The task is cancelled before it ran at all."""

    SUSPENDED = "while suspending"
    """In the step that reaches the await: what is awaited has not begun to move, nothing was handed over yet."""

    UNDER_WAY = "one pass of the loop later"
    """After everything that was scheduled at the await had its turn: what is awaited is under way."""

    RESULT_READY = "with the result ready"
    """The awaited future is done, its waiter is scheduled, and the cancel comes first: the result is lost."""

    TWICE = "while suspending, and again in the clean-up"
    """As SUSPENDED, and once more at the j-th await after it, for j = 1, 2, ..."""


@dataclass(frozen=True, slots=True)
class CancelPoint:
    """One cancel that was delivered: at the `k`-th await (0: before the first step), at which source line.

    `again_at` is the await of the clean-up where a second cancel came, counted from the first; 0 for none.
    """

    moment: CancelMoment
    k: int
    where: str
    again_at: int = 0

    def __str__(self) -> str:
        second = f", second cancel {self.again_at} awaits later" if self.again_at else ""
        return f"cancelled at await {self.k} ({self.where}), {self.moment.value}{second}"


@dataclass(frozen=True, slots=True)
class CancelReport:
    """What `cancel_everywhere` did: every delivered cancel, and how many runs it took."""

    cancels: tuple[CancelPoint, ...]
    runs: int

    @property
    def points(self) -> int:
        """How many different awaits were hit, whatever the moment."""
        return len({point.k for point in self.cancels if point.k})


class _Run(Generic[T]):
    """One drive of one coroutine: counts suspensions and cancels at the `k`-th, when `moment` says."""

    __slots__ = (
        "_coroutine",
        "abandoned",
        "again_at",
        "cancelled",
        "cancelled_again",
        "k",
        "moment",
        "steps",
        "task",
        "where",
    )

    def __init__(self, awaitable: Awaitable[T], moment: CancelMoment, k: int, again_at: int) -> None:
        self.moment = moment
        self.k = k
        self.again_at = again_at
        self.steps = 0  # suspensions so far
        self.cancelled = False
        self.cancelled_again = False
        self.abandoned = False  # it hangs: whatever resumes it next ends it
        self.where = "not begun"
        self.task: asyncio.Task[T]
        self._coroutine = awaitable if inspect.iscoroutine(awaitable) else _await(awaitable)
        # asyncio.Task and not loop.create_task: an eager task factory would run the first step before it can be watched
        if moment is CancelMoment.BEFORE_START:
            # the coroutine itself: inside one that never starts it would warn that nobody awaited it
            self.task = asyncio.Task(self._coroutine)
            self.cancelled = True
            self.task.cancel()
        else:
            self.task = asyncio.Task(self._main(), name=f"cancel_everywhere k={k}")

    async def _main(self) -> T:
        return await self._drive()

    @types.coroutine
    def _drive(self) -> Generator[Any, Any, T]:
        """Pass what the coroutine yields to the task, and what the task sends or throws to the coroutine."""
        resume = functools.partial(self._coroutine.send, None)
        while True:
            try:
                yielded = resume()
            except StopIteration as stop:
                result: T = stop.value
                return result
            self._suspended(yielded)
            try:
                resume = functools.partial(self._coroutine.send, (yield yielded))
            except BaseException as error:  # noqa: BLE001  # whatever the loop throws in is the coroutine's
                resume = functools.partial(self._coroutine.throw, error)
            if self.abandoned:
                self._end()

    def _end(self) -> NoReturn:
        try:
            self._coroutine.close()
        except RuntimeError:
            pass  # it ignored GeneratorExit as well; the hang is reported already
        raise asyncio.CancelledError

    def _suspended(self, yielded: object) -> None:
        """Note a suspension and deliver, or prepare, the cancel that belongs to it."""
        self.steps += 1
        if self.steps == self.k:
            self.where = self.position()
            if self.moment is CancelMoment.UNDER_WAY:
                loop = asyncio.get_running_loop()
                # twice: the first pass runs what is scheduled by now, and what that schedules comes before the cancel
                loop.call_soon(lambda: loop.call_soon(self._cancel_if_still_there))
            elif self.moment is CancelMoment.RESULT_READY and asyncio.isfuture(yielded):
                # the task adds its own wake-up after this one: the cancel comes first, in the same pass of the loop
                yielded.add_done_callback(self._cancel_if_still_there)
            else:
                self._cancel_if_still_there()
        elif self.cancelled and self.again_at and self.steps == self.k + self.again_at:
            self.cancelled_again = True
            self.task.cancel()

    def _cancel_if_still_there(self, _done: object = None) -> None:
        if self.steps == self.k and not self.task.done():
            self.cancelled = True
            self.task.cancel()

    def position(self) -> str:
        """Say where the coroutine stands: ``file:line in function`` of its innermost Python frame."""
        position = "no Python frame"
        inner: object = self._coroutine
        while inner is not None:
            if inspect.iscoroutine(inner):
                frame, following = inner.cr_frame, inner.cr_await
            elif inspect.isgenerator(inner):
                frame, following = inner.gi_frame, inner.gi_yieldfrom
            elif inspect.isasyncgen(inner):
                frame, following = inner.ag_frame, inner.ag_await
            elif type(inner).__name__ in _DRIVERS:
                frame, following = None, next(filter(_has_frame, gc.get_referents(inner)), None)
            else:
                break
            if frame is not None and frame.f_code is not _await.__code__:
                position = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
            inner = following
        return position

    def abandon(self) -> None:
        """Give the coroutine up: it is closed when the loop resumes it, whatever it does with a cancel."""
        self.abandoned = True
        self.task.cancel()

    def point(self) -> CancelPoint | None:
        """The cancel that was delivered, if any."""
        if not self.cancelled:
            return None
        return CancelPoint(self.moment, self.k, self.where, self.again_at if self.cancelled_again else 0)

    def __str__(self) -> str:
        return str(self.point() or f"not cancelled, after {self.steps} awaits")


def _has_frame(value: object) -> bool:
    return inspect.iscoroutine(value) or inspect.isgenerator(value) or inspect.isasyncgen(value)


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


@dataclass(slots=True)
class _Campaign(Generic[T]):
    """All the runs of one `cancel_everywhere`."""

    make: Callable[[], Awaitable[T]]
    check: Callable[[], object] | None
    on_result: Callable[[T], object] | None
    may_raise: tuple[type[BaseException], ...]
    limit: int
    timeout: float
    cancels: list[CancelPoint] = field(default_factory=list)
    runs: int = 0

    async def once(self, moment: CancelMoment, k: int, again_at: int = 0) -> _Run[T]:
        """Make one run and judge its end; the run tells what happened."""
        run = _Run(self.make(), moment, k, again_at)
        self.runs += 1
        try:
            await asyncio.wait((run.task,), timeout=self.timeout)
        except asyncio.CancelledError:  # the test itself is cancelled: its run must not go on without it
            run.task.cancel()
            raise
        if not run.task.done():
            position = run.position()
            run.abandon()
            await asyncio.wait((run.task,), timeout=self.timeout)
            raise CancelHang(f"{run}: not done after {self.timeout} s, it stands at {position}")
        await self._judge(run)
        if (point := run.point()) is not None:
            self.cancels.append(point)
        await self._check(run)
        return run

    async def every(self, moment: CancelMoment) -> None:
        """Cancel at await 1, 2, ... until a run ends before it gets there."""
        for k in range(1, self.limit + 1):
            run = await self.once(moment, k)
            if run.steps < k:
                return
        raise CancelHang(f"still suspending at await {self.limit}: raise limit, or is this an endless loop?")

    async def every_twice(self) -> None:
        """For each await, cancel there and again at each await of the clean-up that follows."""
        for k in range(1, self.limit + 1):
            for again_at in range(1, self.limit + 1):
                run = await self.once(CancelMoment.TWICE, k, again_at)
                if run.steps < k:
                    return
                if not run.cancelled_again:
                    break
            else:
                raise CancelHang(f"the clean-up still suspends {self.limit} awaits after it was {run}")
        raise CancelHang(f"still suspending at await {self.limit}: raise limit, or is this an endless loop?")

    async def _judge(self, run: _Run[T]) -> None:
        """Raise unless the run ended as it must: with CancelledError if it was cancelled, and only then."""
        if run.task.cancelled():
            if not run.cancelled:
                raise CancelSwallowed(f"{run}: ended with a CancelledError that nobody had asked for")
            return
        error = run.task.exception()
        if error is None:
            result = run.task.result()
            if self.on_result is not None:
                await _maybe_await(self.on_result(result))
            if run.cancelled:
                raise CancelSwallowed(f"{run}: CancelledError was swallowed, it returned {_shortened(result)}")
        elif not run.cancelled:
            raise error
        elif not isinstance(error, self.may_raise):
            raise CancelSwallowed(f"{run}: CancelledError became {_shortened(error)}") from error

    async def _check(self, run: _Run[T]) -> None:
        if self.check is None:
            return
        try:
            await _maybe_await(self.check())
        except BaseException as error:
            error.add_note(f"check() after: {run}")
            raise


async def _maybe_await(value: object) -> None:
    if inspect.isawaitable(value):
        await value


def _shortened(value: object) -> str:
    return reprlib.repr(value)


async def cancel_everywhere(
    make_coroutine: Callable[[], Awaitable[T]],
    *,
    check: Callable[[], object] | None = None,
    on_result: Callable[[T], object] | None = None,
    may_raise: type[BaseException] | tuple[type[BaseException], ...] = (),
    moments: tuple[CancelMoment, ...] = tuple(CancelMoment),
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT,
) -> CancelReport:
    """Run fresh coroutines from `make_coroutine`, cancelling the k-th of them at its k-th await, for each moment.

    `check()` is called after every run, also after those that were not cancelled, and is awaited if it returns an
    awaitable: it is the place to say what must hold (the connection still works, no file is open). `on_result(result)`
    likewise gets what a run returned, to close it. `may_raise` lists exceptions that may come in the place of
    CancelledError: an honest exception that says more. `limit` bounds the awaits of one run, `timeout` the seconds.

    Returns a `CancelReport`. Assert on its `points`: code that turned out not to suspend at all proves nothing.

    Raises `CancelSwallowed` when a cancelled run returned or raised something else; `CancelHang` when a run took longer
    than `timeout` or suspended more often than `limit`; what the coroutine raises when it is not cancelled; what
    `check` raises, with a note that says where the cancel was. Cancelled itself, it cancels the current run and leaves.
    """
    campaign = _Campaign(
        make_coroutine, check, on_result, may_raise if isinstance(may_raise, tuple) else (may_raise,), limit, timeout
    )
    for moment in moments:
        if moment is CancelMoment.BEFORE_START:
            await campaign.once(moment, 0)
        elif moment is CancelMoment.TWICE:
            await campaign.every_twice()
        else:
            await campaign.every(moment)
    return CancelReport(tuple(campaign.cancels), campaign.runs)
