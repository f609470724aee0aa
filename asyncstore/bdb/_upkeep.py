"""What an environment needs done from time to time: expired waits for locks, checkpoints, a look for dead processes.

Timers on the environment's loop start jobs on its pool. They refer to the environment weakly, so that one that is
dropped is collected (and warns), and end with it.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from asyncstore.bdb._home import LOCK_QUANTUM
from asyncstore.errors import Closed, WouldBlock
from asyncstore.pool import heeded

if TYPE_CHECKING:
    from asyncstore.bdb._core import Core

__all__ = ("Upkeep",)

LOCK_TICK = LOCK_QUANTUM / 2  # seconds between two looks at waits while any transaction is inside libdb
LOST = 5 * LOCK_QUANTUM  # seconds; libdb has lost sight of a wait that lasts so long, or it is a long operation
REGISTRY_TICK = 1.0  # seconds between two looks for dead processes: 60 us each, and two make a verdict
logger = logging.getLogger("asyncstore.bdb")

T = TypeVar("T")


class Upkeep:
    """The timers of one environment."""

    def __init__(self, environment: Core, checkpoint_bytes: int, checkpoint_interval: float) -> None:
        self._environment = weakref.ref(environment)
        self._loop = asyncio.get_running_loop()
        self._checkpoint_bytes = checkpoint_bytes
        self._checkpoint_interval = checkpoint_interval
        self._since_checkpoint = 0  # bytes
        self._checkpointing = False
        self._locks_watched = False
        self._provoked = 0.0  # of the loop's clock: when the detector was last provoked
        self._timers: set[asyncio.TimerHandle] = set()
        self.checkpoints = 0

    def start(self) -> None:
        """Set the timers that run all the time."""
        self._every(REGISTRY_TICK, Upkeep._look_at_registry)
        self._every(self._checkpoint_interval, Upkeep._checkpoint_in_time)

    def stop(self) -> None:
        """Cancel all timers. What is on a worker ends there."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def watch_locks(self) -> None:
        """Look for expired waits until no transaction is inside libdb."""
        if not self._locks_watched:
            self._locks_watched = True
            self._after(LOCK_TICK, Upkeep._look_at_locks)

    def wrote(self, size: int) -> None:
        """Count `size` bytes written, and have a checkpoint made when they are enough."""
        self._since_checkpoint += size
        if self._since_checkpoint >= self._checkpoint_bytes:
            self._checkpoint()

    def _every(self, seconds: float, function: Callable[[Upkeep], None]) -> None:
        def fire(upkeep: Upkeep) -> None:
            function(upkeep)
            upkeep._after(seconds, fire)

        self._after(seconds, fire)

    def _after(self, seconds: float, function: Callable[[Upkeep], None]) -> None:
        alive = self._environment
        own = weakref.ref(self)

        def call() -> None:
            upkeep = own()
            if upkeep is None or alive() is None:
                return
            upkeep.fire(timer, function)

        timer = self._loop.call_later(seconds, call)
        self._timers.add(timer)

    def fire(self, timer: asyncio.TimerHandle, function: Callable[[Upkeep], None]) -> None:
        """Do what `timer` was set for. For the timers."""
        self._timers.discard(timer)
        function(self)

    def _submit(self, work: Callable[[], T]) -> asyncio.Future[T] | None:
        environment = self._environment()
        if environment is None or not environment.working:
            return None
        try:
            return environment.submit(work)
        except (Closed, WouldBlock):
            return None  # the pool is going away, or has no room at the moment: the next time will do

    def _look_at_locks(self) -> None:
        self._locks_watched = False
        environment = self._environment()
        gatherers = [] if environment is None else [session.gatherer for session in environment.sessions]
        if environment is None or not any(gatherer.pending for gatherer in gatherers):
            return
        now = self._loop.time()
        waited = max((now - gatherer.since for gatherer in gatherers if gatherer.busy), default=0.0)
        # Not before somebody can have waited for long enough: every pass may lose a wait that begins at its moment.
        if waited >= LOCK_QUANTUM:
            self._detect(environment.home.break_lock_waits)
        if waited >= LOST and now - self._provoked >= LOST:
            self._provoked = now
            self._detect(environment.home.provoke_detector)
        self.watch_locks()

    def _detect(self, work: Callable[[], int]) -> None:
        job = self._submit(work)
        if job is not None:
            job.add_done_callback(heeded)  # of an environment that is unusable: its operations tell

    def _look_at_registry(self) -> None:
        environment = self._environment()
        job = None if environment is None else self._submit(environment.home.verdict)
        if job is not None:
            job.add_done_callback(self._judge)

    def _judge(self, job: asyncio.Future[str | None]) -> None:
        environment = self._environment()
        if environment is None or job.cancelled() or job.exception() is not None:
            return
        verdict = job.result()
        if verdict is not None:
            environment.give_up(verdict)

    def _checkpoint_in_time(self) -> None:
        if self._since_checkpoint:
            self._checkpoint()

    def _checkpoint(self) -> None:
        environment = self._environment()
        if environment is None or self._checkpointing:
            return
        job = self._submit(environment.home.checkpoint)
        if job is not None:
            self._checkpointing = True
            self._since_checkpoint = 0
            job.add_done_callback(self._checkpointed)

    def _checkpointed(self, job: asyncio.Future[None]) -> None:
        self._checkpointing = False
        if job.cancelled():
            return
        error = job.exception()
        if error is None:
            self.checkpoints += 1
        else:
            # Not a caller's error: what was acknowledged is in the log. A later one tries again.
            logger.warning("checkpoint failed, the log grows until one succeeds: %s", error)
