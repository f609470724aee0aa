"""A thread that runs jobs.

Guarantees
* A job is run in a copy of its submitter's context variables, at most once, and what it returned or raised goes home
  unchanged.
* Jobs of one lane are run in order and by one worker at a time.
* A user's exception, in the job or in `on_discard`, never ends the thread.

Assumes: the thread is a daemon, so that a job that never returns cannot hold up the interpreter's exit.

A worker knows its crew but not its pool, so that a pool that nobody holds any more is freed; its finaliser opens the
gates and the threads end.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from asyncstore.pool._job import Job, JobState
from asyncstore.pool._stats import Counters

if TYPE_CHECKING:
    from asyncstore.pool._crew import Crew
    from asyncstore.pool._lane import Lane

# ns: after this long a lane goes to the end of the queue if other work waits; arbitrary, 1 ms as the pump's period
LANE_SLICE = 1_000_000
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

    __slots__ = ("_crew", "_hand", "counters", "current", "gate", "left_behind", "thread")

    def __init__(self, crew: Crew, name: str) -> None:
        self._crew = crew
        self.gate = threading.Lock()
        self.gate.acquire()
        self.counters = Counters()
        # The job at hand, in a list of one: what is popped off it straight into a call is in no variable of this thread
        # any more, so that a result lives on only where the caller has it once it is home.
        self._hand: list[Job] = []
        self.current: Job | None = None  # what runs now, for stats and for a close that does not wait
        self.left_behind = False  # the pool closed without waiting for this worker: it ends after its job
        self.thread = threading.Thread(target=self._main, name=name, daemon=True)

    def _main(self) -> None:
        crew = self._crew
        while True:
            if self.left_behind:
                crew.ended(self)
                return
            entry = crew.take()
            if entry is None:
                verdict = crew.park(self)
                if verdict is False:
                    return
                if verdict and not self.gate.acquire(timeout=crew.idle_timeout) and not crew.keep(self):
                    return
            elif isinstance(entry, Job):
                if crew.cost > SLOW_JOB and crew.has_work():
                    crew.rouse_another()
                self._hand.append(entry)
                del entry
                self.run(crew)
            else:
                self._run_lane(entry, crew)

    def _run_lane(self, lane: Lane, crew: Crew) -> None:
        deadline = _clock() + LANE_SLICE
        while not self.left_behind:
            try:
                self._hand.append(lane.jobs.popleft())
            except IndexError:
                if crew.finish_lane(lane):
                    return
                continue
            self.run(crew)
            if _clock() > deadline and crew.has_work():
                break
        crew.requeue_lane(lane)

    def run(self, crew: Crew) -> None:
        """Run the job at hand and take it home."""
        hand = self._hand
        job = hand[0]
        future, home = job.future, job.home
        if future is None or home is None:  # the pool's own clean-up
            discard(hand.pop())
            return
        counters = self.counters
        counters.begun += 1
        if future.done():  # cancelled, or refused by a close, before it began
            if job.state is not JobState.REFUSED:
                job.state = _DROPPED
            counters.dropped += 1
            del job, future
            home.done.append(hand.pop())  # nobody waits for it: the next drain takes it, no wake-up
            if home.alert:
                home.attend()
            return
        self.current = job
        job.state = _RUNNING
        job.started = started = _clock()
        try:
            job.result = job.context.run(job.fn, *job.args)  # type: ignore[union-attr]  # a job with a home has one
            job.state = _RETURNED
        except BaseException as error:  # noqa: BLE001  # the job's own, whatever it is: it belongs to the caller
            job.error = error
            job.state = _RAISED
        job.ended = ended = _clock()
        self.current = None
        took = ended - started
        counters.wait_time[(started - job.submitted).bit_length()] += 1
        counters.run_time[took.bit_length()] += 1
        counters.done += 1
        # A decaying minimum: a run time measured while the GIL was contended says nothing about the job.
        cost = crew.cost
        crew.cost = took if took < cost else cost + (cost >> 3) + 64  # min() is a call, and this is hot
        if future.done() and job.state is _RETURNED:
            counters.discarded += 1
            discard(job)
        # The traceback of a raised exception refers to this frame: exception, frame, job and future would form a cycle.
        del job, future
        home.done.append(hand.pop())
        if not home.woken:
            home.wake()
        if home.alert:
            home.attend()
        del home
