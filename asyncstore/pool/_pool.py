"""Worker threads behind one queue, shared by every event loop of the process.

The problem: a thread hop costs 30-60 us of CPU in CPython, most of it two wake-ups across processors. The choice: pay
it per batch. A submission wakes a worker only if none is awake; an awake worker takes job after job (see `_crew`);
finished jobs gather at their loop's `Home` and come back with one wake-up.

Guarantees
1. A job cancelled before it began never runs; one that has begun runs to its end, and its result goes to `on_discard`
   if nobody takes it.
2. Jobs of a lane run in order, never two at once.
3. At most `max_pending` jobs wait for a worker; further submitters wait in their order.
4. After `aclose()` or `close()` no future of the pool is pending.
5. After `os.fork()` the child's pools are empty and usable; the parent's are untouched.
6. An interpreter that exits never waits for a worker.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Coroutine
from enum import Enum
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple

from asyncstore.pool._crew import Crew
from asyncstore.pool._home import Home
from asyncstore.pool._job import Job, JobState, Recipient
from asyncstore.pool._lane import Lane
from asyncstore.pool._stats import Histogram, JobRecord, PoolStats
from asyncstore.pool.errors import PoolClosed, PoolFull

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_WORKERS = 32  # cold 4 KiB reads at 256 tasks peak here; beyond it threads only add GIL contention
MAX_PENDING = 65_536  # jobs; about 40 MB of them: enough for any burst, small enough to notice a stuck worker
IDLE_TIMEOUT = 10.0  # seconds a parked worker is kept; IO::AIO's default too
CLOSE_TIMEOUT = 10.0  # seconds aclose() waits for running jobs; arbitrary, below the 30 s most supervisors grant
PRIORITIES = range(-4, 5)  # as IO::AIO has them

_clock = time.perf_counter_ns
_logger = logging.getLogger("asyncstore.pool")

Observer = Callable[[JobRecord], object]


class PoolState(Enum):
    """OPEN --[aclose]--> CLOSING --[last worker ended, or time is up]--> CLOSED; OPEN --[close]--> CLOSED."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


_OPEN = PoolState.OPEN  # a global name is found faster than a member of an enumeration


