"""A serial queue on a pool: jobs run in order and never two at once, on whichever worker is free.

A lane is in the pool's shared queue at most once, as one entry that stands for all its jobs: everything that is
submitted while the entry waits, or while a worker is inside the lane, costs no further hand-over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from asyncstore.pool._job import Job, Recipient
from asyncstore.pool.errors import LaneClosed, PoolClosed

if TYPE_CHECKING:
    import asyncio

    from asyncstore.pool._pool import Pool

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def _nothing() -> None:
    """The last job of a closing lane: a barrier behind which none is left."""


class Lane:
    """A serial queue; made by `Pool.lane`.

    `priority` (-4..4) places the lane among all that waits in the pool; inside the lane the order of submission holds
    whatever it is.
    """

    __slots__ = ("__weakref__", "_pool", "_priority", "active", "closed", "jobs", "name")

    def __init__(self, pool: Pool, name: str, priority: int) -> None:
        self._pool = pool
        self.name = name
        self.priority = priority
        self.jobs: deque[Job] = deque()
        self.active = (
            False  # an entry for this lane waits in the pool or a worker is inside; guarded by the pool's lock
        )
        self.closed = False

    def __repr__(self) -> str:
        state = "closed" if self.closed else "active" if self.active else "idle"
        return f"<Lane {self.name!r} {state} queued={len(self.jobs)} priority={self._priority}>"

    @property
    def priority(self) -> int:
        """The lane's priority, -4 (last) to 4 (first). Setting it takes effect with the next hand-over."""
        return self._priority

    @priority.setter
    def priority(self, value: int) -> None:
        self._pool.check_priority(value)
        self._priority = value

    def run(
        self, fn: Callable[[*Ts], T], /, *args: *Ts, on_discard: Callable[[T], object] | None = None
    ) -> Coroutine[Any, Any, T]:
        """Run ``fn(*args)`` after all jobs submitted to this lane before; as `Pool.run` in all else.

        Raises `LaneClosed` when the lane is closed.
        """
        if self.closed:
            raise LaneClosed(self.name)
        return self._pool.run_job(self, self._priority, fn, args, on_discard)

    def submit_nowait(
        self, fn: Callable[[*Ts], T], /, *args: *Ts, on_discard: Callable[[T], object] | None = None
    ) -> asyncio.Future[T]:
        """Hand ``fn(*args)`` over at once and return its future; as `Pool.submit_nowait` in all else."""
        if self.closed:
            raise LaneClosed(self.name)
        return self._pool.submit_job_nowait(self, self._priority, fn, args, on_discard)

    def submit_for(self, recipient: Recipient, fn: Callable[..., object], /, *args: object) -> None:
        """Hand ``fn(*args)`` over at once for `recipient`; as `Pool.submit_for` in all else."""
        if self.closed:
            raise LaneClosed(self.name)
        self._pool.submit_job_for(recipient, self, self._priority, fn, args)

    async def aclose(self) -> None:
        """Refuse new jobs and return when all those submitted before have ended. Idempotent.

        A cancel leaves the lane closed and its jobs running in the background.
        """
        if self.closed:
            return
        self.closed = True
        try:
            await self._pool.run_job(self, self._priority, _nothing, (), None)
        except PoolClosed:
            return  # the pool has finished or refused this lane's jobs already
