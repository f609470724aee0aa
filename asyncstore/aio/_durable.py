"""Down to the disk: sync, syncfs and the fsync of a path.

A rename or a new name is on the disk only once its *directory* is: `pathsync` of the directory does that (fsync(2),
"Calling fsync() does not necessarily ensure that the entry in the directory containing the file has also reached
disk").
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache

from asyncstore.aio._arguments import StrOrBytesPath, check_path
from asyncstore.aio._priority import run

__all__ = ("pathsync", "sync", "syncfs")


async def sync() -> None:
    """Write everything that all file systems hold in memory to their disks, as `os.sync` does; it can take long.

    Cancelled once begun, it goes on in the background.
    """
    await run(os.sync)


async def pathsync(path: StrOrBytesPath) -> None:
    """Open `path`, a file or a directory, fsync it and close it, in one job.

    Raises OSError when it cannot be opened for reading or when fsync fails (EIO: data written before may be lost).
    Cancelled once begun, it goes on in the background.
    """
    await run(fsync_path, check_path(path))


async def syncfs(path: StrOrBytesPath) -> None:
    """Write what the file system that holds `path` has in memory to its disk (syncfs(2); Linux 5.8 reports its errors).

    Where the C library has no syncfs, everything is synced.

    Raises OSError when `path` cannot be opened for reading, or with the error of the disk. Cancelled once begun, it
    goes on in the background.
    """
    await run(_syncfs, check_path(path))


def fsync_path(path: str | bytes) -> None:
    """Open, fsync and close `path`; blocks."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as exc:
        exc.filename = path
        raise
    finally:
        os.close(fd)


@cache
def _libc_syncfs() -> Callable[[int], int] | None:
    try:
        found = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):
        return None
    found.argtypes = (ctypes.c_int,)
    found.restype = ctypes.c_int
    return found


def _syncfs(path: str | bytes) -> None:
    call = _libc_syncfs()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if call is None:
            os.sync()
        elif call(fd) != 0:
            code = ctypes.get_errno() or errno.EIO
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(fd)
