"""Files whose place in the page cache a test decides: on a disk, in memory, cached and not."""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asyncstore.aio import _syscalls
from asyncstore.aio._device import Device, learn

__all__ = ("drop", "in_memory", "learned", "need_nowait", "pages")

PAGE = 4096


def pages(path: Path, count: int) -> bytes:
    """Write `count` pages to `path`, each beginning with its number, and return all of it."""
    content = b"".join(index.to_bytes(8, "little") + bytes([index % 251]) * (PAGE - 8) for index in range(count))
    path.write_bytes(content)
    return content


def drop(path: Path) -> None:
    """Have the kernel drop the pages of `path` from its cache.

    The kernel leaves a page that is in use at the moment, say by its own writeback, so it is asked until it has.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        for _ in range(200):
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if not resident(fd):
                return
            time.sleep(0.01)
    finally:
        os.close(fd)
    raise AssertionError(f"the kernel keeps {path} in its cache")


def resident(fd: int) -> int:
    """Return how many pages of an open file are in the kernel's cache, mincore(2)."""
    size = os.fstat(fd).st_size
    if not size:
        return 0
    answer = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
    with mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE) as mapped:
        start = ctypes.c_char.from_buffer(mapped)
        try:
            failed = ctypes.CDLL(None, use_errno=True).mincore(
                ctypes.byref(start), ctypes.c_size_t(size), ctypes.byref(answer)
            )
        finally:
            del start  # the mapping cannot be closed before
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return sum(byte & 1 for byte in answer.raw)


def learned(path: Path) -> Device:
    """Return what is known of the device that `path` lies on, having learned it."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return learn(fd, os.fstat(fd).st_dev)
    finally:
        os.close(fd)


def need_nowait(path: Path) -> Device:
    """Skip the running test unless `path` lies on a file system that takes RWF_NOWAIT for reads."""
    device = learned(path)
    fd = os.open(path, os.O_RDONLY)
    try:
        os.preadv(fd, [bytearray(1)], 0, getattr(os, "RWF_NOWAIT", 0))
    except OSError as exc:
        pytest.skip(f"no RWF_NOWAIT on the file system of {path}: {exc}")
    finally:
        os.close(fd)
    if not (_syscalls.AVAILABLE and device.local):
        pytest.skip(f"{path} does not lie on a local disk")
    return device


@contextmanager
def in_memory() -> Iterator[Path]:
    """Give a directory on a tmpfs; skip the running test where there is none."""
    shm = Path("/dev/shm")  # the tmpfs that every Linux has
    if not shm.is_dir() or not learned(shm).in_memory:
        pytest.skip("no tmpfs at /dev/shm")
    with tempfile.TemporaryDirectory(dir=shm) as directory:
        yield Path(directory)
