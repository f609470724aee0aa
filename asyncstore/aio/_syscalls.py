"""System calls that the `os` module does not have, bound with ctypes: openat2, statx, fstatfs, mmap and its kin.

Two kinds of binding. `PyDLL` keeps the GIL, for calls that return within microseconds and never sleep: letting the GIL
go and taking it back costs more than they do, and a busy worker could keep it for milliseconds. `CDLL` lets it go, for
calls that wait.

On a system without them (no Linux, 32 bit, an interpreter without ctypes) `AVAILABLE` is false and nothing else may be
called; the engines then leave everything to threads.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading
from collections.abc import Callable

__all__ = (
    "AVAILABLE",
    "LONG_STRUCTS",
    "PAGE_SIZE",
    "OpenHow",
    "address_of",
    "device_key",
    "file_system_type",
    "last_error",
    "madvise",
    "map_memory",
    "mincore",
    "openat2",
    "syscall",
    "type_and_device",
    "unmap_memory",
)

PAGE_SIZE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096  # bytes
LONG_STRUCTS = sys.maxsize > 2**32  # the structures below are those of 64-bit kernels

try:
    import ctypes
except ImportError:  # pragma: no cover  # an interpreter built without libffi
    AVAILABLE = False
else:
    AVAILABLE = sys.platform == "linux" and LONG_STRUCTS

# Numbers shared by every architecture but alpha: calls added since Linux 5.0 are numbered alike (asm-generic/unistd.h).
_NR_OPENAT2 = 437

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_STATX_DONT_SYNC = 0x4000  # what the kernel remembers, without asking a file server
_STATX_TYPE = 0x1
RESOLVE_CACHED = 0x20  # openat2(2): fail with EAGAIN unless the lookup can be done from the kernel's cache, Linux 5.12

Binding = Callable[..., int]


def _bind(name: str, *arguments: object, result: object = None, release_gil: bool = False) -> Binding:
    """Return the C function `name`; calling it when the C library lacks it answers -1 with ENOSYS."""
    library = (ctypes.CDLL if release_gil else ctypes.PyDLL)(None, use_errno=True)
    try:
        function = library[name]
    except AttributeError:
        return _missing
    if arguments:
        function.argtypes = arguments  # type: ignore[assignment]  # ctypes types them narrower than it takes them
    function.restype = result or ctypes.c_int  # type: ignore[assignment]  # as above
    return function


def _missing(*_arguments: object) -> int:
    ctypes.set_errno(errno.ENOSYS)
    return -1


def syscall(*arguments: object, release_gil: bool = False) -> Binding:
    """Return a binding of the C function of that name: a number, then `arguments` (ctypes types); -1 is an error."""
    return _bind("syscall", ctypes.c_long, *arguments, result=ctypes.c_long, release_gil=release_gil)


if AVAILABLE:
    last_error: Callable[[], int] = ctypes.get_errno
    # These two are called for every cached name. Without argument types ctypes passes the objects below as they are;
    # to convert the same numbers at every call would cost a third of the call.
    _openat2 = _bind("syscall", result=ctypes.c_long)
    _statx = _bind("statx")
    _openat2_number, _working_directory = ctypes.c_long(_NR_OPENAT2), ctypes.c_long(_AT_FDCWD)
    _how_size = ctypes.c_size_t(24)  # struct open_how: flags, mode, resolve
    _statx_flags, _statx_mask = ctypes.c_int(_AT_EMPTY_PATH | _AT_STATX_DONT_SYNC), ctypes.c_uint(_STATX_TYPE)
    _fstatfs = _bind("fstatfs", ctypes.c_int, ctypes.c_void_p, release_gil=True)
    _mmap = _bind(
        "mmap",
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long),
        result=ctypes.c_void_p,
    )
    unmap_memory = _bind("munmap", ctypes.c_void_p, ctypes.c_size_t)
    madvise = _bind("madvise", ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    mincore = _bind("mincore", ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


def address_of(buffer: bytearray) -> int:
    """Return where the bytes of `buffer` are; they stay there, as the buffer can no longer be resized."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class OpenHow:
    """The ``struct open_how`` of one combination of flags, made once: it costs more than the call."""

    __slots__ = ("_buffer", "pointer")

    def __init__(self, flags: int, *, resolve: int = RESOLVE_CACHED) -> None:
        self._buffer = ctypes.create_string_buffer(struct.pack("=QQQ", flags, 0, resolve), 24)
        self.pointer = ctypes.c_void_p(ctypes.addressof(self._buffer))


def openat2(path: bytes, how: OpenHow, dir_fd: int | None = None) -> int:
    """Open `path` within the limits of `how`; return the descriptor, or -1 with `last_error()` set."""
    directory = _working_directory if dir_fd is None else ctypes.c_long(dir_fd)
    return _openat2(_openat2_number, directory, path, how.pointer, _how_size)


class _Statx(threading.local):
    """The answer buffer of each thread, made once: making one costs more than the call."""

    def __init__(self) -> None:
        self.buffer = ctypes.create_string_buffer(256)  # sizeof(struct statx)
        self.pointer = ctypes.c_void_p(ctypes.addressof(self.buffer))


_answer = _Statx() if AVAILABLE else None
_type_and_device = struct.Struct(
    "=H106xQ"
).unpack_from  # stx_mode at 28; stx_dev_major and stx_dev_minor at 136, statx(2)


def type_and_device(fd: int) -> tuple[int, int] | None:
    """Return the mode and the `device_key` of `fd`, None when there is no statx. Of the mode only the type is certain.

    Never asks a file server (AT_STATX_DONT_SYNC), as fstat(2) does on a network file system or on FUSE.
    """
    answer = _answer
    assert answer is not None  # callers look at AVAILABLE first
    if _statx(fd, b"", _statx_flags, _statx_mask, answer.pointer) < 0:
        return None
    mode, device = _type_and_device(answer.buffer, 28)
    return mode, device


def device_key(st_dev: int) -> int:
    """Return the number that `type_and_device` gives the device `st_dev`: major and minor as statx(2) has them."""
    major, minor = os.major(st_dev), os.minor(st_dev)
    return major | minor << 32 if sys.byteorder == "little" else major << 32 | minor


def file_system_type(fd: int) -> int:
    """Return the magic number of the file system that `fd` lies on (statfs(2)), 0 when it cannot be had. May block."""
    buffer = ctypes.create_string_buffer(256)  # struct statfs is 120 bytes on 64-bit Linux
    if _fstatfs(fd, buffer) < 0:
        return 0
    number: int = struct.unpack_from("@l", buffer)[0]
    return number & 0xFFFFFFFF


def map_memory(length: int, protection: int, flags: int, fd: int, offset: int) -> int:
    """Map memory as mmap(2) does and return its address; raises OSError.

    Unlike an `mmap.mmap`, the mapping is not undone by the garbage collector: in a forked child, where MADV_DONTFORK
    left a hole, that would unmap whatever has moved into the hole since.
    """
    address = _mmap(None, length, protection, flags, fd, offset)
    if address is None or address == ctypes.c_void_p(-1).value:
        number = last_error()
        raise OSError(number, os.strerror(number))
    return address
