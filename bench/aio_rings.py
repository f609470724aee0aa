"""Compiled packages that read and write through io_uring, as participants of `bench.aio`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from bench.aio_files import MIB, PAGE, Files


class Asyncfiles(Files):
    async def setup(self) -> None:
        import asyncfiles

        self.module = asyncfiles

    async def open(self, path: Path, mode: str) -> Any:
        file = self.module.open(str(path), mode, backend="io_uring")
        await file.__aenter__()  # the file stays open across operations
        return file

    async def close(self, handle: Any) -> None:
        await handle.__aexit__(None, None, None)

    async def pread(self, handle: Any, offset: int) -> bytes:
        handle.seek(offset)
        return await handle.read(PAGE)

    async def small_file(self) -> None:
        async with self.module.open(next(self.names), "rb", backend="io_uring") as file:
            await file.read()

    async def stream(self) -> None:
        if not await self.handle.read(MIB):
            self.handle.seek(0)

    async def write(self) -> None:
        self.handle.seek(next(self.offsets))
        await self.handle.write(self.page)

    async def lines(self) -> int:
        count = 0
        async with self.module.open(str(self.data / "lines.txt"), "r") as file:
            async for _ in file:
                count += 1
        return count


class Pyaio(Files):
    async def setup(self) -> None:
        from pyaio.uring import UringIO

        self.ring = UringIO(entries=256)

    async def open(self, path: Path, mode: str) -> int:
        return os.open(path, os.O_RDWR if "+" in mode else os.O_RDONLY)

    async def close(self, handle: int) -> None:
        await self.ring.aclose()
        os.close(handle)

    async def pread(self, handle: int, offset: int) -> bytes:
        return await self.ring.read(handle, offset, PAGE)

    async def write(self) -> None:
        await self.ring.write(self.handle, self.page, next(self.offsets))

    async def durable_write(self) -> None:
        await self.write()
        await self.ring.fsync(self.handle, True)  # noqa: FBT003  # its signature


class UringApi(Files):
    """Driven by hand, as it brings no event loop: one submit a tick, completions reaped when the ring is readable."""

    async def setup(self) -> None:
        import uring_api

        self.loop = asyncio.get_running_loop()
        self.ring = uring_api.Ring(256)
        self.submit_scheduled = False
        self.loop.add_reader(self.ring.fd, self.reap)

    async def open(self, path: Path, mode: str) -> int:
        return os.open(path, os.O_RDWR if "+" in mode else os.O_RDONLY)

    async def close(self, handle: int) -> None:
        self.loop.remove_reader(self.ring.fd)
        self.ring.close()
        os.close(handle)

    def reap(self) -> None:
        for completion in self.ring.wait(0) or ():
            completion.take_user_data().set_result(completion.res)

    def submit(self) -> None:
        self.submit_scheduled = False
        self.ring.submit()
        self.reap()

    def asked(self) -> None:
        if not self.submit_scheduled:
            self.submit_scheduled = True
            self.loop.call_soon(self.submit)

    async def pread(self, handle: int, offset: int) -> bytes:
        buffer = bytearray(PAGE)
        future = self.loop.create_future()
        self.ring.prepare_read(handle, buffer, offset, future)
        self.asked()
        if await future != PAGE:
            raise OSError(f"{future.result()} instead of {PAGE} bytes at {offset}")
        return bytes(buffer)

    async def write(self) -> None:
        future = self.loop.create_future()
        self.ring.prepare_write(self.handle, self.page, next(self.offsets), future)
        self.asked()
        if await future != PAGE:
            raise OSError(f"{future.result()} instead of {PAGE} bytes written")
