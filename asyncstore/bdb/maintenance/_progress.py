"""What long work tells of itself, and how it is told to stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

__all__ = ("Progress", "ProgressCallback", "Step", "stepwise")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far long work has come: `done` of `total` in `unit`; `total` None: nobody knows. `what`: being worked on."""

    what: str
    done: int
    total: int | None
    unit: str


ProgressCallback: TypeAlias = Callable[[Progress], object]
Step: TypeAlias = Callable[[str, int, int], None]  # what is worked on, how much is done, of how much; raises to stop


class _Stopped(Exception):
    """Whoever asked for the work does not want it any more."""


async def stepwise(
    run: Callable[[Callable[[], T]], Awaitable[T]],
    work: Callable[[Step], T],
    *,
    unit: str,
    progress: ProgressCallback | None,
) -> T:
    """Have `run` carry out ``work(step)`` on a worker; `progress` is called on the loop with each step.

    A cancel makes the next step raise, so that the work cleans up after itself; nobody waits for that.
    """
    loop = asyncio.get_running_loop()
    unwanted = threading.Event()

    def step(what: str, done: int, total: int) -> None:
        if unwanted.is_set():
            raise _Stopped
        if progress is not None:
            loop.call_soon_threadsafe(progress, Progress(what, done, total, unit))

    try:
        return await run(lambda: work(step))
    except asyncio.CancelledError:
        unwanted.set()
        raise
