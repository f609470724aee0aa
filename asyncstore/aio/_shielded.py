"""Clean-up that happens although whoever asked for it was cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from asyncstore.errors import WouldBlock
from asyncstore.pool import PoolClosed, default_pool

__all__ = ("leave_to_worker", "see_through", "start")

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


async def see_through(fn: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
    """Run ``fn(*args)`` on the pool, whatever happens to the caller: once called, the job is never dropped.

    Cancelled, the caller goes at once and the job runs to its end on its worker; its exception is then dropped with it,
    as there is nobody left to hear of it. When the pool takes no job (full, closed) it runs here and now: a clean-up
    does not wait without bound.
    """
    try:
        job = default_pool().submit_nowait(fn, *args)
    except (WouldBlock, PoolClosed):
        return fn(*args)
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        job.add_done_callback(_forget)
        raise


def start(fn: Callable[[*_Ts], _T], *args: *_Ts) -> asyncio.Future[_T]:
    """Begin what `see_through` does, and return a future to await behind `asyncio.shield`."""
    try:
        job = default_pool().submit_nowait(fn, *args)
    except (WouldBlock, PoolClosed):
        job = asyncio.get_running_loop().create_future()
        try:
            job.set_result(fn(*args))
        except OSError as exc:
            job.set_exception(exc)
    job.add_done_callback(_forget)
    return job


def leave_to_worker(fn: Callable[[], object]) -> None:
    """Have a worker run `fn` soon and wait for nothing; when the pool takes no job, run it here and now."""
    try:
        job = default_pool().submit_nowait(fn)
    except (WouldBlock, PoolClosed):
        fn()
        return
    job.add_done_callback(_forget)


def _forget(job: asyncio.Future[_T]) -> None:
    """Take the exception of a job that nobody waits for, so that asyncio does not report it as never retrieved."""
    if not job.cancelled():
        job.exception()
