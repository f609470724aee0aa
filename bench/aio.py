"""Files: reads from the page cache and from the disk, small whole files, streams, lines, writes, metadata, walks."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from bench.aio_files import LINE, MIB, PAGE, TREE_FILES, Files, prepare_data
from bench.aio_rings import Asyncfiles, Pyaio, UringApi
from bench.harness import Case, NotOffered

__all__ = ("CASES", "PACKAGES", "PARTICIPANTS", "prepare_data")

COLD_READS = 4000  # a measurement: rented disks ration reads, and beyond the ration it is the meter that is measured
REST = 3.0  # seconds, to earn them again
RINGS = {"asyncfiles": 1 / 1.5, "pyaio": 1 / 1.5, "uring-api": 1 / 1.5}

CASES = [
    Case("hot read 4 KiB, 1 task", 1, "read", "hot_read", {"aiofiles": 60, "raw": 1 / 2.5}),
    Case("hot read 4 KiB, 16 tasks", 16, "read", "hot_read", {"aiofiles": 25}),
    Case("hot read 4 KiB, 64 tasks", 64, "read", "hot_read", {"aiofiles": 25}),
    Case("hot read 4 KiB, 256 tasks", 256, "read", "hot_read", {"aiofiles": 25}),
    Case("cold read 4 KiB, 1 task", 1, "read", "cold_read", {"aiofiles": 3.2}, COLD_READS, REST),
    Case("cold read 4 KiB, 16 tasks", 16, "read", "cold_read", {**RINGS, "aiofiles": 9}, COLD_READS, REST),
    Case("cold read 4 KiB, 256 tasks", 256, "read", "cold_read", {**RINGS, "aiofiles": 10}, COLD_READS, REST),
    Case("small file, 1 task", 1, "file", "small_file", {"aiofiles": 30}),
    Case("small file, 16 tasks", 16, "file", "small_file", {"aiofiles": 20}),
    Case("stream 1 MiB chunks", 1, "MiB", "stream", {"aiofiles": 1.2}),
    Case("lines of a text file", 1, "line", "lines", {"aiofiles": 100}),
    Case("append 100 B records", 1, "record", "append", {"aiofiles": 180}),
    Case("write 4 KiB, 1 task", 1, "write", "write", {"aiofiles": 2}),
    Case("write 4 KiB, 16 tasks", 16, "write", "write", {"aiofiles": 11}),
    Case("write 4 KiB, 256 tasks", 256, "write", "write", {"aiofiles": 12}),
    Case("write 4 KiB + fdatasync, 16 tasks", 16, "write", "durable_write", {"aiofiles": 3}),
    Case("stat, 1 task", 1, "stat", "stat", {"aiofiles": 20}),
    Case("stat, 16 tasks", 16, "stat", "stat", {"aiofiles": 10}),
    Case("walk 10,000 files", 1, "walk", "walk", {"aiofiles": 3}),
]
PACKAGES = ["asyncstore", "aiofiles", "anyio", "aiofile", "caio", "py-asyncfiles", "pyaio", "uring-api", "uvloop"]


class Asyncstore(Files):
    async def setup(self) -> None:
        from asyncstore import aio

        self.aio = aio

    async def open(self, path: Path, mode: str) -> Any:
        return await self.aio.open(path, mode)

    async def close(self, handle: Any) -> None:
        await handle.close()

    async def pread(self, handle: Any, offset: int) -> bytes:
        return await handle.pread(PAGE, offset)

    async def hot_read(self) -> None:
        await self.handle.pread(PAGE, next(self.offsets))

    cold_read = hot_read

    async def small_file(self) -> None:
        await self.aio.read(next(self.names))

    async def stream(self) -> None:
        if not await self.handle.read(MIB):
            await self.handle.seek(0)

    async def lines(self) -> int:
        count = 0
        async with self.aio.open(self.data / "lines.txt") as file:
            async for _ in file:
                count += 1
        return count

    async def append(self) -> int:
        async with self.aio.open(self.data / "append", "wb") as file:
            for _ in range(2000):
                await file.write(LINE)
        return 2000

    async def write(self) -> None:
        await self.handle.pwrite(self.page, next(self.offsets))

    async def durable_write(self) -> None:
        await self.handle.pwrite(self.page, next(self.offsets))
        await self.handle.fdatasync()

    async def stat(self) -> None:
        await self.aio.stat(next(self.names))

    async def walk(self) -> None:
        count = 0
        async for _, _, files in self.aio.walk(self.data / "tree"):
            count += len(files)
        assert count == TREE_FILES


class Raw(Files):
    """Blocking calls inside a coroutine: the limit of any awaitable API."""

    async def open(self, path: Path, mode: str) -> int:
        return os.open(path, os.O_RDWR if "+" in mode else os.O_RDONLY)

    async def close(self, handle: int) -> None:
        os.close(handle)

    async def pread(self, handle: int, offset: int) -> bytes:
        return os.pread(handle, PAGE, offset)

    async def hot_read(self) -> None:
        os.pread(self.handle, PAGE, next(self.offsets))

    cold_read = hot_read

    async def small_file(self) -> None:
        descriptor = os.open(next(self.names), os.O_RDONLY | os.O_CLOEXEC)
        size = os.fstat(descriptor).st_size
        os.read(descriptor, size + 1)
        os.close(descriptor)

    async def stream(self) -> None:
        if not os.read(self.handle, MIB):
            os.lseek(self.handle, 0, os.SEEK_SET)

    async def lines(self) -> int:
        with open(self.data / "lines.txt") as file:
            return sum(1 for _ in file)

    async def append(self) -> int:
        with open(self.data / "append", "wb") as file:
            file.writelines(LINE for _ in range(2000))
        return 2000

    async def write(self) -> None:
        os.pwrite(self.handle, self.page, next(self.offsets))

    async def durable_write(self) -> None:
        os.pwrite(self.handle, self.page, next(self.offsets))
        os.fdatasync(self.handle)

    async def stat(self) -> None:
        os.stat(next(self.names))

    async def walk(self) -> None:
        assert sum(len(files) for _, _, files in os.walk(self.data / "tree")) == TREE_FILES


class Aiofiles(Files):
    async def setup(self) -> None:
        import aiofiles
        import aiofiles.os

        self.module = aiofiles
        self.lock = asyncio.Lock()

    async def open(self, path: Path, mode: str) -> Any:
        return await self.module.open(path, mode, buffering=0)

    async def close(self, handle: Any) -> None:
        await handle.close()

    async def pread(self, handle: Any, offset: int) -> bytes:
        await handle.seek(offset)  # one cursor for all tasks: fast, and wrong data when two tasks meet
        return await handle.read(PAGE)

    async def small_file(self) -> None:
        async with self.module.open(next(self.names), "rb") as file:
            await file.read()

    async def stream(self) -> None:
        if not await self.handle.read(MIB):
            await self.handle.seek(0)

    async def lines(self) -> int:
        count = 0
        async with self.module.open(self.data / "lines.txt") as file:
            async for _ in file:
                count += 1
                if count == 2000:  # a hop a line: a tenth of the file tells
                    break
        return count

    async def append(self) -> int:
        async with self.module.open(self.data / "append", "wb") as file:
            for _ in range(2000):
                await file.write(LINE)
        return 2000

    async def write(self) -> None:
        await self.handle.seek(next(self.offsets))
        await self.handle.write(self.page)

    async def durable_write(self) -> None:
        await self.write()
        await asyncio.get_running_loop().run_in_executor(None, os.fdatasync, self.handle.fileno())

    async def stat(self) -> None:
        await self.module.os.stat(next(self.names))

    async def walk(self) -> None:
        count = 0
        stack = [str(self.data / "tree")]
        while stack:
            with await self.module.os.scandir(stack.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                    else:
                        count += 1
        assert count == TREE_FILES


class Anyio(Aiofiles):
    async def setup(self) -> None:
        import anyio

        self.anyio = anyio

    async def open(self, path: Path, mode: str) -> Any:
        return await self.anyio.open_file(path, mode, buffering=0)

    async def close(self, handle: Any) -> None:
        await handle.aclose()

    async def small_file(self) -> None:
        await self.anyio.Path(next(self.names)).read_bytes()

    async def lines(self) -> int:
        count = 0
        async with await self.anyio.open_file(self.data / "lines.txt") as file:
            async for _ in file:
                count += 1
                if count == 2000:
                    break
        return count

    async def append(self) -> int:
        async with await self.anyio.open_file(self.data / "append", "wb") as file:
            for _ in range(2000):
                await file.write(LINE)
        return 2000

    async def durable_write(self) -> None:
        await self.write()
        await self.anyio.to_thread.run_sync(os.fdatasync, self.handle.wrapped.fileno())

    async def stat(self) -> None:
        await self.anyio.Path(next(self.names)).stat()

    async def walk(self) -> None:
        raise NotOffered("anyio has no walk of its own before 3.12's pathlib")


class Aiofile(Files):
    async def setup(self) -> None:
        import aiofile

        self.module = aiofile

    async def open(self, path: Path, mode: str) -> Any:
        file = self.module.AIOFile(str(path), mode)
        await file.open()
        return file

    async def close(self, handle: Any) -> None:
        await handle.close()

    async def pread(self, handle: Any, offset: int) -> bytes:
        return await handle.read_bytes(PAGE, offset)

    async def small_file(self) -> None:
        async with self.module.async_open(next(self.names), "rb") as file:
            await file.read()

    async def lines(self) -> int:
        count = 0
        async with self.module.async_open(str(self.data / "lines.txt"), "r") as file:
            async for _ in file:
                count += 1
        return count

    async def append(self) -> int:
        async with self.module.async_open(str(self.data / "append"), "wb") as file:
            for _ in range(200):
                await file.write(LINE)
        return 200

    async def write(self) -> None:
        await self.handle.write_bytes(self.page, next(self.offsets))

    async def durable_write(self) -> None:
        await self.write()
        await self.handle.fdsync()


PARTICIPANTS = {
    "asyncstore": Asyncstore,
    "raw": Raw,
    "aiofiles": Aiofiles,
    "anyio": Anyio,
    "aiofile": Aiofile,
    "asyncfiles": Asyncfiles,
    "pyaio": Pyaio,
    "uring-api": UringApi,
}
