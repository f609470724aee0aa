"""Room on the disk for an environment's shared regions.

libdb makes the files of its regions (``__db.001`` and so on) sparse, lets them grow, and maps them. A page that is
touched for the first time while the disk is full cannot be had, and the kernel tells by SIGBUS: the process dies in the
middle of a get. So the blocks of what is there, and of what it can grow to, are asked for at open, and looked after
from time to time. While libdb makes the regions nothing can be asked for yet: it is not begun where there is too little
room.

fallocate(2) itself, not `os.posix_fallocate`: that has no way to ask for blocks behind the end of a file, and where the
file system cannot do it the C library would write into the regions, under the hands of the processes that use them.
Then they stay sparse. Blocking calls, for worker threads.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from asyncstore.bdb import errors
from asyncstore.bdb._registry import wants_recovery
from asyncstore.bdb._settings import LOG_BUFFER, Settings

__all__ = ("check_room", "reserve")

FIXED = 1 << 20  # bytes of the regions of an environment whose tables are the smallest, rounded up
LOCK = 150  # bytes of the regions for each of `max_locks`
CACHE_PART = 12  # libdb makes a cache with less than a twelfth of its size, and lets it grow
CACHE_EXTRA = 64 * 1024  # bytes of a cache's region above the quarter that libdb adds to what it is told
REGIONS = "__db.[0-9]*"
TABLES, MUTEXES = "__db.001", "__db.002"  # the others are the cache
KEEP_SIZE = 1  # linux/falloc.h: blocks behind the end of the file, which stays where it is
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # a file system, a kernel without it


def check_room(settings: Settings, home: str) -> None:
    """Raise `DiskFull` when opening `home` will make regions, or recover, and there is not the room for that."""
    regions = [path.stat().st_blocks * 512 for path in Path(home).glob(REGIONS)]
    recovery = wants_recovery(home)
    if regions and not recovery:
        return
    needed = FIXED + (settings.log_buffer or LOG_BUFFER) + LOCK * settings.max_locks
    needed += settings.cache_size // CACHE_PART - sum(regions)  # which recovery removes
    if recovery:
        needed += settings.log_file_size  # it fills the rest of the last log file with zeros
    disk = os.statvfs(home)
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        detail = f"{free} bytes are free, and {needed} may be needed to {'recover' if recovery else 'create'} it"
        raise errors.DiskFull(doing="open", of=settings.title, code=errno.ENOSPC, detail=detail)


def reserve(home: str, cache_size: int) -> None:
    """Have every block of the region files in `home`. Raises OSError when there is no room for them.

    And those that they will grow into, unless that is more than half of what is free.
    """
    for path in sorted(Path(home).glob(REGIONS)):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            info = os.fstat(fd)
            had = info.st_blocks * 512
            most = _grown(path.name, info.st_size, cache_size)
            disk = os.fstatvfs(fd)
            wanted = most if most - had < disk.f_bavail * disk.f_frsize // 2 else info.st_size
            if had < wanted:
                _fallocate()(fd, wanted)
        finally:
            os.close(fd)


def _grown(name: str, size: int, cache_size: int) -> int:
    """Return how many bytes a region may grow to: the tables double, the mutexes stay, the cache has its bound."""
    if name == TABLES:
        return 2 * size
    return size if name == MUTEXES else max(size, cache_size + cache_size // 4 + CACHE_EXTRA)


@cache
def _fallocate() -> Callable[[int, int], None]:
    try:
        import ctypes
    except ImportError:  # pragma: no cover  # an interpreter built without libffi
        return _leave
    library = ctypes.CDLL(None, use_errno=True)
    function = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if function is None:
        return _leave
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]

    def fallocate(fd: int, size: int) -> None:
        while function(fd, KEEP_SIZE, 0, size) < 0:
            number = ctypes.get_errno()
            if number in _CANNOT:
                return
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))

    return fallocate


def _leave(_fd: int, _size: int) -> None:
    """Leave the file sparse: this system has no call that would not write into it."""
