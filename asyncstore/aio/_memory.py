"""Memory that stands for files: bringing the pages of an `mmap.mmap` in, out, and nailing them down.

A page fault blocks the thread that touches the page, with the GIL: the loop, and all the others. So the pages are
touched by the kernel, in a call that ctypes makes without the GIL. The mapping's buffer is held while the job runs: it
cannot be closed or resized under the call (BufferError).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from functools import cache
from typing import Any

from asyncstore.aio._priority import run

__all__ = ("mlock", "msync", "mtouch", "munlock")

_MS_ASYNC, _MS_INVALIDATE, _MS_SYNC = 1, 2, 4  # sys/mman.h on Linux
_POPULATE_READ, _POPULATE_WRITE = 22, 23  # linux/mman.h: MADV_POPULATE_READ, MADV_POPULATE_WRITE; Linux 5.14


class _View(ctypes.Structure):
    """``Py_buffer`` of the stable ABI (Python 3.11)."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


async def msync(
    memory: mmap.mmap, offset: int = 0, size: int | None = None, *, wait: bool = True, invalidate: bool = False
) -> None:
    """Write the changed pages of a mapping to its file, msync(2).

    `offset` and `size` (default: all the rest) in bytes; whole pages are written. Not `wait`: begin only. `invalidate`:
    have other mappings of the file see it.

    Raises OSError (EIO), ValueError for a range outside of the mapping. Cancelled once begun, it goes on.
    """
    flags = (_MS_SYNC if wait else _MS_ASYNC) | (_MS_INVALIDATE if invalidate else 0)
    await run(_on_pages, "msync", memory, *_range(memory, offset, size), flags)


async def mtouch(memory: mmap.mmap, offset: int = 0, size: int | None = None, *, modify: bool = False) -> None:
    """Bring the pages of a mapping into memory, so that using them blocks nobody; with `modify` ready to be written.

    Raises OSError: EINVAL before Linux 5.14, EFAULT or EIO where a page cannot be read, ENOSYS off Linux; ValueError
    for a range outside of the mapping. Cancelled once begun, it goes on.
    """
    advice = _POPULATE_WRITE if modify else _POPULATE_READ
    await run(_on_pages, "madvise", memory, *_range(memory, offset, size), advice)


async def mlock(memory: mmap.mmap, offset: int = 0, size: int | None = None) -> None:
    """Bring the pages of a mapping into memory and keep them there until `munlock`, or until it is closed; mlock(2).

    Raises OSError: ENOMEM or EPERM beyond RLIMIT_MEMLOCK; ValueError for a range outside of the mapping. Cancelled once
    begun, the pages may be locked.
    """
    await run(_on_pages, "mlock", memory, *_range(memory, offset, size))


async def munlock(memory: mmap.mmap, offset: int = 0, size: int | None = None) -> None:
    """Let the pages of a mapping go again, munlock(2). Raises OSError, and ValueError as `mlock`."""
    await run(_on_pages, "munlock", memory, *_range(memory, offset, size))


def _range(memory: mmap.mmap, offset: int, size: int | None) -> tuple[int, int]:
    if not isinstance(memory, mmap.mmap):
        raise TypeError(f"memory should be an mmap.mmap, not {type(memory).__name__}")
    whole = len(memory)  # raises ValueError when it is closed
    if size is None:
        size = whole - offset
    if offset < 0 or size < 0 or offset + size > whole:
        raise ValueError(f"bytes {offset} to {offset + size} do not lie in a mapping of {whole}")
    return offset, size


@cache
def _libc() -> Any:  # Any: ctypes types nothing
    return ctypes.CDLL(None, use_errno=True)


def _on_pages(name: str, memory: mmap.mmap, offset: int, size: int, *flags: int) -> None:
    """Call the function `name` of the C library on the whole pages that hold the range."""
    call = getattr(_libc(), name, None)
    if call is None or (name == "madvise" and os.uname().sysname != "Linux"):  # the advice is Linux's
        raise OSError(errno.ENOSYS, f"this system has no {name} for it")
    view = _View()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(memory), ctypes.byref(view), 0)
    try:
        start = (view.buf + offset) // mmap.PAGESIZE * mmap.PAGESIZE
        length = view.buf + offset + size - start
        if call(ctypes.c_void_p(start), ctypes.c_size_t(length), *map(ctypes.c_int, flags)) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))