class Pool:
    """A pool of daemon worker threads.

    `max_workers`: threads at most. `max_pending`: jobs waiting for a worker at most. `idle_timeout`: seconds after
    which a worker without work ends. `max_poll_jobs`, `max_poll_time` (seconds): how many results a loop takes home
    in one tick at most, None for no limit. `name` begins the threads' names.

    A pool may be shared by loops in several threads: each result goes home to the loop that submitted the job.
    """

    def __init__(
        self,
        *,
        max_workers: int = MAX_WORKERS,
        max_pending: int = MAX_PENDING,
        idle_timeout: float = IDLE_TIMEOUT,
        max_poll_jobs: int | None = None,
        max_poll_time: float | None = None,
        name: str = "asyncstore",
    ) -> None:
        for label, value in (
            ("max_workers", max_workers),
            ("max_pending", max_pending),
            ("max_poll_jobs", max_poll_jobs),
        ):
            if value is not None and value < 1:
                raise ValueError(f"{label} must be at least 1, not {value!r}")
        for label, seconds in (("idle_timeout", idle_timeout), ("max_poll_time", max_poll_time)):
            if seconds is not None and not 0 < seconds <= threading.TIMEOUT_MAX:
                raise ValueError(f"{label} must be a positive number of seconds, not {seconds!r}")
        self.max_pending = max_pending
        self.max_poll_jobs = max_poll_jobs
        self.max_poll_time = max_poll_time
        self.name = name
        self.observers: tuple[Observer, ...] = ()
        self.crew = Crew(name, max_workers, idle_timeout, _weakly(self))
        self._state = PoolState.OPEN
        # By id of the loop: a home knows its loop by weak reference, so that an id can be told from its reuse.
        self._homes: dict[int, Home] = {}
        self._submitted_before = 0  # jobs of loops that are gone
        pools.add(self)

    def __repr__(self) -> str:
        return f"<Pool {self.name!r} {self._state.value} workers={len(self.crew.workers)} queued={self.waiting()}>"

    # Submitting: on the loop's thread

    def run(
        self,
        fn: Callable[[*Ts], T],
        /,
        *args: *Ts,
        priority: int = 0,
        on_discard: Callable[[T], object] | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Run ``fn(*args)`` on a worker and return exactly what it returned, or raise exactly what it raised.

        The call runs in a copy of the caller's context variables.

        `priority`: -4 (last) to 4 (first) among the jobs that wait. `on_discard`: called on a worker with the result
        if the caller was cancelled after the job had begun; without it such a result is dropped.

        Raises `PoolClosed`; `ValueError` for a priority out of range. When `max_pending` jobs wait, it waits its turn.
        A cancel before the job has begun makes that it never runs; after that the job runs to its end in the
        background.
        """
        if priority:
            self.check_priority(priority)
        return self.run_job(None, priority, fn, args, on_discard)  # not awaited here: one frame less per job

    def submit_nowait(
        self,
        fn: Callable[[*Ts], T],
        /,
        *args: *Ts,
        priority: int = 0,
        on_discard: Callable[[T], object] | None = None,
    ) -> asyncio.Future[T]:
        """Hand ``fn(*args)`` over at once and return its future; must be called on a running loop's thread.

        Raises `PoolFull` when `max_pending` jobs wait already, `PoolClosed`, `ValueError` as `run`. Cancelling the
        future is cancelling the job. A result is taken once the future holds it, so a caller who may abandon the
        future then uses `run`.
        """
        if priority:
            self.check_priority(priority)
        return self.submit_job_nowait(None, priority, fn, args, on_discard)

    def submit_for(self, recipient: Recipient, fn: Callable[..., object], /, *args: object, priority: int = 0) -> None:
        """Hand ``fn(*args)`` over at once, as `submit_nowait`; `recipient` learns of its outcome in place of a future.

        It saves a tick of the loop: a future's callbacks run in the tick after the one in which it was set.
        """
        if priority:
            self.check_priority(priority)
        self.submit_job_for(recipient, None, priority, fn, args)

    def lane(self, *, name: str = "lane", priority: int = 0) -> Lane:
        """Make a serial queue. It costs no thread: have one for each connection, transaction or cursor."""
        lane = Lane(self, name, priority)
        self.crew.add_lane(lane)
        return lane

    @staticmethod
    def check_priority(priority: int) -> None:
        """Raise `ValueError` unless `priority` is one of -4..4."""
        if priority not in PRIORITIES:
            raise ValueError(f"priority must lie in -4..4, not {priority!r}")

    async def run_job(
        self,
        lane: Lane | None,
        priority: int,
        fn: Callable[[*Ts], T],
        args: tuple[*Ts],
        on_discard: Callable[[T], object] | None,
    ) -> T:
        """Submit for `run` of the pool or of a lane, wait for room and for the result."""
        loop = asyncio.get_running_loop()
        if self._state is not _OPEN:
            raise PoolClosed
        home = self._homes.get(id(loop))
        if home is None or home.loop() is not loop:
            home = self._settle(loop)
        future: asyncio.Future[T] = loop.create_future()
        job = Job(fn, args, future, home, lane, priority, on_discard, contextvars.copy_context(), _clock())
        if home.parked or not self.has_room(home):
            home.park(loop, job)
        else:
            self._hand_over(job, home, loop)
        try:
            return await future
        except asyncio.CancelledError:
            home.parked.pop(job, None)
            # Cancelled in the very tick in which the result came home: the future has it, and nobody will look.
            if future.done() and not future.cancelled() and future.exception() is None and on_discard is not None:
                job.result, job.on_discard = future.result(), on_discard
                self.crew.discard(job)
            raise
        finally:
            del job, future  # as in Worker.run: no cycle through the traceback

    def submit_job_nowait(
        self,
        lane: Lane | None,
        priority: int,
        fn: Callable[[*Ts], T],
        args: tuple[*Ts],
        on_discard: Callable[[T], object] | None,
    ) -> asyncio.Future[T]:
        """Submit for `submit_nowait` of the pool or of a lane."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.submit_job_for(future, lane, priority, fn, args, on_discard)
        return future

    def submit_job_for(  # noqa: PLR0917 - as Job
        self,
        recipient: Recipient,
        lane: Lane | None,
        priority: int,
        fn: Callable[..., object],
        args: tuple[object, ...],
        on_discard: Callable[[Any], object] | None = None,
    ) -> None:
        """Submit for `submit_for` of the pool or of a lane."""
        loop = asyncio.get_running_loop()
        if self._state is not _OPEN:
            raise PoolClosed
        home = self._homes.get(id(loop))
        if home is None or home.loop() is not loop:
            home = self._settle(loop)
        if home.parked or not self.has_room(home):
            raise PoolFull(self.max_pending)
        job = Job(fn, args, recipient, home, lane, priority, on_discard, contextvars.copy_context(), _clock())
        self._hand_over(job, home, loop)

    def _hand_over(self, job: Job, home: Home, loop: asyncio.AbstractEventLoop) -> None:
        self.crew.enqueue(job)
        home.outstanding += 1
        home.submitted += 1
        if not home.armed:
            home.arm(loop, job.submitted)
        if self._state is PoolState.CLOSED:  # by another thread, since we looked: it may have missed this job
            self._refuse(self.crew.withdraw_all())

    def has_room(self, home: Home) -> bool:
        """Tell whether fewer than `max_pending` jobs wait for a worker; `home` is the asking loop's."""
        if home.outstanding < self.max_pending and len(self._homes) == 1:
            return True
        return self.waiting() < self.max_pending

    def waiting(self) -> int:
        """Count the jobs handed over and not yet begun."""
        submitted = self._submitted_before + sum(home.submitted for home in list(self._homes.values()))
        return max(0, submitted - self.crew.begun())

    def _settle(self, loop: asyncio.AbstractEventLoop) -> Home:
        """Give a loop its home, and forget those of loops that are gone."""
        self.forget_closed_loops()
        home = self._homes[id(loop)] = Home(self, loop)
        return home

    def forget_closed_loops(self) -> None:
        """Discard the results that came home to loops which were closed before they took them."""
        for key, home in list(self._homes.items()):
            if home.is_abandoned() and self._homes.pop(key, None) is not None:
                self._submitted_before += home.submitted

    @property
    def state(self) -> PoolState:
        """Where the pool is in its life."""
        return self._state

    @property
    def accepting(self) -> bool:
        """Whether new jobs are taken."""
        return self._state is PoolState.OPEN

    # Looking at it

    def stats(self) -> PoolStats:
        """Return a snapshot of the counters."""
        counters = self.crew.counters()
        homes = list(self._homes.values())
        return PoolStats(
            queued=self.waiting(),
            waiting=sum(len(home.parked) for home in homes),
            running=self.crew.running(),
            done=sum(part.done for part in counters),
            dropped=sum(part.dropped for part in counters),
            discarded=sum(part.discarded for part in counters),
            workers=len(self.crew.workers),
            idle=len(self.crew.idle),
            wakeups=sum(home.wakeups for home in homes),
            batch_sizes=Histogram.merge(home.batches for home in homes),
            wait_time=Histogram.merge((part.wait_time for part in counters), 1e-9),
            run_time=Histogram.merge((part.run_time for part in counters), 1e-9),
        )

    def add_observer(self, observer: Observer) -> None:
        """Have `observer` called with a `JobRecord` for each job that comes home, on that home's loop thread.

        What it raises is logged, not propagated.
        """
        self.observers = (*self.observers, observer)

    def remove_observer(self, observer: Observer) -> None:
        """Stop calling `observer`. Raises `ValueError` if it is not registered."""
        if observer not in self.observers:
            raise ValueError(f"{observer!r} is not an observer of this pool")
        self.observers = tuple(known for known in self.observers if known != observer)

    def observe(self, job: Job) -> None:
        """Tell the observers of a job that came home."""
        ran = job.state not in (JobState.DROPPED, JobState.REFUSED)
        wait = (job.started - job.submitted) * 1e-9 if ran else 0.0
        run = (job.ended - job.started) * 1e-9 if ran else 0.0
        record = JobRecord(job.name, None if job.lane is None else job.lane.name, wait, run, job.state.value)
        for observer in self.observers:
            try:
                observer(record)
            except Exception:  # an observer is the user's, and must not break the job that it watches
                _logger.exception("observer %r failed on job %s", observer, record.name)

    # Life-cycle

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self, *, drain: bool = True, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Close the pool and end its threads.

        What is queued is run first, or refused with `PoolClosed` when `drain` is false.

        Submitters that still wait for room are refused. After `timeout` seconds (None: no limit) whatever runs is
        left behind: its future gets `PoolClosed` with `maybe_applied`, and its thread ends when the job does. A
        cancel does the same at once. Idempotent.
        """
        if self._state is PoolState.CLOSED:
            return
        self._state = PoolState.CLOSING
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        threads = self.crew.dismiss(functools.partial(_tell, loop, ended))
        if not drain:
            self._refuse(self.crew.withdraw_all())
        for home in list(self._homes.values()):
            home.wake()  # so that it refuses its parked jobs
        try:
            if threads:
                async with asyncio.timeout(timeout):
                    await ended
                for thread in threads:
                    thread.join()  # each has given its last sign of life: this takes microseconds
        except TimeoutError:
            _logger.warning("pool %r closed with %d jobs still running", self.name, self.crew.running())
        finally:
            self.close()
            for home in list(self._homes.values()):
                if home.loop() is loop:
                    home.drain()

    def close(self) -> None:
        """Close without waiting: refuse what is queued, leave what runs behind. Idempotent; any thread may call it."""
        self._state = PoolState.CLOSED
        running = self.crew.leave_behind()
        self._refuse(self.crew.withdraw_all())
        for job in running:
            future = job.future
            if job.home is not None and future is not None:
                job.home.refuse(future, PoolClosed("the pool was closed while the job was running", maybe_applied=True))
        for home in list(self._homes.values()):
            home.wake()

    def _refuse(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job.home is None:
                self.crew.discard(job)
                continue
            job.state = JobState.REFUSED
            job.error = PoolClosed("the pool was closed before the job began")
            job.home.hand_back(job)

    def forget_after_fork(self) -> None:
        """Begin anew in a forked child: the parent's threads, locks, jobs and loops are not here."""
        self.crew.forget_after_fork()
        self._homes = {}
        self._submitted_before = 0

    def stop_for_exit(self) -> None:
        """Let no worker begin another job: the interpreter is going down."""
        self._state = PoolState.CLOSED
        self.crew.leave_behind()

    def __del__(self) -> None:
        if getattr(self, "_state", PoolState.CLOSED) is not PoolState.OPEN:
            return
        if self.crew.workers:
            warnings.warn(f"unclosed pool {self.name!r}", ResourceWarning, source=self, stacklevel=1)
            self.crew.abandon()


def _weakly(pool: Pool) -> Callable[[], object]:
    """Return what a resting worker calls: it must not keep a pool alive that nobody else holds."""
    method = weakref.WeakMethod(pool.forget_closed_loops)

    def on_rest() -> None:
        forget = method()
        if forget is not None:
            forget()

    return on_rest


def _tell(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    """Settle a future from another thread; a loop that was closed meanwhile has nobody waiting."""
    try:
        loop.call_soon_threadsafe(_settle, future)
    except RuntimeError:
        _logger.debug("a loop was closed while it waited for its pool to close")


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


pools: weakref.WeakSet[Pool] = weakref.WeakSet()
