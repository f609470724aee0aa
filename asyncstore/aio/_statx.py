"""statx(2), which `os` has only from Python 3.15 on: the time of birth, the attributes and the mount of a file."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from asyncstore.aio._arguments import StrOrBytesPath, check_fd, check_path
from asyncstore.aio._priority import run

__all__ = ("Statx", "statx")

_AT_FDCWD = -100  # fcntl.h: paths are relative to the working directory
_AT_SYMLINK_NOFOLLOW = 0x100
_BASIC_STATS = 0x7FF  # linux/stat.h, STATX_*: what stat(2) tells
_BTIME = 0x800
_MNT_ID = 0x1000  # Linux 5.8


@dataclass(frozen=True, slots=True)
class Statx:
    """What statx(2) tells of a file. Times in nanoseconds since the epoch; sizes in bytes, `blocks` of 512 bytes.

    `btime_ns` is the time of birth, None where the file system keeps none; `mount_id` is None before Linux 5.8.
    `attributes` holds STATX_ATTR_* bits, of which those in `attributes_mask` are known to the file system.
    """

    mode: int
    ino: int
    dev: int
    rdev: int
    nlink: int
    uid: int
    gid: int
    size: int
    blocks: int
    block_size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int | None
    attributes: int
    attributes_mask: int
    mount_id: int | None


class _Timestamp(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_int64), ("nsec", ctypes.c_uint32), ("_reserved", ctypes.c_int32))

    def ns(self) -> int:
        """Return the whole in nanoseconds."""
        return int(self.sec) * 1_000_000_000 + int(self.nsec)


class _Buffer(ctypes.Structure):
    """``struct statx`` of linux/stat.h: 256 bytes on every architecture."""

    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("blksize", ctypes.c_uint32),
        ("attributes", ctypes.c_uint64),
        ("nlink", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("mode", ctypes.c_uint16),
        ("_spare0", ctypes.c_uint16),
        ("ino", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("blocks", ctypes.c_uint64),
        ("attributes_mask", ctypes.c_uint64),
        ("atime", _Timestamp),
        ("btime", _Timestamp),
        ("ctime", _Timestamp),
        ("mtime", _Timestamp),
        ("rdev_major", ctypes.c_uint32),
        ("rdev_minor", ctypes.c_uint32),
        ("dev_major", ctypes.c_uint32),
        ("dev_minor", ctypes.c_uint32),
        ("mnt_id", ctypes.c_uint64),
        ("_spare", ctypes.c_uint64 * 13),
    )


async def statx(path: StrOrBytesPath, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> Statx:
    """Return what statx(2) tells of `path`: the time of birth, too.

    Raises OSError as `os.stat` does, with ENOSYS where the C library or the kernel has no statx. Cancelled, nothing has
    happened.
    """
    where = _AT_FDCWD if dir_fd is None else check_fd(dir_fd, "dir_fd")
    return await run(_statx, check_path(path), where, 0 if follow_symlinks else _AT_SYMLINK_NOFOLLOW)


@cache
def _call() -> Callable[..., int] | None:
    """Return libc's statx (glibc 2.28), or None where there is none."""
    try:
        found = ctypes.CDLL(None, use_errno=True).statx
    except (AttributeError, OSError):
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Buffer))
    found.restype = ctypes.c_int
    return found


def _statx(path: str | bytes, dir_fd: int, flags: int) -> Statx:
    call = _call()
    if call is None:
        raise OSError(errno.ENOSYS, "this system has no statx", path)
    found = _Buffer()
    if call(dir_fd, os.fsencode(path), flags, _BASIC_STATS | _BTIME | _MNT_ID, ctypes.byref(found)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return Statx(
        mode=found.mode,
        ino=found.ino,
        dev=os.makedev(found.dev_major, found.dev_minor),
        rdev=os.makedev(found.rdev_major, found.rdev_minor),
        nlink=found.nlink,
        uid=found.uid,
        gid=found.gid,
        size=found.size,
        blocks=found.blocks,
        block_size=found.blksize,
        atime_ns=found.atime.ns(),
        mtime_ns=found.mtime.ns(),
        ctime_ns=found.ctime.ns(),
        btime_ns=found.btime.ns() if found.mask & _BTIME else None,
        attributes=found.attributes,
        attributes_mask=found.attributes_mask,
        mount_id=found.mnt_id if found.mask & _MNT_ID else None,
    )
