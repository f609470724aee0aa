"""Gathers the operations of one loop tick, and of the time a batch takes, into batches for the workers.

A thread hop costs 30-60 us, a get 1 us and a put 3 us: one hop a call would spend nearly all CPU on hops. So an
operation first goes to a list; at the end of the tick the list travels to a worker in one job and its outcomes come
back in one wake-up. While `width` batches are under way the list grows, so the busier the program, the larger the
batches. A batch that writes is one transaction, which is what makes group commit.

The list has no bound of its own: every entry has a caller that waits for it, so it is as long as there are waiting
tasks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from asyncstore.bdb import errors
from asyncstore.bdb._request import Request
from asyncstore.errors import Closed, Internal, WouldBlock
from asyncstore.pool import Lane, Pool, PoolClosed

__all__ = ("Gatherer",)

POOL_FULL_PAUSE = (
    0.002  # seconds until a batch that a full pool refused is offered again: about one job's time; arbitrary
)


class Gatherer:
    """Hands requests to `target` in batches that `work` carries out on a worker, at most `width` batches at a time.

    Used on one loop's thread only. `work` stores the outcome in each request and raises nothing that belongs to a
    single one.
    """

    def __init__(
        self,
        target: Lane | Pool,
        work: Callable[[list[Request]], None],
        *,
        width: int,
        max_requests: int,
        max_bytes: int,
        returned: Callable[[list[Request]], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._target = target
        self._work = work
        self._width = width
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._on_returned = returned
        self._waiting: deque[Request] = deque()
        self._running = 0
        self._scheduled = False
        self.batches = 0  # handed over so far
        self.requests = 0
        self.left_behind = False  # the pool closed without waiting for a batch: it may still be inside libdb

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: Request) -> asyncio.Future[Any]:
        """Take `request` and return the future of its outcome."""
        request.database.usage.enter()
        request.future = self._loop.create_future()
        self._waiting.append(request)
        if not self._scheduled and self._running < self._width:
            self._schedule()
        return request.future

    def _schedule(self) -> None:
        # call_soon, not at once: the other tasks that are ready in this tick, and those that an earlier batch has
        # just woken, add theirs first.
        self._scheduled = True
        self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._scheduled = False
        while self._running < self._width:
            batch = self._take()
            if not batch:
                return
            try:
                job = self._target.submit_nowait(self._work, batch)
            except WouldBlock:
                self._waiting.extendleft(reversed(batch))
                self._scheduled = True
                self._loop.call_later(POOL_FULL_PAUSE, self._hand_over)
                return
            except Closed as exc:
                self._settle(batch, exc)
                continue
            for request in batch:
                request.handed_over = True
            self._running += 1
            self.batches += 1
            self.requests += len(batch)
            job.add_done_callback(partial(self._returned, batch))

    def _take(self) -> list[Request]:
        batch: list[Request] = []
        size = 0
        while self._waiting and len(batch) < self._max_requests:
            request = self._waiting[0]
            if batch and size + request.size > self._max_bytes:
                break
            self._waiting.popleft()
            if request.future is None or request.future.cancelled():
                request.database.usage.leave()  # cancelled before it was handed over: nothing happens
                continue
            batch.append(request)
            size += request.size
        return batch

    def _returned(self, batch: list[Request], job: asyncio.Future[None]) -> None:
        self._running -= 1
        if job.cancelled():
            # Only a loop that is being torn down cancels a future that nobody else holds.
            self._settle(batch, asyncio.CancelledError())
        else:
            self._settle(batch, job.exception())
        if self._on_returned is not None:
            self._on_returned(batch)
        if self._waiting and not self._scheduled:
            self._schedule()

    def _settle(self, batch: list[Request], failure: BaseException | None) -> None:
        self.left_behind |= isinstance(failure, PoolClosed) and failure.maybe_applied
        for request in batch:
            request.database.usage.leave()
            future = request.future
            if future is None or future.done():
                continue
            error = request.error if failure is None else _failed(request, failure)
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(request.result)


def _failed(request: Request, failure: BaseException) -> BaseException:
    """Return the error of one request of a batch that failed as a whole: one object each, for its traceback."""
    doing = request.operation.value
    error: BaseException
    if isinstance(failure, (Closed, asyncio.CancelledError)):
        error = errors.Closed(doing=doing, of=request.subject, detail=f"its worker pool is gone: {failure}")
        error.maybe_applied = request.handed_over
    else:
        error = Internal(f"{doing} {request.subject}: {failure!r}; please report it")
        error.maybe_applied = request.handed_over
    error.__cause__ = failure
    return error
