"""Trying out what the kernel and a file system offer, for ``asyncstore doctor``: each probe does the real thing once.

A probe returns an empty text when the thing works, and otherwise the reason in words. None of them raises for want of
a feature; `OSError` comes out only when the probed folder itself cannot be written to.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from asyncstore.aio import _rings, _syscalls

BLOCK = 4096  # bytes: a page, and a multiple of every common sector size

# names of the types of statfs(2), from linux/magic.h
_FILE_SYSTEMS = {
    0xEF53: "ext2, ext3 or ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x01021994: "tmpfs",
    0x858458F6: "ramfs",
    0x794C7630: "overlayfs",
    0x2FC12FC1: "zfs",
    0xF2F52010: "f2fs",
    0xCA451A4E: "bcachefs",
    0x6969: "NFS",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x65735546: "FUSE",
    0x01021997: "9p",
    0x6A656A63: "virtiofs or FUSE",
    0x73717368: "squashfs",
    0x4D44: "vfat",
    0x2011BAB0: "exfat",
}


@contextlib.contextmanager
def probe_file(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield a descriptor and the path of a file of one block in `folder`, in the page cache; it is removed after."""
    fd, name = tempfile.mkstemp(prefix=".asyncstore-doctor-", dir=folder)
    try:
        os.write(fd, bytes(BLOCK))
        yield fd, Path(name)
    finally:
        os.close(fd)
        os.unlink(name)


def file_system(fd: int) -> str:
    """Name the file system that `fd` lies on, by its statfs(2) type; "unknown" where that cannot be asked."""
    number = _syscalls.file_system_type(fd) if _syscalls.AVAILABLE else 0
    return _FILE_SYSTEMS.get(number, f"type {number:#x}") if number else "unknown"


def nowait_read(fd: int) -> str:
    """Read a cached block with RWF_NOWAIT (preadv2(2), Linux 4.14)."""
    flag = getattr(os, "RWF_NOWAIT", None)
    if flag is None:
        return "this platform has no RWF_NOWAIT"
    try:
        count = os.preadv(fd, [bytearray(BLOCK)], 0, flag)
    except OSError as error:
        return _refusal("reads with RWF_NOWAIT", error)
    return "" if count == BLOCK else f"a cached block came back as {count} bytes"


def nowait_write(fd: int) -> str:
    """Write a cached block with RWF_NOWAIT; only xfs takes it."""
    flag = getattr(os, "RWF_NOWAIT", None)
    if flag is None:
        return "this platform has no RWF_NOWAIT"
    try:
        os.pwritev(fd, [bytes(BLOCK)], 0, flag)
    except OSError as error:
        return _refusal("writes with RWF_NOWAIT", error)
    return ""


def open_cached(path: Path) -> str:
    """Open a file whose name is cached, with openat2(2) and RESOLVE_CACHED (Linux 5.12)."""
    if not _syscalls.AVAILABLE:
        return "not a 64-bit Linux, or no ctypes"
    fd = _syscalls.openat2(os.fsencode(path), _syscalls.OpenHow(os.O_RDONLY | os.O_CLOEXEC))
    if fd >= 0:
        os.close(fd)
        return ""
    number = _syscalls.last_error()
    return _refusal("openat2 with RESOLVE_CACHED", OSError(number, os.strerror(number)))


def direct_read(path: Path) -> str:
    """Read a block past the page cache (O_DIRECT, open(2)), into memory that is aligned as it must be."""
    flag = getattr(os, "O_DIRECT", None)
    if flag is None:
        return "this platform has no O_DIRECT"
    try:
        fd = os.open(path, os.O_RDONLY | flag | os.O_CLOEXEC)
    except OSError as error:
        return _refusal("O_DIRECT", error)
    try:
        with mmap.mmap(-1, BLOCK) as aligned:
            os.preadv(fd, [aligned], 0)
    except OSError as error:
        return _refusal("reads with O_DIRECT", error)
    finally:
        os.close(fd)
    return ""


def io_uring() -> str:
    """Read a block through a ring made with SINGLE_ISSUER and DEFER_TASKRUN, as the engine would."""
    state = _rings.probe()
    if state.usable:
        return ""
    hints = [hint for hint in (_sysctl_hint(), _seccomp_hint()) if hint]
    return "; ".join((state.reason, *hints))


def _sysctl_hint() -> str:
    value = read_number("/proc/sys/kernel/io_uring_disabled")
    return f"kernel.io_uring_disabled is {value} (0 allows it to all)" if value else ""


def _seccomp_hint() -> str:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return ""
    filtered = any(line.split() == ["Seccomp:", "2"] for line in status.splitlines())
    return "a seccomp filter is active, as containers have it, and may forbid it" if filtered else ""


def read_number(path: str) -> int | None:
    """Return the number that a file of /proc holds, None when it is not there."""
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def _refusal(what: str, error: OSError) -> str:
    """Say why the kernel refused `what`."""
    if error.errno in {errno.EOPNOTSUPP, errno.EINVAL}:
        return f"this file system does not support {what}"
    if error.errno == errno.EAGAIN:
        return f"{what} would have waited (EAGAIN)"
    if error.errno in {errno.EPERM, errno.ENOSYS}:
        return f"{what}: forbidden, or the kernel is too old ({errno.errorcode[error.errno]})"
    return f"{what}: {error.strerror}"
