"""Advisory locks on whole files, waited for without a thread.

flock(2) and not fcntl(2): record locks of POSIX end when any descriptor of the file is closed anywhere in the process,
and do not exclude tasks of one process from each other. A blocking flock would hold a worker thread for as long as
somebody else likes and could not be cancelled, so the lock is tried without blocking, again and again, less and less
often. The price is a delay of up to `SLOWEST` after the lock has become free, and no order among those who wait.

flock belongs to the open file, so a second call through the same object would succeed. Tasks that share the object are
kept apart by `LockState`:

    FREE --try--> CHANGING --got it--> HELD --unlock--> CHANGING --done--> FREE
                  CHANGING --somebody else has it--> FREE

On a disk of this machine CHANGING lasts no time at all. Elsewhere a worker thread makes the call, and if its caller is
cancelled meanwhile, the call goes on and the state follows it: a lock that nobody waits for any more is ended.
"""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Generator
from enum import Enum
from random import random
from time import monotonic
from types import TracebackType
from typing import Any

from asyncstore.aio._descriptor import Descriptor

__all__ = ("FileLock", "LockState")

FASTEST = 0.001  # seconds until the second attempt
SLOWEST = 0.05  # seconds between attempts in the long run: 20 system calls a second are nothing


class _State(Enum):
    """See the module's docstring."""

    FREE = "free"
    CHANGING = "changing"
    HELD = "held"


class LockState:
    """Whether one file object holds the lock on its file."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = _State.FREE

    async def lock(self, descriptor: Descriptor, operation: int) -> bool:
        """Try once to lock, by `operation` (LOCK_EX or LOCK_SH); return whether that worked. Cancelled, it did not."""
        if self._state is not _State.FREE:
            return False
        self._state = _State.CHANGING
        if descriptor.local:
            return self._noted(_try(descriptor.fd, operation | fcntl.LOCK_NB))
        attempt = asyncio.get_running_loop().create_task(self._lock_elsewhere(descriptor, operation))
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            attempt.add_done_callback(lambda done: self._give_back(done, descriptor))
            raise

    async def _lock_elsewhere(self, descriptor: Descriptor, operation: int) -> bool:
        try:
            return self._noted(await descriptor.run(_try, descriptor.fd, operation | fcntl.LOCK_NB))
        except BaseException:
            self._state = _State.FREE
            raise

    def _noted(self, outcome: bool | OSError) -> bool:  # noqa: FBT001  # what _try returned
        self._state = _State.HELD if outcome is True else _State.FREE
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    def _give_back(self, attempt: asyncio.Task[bool], descriptor: Descriptor) -> None:
        """End the lock that was got for a caller that has gone."""
        if not attempt.cancelled() and attempt.exception() is None and attempt.result() and not descriptor.closed:
            _ending = self._unlock_elsewhere(descriptor)

    async def unlock(self, descriptor: Descriptor) -> None:
        """End the lock, if there is one. Cancelled, it goes on in the background."""
        if self._state is not _State.HELD:
            return
        if descriptor.local:
            self._state = _State.FREE
            fcntl.flock(descriptor.fd, fcntl.LOCK_UN)
        else:
            await asyncio.shield(self._unlock_elsewhere(descriptor))

    def _unlock_elsewhere(self, descriptor: Descriptor) -> asyncio.Task[None]:
        self._state = _State.CHANGING
        return asyncio.get_running_loop().create_task(self._unlock(descriptor))

    async def _unlock(self, descriptor: Descriptor) -> None:
        try:
            await descriptor.run(fcntl.flock, descriptor.fd, fcntl.LOCK_UN)
        finally:
            self._state = _State.FREE


class FileLock:
    """A lock to be taken: by ``async with`` for the length of the block, by ``await`` until `unlock` or `close`."""

    __slots__ = ("_descriptor", "_exclusive", "_state", "_timeout")

    def __init__(self, descriptor: Descriptor, state: LockState, *, exclusive: bool, timeout: float | None) -> None:
        self._descriptor = descriptor
        self._state = state
        self._exclusive = exclusive
        self._timeout = timeout

    async def _take(self) -> None:
        deadline = None if self._timeout is None else monotonic() + self._timeout
        delay = FASTEST
        operation = fcntl.LOCK_EX if self._exclusive else fcntl.LOCK_SH
        while not await self._state.lock(self._descriptor, operation):
            pause = delay * (0.5 + random() / 2)  # noqa: S311  # so that two who wait do not keep in step
            if deadline is not None:
                left = deadline - monotonic()
                if left <= 0:
                    raise TimeoutError(f"the lock on {self._descriptor.name!r} was not free within {self._timeout} s")
                pause = min(pause, left)
            await asyncio.sleep(pause)
            delay = min(delay * 2, SLOWEST)

    def __await__(self) -> Generator[Any, Any, None]:
        return self._take().__await__()

    async def __aenter__(self) -> None:
        await self._take()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._descriptor.closed:
            await self._state.unlock(self._descriptor)


def _try(fd: int, operation: int) -> bool | OSError:
    """Lock without blocking; return whether that worked, or the error."""
    try:
        fcntl.flock(fd, operation)
    except BlockingIOError:
        return False
    except OSError as exc:
        return exc
    return True
