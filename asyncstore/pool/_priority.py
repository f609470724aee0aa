"""The priority of the work that a task asks for: a context variable, read where requests are handed to workers.

A context variable rather than an argument of every function: a priority is a property of the work that asks (a page
being served, a nightly scan), not of one `stat` in the middle of it. Tasks inherit it from whoever started them (PEP
567).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

__all__ = ("HIGHEST", "LOWEST", "current_priority", "priority")

LOWEST = -4  # IO::AIO's and BDB's bounds
HIGHEST = 4

_priority: ContextVar[int] = ContextVar("asyncstore.priority", default=0)


def priority(level: int) -> AbstractContextManager[int]:
    """Give every request of a service made inside the ``with`` block the priority `level`, -4 (last) to 4 (first).

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
    """Return the priority that a request made here and now would carry."""
    return _priority.get()
