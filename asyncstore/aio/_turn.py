"""One operation at a time on one file, in the order in which they were asked for.

Position, read-ahead and write-behind of a file are one state. Whoever changes it holds the turn; whoever comes
meanwhile waits in line. Taking a free turn is one comparison and one assignment, so that an operation served out of
memory does not notice it.

An operation that has reached a worker thread cannot be taken back. If its caller is cancelled, the turn stays taken
until the worker is done and the outcome has been noted (`finish`): the next operation then finds position and buffers
as the disk has them, never in between.

Guarantees: first come, first served; a turn that is handed over in the moment of a cancel goes on to the next in line.
Assumes: one event loop at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ("Turn",)

_T = TypeVar("_T")


class Turn:
    """The turn of one file. `taken` may be set by whoever finds it false, who then owes a `release`."""

    __slots__ = ("_afterwards", "_line", "_unfinished", "taken")

    def __init__(self) -> None:
        self.taken = False
        self._line: deque[asyncio.Future[None]] = deque()
        self._unfinished: asyncio.Task[Any] | None = None  # Any: only its end matters
        self._afterwards: list[Callable[[], object]] = []

    async def take(self) -> None:
        """Wait for the turn. Cancelled, the caller leaves the line, and what it was handed goes to the next."""
        if not self.taken:
            self.taken = True
            return
        place = asyncio.get_running_loop().create_future()
        self._line.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._pass_on()
            raise

    def release(self) -> None:
        """Give the turn to the next in line, once what `finish` has begun is over."""
        task = self._unfinished
        if task is None:
            self._pass_on()
            return
        self._unfinished = None
        if task.done():
            self._pass_on()
        else:
            task.add_done_callback(lambda _done: self._pass_on())

    async def finish(self, operation: Coroutine[Any, Any, _T]) -> _T:
        """Run `operation` to its end, whatever happens to the caller, who holds the turn; return what it returns.

        Cancelled, the caller goes at once and `operation` goes on; what it raises then must be noted by itself, or come
        again.
        """
        task = asyncio.get_running_loop().create_task(operation)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                self._unfinished = task
            raise

    def when_free(self, fn: Callable[[], object]) -> None:
        """Call `fn` now, or as soon as the operation that has the turn is over, before the next one begins."""
        if self.taken:
            self._afterwards.append(fn)
        else:
            fn()

    def _pass_on(self) -> None:
        while self._afterwards:
            self._afterwards.pop()()
        line = self._line
        while line:
            place = line.popleft()
            if not place.done() and not place.get_loop().is_closed():
                place.set_result(None)
                return
        self.taken = False
