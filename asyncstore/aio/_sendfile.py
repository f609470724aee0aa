"""sendfile(2) between two descriptors, as `os` has it."""

from __future__ import annotations

import os

from asyncstore.aio._arguments import check_fd, check_size
from asyncstore.aio._priority import run

__all__ = ("sendfile",)


async def sendfile(out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
    """Send up to `count` bytes of `in_fd`, from `offset` on, to `out_fd`; return how many, as `os.sendfile` does.

    `offset` None: from where `in_fd` stands, which moves. The descriptors must stay open until the call has returned;
    the method of the same name of a file from `aio.open` sees to that, and sends all.

    Raises OSError as `os.sendfile` does, BlockingIOError when `out_fd` does not block and is full. Cancelled once
    begun, bytes may be sent.
    """
    check_size(offset, "offset")
    if check_size(count, "count") is None:
        raise TypeError("count should be an int, not None")
    return await run(os.sendfile, check_fd(out_fd, "out_fd"), check_fd(in_fd, "in_fd"), offset, count)
