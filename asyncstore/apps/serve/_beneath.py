"""Opening names below a directory and nowhere else, whatever links and renames happen meanwhile.

On Linux 5.6 and later the kernel does it in one step: openat2(2) with RESOLVE_BENEATH, which fails with EXDEV for
every way out (absolute links, links that climb, a directory moved away during the lookup), and RESOLVE_NO_MAGICLINKS,
as links in /proc lead anywhere. Elsewhere, and where a sandbox forbids the call, `_walk` takes the same decisions one
component at a time: each is opened with O_NOFOLLOW relative to the directory before it, links are read and taken
apart, and ".." goes back to the descriptor that the walk came from, never to what the name says now. Checking a path
with realpath and opening it afterwards would leave the time between the two to an attacker.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence

from asyncstore.aio import _syscalls

__all__ = ("KERNEL_RESOLVES", "cached_how", "open_beneath", "open_beneath_cached")

_NR_OPENAT2 = 437  # the same on every architecture but alpha
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_RETRIES = 32  # after EAGAIN: a rename somewhere on the system raced with the lookup (openat2(2)); arbitrary
_MAX_LINKS = 40  # symbolic links in one path, as in path_resolution(7)
_O_PATH = getattr(os, "O_PATH", os.O_RDONLY)  # a handle that reads nothing, on Linux

_Walker = list[int]  # descriptors of the directories from the root to where the walk stands


def _probe() -> bool:
    """Tell whether this kernel has openat2 and lets us call it."""
    if not _syscalls.AVAILABLE:
        return False
    fd = _syscalls.openat2(b".", _syscalls.OpenHow(_O_PATH | os.O_CLOEXEC, resolve=_RESOLVE_BENEATH))
    if fd < 0:
        return False
    os.close(fd)
    return True


KERNEL_RESOLVES = _probe()
if KERNEL_RESOLVES:
    # Lets the GIL go: this lookup may wait for a disk.
    _openat2 = _syscalls.syscall(ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, release_gil=True)


def open_beneath(root: int, names: Sequence[bytes], flags: int, *, kernel: bool = KERNEL_RESOLVES) -> int:
    """Open what `names` lead to below the directory `root`, and return its descriptor. May block: for worker threads.

    `flags` as for `os.open`, without O_CREAT; O_CLOEXEC is added. Symbolic links are followed as long as they stay
    below `root`. Raises OSError as `os.open`, with EXDEV for a way out and ELOOP for too many links; ValueError for a
    name that is empty, ``.``, ``..`` or holds a slash or NUL.
    """
    for name in names:
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            message = f"not the name of a file: {name!r}"
            raise ValueError(message)
    flags |= os.O_CLOEXEC
    if kernel:
        return _open_by_kernel(root, b"/".join(names) or b".", flags)
    return _walk(root, list(names), flags)


def _open_by_kernel(root: int, path: bytes, flags: int) -> int:
    how = ctypes.create_string_buffer(struct.pack("=QQQ", flags, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS), 24)
    for _ in range(_RETRIES):
        fd = _openat2(_NR_OPENAT2, root, path, ctypes.addressof(how), 24)
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), path)


def open_beneath_cached(root: int, path: bytes, how: _syscalls.OpenHow) -> int:
    """Open `path` below `root` if the kernel has all names cached, else return -1; `cached_how` makes `how`."""
    return _syscalls.openat2(path, how, root)


def cached_how(flags: int) -> _syscalls.OpenHow:
    """Return the argument of `open_beneath_cached` for `flags`."""
    resolve = _syscalls.RESOLVE_CACHED | _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS
    return _syscalls.OpenHow(flags | os.O_CLOEXEC, resolve=resolve)


def _walk(root: int, names: list[bytes], flags: int) -> int:
    """Do in user space what RESOLVE_BENEATH does; see the module."""
    pending = names[::-1]
    stack: _Walker = [os.dup(root)]
    links = 0
    try:
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                if len(stack) == 1:
                    raise OSError(errno.EXDEV, "the path leads out of the directory", name)
                os.close(stack.pop())
                continue
            target = _link_target(stack[-1], name)
            if target is not None:
                links += 1
                if links > _MAX_LINKS or (flags & os.O_NOFOLLOW and not pending):
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
                if target.startswith(b"/"):
                    raise OSError(errno.EXDEV, "the path leads out of the directory", name)
                pending.extend(target.split(b"/")[::-1])
            elif any(part not in (b"", b".") for part in pending):
                stack.append(os.open(name, _O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stack[-1]))
            else:
                return os.open(name, flags | os.O_NOFOLLOW | (os.O_DIRECTORY if pending else 0), dir_fd=stack[-1])
        return os.open(b".", flags, dir_fd=stack[-1])
    finally:
        for fd in stack:
            os.close(fd)


def _link_target(directory: int, name: bytes) -> bytes | None:
    """Return where the link `name` points, None when it is no link (or nothing: opening it will tell)."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError as exc:
        if exc.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise
