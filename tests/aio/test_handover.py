"""`to_io`: a file object of io that stands where ours did."""

from __future__ import annotations

import asyncio
import io
import os

import pytest

from asyncstore import aio
from asyncstore.aio.errors import FileClosed
from asyncstore.errors import Busy
from tests.aio.faults import open_descriptors
from tests.aio.rest import settled


@pytest.fixture(autouse=True)
async def no_leak():
    before = open_descriptors()
    yield
    await settled(lambda: open_descriptors() == before)
    assert open_descriptors() == before


@pytest.mark.parametrize("mode", ["rb", "r+b", "w+b", "wb", "ab", "a+b", "r", "r+", "w", "w+", "a", "a+", "x", "xb"])
async def test_it_has_the_mode_and_the_class_that_open_gives(mode, tmp_path):
    path = tmp_path / "file"
    if "x" not in mode:
        path.write_bytes(b"content")
    file = await aio.open(path, mode)
    with aio.to_io(file) as handed:
        with open(path, mode.replace("x", "w")) as expected:
            assert type(handed) is type(expected)
            assert (handed.readable(), handed.writable()) == (expected.readable(), expected.writable())
        assert not os.get_inheritable(handed.fileno())
        assert file.closed
        with pytest.raises(FileClosed):
            await file.flush()
        await file.close()


async def test_binary_goes_on_behind_what_was_read_and_buffered(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\nthree\n")
    file = await aio.open(path, "r+b")
    assert await file.readline() == b"one\n"
    with aio.to_io(file) as handed:
        assert handed.tell() == 4
        assert handed.read() == b"two\nthree\n"
    file = await aio.open(path, "wb")
    await file.write(b"pending,")
    with aio.to_io(file) as handed:
        handed.write(b"more")
    assert path.read_bytes() == b"pending,more"


async def test_lines_that_iteration_had_prepared_are_not_lost(tmp_path):
    path = tmp_path / "file"
    path.write_text("".join(f"line {n} äöü\n" for n in range(100)), encoding="utf-8")
    for mode, encoding in (("r", "utf-8"), ("rb", None)):
        file = await aio.open(path, mode, encoding=encoding)
        first = [await anext(file), await anext(file)]
        with aio.to_io(file) as handed, open(path, mode, encoding=encoding) as expected:
            assert first + handed.readlines() == expected.readlines()


async def test_text_in_the_middle_of_a_stateful_encoding_goes_on(tmp_path):
    path = tmp_path / "file"
    text = "日本語 and ascii\n次の行\n" * 50
    path.write_text(text, encoding="iso2022_jp")
    for count in (1, 5, 20, 333):
        file = await aio.open(path, encoding="iso2022_jp", newline="")
        assert await file.read(count) == text[:count]
        with aio.to_io(file) as handed:
            assert handed.encoding == "iso2022_jp"
            assert handed.read() == text[count:]


async def test_what_was_appended_is_written_at_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"first,")
    file = await aio.open(path, "a+b")
    await file.write(b"second,")
    with aio.to_io(file) as handed:
        assert handed.tell() == 13
        handed.write(b"third")
    assert path.read_bytes() == b"first,second,third"


async def test_an_unbuffered_file_gives_a_file_io(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    file = await aio.open(path, "rb", buffering=0)
    await file.read(3)
    with aio.to_io(file) as handed:
        assert type(handed) is io.FileIO
        assert handed.read() == b"3456789"


async def test_a_file_that_is_busy_is_not_handed_over(tmp_path):
    reading, writing = os.pipe()
    async with aio.open(reading, "rb", buffering=0) as file:
        read = asyncio.ensure_future(file.read(1))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            aio.to_io(file)
        os.write(writing, b"x")
        assert await read == b"x"
        os.close(writing)


async def test_what_was_read_ahead_of_a_pipe_is_not_dropped():
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\n")
    async with aio.open(reading, "rb") as file:
        assert await file.readline() == b"one\n"
        with pytest.raises(io.UnsupportedOperation):
            aio.to_io(file)
        assert await file.readline() == b"two\n"
        with aio.to_io(file) as handed:
            os.write(writing, b"three")
            os.close(writing)
            assert handed.read() == b"three"


async def test_a_failed_write_leaves_the_file_as_it_was():
    async with aio.open("/dev/full", "wb") as file:
        await file.write(b"lost?")
        with pytest.raises(OSError):
            aio.to_io(file)
        assert not file.closed
        file._buffer.pending.clear()
        file._buffer.pending_size = 0
