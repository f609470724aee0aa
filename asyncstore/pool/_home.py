"""One event loop's side of a pool: where finished jobs come home, and the pump that keeps the traffic moving.

Workers append finished jobs to `done` and wake the loop once; the loop takes all that has gathered. Between two
wake-ups any number of jobs can finish, so a wake-up is paid per batch.

The pump is a timer that runs only while jobs are out. It exists for three reasons:

* Starvation. A loop that never blocks lets go of the GIL for about a microsecond in each ``select(0)``. A worker that
  waits for the GIL is signalled, finds it taken again and begins a new switch interval, so it can starve for seconds.
  When the loop's thread used most of the last period's CPU, the pump blocks on a lock for at most `DONATION`, which a
  worker releases when it has caught up: a real hand-over. (Changing ``sys.setswitchinterval`` would be process-wide
  and helps only with long ticks.)
* Growth. Workers are woken one by one; when a queue stands still because all awake workers are blocked, the pump
  wakes one more.
* Turn-taking. Jobs of submitters beyond `max_pending` wait here and are handed over as places become free.

Guarantees: futures are touched only on their loop's thread. A job that cannot be delivered, because its loop is
closed or gone, is discarded on a worker. Assumes: `collections.deque` append, popleft and truth are atomic
(documented for CPython, also free-threaded).

Lock rule: `lock` guards `woken` and `wants`, is held for a few instructions and never while another lock is taken or
user code runs.
"""

from __future__ import annotations

import _thread
import asyncio
import logging
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING

from asyncstore.pool._job import Job, JobState, Recipient
from asyncstore.pool._stats import BUCKETS
from asyncstore.pool.errors import PoolClosed, WorkerStartError

if TYPE_CHECKING:
    from asyncstore.pool._pool import Pool

PUMP_PERIOD = 0.001  # seconds: bounds how long a starved job waits for the GIL; ten pumps cost 0.5% of a core
PUMP_SLOWEST = (
    0.05  # seconds: the period grows with the age of the oldest silence, so that a job of minutes costs next to nothing
)
PUMP_SHARE = 16  # the period is at most 1/16 of that silence: a job's delay stays below 7% of its run time
DONATION = 0.0002  # seconds: two futex wake-ups and a short job fit in; longer would hold up the loop's own work
BUSY_SHARE = (
    0.5  # share of a pump period that the loop's thread spent computing; below it the GIL was free often enough
)

_clock = time.perf_counter_ns
_RETURNED = JobState.RETURNED
_logger = logging.getLogger("asyncstore.pool")
# Per-thread CPU time tells a busy loop from one that waits in its poller. Where it is missing, every loop counts as
# busy.
_cpu_clock = getattr(time, "thread_time_ns", _clock)


