"""How a ring wakes its loop: no completion waits for ever, and none is entered for twice."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from asyncstore import aio
from asyncstore.aio import _rings
from asyncstore.aio._nowait import Mode
from asyncstore.aio._rings import ring_here
from asyncstore.aio._uring_abi import READ, Queues, map_slab
from tests.aio.disk import PAGE, drop, learned, pages

COUNT = 512


@pytest.fixture(autouse=True)
def _need_ring() -> None:
    state = _rings.probe()
    if not state.usable:
        pytest.skip(f"no io_uring: {state.reason}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    pages(path, COUNT)
    if learned(path).in_memory or not learned(path).local:
        pytest.skip(f"{path} does not lie on a local disk")
    return path


async def test_every_cold_read_is_answered_though_the_eventfd_is_read_late(path):
    """The rule in `_on_event`: a signal that comes between the look at the queue and the read must not be lost."""
    async with asyncio.timeout(60), aio.open(path, "rb") as file:

        async def reader(first: int) -> None:
            for number in range(first, COUNT, 16):
                assert int.from_bytes((await file.pread(PAGE, number * PAGE))[:8], "little") == number

        for _ in range(5):
            drop(path)
            await asyncio.gather(*map(reader, range(16)))
    assert ring_here() is None or ring_here().in_flight == 0


async def test_the_wakeup_for_what_is_reaped_already_enters_the_kernel_no_more(path, monkeypatch):
    enters = []
    enter = Queues.enter
    monkeypatch.setattr(Queues, "enter", lambda self: enters.append(self.unsubmitted) or enter(self))
    async with aio.open(path, "rb") as file:
        file._buffer.cursor.descriptor._mode = Mode.NEVER  # every read takes the ring, where cached pages come at once
        for number in range(20):
            await file.pread(PAGE, number * PAGE)
    assert all(enters), "entered, with nothing to submit and nothing to post"
    assert len(enters) <= 20


async def test_the_eventfd_is_quiet_once_all_is_reaped(path, monkeypatch):
    """Else the loop would turn for ever, at full speed, with nothing to do."""
    async with aio.open(path, "rb") as file:
        drop(path)
        await asyncio.gather(*(file.pread(PAGE, number * PAGE) for number in range(0, COUNT, 7)))
        ring = ring_here()
        if ring is None:
            pytest.skip("the pages were back in the cache before they were read")
        calls = []
        asked = Queues.calls
        monkeypatch.setattr(Queues, "calls", lambda self: calls.append(1) or asked(self))
        for _ in range(5):
            await asyncio.sleep(0)
        calls.clear()
        for _ in range(50):
            await asyncio.sleep(0)
        assert not calls


async def test_a_read_that_misses_is_tried_inline_once(path, monkeypatch):
    async with aio.open(path, "rb") as file:
        descriptor = file._buffer.cursor.descriptor
        tried = []
        monkeypatch.setattr(
            type(descriptor), "read_cached", lambda self, n, offset: tried.append((n, offset)), raising=True
        )
        assert len(await file.pread(PAGE, 3 * PAGE)) == PAGE
    assert tried == [(PAGE, 3 * PAGE)]


def test_a_completion_that_is_posted_and_not_reaped_is_something_to_do(path):
    """Linux 6.1 posts some by itself, without the flag that asks to be entered."""
    queues = Queues(2)
    address, slab = map_slab(PAGE)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert not queues.calls()
        queues.push(READ, fd, 0, address, 8, 0, 7)
        assert queues.calls()
        queues.wait(1, 5.0)
        assert queues.unsubmitted == 0
        assert queues.calls(), "or it would wait for the next event"
        assert queues.reap() == [(7, 8, 0)]
        assert not queues.calls()
        assert slab[:8] == (0).to_bytes(8, "little")
    finally:
        os.close(fd)
        queues.close()


def test_completions_are_reaped_around_the_end_of_their_table(path):
    """The table of completions holds four times the entries, and is a circle: 2 entries, 8 completions."""
    queues = Queues(2)
    address, slab = map_slab(PAGE)
    fd = os.open(path, os.O_RDONLY)
    try:
        told = []
        for number in range(1, 41):
            queues.push(READ, fd, 0, address, 8, 0, number)
            if queues.unsubmitted == queues.entries or number % 3 == 0:
                queues.wait(queues.ready() + queues.unsubmitted, 5.0)
            if number % 3 == 0:
                told += queues.reap()
        queues.wait(queues.ready() + queues.unsubmitted, 5.0)
        told += queues.reap()
        assert sorted(told) == [(number, 8, 0) for number in range(1, 41)]
        assert queues.reap() == []
        assert slab[:8] == (0).to_bytes(8, "little")
    finally:
        os.close(fd)
        queues.close()
