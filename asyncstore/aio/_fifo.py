"""Opening a FIFO, which waits until somebody opens its other end: for as long as that takes (fifo(7)).

A few such opens would hold all workers of the pool, and with them every other job. So each waits on a thread of its
own. A thread that nobody waits for any more, since its caller was cancelled, goes when the other end comes or the
process ends; what it has opened is closed at once.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ("opening_waits", "wait_apart")

_T = TypeVar("_T")


def opening_waits(path: str | bytes | os.PathLike[str] | os.PathLike[bytes], flags: int, dir_fd: int | None) -> bool:
    """Whether ``os.open(path, flags)`` would wait for another process. Asks the file system: for worker threads."""
    if flags & (os.O_NONBLOCK | os.O_RDWR) or not hasattr(os, "mkfifo"):
        return False
    try:
        return stat.S_ISFIFO(os.stat(path, dir_fd=dir_fd, follow_symlinks=not flags & os.O_NOFOLLOW).st_mode)
    except OSError:
        return False  # the open will report it, or create the file


async def wait_apart(fn: Callable[[], _T], discard: Callable[[_T], object]) -> _T:
    """Run `fn` on a daemon thread of its own and return its result; raises what it raises.

    Cancelled, the caller goes at once; what `fn` still returns goes to `discard`, which must not block.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def deliver(result: _T) -> None:
        if future.done():
            discard(result)
        else:
            future.set_result(result)

    def fail(error: Exception) -> None:
        if not future.done():
            future.set_exception(error)

    def work() -> None:
        try:
            result = fn()
        except Exception as exc:  # noqa: BLE001  # all of it is the caller's
            _tell(loop, fail, exc)
        else:
            if not _tell(loop, deliver, result):
                discard(result)

    threading.Thread(target=work, name="asyncstore-fifo", daemon=True).start()
    return await future


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[_T], None], value: _T) -> bool:
    try:
        loop.call_soon_threadsafe(callback, value)
    except RuntimeError:  # the loop was closed: nobody waits
        return False
    return True
