"""The worker threads of a pool and the queue that they take from.

How many workers are awake follows from the work. One is enough for quick jobs: a submission wakes a worker only if
none is awake, and an awake worker takes entry after entry. A worker that meets slow jobs (`SLOW_JOB` in `_worker`)
wakes the next, up to `CORE_WORKERS`; the pump of a home (see `_home`) wakes or starts more, up to `max_workers`,
while the queue stands still. A standing crowd of threads that read one `queue.SimpleQueue` was refused: it wakes a
thread per job, and the threads then fight for the GIL.

Guarantees: an entry that is queued while the crew is not ending is taken by a worker, or withdrawn with an error; a
worker parks only when the queue is empty, and both are decided under one lock, so no wake-up is lost.

Assumes: `collections.deque` append, popleft and truth are atomic (documented for CPython, also free-threaded).

Lock rule: `lock` guards the queue's hand-over, `idle`, `awake`, `workers` and lane activation. It is held for a few
instructions, never while a callback, a future or a home's lock is touched. It is reentrant because a garbage collection
can begin at any allocation inside, and a finaliser (of a file that was dropped, say) may submit a job: at every point
where that can happen the state is whole, and at worst a worker too many is woken.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

from asyncstore.pool._job import Job, JobState
from asyncstore.pool._lane import Lane
from asyncstore.pool._stats import Counters
from asyncstore.pool._worker import Worker, discard
from asyncstore.pool.errors import WorkerStartError

CORE_WORKERS = 8  # workers wake each other up to this many; more only when the queue stands still

# With the GIL, a submitter that appends and then finds a worker awake need not take the lock: a worker that parks first
# counts itself out and then looks at the queue, so one of the two sees the other. Without the GIL nothing orders the
# two looks, and the lock has to.
UNLOCKED: bool = getattr(sys, "_is_gil_enabled", lambda: True)()

_clock = time.perf_counter_ns


class Crew:
    """What the workers of one pool share."""

    def __init__(self, name: str, max_workers: int, idle_timeout: float, on_rest: Callable[[], object]) -> None:
        self.name = name
        self.max_workers = max_workers
        self.idle_timeout = idle_timeout
        self.on_rest = on_rest  # called by a worker that found nothing to do for `idle_timeout` seconds
        self.reset()

    def reset(self) -> None:
        """Begin anew, with no thread and no job; also what a forked child does, hence the new lock."""
        self.lock = threading.RLock()
        self.ending = False  # workers end instead of parking
        self.workers: set[Worker] = set()
        self.idle: list[Worker] = []
        self.awake = 0
        self.retired = Counters()
        self.cost = 0  # ns: a decaying minimum of run times; written by all workers, a guess is enough
        self.on_empty: list[Callable[[], object]] = []  # called by the last worker of an ending crew
        self._queues: dict[int, deque[Job | Lane]] = {0: deque()}
        self._levels: tuple[deque[Job | Lane], ...] = (self._queues[0],)
        self._lanes: weakref.WeakSet[Lane] = weakref.WeakSet()
        self._named = 0
        self._begun_at_prod = -1

    # The queue

    def enqueue(self, job: Job) -> None:
        """Put a job where workers find it, and see to it that one is awake.

        Raises `WorkerStartError` when no thread runs and none can be started; the job is then withdrawn.
        """
        lane = job.lane
        if lane is None:
            queue = self._queues.get(job.priority)
            if queue is not None and UNLOCKED:
                queue.append(job)
                if self.awake:
                    return
            else:
                with self.lock:
                    self._queue(job.priority).append(job)
        else:
            lane.jobs.append(job)
            if lane.active and UNLOCKED:
                return
        with self.lock:
            if lane is not None:
                if lane.active:
                    return
                lane.active = True
                self._queue(lane.priority).append(lane)
            worker = None if self.awake else self._next_worker()
        if worker is not None:
            self._start(worker, job)

    def discard(self, job: Job) -> None:
        """Have a result that nobody took discarded on a worker, before all that its lane still holds."""
        if job.on_discard is None:
            return
        clean_up = Job(job.fn, (), None, None, job.lane, 4, job.on_discard, None, _clock())
        clean_up.result = job.result
        job.state = JobState.DISCARDED
        lane = job.lane
        worker = None
        with self.lock:
            self.retired.discarded += 1
            usable = not self.ending
            if usable:
                if lane is None:
                    self._queue(4).append(clean_up)
                else:
                    lane.jobs.appendleft(clean_up)
                    if not lane.active:
                        lane.active = True
                        self._queue(4).append(lane)
                worker = None if self.awake else self._next_worker()
        if worker is not None:
            self._start(worker, None)
        elif not usable:
            self._discard_alone(clean_up)

    def _discard_alone(self, clean_up: Job) -> None:
        try:
            threading.Thread(target=discard, args=(clean_up,), name=f"{self.name}-discard", daemon=True).start()
        except RuntimeError:  # the interpreter is exiting and starts no threads: what the result held ends with it
            clean_up.release()

    def _queue(self, priority: int) -> deque[Job | Lane]:
        queue = self._queues.get(priority)
        if queue is None:  # most programs use one priority: levels are made when first asked for
            queue = self._queues[priority] = deque()
            self._levels = tuple(self._queues[key] for key in sorted(self._queues, reverse=True))
        return queue

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

    def begun(self) -> int:
        """Count the jobs that have been begun, dropped or withdrawn, ever."""
        with self.lock:
            return self.retired.begun + sum(worker.counters.begun for worker in self.workers)

    def withdraw_all(self) -> list[Job]:
        """Empty the queue and all lanes, and return the jobs that were in them."""
        withdrawn: list[Job] = []
        with self.lock:
            for queue in self._levels:
                withdrawn += [entry for entry in queue if isinstance(entry, Job)]
                for entry in queue:
                    if not isinstance(entry, Job):
                        entry.active = False
                queue.clear()
            for lane in self._lanes:
                withdrawn += lane.jobs
                lane.jobs.clear()
            withdrawn_jobs = sum(job.home is not None for job in withdrawn)
            self.retired.begun += withdrawn_jobs
            self.retired.dropped += withdrawn_jobs
        return withdrawn

    # Lanes

    def add_lane(self, lane: Lane) -> None:
        """Know a lane, so that closing and forking reach its jobs."""
        with self.lock:
            self._lanes.add(lane)

    def finish_lane(self, lane: Lane) -> bool:
        """Leave a lane that is empty; False when a job has come in meanwhile."""
        with self.lock:
            lane.active = False  # before the look, see UNLOCKED
            if lane.jobs:
                lane.active = True
                return False
            return True

    def requeue_lane(self, lane: Lane) -> None:
        """Put a lane with more work behind the others of its priority."""
        with self.lock:
            self._queue(lane.priority).append(lane)

    def forget_after_fork(self) -> None:
        """Begin anew in a forked child: the parent's threads, lock and jobs are not here."""
        lanes = list(self._lanes)
        self.reset()
        for lane in lanes:
            lane.jobs = deque()
            lane.active = False
            self._lanes.add(lane)

    # The workers

    def _next_worker(self) -> Worker | None:
        """Choose the worker to wake, or make one to start; None when all are awake. The lock is held."""
        if self.idle:
            worker = self.idle.pop()  # the last one parked: its caches are warm, and the others can time out
        elif len(self.workers) < self.max_workers:
            self._named += 1
            worker = Worker(self, f"{self.name}-{self._named}")
            self.workers.add(worker)
        else:
            return None
        self.awake += 1
        return worker

    def _start(self, worker: Worker, job: Job | None) -> None:
        """Wake a worker or start its thread."""
        if worker.thread.ident is not None:
            worker.gate.release()
            return
        try:
            worker.thread.start()
        except RuntimeError as error:  # no thread to be had: RLIMIT_NPROC, or the interpreter is exiting
            with self.lock:
                self.workers.discard(worker)
                self.awake -= 1
                alone = not self.workers
                if alone and job is not None:
                    self._withdraw(job)
            if alone and job is not None:
                raise WorkerStartError("the system refused a thread for the pool's first worker") from error

    def _withdraw(self, job: Job) -> None:
        if job.lane is None:
            self._queues[job.priority].remove(job)
        else:
            job.lane.jobs.remove(job)
            job.lane.active = False
            self._queues[job.lane.priority].remove(job.lane)

    def rouse_another(self) -> None:
        """Wake one more worker for slow work, up to `CORE_WORKERS` awake."""
        if self.awake >= CORE_WORKERS:
            return
        with self.lock:
            worker = self._next_worker()
        if worker is not None:
            self._start(worker, None)

    def prod(self) -> None:
        """Wake or start one more worker if entries wait and none was begun since the last call."""
        if not self.has_work():
            return
        with self.lock:
            begun = self.retired.begun + sum(worker.counters.begun for worker in self.workers)
            worker = self._next_worker() if begun == self._begun_at_prod or not self.awake else None
            self._begun_at_prod = begun
        if worker is not None:
            self._start(worker, None)

    def park(self, worker: Worker) -> bool | None:
        """Let a worker rest: True to park, None when there is work after all, False to end."""
        with self.lock:
            self.awake -= 1  # before the look, see UNLOCKED
            if any(self._levels):
                self.awake += 1
                return None
            if not self.ending:
                self.idle.append(worker)
                return True
        self.ended(worker)
        return False

    def keep(self, worker: Worker) -> bool:
        """Decide on a parked worker whose time is up: False to end, True if it has been woken meanwhile."""
        with self.lock:
            timed_out = worker in self.idle
            if timed_out:
                self.idle.remove(worker)
        if timed_out:
            self.on_rest()
            self.ended(worker)
            return False
        worker.gate.acquire()  # the wake-up is on its way: wait for it, lest the gate be open at the next rest
        return True

    def ended(self, worker: Worker) -> None:
        """Take a worker off the books; the last one of an ending crew tells those who wait for it."""
        waiting: list[Callable[[], object]] = []
        with self.lock:
            if worker in self.workers:
                self.workers.remove(worker)
                self.retired.absorb(worker.counters)
            if self.ending and not self.workers:
                waiting, self.on_empty = self.on_empty, []
        for callback in waiting:
            callback()

    def dismiss(self, on_empty: Callable[[], object] | None = None) -> list[threading.Thread]:
        """Have workers end once no work is left; return the threads still to end: the last calls `on_empty`."""
        with self.lock:
            self.ending = True
            idle, self.idle = self.idle, []
            self.awake += len(idle)
            threads = [worker.thread for worker in self.workers if worker.thread.ident is not None]
            if threads and on_empty is not None:
                self.on_empty.append(on_empty)
        for worker in idle:
            worker.gate.release()
        return threads

    def leave_behind(self) -> list[Job]:
        """Have every worker end after what it runs now, and return those jobs."""
        self.dismiss()
        with self.lock:
            workers = tuple(self.workers)
        for worker in workers:
            worker.left_behind = True
        return [job for worker in workers if (job := worker.current) is not None]

    def abandon(self) -> None:
        """Have all workers end; for finalisers, so without the lock: nobody submits to a crew that is being freed."""
        self.ending = True
        for worker in tuple(self.workers):
            worker.left_behind = True
        for worker in self.idle:
            worker.gate.release()

    def counters(self) -> list[Counters]:
        """Return the counters of all workers, past and present."""
        with self.lock:
            return [self.retired, *(worker.counters for worker in self.workers)]

    def running(self) -> int:
        """Count the workers that are inside a job."""
        with self.lock:
            return sum(worker.current is not None for worker in self.workers)
