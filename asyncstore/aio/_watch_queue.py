"""The changes between what sees them and who reads them: a bounded queue whose fullness stops the seeing.

Policy: nothing is dropped here. At `max_queue` changes the source stops taking new ones; inotify's own queue in the
kernel (fs.inotify.max_queued_events) then fills, and when that overflows the kernel says so and the consumer gets
OVERFLOW. Polling simply looks later. A change equal to the newest in the queue is not added again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from asyncstore.aio._change import Change

__all__ = ("ChangeQueue",)


class ChangeQueue:
    """Filled by callbacks on the loop's thread, emptied by any number of tasks of that loop."""

    def __init__(self, max_queue: int) -> None:
        self._max_queue = max_queue
        self._changes: deque[Change] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._end: BaseException | None = None
        self._ended = False
        self.on_room: Callable[[], None] = _nothing  # called when the queue was full and is not any more

    def __len__(self) -> int:
        return len(self._changes)

    @property
    def room(self) -> int:
        """How many more changes are wanted."""
        return max(0, self._max_queue - len(self._changes))

    @property
    def ended(self) -> bool:
        """Whether `end` or `close` was called."""
        return self._ended

    def put(self, change: Change) -> None:
        """Add a change. Never refuses: whoever puts looks at `room` before it takes what leads to changes."""
        if self._ended or (self._changes and self._changes[-1] == change):
            return
        self._changes.append(change)
        self._wake(1)

    def end(self, error: BaseException | None = None) -> None:
        """Let the consumer have what is queued, then `error` or the end of the iteration."""
        if not self._ended:
            self._ended, self._end = True, error
            self._wake(len(self._waiters))

    def close(self) -> None:
        """End the iteration at once; what is queued is dropped."""
        self._changes.clear()
        self._ended, self._end = True, None
        self._wake(len(self._waiters))

    async def get(self) -> Change:
        """Return the oldest change; raises the error given to `end`, or StopAsyncIteration. A cancel loses nothing."""
        while not self._changes:
            if self._ended:
                error, self._end = self._end, None
                raise error if error is not None else StopAsyncIteration
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake(1)  # woken and cancelled in the same moment: the next one is to have it
                raise
        change = self._changes.popleft()
        if self.room == 1:
            self.on_room()
        return change

    def _wake(self, count: int) -> None:
        while count and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1


def _nothing() -> None:
    """What is called before a source is there."""
