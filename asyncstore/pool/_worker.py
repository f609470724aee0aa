"""A thread that runs jobs.

Guarantees
* A job is run in a copy of its submitter's context variables, at most once, and what it returned or raised goes home unchanged.
* Jobs of one lane are run in order and by one worker at a time.
* A user's exception, in the job or in `on_discard`, never ends the thread.

Assumes: the thread is a daemon, so that a job that never returns cannot hold up the interpreter's exit.

A parked worker holds only a weak reference to its pool, so that a pool that nobody holds any more can be freed; the pool's
finaliser opens the gate and the thread ends.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING

from asyncstore.pool._job import Job, JobState
from asyncstore.pool._stats import Counters

if TYPE_CHECKING:
    from asyncstore.pool._lane import Lane
    from asyncstore.pool._pool import Pool

LANE_SLICE = 1_000_000  # ns: after this long a lane goes to the end of the queue if other work waits; arbitrary, 1 ms as the pump's period
SLOW_JOB = 20_000  # ns: jobs that take longer are worth a second worker; below, the wake-up costs more than it saves

_clock = time.perf_counter_ns
_RUNNING, _RETURNED, _RAISED = JobState.RUNNING, JobState.RETURNED, JobState.RAISED
_DISCARDED, _DROPPED = JobState.DISCARDED, JobState.DROPPED
_logger = logging.getLogger("asyncstore.pool")


def discard(job: Job) -> None:
    """Give a result that nobody took to the job's `on_discard`; what that raises is logged."""
    job.state = _DISCARDED
    callback, result = job.on_discard, job.result
    name = job.name
    job.release()
    if callback is None:
        return
    try:
        callback(result)
    except BaseException:  # on_discard is the user's; the worker and the lane must outlive anything that it raises
        _logger.exception("on_discard of job %s failed", name)


class Worker:
    """One thread of a pool, its gate and its counters."""

    __slots__ = ("_pool", "counters", "current", "gate", "left_behind", "thread")

    def __init__(self, pool: Pool, name: str) -> None:
        self._pool = weakref.ref(pool)
        self.gate = threading.Lock()
        self.gate.acquire()
        self.counters = Counters()
        self.current: Job | None = None  # what runs now, for stats and for a close that does not wait
        self.left_behind = False  # the pool closed without waiting for this worker: it ends after its job
        self.thread = threading.Thread(target=self._main, name=name, daemon=True)

    def _main(self) -> None:
        while self._work():
            pass

    def _work(self) -> bool:
        """Run jobs until none is left, then park. Return whether to go on."""
        pool = self._pool()
        if pool is None:
            return False
        while True:
            if self.left_behind:
                pool.worker_ended(self)
                return False
            entry = pool.take()
            if entry is None:
                verdict = pool.park(self)
                if verdict is None:
                    continue
                if not verdict:
                    return False
                break
            if isinstance(entry, Job):
                if pool.cost > SLOW_JOB and pool.has_work():
                    pool.rouse_another()
                self.run(entry, pool)
            else:
                self._run_lane(entry, pool)
            entry = None  # the last job's arguments must not live until the next job
        timeout = pool.idle_timeout
        del pool
        if self.gate.acquire(timeout=timeout):
            return True
        pool = self._pool()
        return pool is not None and pool.keep(self)

    def _run_lane(self, lane: Lane, pool: Pool) -> None:
        deadline = _clock() + LANE_SLICE
        while not self.left_behind:
            try:
                job = lane.jobs.popleft()
            except IndexError:
                if pool.finish_lane(lane):
                    return
                continue
            self.run(job, pool)
            del job
            if _clock() > deadline and pool.has_work():
                break
        pool.requeue_lane(lane)

    def run(self, job: Job, pool: Pool) -> None:
        """Run one job and hand it back."""
        counters = self.counters
        counters.begun += 1
        future, home = job.future, job.home
        if future is None or home is None:  # the pool's own clean-up
            discard(job)
            return
        if future.done():  # cancelled, or refused by a close, before it began
            if job.state is not JobState.REFUSED:
                job.state = _DROPPED
            counters.dropped += 1
            home.done.append(job)  # nobody waits for it: the next drain takes it, no wake-up
            if home.dead:
                home.bury()
            return
        self.current = job
        job.state = _RUNNING
        job.started = started = _clock()
        try:
            job.result = job.context.run(job.fn, *job.args) if job.context is not None else job.fn(*job.args)
            job.state = _RETURNED
        except BaseException as error:  # the job's own, whatever it is: it belongs to the caller
            job.error = error
            job.state = _RAISED
        job.ended = ended = _clock()
        self.current = None
        counters.wait_time[(started - job.submitted).bit_length()] += 1
        took = ended - started
        counters.run_time[took.bit_length()] += 1
        counters.done += 1
        # A decaying minimum: a run time measured while the GIL was contended says nothing about the job.
        slowly = pool.cost + (pool.cost >> 3) + 64
        pool.cost = took if took < slowly else slowly
        if job.state is _RETURNED and future.done():
            counters.discarded += 1
            discard(job)
        home.hand_back(job)
        # The traceback of a raised exception refers to this frame: without this, exception, frame, job and future form a cycle.
        del job, future, home
