"""Files that block, fail or are somebody else's: pipes, injected EIO, descriptors, and what closing does to them."""

from __future__ import annotations

import asyncio
import errno
import io
import os

import pytest

from asyncstore import aio
from asyncstore.aio import _nowait, _rings
from asyncstore.aio.errors import FileClosed
from asyncstore.pool import default_pool
from asyncstore.testing import cancel_everywhere
from tests.aio.faults import failing, open_descriptors
from tests.aio.rest import settled

pytestmark = pytest.mark.usefixtures("no_leak")


@pytest.fixture
async def no_leak():
    before = open_descriptors()
    yield
    await settled(lambda: open_descriptors() == before)
    assert open_descriptors() == before


@pytest.fixture
def on_workers(monkeypatch):
    """Every read and write is a job of a worker thread."""
    monkeypatch.setattr(_nowait.Nowait, "read_cached", lambda *_: None)
    monkeypatch.setattr(_nowait.Nowait, "write_cached", lambda *_: 0)
    monkeypatch.setattr(_rings, "_state", _rings.RingState(usable=False, reason="test"))


async def pipe() -> tuple[aio.BinaryFile, int]:
    """A reading file on a pipe, and the number of its other end."""
    readable, writable = os.pipe()
    return await aio.open(readable, "rb"), writable


