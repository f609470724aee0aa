"""Waiting for pipes, terminals, sockets and devices without holding a worker thread.

A read of a silent pipe blocks its thread for ever; eight of them would block a pool. So the loop's poller does the
waiting, and a worker only makes calls that poll(2) has found ready:

1. a job asks poll(2) with no timeout, and reads or writes only what it allows;
2. found not ready, the job returns at once and the loop watches the descriptor;
3. the poller wakes the waiter, which starts again at 1.

Between 1 and the call another process can take the bytes of a shared pipe; then that one job blocks until more come, as
any reader does.

The loop watches a duplicate: a number can be watched once per loop, and the original may be watched by somebody else
(``loop.add_reader(0, ...)``). What cannot be watched (epoll refuses regular files and /dev/null) is always ready.
"""

from __future__ import annotations

import asyncio
import os
import select

__all__ = ("Readiness", "can_read", "read_if_ready", "write_if_ready")

PIECE = 4096  # bytes: a pipe that is ready for writing has room for PIPE_BUF, which is as much on Linux (512 elsewhere)
if hasattr(select, "PIPE_BUF"):
    PIECE = min(PIECE, select.PIPE_BUF)


def can_read(fd: int) -> bool:
    """Whether a read would return at once, with data, an error or the end."""
    poll = select.poll()
    poll.register(fd, select.POLLIN | select.POLLPRI)
    return bool(poll.poll(0))


def read_if_ready(fd: int, n: int) -> bytes | None:
    """Return up to `n` bytes from the descriptor's own position, b"" at the end; None: there is nothing yet."""
    if not can_read(fd):
        return None
    try:
        return os.read(fd, n)
    except BlockingIOError:  # somebody else was faster, and the descriptor is non-blocking
        return None


def write_if_ready(fd: int, view: memoryview) -> int:
    """Write what of `view` the descriptor takes without blocking; return the count, 0: there is no room yet."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    total = view.nbytes
    done = 0
    while done < total:
        if not poll.poll(0):
            break
        try:
            done += os.write(fd, view[done : done + PIECE])
        except BlockingIOError:
            break
        except OSError:
            if not done:
                raise
            break  # what was written counts; the error comes again with the rest
    return done


class Readiness:
    """Waits for one descriptor at a time; `abort` wakes whoever waits."""

    __slots__ = ("_waiter",)

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self, fd: int, *, writing: bool) -> None:
        """Return when `fd` is worth trying again. Raises what `abort` is given; a cancel leaves nothing behind."""
        loop = asyncio.get_running_loop()
        watched = os.dup(fd)
        waiter = self._waiter = loop.create_future()
        add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
        try:
            try:
                add(watched, _wake, waiter)
            except PermissionError:  # epoll_ctl(2): EPERM for what is always ready
                return
            try:
                await waiter
            finally:
                remove(watched)
        finally:
            self._waiter = None
            os.close(watched)

    def abort(self, exc: Exception) -> None:
        """Have the `wait` that is under way raise `exc`."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(exc)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
