"""How file requests reach the default pool: with the priority of whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from asyncstore.pool import current_priority, default_pool

__all__ = ("run",)

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


async def run(
    fn: Callable[[*_Ts], _T],
    *args: *_Ts,
    on_discard: Callable[[_T], object] | None = None,
) -> _T:
    """Run ``fn(*args)`` on the default pool at the current priority; return what it returned, raise what it raised.

    Cancelled while queued, the job never runs; cancelled while running, it ends on its worker thread and its result
    goes to `on_discard`. Raises `asyncstore.pool.PoolClosed` when the default pool has been closed.
    """
    return await default_pool().run(fn, *args, priority=current_priority(), on_discard=on_discard)
