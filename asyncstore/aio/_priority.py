"""The priority of file requests: a context variable, read where jobs are handed to the pool.

A context variable rather than an argument of every function: a priority is a property of the work that asks (a page
being served, a nightly scan), not of one `stat` in the middle of it. Tasks inherit it from whoever started them (PEP
567).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TypeVar, TypeVarTuple

from asyncstore.pool import default_pool

__all__ = ("HIGHEST", "LOWEST", "current_priority", "priority", "run")

LOWEST = -4  # IO::AIO's bounds, which the pool shares
HIGHEST = 4

_priority: ContextVar[int] = ContextVar("asyncstore.aio.priority", default=0)

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


def priority(level: int) -> AbstractContextManager[int]:
    """Give every file request made inside the ``with`` block the pool priority `level`, -4 (last) to 4 (first).

    Tasks started inside inherit it; tasks that already run do not see it. Blocks nest, the innermost counts. Requests
    served on the spot (from the page cache) never queue and so have no priority.

    Raises ValueError when `level` is not an int from -4 to 4.
    """
    if isinstance(level, bool) or not isinstance(level, int) or not LOWEST <= level <= HIGHEST:
        raise ValueError(f"a priority is an int from {LOWEST} to {HIGHEST}, not {level!r}")
    return _at(level)


@contextmanager
def _at(level: int) -> Iterator[int]:
    token = _priority.set(level)
    try:
        yield level
    finally:
        _priority.reset(token)


def current_priority() -> int:
    """Return the priority that a file request made here and now would carry."""
    return _priority.get()


async def run(
    fn: Callable[[*_Ts], _T],
    *args: *_Ts,
    on_discard: Callable[[_T], object] | None = None,
) -> _T:
    """Run ``fn(*args)`` on the default pool at the current priority; return what it returned, raise what it raised.

    Cancelled while queued, the job never runs; cancelled while running, it ends on its worker thread and its result
    goes to `on_discard`. Raises `asyncstore.pool.PoolClosed` when the default pool has been closed.
    """
    return await default_pool().run(fn, *args, priority=_priority.get(), on_discard=on_discard)
