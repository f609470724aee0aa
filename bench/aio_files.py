"""The files that the cases of `bench.aio` work on, and what its participants share."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.harness import Case, NotOffered, Participant

PAGE = 4096
MIB = 1 << 20
HOT_SIZE = 64 * MIB
COLD_SIZE = 1024 * MIB
STREAM_SIZE = 256 * MIB
SMALL_FILES = 2000
SMALL_SIZE = 2048
TREE_FILES = 10_000
LINE = b"x" * 99 + b"\n"
LINES = 20_000
READ_AHEAD = 64  # pages that the kernel may bring in around the one that `Files.check` reads


def prepare_data(data: Path) -> None:
    """Create the files that are read; each page begins with its number, so that a wrong read is seen."""
    for name, size in (("hot", HOT_SIZE), ("cold", COLD_SIZE), ("stream", STREAM_SIZE), ("write", HOT_SIZE)):
        path = data / name
        if path.exists() and path.stat().st_size == size:
            continue
        padding = os.urandom(PAGE - 8)
        with path.open("wb") as file:
            for page in range(size // PAGE):
                file.write(struct.pack("<Q", page) + padding)
            os.fsync(file.fileno())
    for number in range(SMALL_FILES):
        path = small_path(data, number)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(struct.pack("<Q", number) + os.urandom(SMALL_SIZE - 8))
    for number in range(TREE_FILES):
        path = data / "tree" / f"d{number // 100:02d}" / f"f{number % 100:02d}.txt"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (data / "lines.txt").write_bytes(LINE * LINES)
    os.sync()


def small_path(data: Path, number: int) -> Path:
    return data / "small" / f"{number % 40:02d}" / f"{number:05d}"


def warm(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(MIB):
            pass


def drop(path: Path) -> None:
    """Drop a file out of the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def cached_pages(path: Path) -> int:
    """Return how many pages of a file the page cache holds, mincore(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        pages = len(mapped) // PAGE
        answer = ctypes.create_string_buffer(pages)
        here = ctypes.c_char.from_buffer(mapped)
        failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(here)), ctypes.c_size_t(len(mapped)), answer)
        del here  # the mapping cannot be closed while somebody looks at it
        if failed:
            raise OSError(ctypes.get_errno(), "mincore")
        return sum(entry & 1 for entry in answer.raw)


class Files(Participant):
    """What all participants share: which file a case wants, and the offsets in random order, each once."""

    handle: Any = None
    offsets: Iterator[int]
    handles: list[Any]

    async def open(self, path: Path, mode: str) -> Any:
        raise NotOffered("no open")

    async def close(self, handle: Any) -> None:
        raise NotOffered("no close")

    async def prepare(self, case: Case) -> None:
        await self.setup()
        name, mode = {
            "hot_read": ("hot", "rb"),
            "cold_read": ("cold", "rb"),
            "stream": ("stream", "rb"),
            "write": ("write", "r+b"),
            "durable_write": ("write", "r+b"),
        }.get(case.operation, (None, ""))
        if name is not None:
            path = self.data / name
            (drop if name == "cold" else warm)(path)
            self.handle = await self.open(path, mode)
            pages = random.sample(range(path.stat().st_size // PAGE), min(path.stat().st_size // PAGE, 60_000))
            self.offsets = endless(page * PAGE for page in pages)
        if case.operation in ("small_file", "stat"):
            self.paths = [str(small_path(self.data, number)) for number in range(SMALL_FILES)]
            for path in self.paths:
                warm(Path(path))
            random.shuffle(self.paths)
            self.names = endless(self.paths)
        self.page = os.urandom(PAGE)
        await self.check(case)
        if case.operation == "cold_read" and (cached := cached_pages(self.data / "cold")) > READ_AHEAD:
            raise RuntimeError(f"{cached} pages of the cold file are in the page cache")

    async def setup(self) -> None:
        """Make what is made once per loop."""

    async def check(self, case: Case) -> None:
        """Refuse to time an implementation that reads wrong data."""
        if case.operation in ("hot_read", "cold_read"):
            data = await self.pread(self.handle, 7 * PAGE)
            assert len(data) == PAGE and struct.unpack_from("<Q", data)[0] == 7, "wrong data"  # noqa: PT018  # one fact

    async def pread(self, handle: Any, offset: int) -> bytes:
        raise NotOffered("no positional read")

    async def hot_read(self) -> None:
        await self.pread(self.handle, next(self.offsets))

    cold_read = hot_read

    async def finish(self) -> None:
        if self.handle is not None:
            await self.close(self.handle)


def endless(items: Any) -> Iterator[Any]:
    """Repeat the items for ever."""
    kept = list(items)
    while True:
        yield from kept
