"""Gathers the requests of one loop tick, and of the time a batch takes, into batches for the workers.

A thread hop costs 30-60 us, a read from a database 1-5 us: one hop a call would spend nearly all CPU on hops. So a
request first goes to a list; at the end of the tick the list travels to a worker in one job and its outcomes come
back in one wake-up. While `width` batches are under way the list grows, so the busier the program, the larger the
batches. A batch that writes is one transaction, which is what makes group commit.

A request that met a lock comes back undone (`again`). It goes to a second list, and from there into a later batch,
until the lock is had or its time is up. So no worker waits for what a caller's open transaction has locked, and a lock
that is never given up costs a `LockTimeout`, not a program that hangs.

Requests of a higher priority (`priority`) are taken first. Those of one priority keep their order.

The lists have no bound of their own: every entry has a caller that waits for it, so they are as long as there are
waiting tasks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from asyncstore.errors import Closed, Error, WouldBlock
from asyncstore.pool._lane import Lane
from asyncstore.pool._pool import Pool
from asyncstore.pool._priority import HIGHEST, LOWEST, current_priority
from asyncstore.pool._request import Request
from asyncstore.pool.errors import PoolClosed

__all__ = ("Gatherer", "heeded")

POOL_FULL_PAUSE = (
    0.002  # seconds until a batch that a full pool refused is offered again: about one job's time; arbitrary
)
AGAIN_PAUSE = 0.0005  # seconds until a lock is asked for again; about a group's flush; doubled while nothing is had
AGAIN_PAUSE_MAX = 0.02  # a lock that is kept for seconds is asked for 50 times in each: 0.2 % of a processor


R = TypeVar("R", bound=Request)


class Gatherer(Generic[R]):
    """Hands requests to `target` in batches that `work` carries out on a worker, at most `width` batches at a time.

    Used on one loop's thread only. `work` stores the outcome in each request and raises nothing that belongs to a
    single one. `patience` is how long, in seconds, a request waits for a lock. With `ordered` what met a lock comes
    first in the next batch, whatever triggers that; without it, only after a pause. `eager` hands a request over at
    once while they come one by one; what pays for a flush should share it with those that come in the same tick.
    `waits` tells that the worker itself waits for locks, so that no pause is needed.
    """

    def __init__(
        self,
        target: Lane | Pool,
        work: Callable[[list[R]], None],
        *,
        width: int,
        max_requests: int,
        max_bytes: int,
        patience: float,
        ordered: bool = False,
        eager: bool = False,
        waits: bool = False,
        priority: int = 0,
        returned: Callable[[list[R]], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._target = target
        self._work = work
        self._width = width
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._patience = patience
        self._ordered = ordered
        self._eager = eager
        self._waits = waits
        self._on_returned = returned
        self._priority = priority  # added to that of the requests
        self._queues: dict[int, deque[R]] = {0: deque()}  # what waits, by priority, the highest first
        self._later: deque[R] = deque()  # met a lock
        self._timer: asyncio.TimerHandle | None = None
        self._pause = AGAIN_PAUSE
        self._inside: list[list[R]] = []  # the batches that are on workers
        self._scheduled = False
        self._alone = False  # requests come one at a time: nothing is gained by waiting for the end of the tick
        self.since = 0.0  # of the loop's clock: when the last batch was handed over
        self.batches = 0  # handed over so far
        self.requests = 0
        self.left_behind = False  # the pool closed without waiting for a batch: it may still be inside libdb
        self.failure: Exception | None = None  # why nothing more is handed over; set by `fail`

    def __len__(self) -> int:
        return sum(map(len, self._queues.values())) + len(self._later)

    @property
    def busy(self) -> bool:
        """Whether a batch is on a worker."""
        return bool(self._inside)

    @property
    def pending(self) -> bool:
        """Whether a batch is on a worker, or will be."""
        return bool(self._inside) or bool(len(self))

    def add(self, request: R) -> asyncio.Future[Any]:
        """Take `request` and return the future of its outcome."""
        request.usage.enter()
        request.future = self._loop.create_future()
        if self.failure is not None:
            self._end(request, self._broken(request))
            return request.future
        # What one transaction is asked keeps its order.
        request.priority = level = 0 if self._waits else current_priority()
        queue = self._queues.get(level)
        (self._new_queue(level) if queue is None else queue).append(request)
        if self._inside:
            self._alone = False
        if not self._scheduled and len(self._inside) < self._width:
            if self._alone:
                self._hand_over()
            else:
                self._schedule()
        return request.future

    def _new_queue(self, level: int) -> deque[R]:
        queue: deque[R] = deque()
        self._queues[level] = queue
        self._queues = dict(sorted(self._queues.items(), reverse=True))
        return queue

    def _put_back(self, requests: Iterable[R]) -> None:
        """Put `requests`, which are in their order, in front of those that wait."""
        for request in reversed(list(requests)):
            self._queues[request.priority].appendleft(request)

    def hurry(self) -> None:
        """Ask again at once for the locks that were not had: somebody has just given some up."""
        if self._later and self._timer is not None:
            self._timer.cancel()
            self._come_back()

    def fail(self, failure: Exception) -> None:
        """End everything with `failure`, also what is inside a worker: it may never come back from there."""
        self.failure = failure
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for queue in (self._later, *self._queues.values()):
            for request in queue:
                self._end(request, self._broken(request))
            queue.clear()
        for batch in self._inside:
            for request in batch:
                if request.future is not None and not request.future.done():
                    error = self._broken(request)
                    error.maybe_applied = True
                    request.future.set_exception(error)

    def _broken(self, request: R) -> Error:
        assert self.failure is not None, "only called after fail"
        return request.failed(self.failure)

    def _schedule(self) -> None:
        # call_soon, not at once: the other tasks that are ready in this tick, and those that an earlier batch has
        # just woken, add theirs first.
        self._scheduled = True
        self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._scheduled = False
        while len(self._inside) < self._width:
            batch = self._take()
            if not batch:
                return
            if self.failure is not None:
                for request in batch:
                    self._end(request, self._broken(request))
                continue
            try:
                self._submit(batch)
            except WouldBlock:
                self._put_back(batch)
                self._scheduled = True
                self._loop.call_later(POOL_FULL_PAUSE, self._hand_over)
                return
            except Closed as exc:
                self._settle(batch, exc)
                continue
            for request in batch:
                request.handed_over = True
            self.since = self._loop.time()
            self._inside.append(batch)
            self.batches += 1
            self.requests += len(batch)

    def _submit(self, batch: list[R]) -> None:
        level = self._priority + batch[0].priority
        if level:
            level = max(LOWEST, min(HIGHEST, level))
        recipient = _Recipient(self, batch)
        if isinstance(self._target, Pool):
            self._target.submit_for(recipient, self._work, batch, priority=level)
            return
        if self._target.priority != level:
            self._target.priority = level
        self._target.submit_for(recipient, self._work, batch)

    def _take(self) -> list[R]:
        if self._ordered and self._later and any(self._queues.values()):
            self._put_back(self._later)
            self._later.clear()
        batch: list[R] = []
        size = 0
        for queue in self._queues.values():
            while queue and len(batch) < self._max_requests:
                request = queue[0]
                if batch and size + request.size > self._max_bytes:
                    return batch
                queue.popleft()
                if request.future is None or request.future.done():
                    request.usage.leave()  # cancelled before it was handed over: nothing happens
                    continue
                batch.append(request)
                size += request.size
        return batch

    def returned(self, batch: list[R], failure: BaseException | None) -> None:
        """Take `batch` home from its worker; `failure` is what kept it from being carried out. For its recipient."""
        self._inside.remove(batch)
        self._settle(batch, failure)
        if self._on_returned is not None:
            self._on_returned(batch)
        self._alone = False
        if not self._scheduled and any(self._queues.values()):
            self._schedule()
        elif not self._later:
            self._alone = self._eager and len(batch) == 1 and not self._inside
        elif self._timer is None:
            self._timer = self._loop.call_later(0 if self._waits else self._pause, self._come_back)
            self._pause = min(2 * self._pause, AGAIN_PAUSE_MAX)

    def _come_back(self) -> None:
        self._timer = None
        self._put_back(self._later)
        self._later.clear()
        if not self._scheduled:
            self._scheduled = True
            self._hand_over()

    def _settle(self, batch: list[R], failure: BaseException | None) -> None:
        self.left_behind |= isinstance(failure, PoolClosed) and failure.maybe_applied
        again = 0
        for request in batch:
            if failure is None and request.again and self._to_be_done_again(request):
                again += 1
                continue
            future = request.future
            if failure is None and request.error is None and future is not None and not future.done():
                request.usage.leave()  # as `_end`, for the common case
                future.set_result(request.result)
                continue
            self._end(request, request.error if failure is None else self._failed(request, failure))
        if again < len(batch):
            self._pause = AGAIN_PAUSE

    def _failed(self, request: R, failure: BaseException) -> Error:
        """Return the error of one request of a batch that failed as a whole: one object each, for its traceback."""
        error = request.failed(failure)
        error.maybe_applied = request.handed_over
        error.__cause__ = failure
        return error

    def _to_be_done_again(self, request: R) -> bool:
        if self.failure is not None or request.future is None or request.future.done():
            return False
        if request.error is not None:  # it met the lock itself; without one it stood behind such a one
            now = self._loop.time()
            if request.deadline is None:
                request.deadline = now + self._patience
            if now >= request.deadline:
                return False
        request.again, request.error, request.handed_over = False, None, False
        self._later.append(request)
        return True

    def _end(self, request: Request, error: BaseException | None) -> None:
        request.usage.leave()
        future = request.future
        if future is None or future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(request.result)


class _Recipient:
    """Takes a batch's outcome home; the pool's side of it."""

    __slots__ = ("_batch", "_done", "_gatherer")

    def __init__(self, gatherer: Gatherer[Any], batch: list[Any]) -> None:
        self._gatherer = gatherer
        self._batch = batch
        self._done = False

    def done(self) -> bool:
        return self._done

    def set_result(self, _: object, /) -> None:
        self._done = True
        self._gatherer.returned(self._batch, None)

    def set_exception(self, failure: BaseException, /) -> None:
        self._done = True
        self._gatherer.returned(self._batch, failure)


def heeded(future: asyncio.Future[Any]) -> None:
    """Take note of a failure that nobody may be waiting for any more: whoever asks next is told of its cause."""
    if not future.cancelled():
        future.exception()
