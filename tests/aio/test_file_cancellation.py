"""Cancelled at any await a file operation leaks no descriptor, loses no data, and leaves the file usable."""

from __future__ import annotations

import asyncio

import pytest

from asyncstore import aio
from asyncstore.aio import _nowait, _rings
from asyncstore.testing import cancel_everywhere
from tests.aio.faults import open_descriptors
from tests.aio.rest import settled


@pytest.fixture(params=["worker", "any"])
def engine(request, monkeypatch):
    """With "worker" nothing is served on the loop thread nor by the ring: each call suspends."""
    if request.param == "worker":
        monkeypatch.setattr(_nowait.Nowait, "read_cached", lambda *_: None)
        monkeypatch.setattr(_nowait.Nowait, "write_cached", lambda *_: 0)
        monkeypatch.setattr(_rings, "_state", _rings.RingState(usable=False, reason="test"))
    return request.param


@pytest.fixture
async def none_leaked():
    before = open_descriptors()

    async def check() -> None:
        await settled(lambda: open_descriptors() == before)
        assert open_descriptors() == before

    return check


async def test_open_read_and_close(tmp_path, engine, none_leaked):
    path = tmp_path / "f"
    path.write_bytes(b"line\n" * 50_000)

    async def use() -> None:
        async with aio.open(path, "rb") as file:
            await file.readline()
            await file.pread(100, 70_000)
            await file.seek(100_000)
            await file.read(10)

    report = await cancel_everywhere(use, check=none_leaked)
    assert report.points or engine == "any", "where all is cached, nothing suspends"


async def test_write_flush_and_close(tmp_path, engine, none_leaked):
    path = tmp_path / "f"

    async def use() -> None:
        async with aio.open(path, "w") as file:
            await file.write("x" * 100_000)
            await file.flush()
            await file.fsync()
            await file.write("y")

    async def check() -> None:
        await none_leaked()
        content = path.read_text() if path.exists() else ""
        assert content == "x" * content.count("x") + "y" * content.count("y")  # in order, whatever was applied

    report = await cancel_everywhere(use, check=check)
    assert report.points


async def test_a_cancelled_read_loses_nothing(tmp_path, engine):
    path = tmp_path / "f"
    text = "".join(f"{n}\n" for n in range(40_000))
    path.write_text(text)
    async with aio.open(path) as file:
        found: list[str] = []
        for k in range(2000):
            task = asyncio.ensure_future(file.readline())
            for _ in range(k % 3):
                await asyncio.sleep(0)
            if task.cancel():
                await asyncio.wait([task])
            if not task.cancelled() and task.result():
                found.append(task.result())
        found.append(await file.read())
    assert "".join(found) == text


async def test_a_cancelled_write_leaves_whole_records_in_order(tmp_path, engine):
    path = tmp_path / "f"
    file = await aio.open(path, "wb")
    kept = []
    for n in range(300):
        record = b"%06d" % n + b"." * 1000 + b"\n"
        task = asyncio.ensure_future(file.write(record))
        for _ in range(n % 3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            kept.append(n)
    await file.close()
    lines = path.read_bytes().splitlines()
    assert all(len(line) == 1006 for line in lines), "a record was torn"
    numbers = [int(line[:6]) for line in lines]
    assert numbers == sorted(set(numbers)), "records were repeated or out of order"
    assert set(kept) <= set(numbers), "an acknowledged record is missing"
