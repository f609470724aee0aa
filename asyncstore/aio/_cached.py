"""Opens, stats and small whole files out of the kernel's cache, on the loop thread, or not at all.

openat2(2) with RESOLVE_CACHED answers EAGAIN unless every name on the way is in the dentry cache, so an open that
succeeds has touched no disk. That alone is not enough to open a file on the loop thread, and each step below has its
reason:

1. O_PATH first. Opening a FIFO, even with O_NONBLOCK, releases the writer that waits for a reader; opening a device may
   rewind a tape or start a watchdog. O_PATH opens the name and touches nothing, statx(2) then tells a regular file from
   the rest.
2. The device must be a local one (see `_device`): on NFS an open is a message to a server, on FUSE to a daemon, which
   may be this process. statx is told not to synchronise, so that the question itself asks nobody.
3. The second open goes by name, still with RESOLVE_CACHED and O_NONBLOCK, and what it has opened is looked at again:
   the name may have been given to another file in between.

Whatever is not certain returns None and the caller takes the pool, which then reports the true error.

A program asks for the same names again and again, and the questions above cost three times what it wants to know. So a
name that was answered for is taken to be as cached, as regular and as local as it was for another `TRUSTED` seconds,
and is asked for directly; each answer shows the device and the type, and renews the trust or ends it. What the caller
gets is always the kernel's answer of now. What could go wrong within that time: the kernel drops a name that was just
used, which costs this loop one read of a directory; somebody puts a FIFO in the place of the file, and its waiting
writer is let go before the pool opens it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from time import monotonic

from asyncstore.aio import _syscalls
from asyncstore.aio._device import Device, known, learn_later
from asyncstore.aio._nowait import INLINE_LIMIT, RWF_NOWAIT, whole_file_buffer

__all__ = ("open_cached", "open_regular", "read_file_cached", "restore_blocking", "stat_cached")

_Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_O_PATH = getattr(os, "O_PATH", 0)
# Flags under which an open creates, truncates or makes a nameless file: work for the disk, whatever is cached.
_CHANGING = os.O_CREAT | os.O_TRUNC | (getattr(os, "O_TMPFILE", 0) & ~getattr(os, "O_DIRECTORY", 0))
# What the cache can be certain of. Anything else (EPERM from a seccomp filter, EMFILE, EINTR) is the pool's to report.
_CERTAIN = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG})

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

TRUSTED = 0.1  # seconds; the kernel evicts what was not used for longest, so what was used a moment ago is still there
MAX_TRUSTED = 4096  # names; about a megabyte


class _Trust:
    """What a name stood for when it was last asked for, and until when that is believed."""

    __slots__ = ("dev", "device", "regular", "until")

    def __init__(self, status: os.stat_result, device: Device) -> None:
        self.dev = status.st_dev
        self.device = device
        self.regular = stat.S_ISREG(status.st_mode)
        self.until = monotonic() + TRUSTED

    def confirmed(self, status: os.stat_result, now: float) -> bool:
        """Whether `status`, had at the time `now`, shows the same kind of file; renews the trust, or ends it."""
        if status.st_dev == self.dev and stat.S_ISREG(status.st_mode) is self.regular and now < self.device.expires:
            self.until = now + TRUSTED
            return True
        self.until = 0.0
        return False


_trusted: dict[str, _Trust] = {}  # by absolute or relative name, symbolic links followed
_trusted_links: dict[str, _Trust] = {}  # the same, a link in the last place not followed


def _trust(names: dict[str, _Trust], path: _Path, status: os.stat_result, device: Device) -> None:
    if type(path) is str:
        if len(names) >= MAX_TRUSTED:
            names.clear()
        names[path] = _Trust(status, device)


_hows: dict[int, _syscalls.OpenHow] = {}  # by flags; there are a few dozen combinations at most
_works: bool | None = None  # None: not tried yet


def _how(flags: int) -> _syscalls.OpenHow:
    how = _hows.get(flags)
    if how is None:
        how = _hows[flags] = _syscalls.OpenHow(flags)
    return how


def _probe() -> bool:
    """Try openat2 once a process: it is missing before Linux 5.12, and old seccomp filters answer EPERM or ENOSYS."""
    global _works  # noqa: PLW0603  # a fact about the kernel under this process, learned once
    _works = False
    if _syscalls.AVAILABLE:
        fd = _syscalls.openat2(b"/", _how(_O_PATH | os.O_CLOEXEC))
        if fd >= 0:
            _works = _syscalls.type_and_device(fd) is not None
            os.close(fd)
        else:
            _works = _syscalls.last_error() == errno.EAGAIN
    return _works


def _locate(path: _Path, dir_fd: int | None, *, follow: bool) -> tuple[int, bytes, int, Device] | None:
    """Open the cached name `path` with O_PATH; return (descriptor, encoded path, mode, device), None: it might block.

    Raises OSError when the cache is certain of it (no such file), ValueError when `path` holds a NUL.
    """
    if not (_probe() if _works is None else _works):
        return None
    name = path.encode(_ENCODING, _ERRORS) if type(path) is str else os.fsencode(path)  # the same, and faster
    if b"\0" in name:  # C would take the part before it, which is another file
        raise ValueError("embedded null byte")
    flags = _O_PATH | os.O_CLOEXEC if follow else _O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = _syscalls.openat2(name, _how(flags), dir_fd)
    if fd < 0:
        _raise_if_certain(path)
        return None
    found = _syscalls.type_and_device(fd)
    if found is not None:
        mode, key = found
        device = known(key)
        if device is None:
            learn_later(fd, key)
            return None
        if device.local:
            return fd, name, mode, device
    os.close(fd)
    return None


def _raise_if_certain(path: _Path) -> None:
    """Raise the error that openat2 has just answered if it is a certain one."""
    number = _syscalls.last_error()
    if number in _CERTAIN:
        raise OSError(number, os.strerror(number), os.fspath(path))


def open_regular(path: _Path, flags: int, dir_fd: int | None = None) -> tuple[int, os.stat_result, Device] | None:
    """Open the regular file `path`; return (descriptor, its stat, its device), or None when that might block.

    `flags` as for `os.open`; O_CLOEXEC and O_NONBLOCK are added (see `restore_blocking`). Raises OSError for what the
    cache is certain of. Never opens anything but a regular file.
    """
    if flags & _CHANGING:
        return None
    if dir_fd is None and type(path) is str:
        trust = _trusted.get(path)
        if trust is not None and trust.regular and (now := monotonic()) < trust.until:
            return _open_trusted(path, flags, trust, now)
    located = _locate(path, dir_fd, follow=not flags & os.O_NOFOLLOW)
    if located is None:
        return None
    path_fd, name, mode, device = located
    try:
        if not stat.S_ISREG(mode):
            return None
        fd = _syscalls.openat2(name, _how(flags | os.O_CLOEXEC | os.O_NONBLOCK), dir_fd)
        if fd < 0:
            _raise_if_certain(path)
            return None
    finally:
        os.close(path_fd)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        return None
    if dir_fd is None:
        _trust(_trusted, path, status, device)
    return fd, status, device


def _open_trusted(path: str, flags: int, trust: _Trust, now: float) -> tuple[int, os.stat_result, Device] | None:
    try:
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        if exc.errno in _CERTAIN:
            raise
        return None
    status = os.fstat(fd)
    if trust.confirmed(status, now):
        return fd, status, trust.device
    os.close(fd)
    return None


def open_cached(path: _Path, flags: int, *, dir_fd: int | None = None) -> int | None:
    """Open `path` if it is a regular file and all of its names are cached; None: it might block, ask the pool.

    `flags` as for `os.open`; those that create or truncate always return None. The descriptor is the caller's. Raises
    FileNotFoundError, NotADirectoryError, PermissionError or OSError (ELOOP, ENAMETOOLONG) when the cache is certain of
    it.
    """
    opened = open_regular(path, flags, dir_fd)
    if opened is None:
        return None
    restore_blocking(opened[0], flags)
    return opened[0]


def restore_blocking(fd: int, flags: int) -> None:
    """Give `fd`, opened by `open_regular`, the flags that were asked for: without O_NONBLOCK.

    io_uring takes O_NONBLOCK at its word, and answers EAGAIN where a read of a regular file would have to wait.
    """
    if not flags & os.O_NONBLOCK:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)  # of which it takes O_APPEND, O_DIRECT and O_NOATIME


def stat_cached(path: _Path, follow: bool = True, *, dir_fd: int | None = None) -> os.stat_result | None:  # noqa: FBT001, FBT002  # agreed so between the modules here
    """Return what `os.stat` does if all names of `path` are cached; None: it might block, ask the pool.

    Not `follow`: what `os.lstat` returns. Raises as `open_cached`.
    """
    names = _trusted if follow else _trusted_links
    if dir_fd is None and type(path) is str:
        trust = names.get(path)
        if trust is not None and (now := monotonic()) < trust.until:
            status = os.stat(path) if follow else os.lstat(path)
            trust.confirmed(status, now)
            return status
    located = _locate(path, dir_fd, follow=follow)
    if located is None:
        return None
    fd = located[0]
    try:
        status = os.fstat(fd)
    finally:
        os.close(fd)
    if dir_fd is None:
        _trust(names, path, status, located[3])
    return status


def read_file_cached(path: _Path) -> bytes | None:
    """Return the bytes of the regular file `path` if its names and all of its pages are cached; None: ask the pool.

    For files of up to `INLINE_LIMIT` bytes; a file that changes size meanwhile is left to the pool. Raises as
    `open_cached`.
    """
    opened = open_regular(path, os.O_RDONLY)
    if opened is None:
        return None
    fd, status, device = opened
    try:
        size = status.st_size
        if size > INLINE_LIMIT or not (device.nowait_reads or device.in_memory):
            return None
        buffers, view = whole_file_buffer()
        # One byte more than the file has fits into the buffer: a count equal to the size is the whole file.
        got = os.preadv(fd, buffers, 0, 0 if device.in_memory else RWF_NOWAIT)
    except OSError as exc:
        if exc.errno == errno.EOPNOTSUPP:
            device.nowait_reads = False
        elif exc.errno != errno.EAGAIN:
            raise
        return None
    finally:
        os.close(fd)
    return view[:got].tobytes() if got == size else None
