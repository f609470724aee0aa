"""One piece of work on its way to a worker and back.

States, each written by one party only:

    QUEUED --[worker begins it]--> RUNNING --[fn returned]--> RETURNED --[future taken meanwhile]--> DISCARDED
       |                              +-----[fn raised]-----> RAISED
       +--[worker finds its future cancelled]--> DROPPED          (fn never ran)
       +--[the pool or lane closes]------------> REFUSED          (fn never ran)

Invariants
1. fn runs at most once, and only on the way QUEUED -> RUNNING.
2. A job in RETURNED whose future took the result is never discarded; every other returned result goes to `on_discard`
   once.
3. `future` is None for the pool's own clean-up jobs, which have no home and cannot be cancelled.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from asyncstore.pool._home import Home
    from asyncstore.pool._lane import Lane


class JobState(Enum):
    """Where a job is; see the module's docstring."""

    QUEUED = "queued"
    RUNNING = "running"
    RETURNED = "returned"
    RAISED = "raised"
    DISCARDED = "discarded"
    DROPPED = "dropped"
    REFUSED = "refused"


class Recipient(Protocol):
    """Who is told of a job's outcome: an `asyncio.Future`, or what can do these three things as one does.

    Used on the loop's thread, but for `done`, which workers ask too. The setters are called once, in the tick in which
    the result comes home, where a future's callbacks run in the next; they must not raise.
    """

    def done(self) -> bool:
        """Whether nobody waits any more; a job that nobody waits for is not begun."""

    def set_result(self, result: Any, /) -> None:
        """Take what the job returned."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Take what the job raised, or why it was not run."""


class Job:
    """A call, its recipient and its home. Plain slots: one is made per request, so it must be cheap."""

    __slots__ = (
        "args", "context", "ended", "error", "fn", "future", "home", "lane", "on_discard", "priority", "result",
        "started", "state", "submitted",
    )  # fmt: skip

    # The types are wide because a job of any call goes through the same queue; Pool.run restores the precise ones.
    def __init__(  # noqa: PLR0917  # one caller, on the hot path, where keywords cost
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        future: Recipient | None,
        home: Home | None,
        lane: Lane | None,
        priority: int,
        on_discard: Callable[[Any], object] | None,
        context: contextvars.Context | None,
        submitted: int,
    ) -> None:
        self.fn = fn
        self.args = args
        self.future = future
        self.home = home
        self.lane = lane
        self.priority = priority
        self.on_discard = on_discard
        self.context = context
        self.submitted = submitted
        self.state = JobState.QUEUED

    started: int  # ns, and the next three: set by the worker, so there only from the state that promises them
    ended: int
    result: Any
    error: BaseException

    @property
    def name(self) -> str:
        """A name for humans: the qualified name of what the job calls."""
        fn: object = self.fn
        while isinstance(fn, functools.partial):
            fn = fn.func
        return getattr(fn, "__qualname__", None) or type(fn).__qualname__

    def release(self) -> None:
        """Drop what the job refers to: a traceback that holds the worker's frame must not keep it all alive."""
        self.result = self.future = self.context = self.on_discard = None
        self.args = ()
