"""inotify(7): what the kernel's event records mean, and the three calls, which the `os` module does not have.

`parse` is pure and works anywhere. `Inotify` owns the descriptor and needs Linux; `available` says whether it can be
made.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from enum import IntFlag
from functools import cache
from typing import Any, NamedTuple

__all__ = ("Inotify", "Mask", "RawEvent", "available", "parse")

READ_SIZE = 64 * 1024  # bytes of one read: some thousand events; inotify(7) demands at least 16 + NAME_MAX + 1


class Mask(IntFlag):
    """The bits of struct inotify_event.mask and of inotify_add_watch(2), from <sys/inotify.h>."""

    MODIFY = 0x2
    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    Q_OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLYDIR = 0x1000000
    DONT_FOLLOW = 0x2000000
    EXCL_UNLINK = 0x4000000
    ISDIR = 0x40000000


class RawEvent(NamedTuple):
    """One struct inotify_event: {int wd; uint32_t mask; uint32_t cookie; uint32_t len; char name[];}."""

    wd: int
    mask: int
    cookie: int
    name: str


_HEADER = struct.Struct("iIII")


def parse(data: bytes) -> list[RawEvent]:
    """Return the events in `data`, as one read(2) of the descriptor gave them: always whole ones (inotify(7)).

    Raises ValueError when the last is cut short, which the kernel never does.
    """
    events = []
    offset = 0
    while offset < len(data):
        name_at = offset + _HEADER.size
        if name_at > len(data):
            raise ValueError(f"an inotify event of {_HEADER.size} bytes is cut short after {len(data) - offset}")
        wd, mask, cookie, length = _HEADER.unpack_from(data, offset)
        offset = name_at + length
        if offset > len(data):
            raise ValueError(f"an inotify event's name of {length} bytes is cut short after {len(data) - name_at}")
        # "This filename is null-terminated, and may include further null bytes to align subsequent reads."
        name = data[name_at:offset].partition(b"\0")[0]
        events.append(RawEvent(wd, mask, cookie, os.fsdecode(name)))
    return events


@cache
def _libc() -> Any:
    """Return the C library, None when it has no inotify. Any: ctypes makes its functions at run time."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.inotify_init1.argtypes = (ctypes.c_int,)
        libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        libc.inotify_rm_watch.argtypes = (ctypes.c_int, ctypes.c_int)
    except (OSError, AttributeError):  # no dlopen of ourselves, or no Linux
        return None
    return libc


def available() -> bool:
    """Return whether this system has inotify."""
    return _libc() is not None


class Inotify:
    """An inotify descriptor, non-blocking and close-on-exec.

    `add_watch` may be called on worker threads, since it looks a path up and that can wait for a disk; the descriptor
    is closed when `close` has been called and nobody is inside any more: closed at once, its number could be
    given to another file while a worker still uses it.

    Lock rule: `_lock` guards `_inside` and `_closed` and is never held during a system call but close(2).
    """

    __slots__ = ("_closed", "_inside", "_lock", "fd")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._closed = False
        self.fd = _checked(_libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def read(self) -> bytes:
        """Return what is there, at most READ_SIZE bytes; raises BlockingIOError when there is nothing."""
        return os.read(self.fd, READ_SIZE)

    def add_watch(self, path: str, mask: int) -> int:
        """Watch `path`, or change what is watched of it, and return its watch descriptor.

        Raises OSError as inotify_add_watch(2) does: ENOSPC for the user's limit of watches; EBADF after `close`.
        """
        with self._lock:
            if self._closed:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF), path)
            self._inside += 1
        try:
            return _checked(_libc().inotify_add_watch(self.fd, os.fsencode(path), mask), path)
        finally:
            with self._lock:
                self._inside -= 1
                self._close_if_last()

    def _close_if_last(self) -> None:
        """Close for a `close` that came while calls were inside. The lock is held."""
        if self._closed and not self._inside:
            os.close(self.fd)

    def rm_watch(self, wd: int) -> None:
        """Stop watching; a watch that the kernel has dropped already (EINVAL) is nothing to do."""
        try:
            _checked(_libc().inotify_rm_watch(self.fd, wd))
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise

    def close(self) -> None:
        """Close the descriptor as soon as nobody is inside. Idempotent, waits for nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                if not self._inside:
                    os.close(self.fd)


def _checked(result: int, path: str | None = None) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result