class Home:
    """The meeting point of one pool and one loop. Workers touch only `hand_back`, `wake`, `bury` and the flags."""

    __slots__ = (
        "__weakref__", "_cpu_mark", "_gate", "_quiet_since", "_wall_mark",
        "alert", "armed", "batches", "dead", "done", "lock", "loop", "outstanding", "parked", "pool", "submitted",
        "wakeups", "wants", "woken",
    )  # fmt: skip

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        self.pool = pool
        self.loop = weakref.ref(loop, self._loop_is_gone)  # ids are reused, so look here before you trust one
        self.done: deque[Job] = deque()
        self.parked: dict[Job, None] = {}  # ordered, and a cancelled submitter leaves in O(1)
        self.submitted = 0  # jobs handed over, ever
        self.outstanding = 0  # jobs handed over and not yet taken home
        self.lock = threading.Lock()
        self.woken = False
        self.wants = False  # the loop's thread blocks on _gate and wants to be released
        self.dead = False
        self.alert = False  # wants or dead: the one flag that workers look at
        self.wakeups = 0
        self.batches = [0] * BUCKETS
        self._gate = threading.Lock()
        self._gate.acquire()
        self.armed = False
        self._quiet_since = self._wall_mark = self._cpu_mark = 0

    def is_abandoned(self) -> bool:
        """Tell whether the loop is closed or gone; its undelivered results are then discarded."""
        loop = self.loop()
        if loop is not None and not loop.is_closed():
            return False
        self.dead = self.alert = True
        self.bury()
        return True

    # Worker side

    def hand_back(self, job: Job) -> None:
        """Put a job that ended into `done` and make sure that the loop learns of it; `Worker.run` does it by itself."""
        self.done.append(job)
        if not self.woken:
            self.wake()
        if self.alert:
            self.attend()

    def wake(self) -> None:
        """Ask the loop to take finished jobs home, unless it has been asked already."""
        with self.lock:
            if self.woken or self.dead:
                return
            self.woken = True
            self.wakeups += 1
        loop = self.loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self.drain)
                return
        except RuntimeError:  # the loop is closed: nobody will ever ask for these results
            _logger.debug("a loop was closed while jobs of it were running")
        self.dead = self.alert = True

    def attend(self) -> None:
        """Do what `alert` asks of a worker that has just handed a job back."""
        if self.dead:
            self.bury()
        elif self.wants and not self.pool.crew.has_work():
            self._release()

    def refuse(self, future: Recipient, error: Exception) -> None:
        """Fail the future of a job that is left behind; the job comes home, or is discarded, whenever it ends."""
        loop = self.loop()
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(_fail, future, error)
        except RuntimeError:
            self.dead = self.alert = True  # closed: nobody waits

    def _release(self) -> None:
        with self.lock:
            if self.wants:
                self.wants = False
                self._gate.release()

    def bury(self) -> None:
        """Discard all results of a dead loop, on a worker."""
        while True:
            try:
                job = self.done.popleft()
            except IndexError:
                return
            self.pool.crew.discard(job)

    def _loop_is_gone(self, _: object) -> None:
        # Runs wherever the loop is freed, perhaps inside another thread's critical section: it must take no lock,
        # neither ours nor threading.Thread's. Results that nobody took are rare here, so a thread for them is no
        # cost.
        self.dead = self.alert = True
        if self.done:
            _thread.start_new_thread(self.bury, ())

    # Loop side

    def park(self, loop: asyncio.AbstractEventLoop, job: Job) -> None:
        """Keep a job until the pool has room for it."""
        self.parked[job] = None
        if not self.armed:
            self.arm(loop, job.submitted)

    def arm(self, loop: asyncio.AbstractEventLoop, now: int) -> None:
        """Start the pump, which runs until no job is out."""
        self.armed = True
        self._quiet_since = self._wall_mark = now
        self._cpu_mark = _cpu_clock()
        loop.call_later(PUMP_PERIOD, self._pump)

    def drain(self) -> None:
        """Take finished jobs home: at most the pool's `max_poll_jobs` or `max_poll_time`, the rest in the next tick."""
        with self.lock:
            self.woken = False
        pool = self.pool
        done = self.done
        limit = min(len(done), pool.max_poll_jobs or len(done))
        deadline = _clock() + int(pool.max_poll_time * 1e9) if pool.max_poll_time else None
        taken = 0
        while taken < limit:
            job = done.popleft()
            taken += 1
            future = job.future
            if job.state is _RETURNED and not future.done():  # type: ignore[union-attr]  # released when discarded only
                future.set_result(job.result)  # type: ignore[union-attr]  # as above
            else:
                self._settle(job)
            if pool.observers:
                pool.observe(job)
            if deadline is not None and _clock() >= deadline:
                break
        if taken:
            self.outstanding -= taken
            self.batches[taken.bit_length()] += 1
            self._quiet_since = _clock()
        if done:
            self._drain_again()
        if self.parked:
            self._promote()

    def _drain_again(self) -> None:
        with self.lock:
            if self.woken:
                return
            self.woken = True
        loop = self.loop()
        if loop is not None:
            loop.call_soon(self.drain)

    def _settle(self, job: Job) -> None:
        """Take a job home that did not simply return to a caller who waits."""
        future = job.future
        if job.state is JobState.RETURNED:  # cancelled after it had ended and before it came home
            self.pool.crew.discard(job)
        elif future is not None and not future.done():
            future.set_exception(_presentable(job.error))

    def _promote(self) -> None:
        """Hand over parked jobs in their order, as far as there is room; refuse them when the pool has closed."""
        pool = self.pool
        while self.parked:
            job = next(iter(self.parked))
            future = job.future
            if future is None or future.done():
                del self.parked[job]
            elif not pool.accepting:
                del self.parked[job]
                job.state = JobState.REFUSED
                future.set_exception(PoolClosed("the pool was closed before it took the job"))
            elif not pool.has_room(self):
                return
            else:
                del self.parked[job]
                try:
                    pool.crew.enqueue(job)
                except WorkerStartError as error:
                    future.set_exception(error)
                else:
                    self.outstanding += 1
                    self.submitted += 1

    def _pump(self) -> None:
        loop = self.loop()
        if loop is None or not (self.outstanding or self.parked):
            self.armed = False
            return
        now = _clock()
        cpu = _cpu_clock()
        busy = cpu - self._cpu_mark > BUSY_SHARE * (now - self._wall_mark)
        if busy and not self.done:
            self._donate()
        limited = self.pool.max_poll_jobs or self.pool.max_poll_time
        if not (limited and self.woken):  # a drain that is due this tick anyway must not be joined by a second one
            self.drain()
        self.pool.crew.prod()
        self._wall_mark, self._cpu_mark = _clock(), _cpu_clock()
        quiet = (self._wall_mark - self._quiet_since) * 1e-9
        loop.call_later(min(max(PUMP_PERIOD, quiet / PUMP_SHARE), PUMP_SLOWEST), self._pump)

    def _donate(self) -> None:
        """Give the GIL to the workers until one has caught up, at most for `DONATION`."""
        with self.lock:
            self.wants = self.alert = True
        released = self._gate.acquire(timeout=DONATION)
        with self.lock:
            if self.wants:
                self.wants = False
            elif not released:  # a worker released the gate just after the time was up: take that back
                self._gate.acquire()
            self.alert = self.dead


def _presentable(error: BaseException) -> BaseException:
    """Return the error as a future can carry it: PEP 479 lets no StopIteration out of a coroutine."""
    if not isinstance(error, StopIteration):
        return error
    replacement = RuntimeError("the job raised StopIteration")
    replacement.__cause__ = error
    return replacement


def _fail(future: Recipient, error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