async def ticks(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_hundred_silent_pipes_hold_no_worker():
    ends = [await pipe() for _ in range(100)]
    reads = [asyncio.ensure_future(file.read(1)) for file, _ in ends]
    await ticks()
    await settled()  # of what earlier tests have left to the background, too
    assert default_pool().stats().running == 0
    assert not any(read.done() for read in reads)
    for (file, writable), read in zip(ends, reads, strict=True):
        os.write(writable, b"x")
        assert await read == b"x"
        os.close(writable)
        assert await file.read() == b""
        await file.close()


async def test_closing_a_pipe_wakes_its_readers():
    file, writable = await pipe()
    readers = [asyncio.ensure_future(file.readline()) for _ in range(3)]
    await ticks()
    async with asyncio.timeout(20):
        await file.close()
    for result in await asyncio.gather(*readers, return_exceptions=True):
        assert isinstance(result, FileClosed)
    os.close(writable)


async def test_a_cancelled_read_of_a_pipe_loses_nothing():
    file, writable = await pipe()
    sent = found = b""
    for n in range(300):
        reader = asyncio.ensure_future(file.read(4))
        await ticks(n % 4)
        piece = b"%03d," % n
        sent += piece
        os.write(writable, piece)
        await ticks(n % 5)
        reader.cancel()
        await asyncio.wait([reader])
        if not reader.cancelled():
            found += reader.result()
    os.close(writable)
    found += await file.read()
    assert found == sent
    await file.close()


async def test_a_full_pipe_is_written_as_it_is_emptied():
    readable, writable = os.pipe()
    data = os.urandom(1 << 20)
    async with await aio.open(readable, "rb") as reader, await aio.open(writable, "wb") as writer:
        sending = asyncio.ensure_future(send(writer, data))
        assert await reader.read(len(data)) == data
        await sending


async def send(writer: aio.BinaryFile, data: bytes) -> None:
    await writer.write(data)
    await writer.flush()


async def test_a_cancelled_close_waits_no_longer_for_a_full_pipe():
    readable, writable = os.pipe()
    writer = await aio.open(writable, "wb")
    sending = asyncio.ensure_future(send(writer, bytes(1 << 20)))
    await settled(lambda: default_pool().stats().running == 0)
    closing = asyncio.ensure_future(writer.close())
    await ticks()
    assert not closing.done()
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    with pytest.raises(FileClosed):
        await sending
    os.close(readable)


async def test_a_failed_flush_keeps_the_data_for_the_next(tmp_path, on_workers):
    async with aio.open(tmp_path / "f", "wb") as file:
        await file.write(b"precious")
        with failing(1, errno.EIO, persistent=True), pytest.raises(OSError, match="injected") as failure:
            await file.flush()
        assert failure.value.errno == errno.EIO
        assert await file.tell() == 8
        await file.flush()
        assert (tmp_path / "f").read_bytes() == b"precious"


async def test_close_reports_data_that_is_lost_and_closes(tmp_path, on_workers):
    file = await aio.open(tmp_path / "f", "w")
    await file.write("lost")
    with failing(1, errno.EIO, persistent=True), pytest.raises(OSError, match="injected"):
        await file.close()
    assert file.closed
    await file.close()


async def test_a_failed_read_leaves_the_position(tmp_path, on_workers):
    (tmp_path / "f").write_bytes(b"0123456789" * 3000)
    async with aio.open(tmp_path / "f", "rb") as file:
        assert await file.read(5) == b"01234"
        with failing(1, errno.EIO, persistent=True), pytest.raises(OSError, match="injected"):
            await file.read(20_000)
        assert await file.tell() == 5
        assert await file.read(5) == b"56789"


@pytest.mark.parametrize("mode", ["r", "rb"])
async def test_lines_that_were_prepared_are_not_handed_out_after_close(tmp_path, mode):
    (tmp_path / "f").write_text("one\ntwo\nthree\n")
    file = await aio.open(tmp_path / "f", mode)
    assert len(await anext(aiter(file))) == 4
    await file.close()
    with pytest.raises(FileClosed):
        await file.readline()
    with pytest.raises(FileClosed):
        await file.__anext__()


async def test_closing_the_bytes_closes_the_text(tmp_path):
    (tmp_path / "f").write_text("one\ntwo\nthree\n")
    file = await aio.open(tmp_path / "f")
    await file.__anext__()
    await file.buffer.close()
    assert file.closed
    with pytest.raises(FileClosed):
        await file.__anext__()


async def test_what_is_detached_goes_on_as_bytes(tmp_path):
    async with aio.open(tmp_path / "f", "w") as text:
        await text.write("text ")
        binary = await text.detach()
        assert text.closed
        await binary.write(b"bytes")
        await binary.close()
    assert (tmp_path / "f").read_bytes() == b"text bytes"


async def test_a_line_of_many_chunks_is_found_whole(tmp_path):
    long = "x" * 3_000_000
    (tmp_path / "f").write_bytes(f"{long}\r\nnext\r\n".encode())
    for newline, end in ((None, "\n"), ("", "\r\n"), ("\r\n", "\r\n")):
        async with aio.open(tmp_path / "f", newline=newline) as file:
            assert await file.readline() == long + end
            place = await file.tell()
            assert await file.readline() == "next" + end
            await file.seek(place)
            assert [line async for line in file] == ["next" + end]


async def test_looking_for_the_end_of_a_long_line_never_copies_it(tmp_path):
    """32 MiB in chunks of 8 KiB: copying the line once a chunk would move 64 GiB."""
    copied = 0

    class Watched(str):
        __slots__ = ()

        def __getitem__(self, key):
            nonlocal copied
            copied += len(str.__getitem__(self, key))
            return str.__getitem__(self, key)

    from asyncstore.aio._text_core import TextCore

    core = TextCore("utf-8", "strict", None)
    core.feed(b"x" * 8192)
    core.chars = Watched(core.chars)
    line, scanned = core.find_line(-1, 0)
    assert (line, scanned, copied) == (None, 8192, 0)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32"])
async def test_a_descriptor_in_the_middle_of_a_file_gets_no_byte_order_mark(tmp_path, encoding):
    written = {}
    for name, opened in (("ours", aio.open), ("theirs", open)):
        fd = os.open(tmp_path / name, os.O_CREAT | os.O_RDWR)
        os.write(fd, "begun ".encode(encoding))
        file = opened(fd, "w", encoding=encoding)
        if name == "ours":
            async with file as ours:
                await ours.write("and ended")
        else:
            with file as theirs:
                theirs.write("and ended")
        written[name] = (tmp_path / name).read_bytes()
    assert written["ours"] == written["theirs"]


async def test_a_pipe_cannot_be_opened_to_read_and_write():
    readable, writable = os.pipe()
    with pytest.raises(io.UnsupportedOperation):
        await aio.open(readable, "r+b")
    os.close(writable)
    await settled(lambda: not exists(readable))


def exists(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


async def test_a_lock_through_a_descriptor_is_cancelled_cleanly(tmp_path):
    """A descriptor has no known device, so that a worker locks; a cancel must not leave the lock behind."""
    path = tmp_path / "f"
    path.touch()
    other = await aio.open(path)
    file = await aio.open(os.open(path, os.O_RDWR), "rb")

    async def use() -> None:
        async with file.lock():
            pass

    async def free() -> None:
        async with other.lock(timeout=20):
            pass

    report = await cancel_everywhere(use, check=free)
    assert report.points
    async with file.lock():
        with pytest.raises(TimeoutError):
            await other.lock(timeout=0)
    await file.close()
    await other.close()


async def test_a_lock_that_is_waited_for_can_be_cancelled(tmp_path):
    async with aio.open(tmp_path / "f", "w") as one, aio.open(tmp_path / "f", "w") as two:
        await one.lock()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await two.lock()
        await one.unlock()
        await two.lock(timeout=0)
        await two.unlock()
