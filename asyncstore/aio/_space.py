"""System calls on a file's space and cached pages that the `os` module lacks: fallocate, sync_file_range, readahead.

Bound on first use, by the C library's wrappers, which know the machine's calling conventions. Where one is missing the
nearest portable call does the work. All may block: for worker threads.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import cache

__all__ = (
    "FALLOC_FL_COLLAPSE_RANGE",
    "FALLOC_FL_INSERT_RANGE",
    "FALLOC_FL_KEEP_SIZE",
    "FALLOC_FL_PUNCH_HOLE",
    "FALLOC_FL_ZERO_RANGE",
    "fallocate",
    "readahead",
    "sync_range",
)

# linux/falloc.h
FALLOC_FL_KEEP_SIZE = 0x01
FALLOC_FL_PUNCH_HOLE = 0x02  # only together with KEEP_SIZE
FALLOC_FL_COLLAPSE_RANGE = 0x08
FALLOC_FL_ZERO_RANGE = 0x10
FALLOC_FL_INSERT_RANGE = 0x20

_SYNC_AND_WAIT = 1 | 2 | 4  # SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE, _WAIT_AFTER: linux/fs.h


@cache
def _bound(name: str, kinds: str) -> Callable[..., int] | None:
    """Return the C function `name`, whose arguments are int (i), 64-bit offset (o) or size (s); None: there is none."""
    try:
        import ctypes
    except ImportError:  # pragma: no cover  # an interpreter built without libffi
        return None
    library = ctypes.CDLL(None, use_errno=True)
    # The names with 64 in them take 64-bit offsets on 32-bit machines too.
    function = getattr(library, f"{name}64", None) or getattr(library, name, None)
    if function is None:
        return None
    types = {"i": ctypes.c_int, "o": ctypes.c_int64, "s": ctypes.c_size_t}
    function.argtypes = [types[kind] for kind in kinds]

    def call(*arguments: int) -> int:
        while function(*arguments) < 0:
            number = ctypes.get_errno()
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))
        return 0

    return call


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """Reserve or give back space as fallocate(2) does; with `mode` 0 posix_fallocate where there is none."""
    native = _bound("fallocate", "iioo")
    if native is not None:
        native(fd, mode, offset, length)
    elif mode == 0 and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, offset, length)
    else:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def sync_range(fd: int, offset: int, length: int) -> None:
    """Write the dirty pages of the range and wait for them, sync_file_range(2); fdatasync(2) where there is none."""
    native = _bound("sync_file_range", "iooi")
    if native is not None:
        native(fd, offset, length, _SYNC_AND_WAIT)
    else:
        getattr(os, "fdatasync", os.fsync)(fd)


def readahead(fd: int, offset: int, count: int) -> None:
    """Read the range into the page cache, readahead(2); where there is none, only advise so."""
    native = _bound("readahead", "ios")
    if native is not None:
        native(fd, offset, count)
    elif hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, offset, count, os.POSIX_FADV_WILLNEED)
