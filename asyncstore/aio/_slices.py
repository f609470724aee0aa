"""A long job cut into slices: a generator that runs on worker threads, a few milliseconds at a time.

Listing a million names, deleting a tree or copying a file is one job that nobody can cancel, or a thread hop (60 us)
per entry. Between the two: the work is written as a plain generator that yields as it gets on; each `next` runs it on a
worker until it has yielded `count` items or `seconds` have passed, and brings the items back in one piece. The caller
can be cancelled between two slices, other jobs get their turn on the worker, and the first results arrive early.

Who closes the generator, when the caller has gone while a worker may or may not be inside it:

1. a slice and a close take the state under one lock; only one of them ever touches the generator.
2. close, generator idle: the worker that runs the close job closes it.
3. close, generator running: the flag is set, and the worker inside closes it as soon as it yields again.

Guarantees: the generator is advanced by one thread at a time, and its `finally` blocks run on a worker thread.
Assumes: the generator does not close over objects of the loop thread that are not thread-safe.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from enum import Enum
from time import perf_counter
from typing import Generic, TypeVar

from asyncstore.aio._priority import run
from asyncstore.aio._shielded import leave_to_worker, see_through

__all__ = ("Slices", "run_slices")

COUNT = 4096  # items a slice: beyond it, the list that travels gains nothing and only holds memory
SECONDS = (
    0.002  # a slice: 30 times the cost of the hop that it pays for, and not yet noticed by whoever waits for a worker
)

_T = TypeVar("_T")


class _State(Enum):
    IDLE = "idle"
    RUNNING = "running"
    CLOSING = "closing"  # running, and to be closed by the worker that runs it
    ENDED = "ended"


class Slices(Generic[_T]):
    """The generator `source`, advanced slice by slice on the pool. Close it with `aclose` unless it ended by itself."""

    __slots__ = ("_count", "_failure", "_lock", "_seconds", "_source", "_state")

    def __init__(self, source: Generator[_T, None, None], *, count: int = COUNT, seconds: float = SECONDS) -> None:
        self._source = source
        self._count = count
        self._seconds = seconds
        self._state = _State.IDLE
        self._failure: Exception | None = None
        self._lock = threading.Lock()

    @property
    def ended(self) -> bool:
        """True once the generator has returned, raised or been closed; what it raised may still be due."""
        return self._state is _State.ENDED and self._failure is None

    async def next(self) -> list[_T]:
        """Return the items of the next slice; an empty list says that the generator has ended.

        Raises what the generator raises, after the items that came before. Cancelled, it closes the generator: on a
        worker, at once when no slice had begun, else as soon as the running one yields.
        """
        if self._state is _State.ENDED:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            return []
        try:
            return await run(self._advance)
        except asyncio.CancelledError:
            leave_to_worker(self._close)  # it finds out by itself whether there is anything to close
            raise

    async def aclose(self) -> None:
        """Run the generator's clean-up on a worker and wait for it; a cancel stops the waiting, not the clean-up."""
        self._failure = None
        if self._state is not _State.ENDED:
            await see_through(self._close)

    def _advance(self) -> list[_T]:
        with self._lock:
            if self._state is not _State.IDLE:
                return []
            self._state = _State.RUNNING
        items: list[_T] = []
        ended = True  # a generator that raised has ended too
        try:
            ended = self._fill(items)
        except Exception as exc:
            if not items:
                raise
            self._failure = exc  # the items reached us first: they are delivered first
        finally:
            with self._lock:
                closing = self._state is _State.CLOSING
                self._state = _State.ENDED if ended or closing else _State.IDLE
            if closing:
                self._source.close()
        return items

    def _fill(self, items: list[_T]) -> bool:
        """Advance the generator for one slice; return whether it has ended."""
        append = items.append
        count = self._count
        deadline = perf_counter() + self._seconds
        for item in self._source:
            append(item)
            if len(items) >= count or self._state is _State.CLOSING or perf_counter() >= deadline:
                return False
        return True

    def _close(self) -> None:
        with self._lock:
            if self._state is _State.RUNNING:
                self._state = _State.CLOSING
                return
            if self._state is not _State.IDLE:
                return
            self._state = _State.ENDED
        self._source.close()


async def run_slices(source: Generator[object, None, _T], *, seconds: float = SECONDS) -> _T:
    """Run the generator `source` to its end, slice by slice, and return what it returns; what it yields is dropped.

    Cancelled between two slices, the generator is closed there and its `finally` blocks undo what was begun.
    """
    returned: list[_T] = []

    def steps() -> Generator[object, None, None]:
        returned.append((yield from source))

    slices = Slices(steps(), seconds=seconds)
    while await slices.next():
        pass
    return returned[0]
