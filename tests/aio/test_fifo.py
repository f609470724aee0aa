"""FIFOs opened by name: they wait for their other end, and nobody else does."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from asyncstore import aio
from asyncstore.pool import default_pool
from tests.aio.faults import open_descriptors
from tests.aio.rest import settled

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def waiting() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "asyncstore-fifo"]


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def test_the_two_ends_meet_and_talk(fifo):
    async def read() -> bytes:
        async with aio.open(fifo, "rb") as file:
            return await file.read()

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read())
        async with aio.open(fifo, "wb") as file:
            await file.write(b"hello")
    assert reading.result() == b"hello"


async def test_opens_that_wait_hold_up_nobody_else(tmp_path, fifo):
    others = tmp_path / "file"
    others.write_bytes(b"content")
    before = open_descriptors()
    opening = [asyncio.ensure_future(aio.open(fifo, "rb").__aenter__()) for _ in range(30)]
    await until(lambda: len(waiting()) == 30)
    async with asyncio.timeout(20):
        assert await asyncio.gather(*(default_pool().run(int, "7") for _ in range(50))) == [7] * 50
        assert await aio.listdir(tmp_path) in (["file", "fifo"], ["fifo", "file"])
    async with aio.open(fifo, "wb"):
        files = await asyncio.gather(*opening)
    for file in files:
        await file.close()
    await settled(lambda: open_descriptors() == before)
    assert open_descriptors() == before


async def test_a_cancelled_open_goes_at_once_and_closes_what_it_still_gets(fifo):
    before = open_descriptors()
    task = asyncio.ensure_future(aio.open(fifo, "rb").__aenter__())
    await until(waiting)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    os.close(os.open(fifo, os.O_WRONLY))  # the other end, which lets the thread go
    await until(lambda: not waiting())
    await settled(lambda: open_descriptors() == before)
    assert open_descriptors() == before


def test_a_loop_that_is_closed_meanwhile_leaves_no_descriptor(fifo):
    before = open_descriptors()

    async def begin() -> None:
        task = asyncio.ensure_future(aio.open(fifo, "rb").__aenter__())
        await until(waiting)
        task.cancel()

    asyncio.run(begin())
    os.close(os.open(fifo, os.O_WRONLY))
    for thread in waiting():
        thread.join(20)
    assert open_descriptors() == before


async def test_what_the_open_raises_reaches_its_caller(fifo, monkeypatch):
    from asyncstore.aio import _descriptor

    monkeypatch.setattr(_descriptor, "opening_waits", lambda *_: True)
    with pytest.raises(FileNotFoundError):
        await aio.open(fifo.with_name("missing"), "rb")


async def test_an_open_that_need_not_wait_does_not(fifo):
    async with aio.open(fifo, "r+b", buffering=0) as file:
        assert not waiting()
        await file.write(b"x")
        assert await file.read(1) == b"x"
    with pytest.raises(OSError):
        await aio.open(fifo, "wb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK))
