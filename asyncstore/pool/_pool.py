"""Worker threads behind one queue, shared by every event loop of the process.

The problem: a thread hop costs 30-60 us of CPU in CPython, most of it two wake-ups across processors. The choice: pay it per
batch. A submission wakes a worker only if none is awake; an awake worker takes job after job; finished jobs gather at their
loop's `Home` and come back with one wake-up. A standing crowd of threads reading one `queue.SimpleQueue` was refused: it wakes
a thread per job, and the threads then fight for the GIL.

How many workers are awake follows from the work. One is enough for quick jobs. A worker that meets slow ones (`SLOW_JOB`) wakes
the next, up to `CORE_WORKERS`; the pump of a home (see `_home`) wakes or starts more, up to `max_workers`, while the queue
stands still.

Guarantees
1. A job cancelled before it began never runs; one that has begun runs to its end, and its result goes to `on_discard` if nobody
   takes it.
2. Jobs of a lane run in order, never two at once.
3. At most `max_pending` jobs wait for a worker; further submitters wait in their order.
4. After `aclose()` or `close()` no future of the pool is pending.
5. After `os.fork()` the child's pools are empty and usable; the parent's are untouched.
6. An interpreter that exits never waits for a worker.

Lock rule: `_lock` guards the queue's hand-over, the list of idle workers, lane activation and the life-cycle. It is held for a few
instructions, never while a callback, a future or a home's lock is touched.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple, Unpack

from asyncstore.pool._home import Home
from asyncstore.pool._job import Job, JobState
from asyncstore.pool._lane import Lane
from asyncstore.pool._stats import Counters, Histogram, JobRecord, PoolStats
from asyncstore.pool._worker import Worker, discard
from asyncstore.pool.errors import PoolClosed, PoolFull, WorkerStartError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_WORKERS = 32  # cold 4 KiB reads at 256 tasks peak here; beyond it threads only add GIL contention
CORE_WORKERS = 8  # workers wake each other up to this many; more only when the queue stands still
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


class Pool:
    """A pool of daemon worker threads.

    `max_workers`: threads at most. `max_pending`: jobs waiting for a worker at most. `idle_timeout`: seconds after which a worker
    without work ends. `max_poll_jobs`, `max_poll_time` (seconds): how many results a loop takes home in one tick at most, None for
    no limit. `name` begins the threads' names.

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
        self.max_workers = max_workers
        self.max_pending = max_pending
        self.idle_timeout = idle_timeout
        self.max_poll_jobs = max_poll_jobs
        self.max_poll_time = max_poll_time
        self.name = name
        self.observers: tuple[Observer, ...] = ()
        self._reset()
        pools.add(self)

    def _reset(self) -> None:
        """Begin anew, with no thread, no job and no loop; also what a forked child does, hence the new lock."""
        self._lock = threading.Lock()
        self._state = PoolState.OPEN
        self._queues: dict[int, deque[Job | Lane]] = {0: deque()}
        self._levels: tuple[deque[Job | Lane], ...] = (self._queues[0],)
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []
        self._awake = 0
        self._named = 0
        self._retired = Counters()
        self._admitted = 0
        self._begun_seen = 0
        self._begun_at_prod = -1
        self._homes: dict[int, Home] = {}
        self._lanes: weakref.WeakSet[Lane] = weakref.WeakSet()
        self._closers: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self.cost = 0  # ns: a decaying minimum of run times; written by all workers, a guess is enough

    def __repr__(self) -> str:
        return f"<Pool {self.name!r} {self._state.value} workers={len(self._workers)} queued={self._waiting()}>"

    # Submitting: on the loop's thread

    async def run(
        self,
        fn: Callable[[Unpack[Ts]], T],
        /,
        *args: Unpack[Ts],
        priority: int = 0,
        on_discard: Callable[[T], object] | None = None,
    ) -> T:
        """Run ``fn(*args)`` on a worker, in a copy of the caller's context; return what it returned or raise what it raised.

        `priority`: -4 (last) to 4 (first) among the jobs that wait. `on_discard`: called on a worker with the result if the caller
        was cancelled after the job had begun; without it such a result is dropped.

        Raises `PoolClosed`; `ValueError` for a priority out of range. When `max_pending` jobs wait, it waits its turn.
        A cancel before the job has begun makes that it never runs; after that the job runs to its end in the background.
        """
        if priority:
            self.check_priority(priority)
        return await self.run_job(None, priority, fn, args, on_discard)

    def submit_nowait(
        self,
        fn: Callable[[Unpack[Ts]], T],
        /,
        *args: Unpack[Ts],
        priority: int = 0,
        on_discard: Callable[[T], object] | None = None,
    ) -> asyncio.Future[T]:
        """Hand ``fn(*args)`` over at once and return its future; must be called on a running loop's thread.

        Raises `PoolFull` when `max_pending` jobs wait already, `PoolClosed`, `ValueError` as `run`. Cancelling the future is
        cancelling the job. A result is taken once the future holds it, so a caller who may abandon the future then uses `run`.
        """
        if priority:
            self.check_priority(priority)
        return self.submit_job_nowait(None, priority, fn, args, on_discard)

    def lane(self, *, name: str = "lane", priority: int = 0) -> Lane:
        """Make a serial queue on this pool. It costs no thread, so have one for each connection, transaction or cursor."""
        lane = Lane(self, name, priority)
        self._lanes.add(lane)
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
        fn: Callable[[Unpack[Ts]], T],
        args: tuple[Unpack[Ts]],
        on_discard: Callable[[T], object] | None,
    ) -> T:
        """Submit for `run` of the pool or of a lane, wait for room and for the result."""
        job, home, loop = self._make_job(lane, priority, fn, args, on_discard)
        future: asyncio.Future[T] | None = job.future
        assert future is not None  # every job that a caller submits has one; for the type checker
        if home.parked or not self.has_room():
            home.park(loop, job)
        else:
            self.enqueue(job)
            home.expect(loop, job.submitted)
        try:
            return await future
        except asyncio.CancelledError:
            home.parked.pop(job, None)
            # Cancelled in the very tick in which the result came home: the future has it, and nobody will look.
            if future.done() and not future.cancelled() and future.exception() is None and on_discard is not None:
                job.result, job.on_discard = future.result(), on_discard
                self.discard(job)
            raise
        finally:
            del job, future  # as in Worker.run: no cycle through the traceback

    def submit_job_nowait(
        self,
        lane: Lane | None,
        priority: int,
        fn: Callable[[Unpack[Ts]], T],
        args: tuple[Unpack[Ts]],
        on_discard: Callable[[T], object] | None,
    ) -> asyncio.Future[T]:
        """Submit for `submit_nowait` of the pool or of a lane."""
        job, home, loop = self._make_job(lane, priority, fn, args, on_discard)
        if home.parked or not self.has_room():
            raise PoolFull(self.max_pending)
        self.enqueue(job)
        home.expect(loop, job.submitted)
        future: asyncio.Future[T] | None = job.future
        assert future is not None  # as above
        return future

    def _make_job(
        self,
        lane: Lane | None,
        priority: int,
        fn: Callable[..., T],
        args: tuple[Any, ...],
        on_discard: Callable[[T], object] | None,
    ) -> tuple[Job, Home, asyncio.AbstractEventLoop]:
        loop = asyncio.get_running_loop()
        if self._state is not PoolState.OPEN:
            raise PoolClosed
        home = self._homes.get(id(loop))
        if home is None or not home.serves(loop):
            home = self._settle(loop)
        job = Job(
            fn, args, loop.create_future(), home, lane, priority, on_discard, contextvars.copy_context(), _clock()
        )
        return job, home, loop

    def _settle(self, loop: asyncio.AbstractEventLoop) -> Home:
        """Give a loop its home, and forget those of loops that are gone."""
        for key, home in list(self._homes.items()):
            if home.is_abandoned():
                self._homes.pop(key, None)
        home = self._homes[id(loop)] = Home(self, loop)
        return home

    @property
    def state(self) -> PoolState:
        """Where the pool is in its life."""
        return self._state

    @property
    def accepting(self) -> bool:
        """Whether new jobs are taken."""
        return self._state is PoolState.OPEN

    def has_room(self) -> bool:
        """Tell whether fewer than `max_pending` jobs wait for a worker."""
        if self._admitted - self._begun_seen < self.max_pending:
            return True
        return self._waiting() < self.max_pending  # the sum over the workers only when the last known one does not do

    def _waiting(self) -> int:
        with self._lock:
            self._begun_seen = self._retired.begun + sum(worker.counters.begun for worker in self._workers)
        return self._admitted - self._begun_seen

    def enqueue(self, job: Job) -> None:
        """Put a job where workers find it, and see to it that one is awake.

        Raises `WorkerStartError` when no thread runs and none can be started; the job is then withdrawn.
        """
        lane = job.lane
        with self._lock:
            self._admitted += 1
            if lane is None:
                self._queue(job.priority).append(job)
            else:
                lane.jobs.append(job)
                if lane.active:
                    return
                lane.active = True
                self._queue(lane.priority).append(lane)
            worker = None if self._awake else self._next_worker()
        if worker is not None:
            self._start(worker, job)

    def _queue(self, priority: int) -> deque[Job | Lane]:
        queue = self._queues.get(priority)
        if queue is None:  # most programs use one priority: levels are made when first asked for
            queue = self._queues[priority] = deque()
            self._levels = tuple(self._queues[key] for key in sorted(self._queues, reverse=True))
        return queue

    def discard(self, job: Job) -> None:
        """Have a result discarded on a worker: before all that its lane still holds, even when the pool has closed."""
        if job.on_discard is None:
            job.release()
            return
        clean_up = Job(job.fn, (), None, None, job.lane, 4, job.on_discard, None, _clock())
        clean_up.result = job.result
        job.state = JobState.DISCARDED
        lane = job.lane
        with self._lock:
            self._retired.discarded += 1
            worker = None
            usable = self._state is not PoolState.CLOSED
            if usable:
                self._admitted += 1
                if lane is None:
                    self._queue(4).append(clean_up)
                else:
                    lane.jobs.appendleft(clean_up)
                    if not lane.active:
                        lane.active = True
                        self._queue(4).append(lane)
                worker = None if self._awake else self._next_worker()
        if not usable:
            threading.Thread(target=discard, args=(clean_up,), name=f"{self.name}-discard", daemon=True).start()
        elif worker is not None:
            self._start(worker, None)

    # Workers

    def _next_worker(self) -> Worker | None:
        """Choose the worker to wake, or make one to start; None when all are awake. The lock is held."""
        if self._idle:
            worker = self._idle.pop()  # the last one parked: its caches are warm, and the others can time out
        elif len(self._workers) < self.max_workers:
            self._named += 1
            worker = Worker(self, f"{self.name}-{self._named}")
            self._workers.add(worker)
        else:
            return None
        self._awake += 1
        return worker

    def _start(self, worker: Worker, job: Job | None) -> None:
        """Wake a worker or start its thread."""
        if worker.thread.ident is not None:
            worker.gate.release()
            return
        try:
            worker.thread.start()
        except RuntimeError as error:  # no thread to be had: RLIMIT_NPROC, or the interpreter is exiting
            with self._lock:
                self._workers.discard(worker)
                self._awake -= 1
                alone = not self._workers
                if alone and job is not None:
                    self._withdraw(job)
            if alone and job is not None:
                raise WorkerStartError("the system refused a thread for the pool's first worker") from error

    def _withdraw(self, job: Job) -> None:
        self._admitted -= 1
        if job.lane is None:
            self._queues[job.priority].remove(job)
        else:
            job.lane.jobs.remove(job)
            job.lane.active = False
            self._queues[job.lane.priority].remove(job.lane)

    def take(self) -> Job | Lane | None:
        """Take the first entry of the highest priority."""
        for queue in self._levels:
            if queue:
                try:
                    return queue.popleft()
                except IndexError:  # another worker was quicker
                    continue
        return None

    def has_work(self) -> bool:
        """Tell whether an entry waits for a worker."""
        return any(self._levels)

    def rouse_another(self) -> None:
        """Wake one more worker for slow work, up to `CORE_WORKERS` awake."""
        if self._awake >= CORE_WORKERS:
            return
        with self._lock:
            worker = self._next_worker()
        if worker is not None:
            self._start(worker, None)

    def prod(self) -> None:
        """Wake or start one more worker if entries wait and none was begun since the last call."""
        if not self.has_work():
            return
        begun = sum(worker.counters.begun for worker in tuple(self._workers)) + self._retired.begun
        if begun == self._begun_at_prod:
            with self._lock:
                worker = self._next_worker()
            if worker is not None:
                self._start(worker, None)
        self._begun_at_prod = begun

    def park(self, worker: Worker) -> bool | None:
        """Let a worker rest: True to park, None when there is work after all, False to end."""
        with self._lock:
            if any(self._levels):
                return None
            self._awake -= 1
            if self._state is PoolState.OPEN:
                self._idle.append(worker)
                return True
        self.worker_ended(worker)
        return False

    def keep(self, worker: Worker) -> bool:
        """Decide on a parked worker whose time is up: False to end, True if it has been woken meanwhile."""
        with self._lock:
            if worker not in self._idle:
                worker.gate.acquire()  # the wake-up was on its way: it is or will be released for us
                return True
            self._idle.remove(worker)
        self.worker_ended(worker)
        return False

    def worker_ended(self, worker: Worker) -> None:
        """Take a worker off the books; the last one of a closing pool tells those who wait for it."""
        closers: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)
                self._retired.absorb(worker.counters)
            if self._state is PoolState.CLOSING and not self._workers:
                closers, self._closers = self._closers, []
        for loop, future in closers:
            try:
                loop.call_soon_threadsafe(_settle_future, future)
            except RuntimeError:
                continue  # that loop was closed: nobody waits on it any more

    def finish_lane(self, lane: Lane) -> bool:
        """Leave a lane that is empty; False when a job has come in meanwhile."""
        with self._lock:
            if lane.jobs:
                return False
            lane.active = False
            return True

    def requeue_lane(self, lane: Lane) -> None:
        """Put a lane with more work behind the others of its priority."""
        with self._lock:
            self._queue(lane.priority).append(lane)

    # Looking at it

    def stats(self) -> PoolStats:
        """Return a snapshot of the counters."""
        with self._lock:
            workers = tuple(self._workers)
            idle = len(self._idle)
            retired = self._retired
        counters = [retired, *(worker.counters for worker in workers)]
        homes = list(self._homes.values())
        return PoolStats(
            queued=max(0, self._waiting()),
            waiting=sum(len(home.parked) for home in homes),
            running=sum(worker.current is not None for worker in workers),
            done=sum(part.done for part in counters),
            dropped=sum(part.dropped for part in counters),
            discarded=sum(part.discarded for part in counters),
            workers=len(workers),
            idle=idle,
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
        wait = (job.started - job.submitted) * 1e-9 if job.started else 0.0
        run = (job.ended - job.started) * 1e-9
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
        """Close the pool: run what is queued (or refuse it with `PoolClosed` when `drain` is false), and end the threads.

        Submitters that still wait for room are refused. After `timeout` seconds (None: no limit) whatever runs is left behind:
        its future gets `PoolClosed` with `maybe_applied`, and its thread ends when the job does. A cancel does the same at once.
        Idempotent.
        """
        if self._state is PoolState.CLOSED:
            return
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._lock:
            self._state = PoolState.CLOSING
            idle, self._idle = self._idle, []
            self._awake += len(idle)
            threads = [worker.thread for worker in self._workers]
            empty = not self._workers
            if not empty:
                self._closers.append((loop, future))
        for worker in idle:
            worker.gate.release()
        if not drain:
            self._refuse_queued()
        for home in list(self._homes.values()):
            home.wake()  # so that it refuses its parked jobs
        try:
            if not empty:
                async with asyncio.timeout(timeout):
                    await future
                for thread in threads:
                    thread.join()  # each has given its last sign of life: this takes microseconds
        except TimeoutError:
            _logger.warning(
                "pool %r closed with %d jobs still running",
                self.name,
                sum(w.current is not None for w in self._workers),
            )
        finally:
            self.close()
        for home in list(self._homes.values()):
            if home.serves(loop):
                home.drain()

    def close(self) -> None:
        """Close the pool without waiting: refuse what is queued, leave behind what runs. May be called on any thread. Idempotent."""
        with self._lock:
            self._state = PoolState.CLOSED
            idle, self._idle = self._idle, []
            self._awake += len(idle)
            workers = tuple(self._workers)
        self._refuse_queued()
        for worker in workers:
            worker.left_behind = True
            job = worker.current
            if job is not None and job.home is not None and job.future is not None:
                job.home.refuse(
                    job.future, PoolClosed("the pool was closed while the job was running", maybe_applied=True)
                )
        for worker in idle:
            worker.gate.release()

    def _refuse_queued(self) -> None:
        for job in self._take_all():
            if job.home is None or job.future is None:
                discard(job)
                continue
            job.state = JobState.REFUSED
            job.error = PoolClosed("the pool was closed before the job began")
            job.home.hand_back(job)

    def _take_all(self) -> Iterator[Job]:
        while (entry := self.take()) is not None:
            with self._lock:
                if isinstance(entry, Job):
                    jobs = [entry]
                else:
                    jobs = list(entry.jobs)
                    entry.jobs.clear()
                    entry.active = False
                self._retired.begun += len(jobs)
                self._retired.dropped += len(jobs)
            yield from jobs

    def forget_after_fork(self) -> None:
        """Begin anew in a forked child: the parent's threads, locks, jobs and loops are not here."""
        lanes = list(self._lanes)
        was_open = self._state is PoolState.OPEN
        self._reset()
        if not was_open:
            self._state = PoolState.CLOSED
        for lane in lanes:
            lane.jobs = deque()
            lane.active = False
            self._lanes.add(lane)

    def stop_for_exit(self) -> None:
        """Let no worker begin another job: the interpreter is going down."""
        with self._lock:
            self._state = PoolState.CLOSED
            workers = tuple(self._workers)
        for worker in workers:
            worker.left_behind = True

    def __del__(self) -> None:
        if getattr(self, "_state", PoolState.CLOSED) is PoolState.OPEN and self._workers:
            warnings.warn(f"unclosed pool {self!r}", ResourceWarning, source=self, stacklevel=1)
            for worker in self._idle:
                worker.gate.release()


def _settle_future(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


pools: weakref.WeakSet[Pool] = weakref.WeakSet()
