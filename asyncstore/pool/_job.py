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

import asyncio
import contextvars
import functools
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

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


class Job:
    """A call, its future and its home. Plain slots: one is made per request, so it must be cheap."""

    __slots__ = (
        "args", "context", "ended", "error", "fn", "future", "home", "lane", "on_discard", "priority", "result",
        "started", "state", "submitted",
    )  # fmt: skip

    # The types are wide because a job of any call goes through the same queue; Pool.run restores the precise ones.
    def __init__(  # noqa: PLR0917  # one caller, on the hot path, where keywords cost
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        future: asyncio.Future[Any] | None,
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
