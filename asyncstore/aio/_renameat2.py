"""renameat2(2), which Python does not have: a rename that refuses to replace, or that swaps two names."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from enum import IntFlag
from functools import cache

__all__ = ("RenameFlag", "renameat2")

_AT_FDCWD = -100  # fcntl.h: paths are relative to the working directory


class RenameFlag(IntFlag):
    """The flags of renameat2(2), values of linux/fs.h. RENAME_WHITEOUT serves overlay file systems and root only."""

    NOREPLACE = 1
    EXCHANGE = 2


@cache
def _call() -> Callable[[int, bytes, int, bytes, int], int] | None:
    """Return libc's renameat2 (glibc 2.28, musl 1.2.6), or None where there is none."""
    try:
        found = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    found.restype = ctypes.c_int
    return found


def renameat2(
    src: str | bytes, dst: str | bytes, flags: int, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> None:
    """Rename `src` to `dst`; blocks. Raises OSError, with ENOSYS where the C library or the kernel has no renameat2."""
    if not flags:
        os.rename(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        return
    call = _call()
    if call is None:
        raise OSError(errno.ENOSYS, "this system has no renameat2", src, None, dst)
    where = [_AT_FDCWD if fd is None else fd for fd in (src_dir_fd, dst_dir_fd)]
    if call(where[0], os.fsencode(src), where[1], os.fsencode(dst), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), src, None, dst)
