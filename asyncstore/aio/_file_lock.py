"""Advisory locks on whole files, waited for without a thread.

flock(2) and not fcntl(2): record locks of POSIX end when any descriptor of the file is closed anywhere in the process,
and do not exclude tasks of one process from each other. A blocking flock would hold a worker thread for as long as
somebody else likes and could not be cancelled, so the lock is tried without blocking, again and again, less and less
often. The price is a delay of up to `SLOWEST` after the lock has become free, and no order among those who wait.

flock belongs to the open file, so a second call through the same object would succeed. Tasks that share the object are
kept apart by `LockState`.
"""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Generator
from random import random
from time import monotonic
from types import TracebackType
from typing import Any

from asyncstore.aio._descriptor import Descriptor

__all__ = ("FileLock", "LockState")

FASTEST = 0.001  # seconds until the second attempt
SLOWEST = 0.05  # seconds between attempts in the long run: 20 system calls a second are nothing


class LockState:
    """Whether the file object holds the lock, or a task is about to."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = False

    async def unlock(self, descriptor: Descriptor) -> None:
        """End the lock, if there is one."""
        if not self.held:
            return
        self.held = False
        if descriptor.local:
            fcntl.flock(descriptor.fd, fcntl.LOCK_UN)
        else:
            await descriptor.run(fcntl.flock, descriptor.fd, fcntl.LOCK_UN)


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
        while not await self._try():
            pause = delay * (0.5 + random() / 2)  # noqa: S311  # so that two who wait do not keep in step
            if deadline is not None:
                left = deadline - monotonic()
                if left <= 0:
                    raise TimeoutError(f"the lock on {self._descriptor.name!r} was not free within {self._timeout} s")
                pause = min(pause, left)
            await asyncio.sleep(pause)
            delay = min(delay * 2, SLOWEST)

    async def _try(self) -> bool:
        """Try once; return whether the lock is held now."""
        state = self._state
        if state.held:
            return False
        state.held = True
        descriptor = self._descriptor
        operation = (fcntl.LOCK_EX if self._exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
        try:
            if descriptor.local:
                fcntl.flock(descriptor.fd, operation)
            else:
                await descriptor.run(_flock, descriptor.fd, operation, on_discard=lambda fd: _flock(fd, fcntl.LOCK_UN))
        except BlockingIOError:
            state.held = False
            return False
        except BaseException:
            state.held = False
            raise
        return True

    def __await__(self) -> Generator[Any, Any, None]:
        return self._take().__await__()

    async def __aenter__(self) -> None:
        await self._take()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._descriptor.closed:
            await self._state.unlock(self._descriptor)


def _flock(fd: int, operation: int) -> int:
    """Lock or unlock; return `fd`, for whoever has to undo it."""
    fcntl.flock(fd, operation)
    return fd
