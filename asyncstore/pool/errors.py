"""Errors of the worker pool."""

from __future__ import annotations

from asyncstore.errors import Busy, Closed, Error, WouldBlock

__all__ = ("LaneClosed", "PoolClosed", "PoolFull", "WorkerStartError")


class PoolClosed(Closed):
    """The pool does not take or finish the job, because it was closed.

    `maybe_applied` is true when the job had begun and its worker was left behind: it may still run to its end.
    """

    def __init__(self, message: str = "the pool is closed", *, maybe_applied: bool = False) -> None:
        super().__init__(message)
        self.maybe_applied = maybe_applied


class LaneClosed(Closed):
    """The lane does not take the job, because the lane was closed."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"lane {self.name!r} is closed"


class PoolFull(WouldBlock, Busy):
    """As many jobs wait for a worker as the pool allows, and a ``*_nowait`` call does not wait for its turn."""

    def __init__(self, max_pending: int) -> None:
        super().__init__(max_pending)
        self.max_pending = max_pending

    def __str__(self) -> str:
        return f"the pool is full: {self.max_pending} jobs wait for a worker already"


class WorkerStartError(Error, RuntimeError):
    """The system refused a new thread, and the pool has no other to run the job on."""

    retryable = True
