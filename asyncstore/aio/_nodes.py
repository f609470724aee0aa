"""Special files: FIFOs and device nodes."""

from __future__ import annotations

import os
from functools import partial

from asyncstore.aio._arguments import StrOrBytesPath, check_path
from asyncstore.aio._priority import run

__all__ = ("mkfifo", "mknod")


async def mkfifo(path: StrOrBytesPath, mode: int = 0o666, *, dir_fd: int | None = None) -> None:
    """Make the FIFO `path`, its `mode` cut by the umask, as `os.mkfifo` does.

    Raises OSError as `os.mkfifo` does. Cancelled once begun, the FIFO may be made.
    """
    await run(partial(os.mkfifo, check_path(path), mode, dir_fd=dir_fd))


async def mknod(path: StrOrBytesPath, mode: int = 0o600, device: int = 0, *, dir_fd: int | None = None) -> None:
    """Make the node `path`, as `os.mknod` does: a file, FIFO, socket or device, by the type bits of `mode`.

    Raises OSError as `os.mknod` does. Cancelled once begun, the node may be made.
    """
    await run(partial(os.mknod, check_path(path), mode, device, dir_fd=dir_fd))
