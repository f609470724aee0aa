"""What a program sees of aiofiles and of ours is the same: each case runs on both."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile as blocking_tempfile
import threading
import unittest.mock
from concurrent.futures import ThreadPoolExecutor

import aiofiles as real
import aiofiles.os
import aiofiles.threadpool
import pytest

from asyncstore.aio import BinaryFile, TextFile
from asyncstore.compat import aiofiles as ours
from asyncstore.compat.aiofiles import os as our_os, threadpool as our_threadpool
from asyncstore.testing import cancel_everywhere
from tests.aio.faults import open_descriptors
from tests.aio.rest import settled

both = pytest.mark.parametrize("package", [real, ours], ids=["aiofiles", "ours"])


@both
@pytest.mark.parametrize("mode", ["r", "w", "a", "x", "r+", "w+", "a+", "rb", "wb", "ab", "xb", "rb+", "wb+", "ab+"])
async def test_the_calls_that_never_wait_answer_alike(package, mode, tmp_path):
    path = tmp_path / "file"
    if "x" not in mode:
        path.write_bytes(b"one\ntwo\n")
    async with package.open(path, mode) as file, asyncio.timeout(20):
        with open(path, ("rb" if "b" in mode else "r")) as blocking:
            expected = open(os.devnull, mode.replace("x", "w"))
            with expected:
                readable = file.readable()
                assert (await readable if asyncio.iscoroutine(readable) else readable) == expected.readable()
                assert await file.writable() == expected.writable()
            assert await file.seekable()
            assert not await file.isatty()
            assert file.fileno() > 2
            assert not file.closed
            if "b" not in mode:
                assert (file.encoding.lower(), file.errors, file.newlines) == (
                    blocking.encoding.lower(), blocking.errors, None,
                )  # fmt: skip
                assert not file.line_buffering
    assert file.closed
    await file.close()
    with pytest.raises(ValueError):
        await file.read()


@both
async def test_reading_writing_and_moving_give_what_io_gives(package, tmp_path):
    path = tmp_path / "file"
    async with package.open(path, "w+b") as file:
        assert await file.write(b"one\ntwo\nthree") == 13
        assert await file.seek(4) == 4
        assert await file.readline() == b"two\n"
        assert await file.tell() == 8
        assert (await file.peek(2))[:2] == b"th"
        buffer = bytearray(3)
        assert await file.readinto(buffer) == 3
        assert buffer == b"thr"
        assert await file.read1(10) == b"ee"
        assert await file.truncate(7) == 7
        await file.seek(0)
        assert await file.readlines() == [b"one\n", b"two"]
        await file.writelines([b"!", b"?"])
        await file.flush()
        assert path.read_bytes() == b"one\ntwo!?"
        await file.seek(0)
        assert [line async for line in file] == [b"one\n", b"two!?"]
    async with package.open(path, "rb", buffering=0) as file:
        assert await file.readall() == b"one\ntwo!?"


@both
async def test_text_keeps_its_encoding_and_line_ends(package, tmp_path):
    path = tmp_path / "file"
    async with package.open(path, "w", encoding="utf-16", newline="\r\n") as file:
        await file.writelines(["Grüße\n", "zwei\n"])
    assert path.read_bytes() == "Grüße\r\nzwei\r\n".encode("utf-16")
    async with package.open(path, encoding="utf-16") as file:
        assert await file.readline() == "Grüße\n"
        place = await file.tell()
        assert await file.read(2) == "zw"
        await file.seek(place)
        assert await file.readlines() == ["zwei\n"]
        assert file.newlines == "\r\n"


@both
async def test_errors_are_of_the_same_type(package, tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(FileNotFoundError):
        await package.open(tmp_path / "none")
    with pytest.raises(FileExistsError):
        await package.open(path, "x")
    with pytest.raises(IsADirectoryError):
        await package.open(tmp_path)
    opening = package.open(path, "q")
    with pytest.raises(ValueError):
        await opening
    with pytest.raises(LookupError):
        await package.open(path, encoding="no such")
    with pytest.raises(TypeError):
        await package.open(1.5)
    async with package.open(path) as file:
        with pytest.raises(io.UnsupportedOperation):
            await file.write("x")
    async with package.open(path, "wb") as file:
        with pytest.raises(io.UnsupportedOperation):
            await file.read()
        with pytest.raises(AttributeError):
            file.peek  # noqa: B018  # the access is the test


@both
async def test_the_blocking_file_inside_stands_where_the_file_does(package, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\nthree\n")
    async with package.open(path, "rb") as file:
        assert await file.readline() == b"one\n"
        assert isinstance(file.raw, io.FileIO)
        assert file.raw.name == str(path)
        assert await file.readline() == b"two\n"
        assert [line async for line in file] == [b"three\n"]
    assert file.closed
    async with package.open(path) as file:
        assert await file.read(1) == "o"
        assert isinstance(file.buffer, io.BufferedReader)
        assert file.name == str(path)
        assert await file.readline() == "ne\n"
    file = await package.open(path)
    assert await file.readline() == "one\n"
    below = file.detach()
    with below:
        assert isinstance(below, io.BufferedReader)
    with pytest.raises(ValueError):
        await file.read()


@both
async def test_an_exception_inside_the_block_passes_and_the_file_is_closed(package, tmp_path):
    file = None

    async def fail():
        nonlocal file
        async with package.open(tmp_path / "file", "w") as file:
            await file.write("kept")
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert file.closed
    assert (tmp_path / "file").read_text() == "kept"


@both
async def test_calls_run_in_the_executor_that_was_given(package, tmp_path):
    threads = set()

    def opener(path, flags):
        threads.add(threading.current_thread().name)
        return os.open(path, flags, 0o600)

    with ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
        async with package.open(tmp_path / "file", "w", opener=opener, executor=executor) as file:
            await file.write("x")
        assert type(file._file) is io.TextIOWrapper
        stat = real.os.stat if package is real else our_os.stat
        assert (await stat(tmp_path / "file", executor=executor)).st_size == 1
        async with package.tempfile.NamedTemporaryFile("w+", executor=executor) as file:
            await file.write("x")
            assert os.path.exists(file.name)
        assert not os.path.exists(file.name)
    assert {name.rstrip("_0123456789") for name in threads} == {"mine"}


@both
async def test_a_test_may_put_its_own_file_in_the_place_of_the_opened_one(package, monkeypatch):
    threadpool = aiofiles.threadpool if package is real else our_threadpool
    mock = unittest.mock.MagicMock()
    mock.read.return_value = "made up"
    threadpool.wrap.register(unittest.mock.MagicMock)(threadpool.AsyncBufferedIOBase)
    with unittest.mock.patch.object(threadpool, "sync_open", return_value=mock) as patched:
        async with package.open("/no/such/file", "r") as file:
            assert await file.read() == "made up"
    assert patched.call_count == 1


@both
async def test_temporary_files_live_and_go_as_those_of_tempfile(package, tmp_path):
    async with package.tempfile.NamedTemporaryFile("w+", suffix=".x", prefix="y", dir=tmp_path) as file:
        assert os.path.basename(file.name).startswith("y")
        assert file.name.endswith(".x")
        await file.write("one\ntwo\n")
        await file.seek(0)
        assert [line async for line in file] == ["one\n", "two\n"]
    assert os.listdir(tmp_path) == []
    async with package.tempfile.NamedTemporaryFile(delete=False, dir=tmp_path) as file:
        await file.write(b"kept")
    with open(file.name, "rb") as kept:
        assert kept.read() == b"kept"
    os.unlink(file.name)
    file = await package.tempfile.NamedTemporaryFile(dir=tmp_path)
    await file.close()
    assert os.listdir(tmp_path) == []
    async with package.tempfile.TemporaryFile("w+b", dir=tmp_path) as file:
        assert os.listdir(tmp_path) == []
        await file.write(b"x" * 100_000)
        await file.seek(99_999)
        assert await file.read() == b"x"
    async with package.tempfile.TemporaryDirectory(dir=tmp_path) as name:
        assert os.path.isdir(name)
        open(os.path.join(name, "file"), "w").close()
    assert os.listdir(tmp_path) == []
    directory = await package.tempfile.TemporaryDirectory(dir=tmp_path)
    assert os.path.isdir(directory.name)
    await directory.cleanup()
    assert os.listdir(tmp_path) == []


@both
async def test_a_spooled_file_moves_to_disk_when_it_outgrows_its_size(package):
    async with package.tempfile.SpooledTemporaryFile(max_size=10, mode="w+b") as file:
        await file.write(b"x" * 10)
        assert not file._file._rolled
        await file.writelines([b"y", b"z"])
        assert file._file._rolled
        await file.seek(8)
        assert await file.read() == b"xxyz"
        assert await file.tell() == 12
        assert isinstance(await file.fileno(), int)
    assert file.closed


@both
async def test_a_wrapped_file_is_used_on_threads_and_a_foreign_object_refused(package):
    threadpool = aiofiles.threadpool if package is real else our_threadpool
    with blocking_tempfile.TemporaryFile("w+") as blocking:
        file = threadpool.wrap(blocking)
        await file.write("one\n")
        await file.seek(0)
        assert [line async for line in file] == ["one\n"]
        assert "wrapping <" in repr(file)
    with pytest.raises(TypeError):
        threadpool.wrap(object())


async def test_what_open_gives_is_a_file_of_aio(tmp_path):
    async with ours.open(tmp_path / "file", "w") as file:
        assert isinstance(file._file, TextFile)
    async with ours.open(tmp_path / "file", "rb") as file:
        assert isinstance(file._file, BinaryFile)
    async with ours.tempfile.TemporaryFile() as file:
        assert isinstance(file._file, BinaryFile)


async def test_calls_of_many_tasks_on_a_wrapped_file_keep_their_order():
    with blocking_tempfile.TemporaryFile("w+b", buffering=0) as blocking:
        file = our_threadpool.wrap(blocking)
        await asyncio.gather(*(file.write(b"%03d," % number) for number in range(200)))
        blocking.seek(0)
        assert blocking.read() == b"".join(b"%03d," % number for number in range(200))


async def test_a_cancel_at_any_await_leaves_no_descriptor(tmp_path):
    path = tmp_path / "file"

    async def use():
        async with ours.open(path, "w") as file:
            await file.write("x" * 100_000)
        async with ours.tempfile.NamedTemporaryFile(dir=tmp_path) as file:
            await file.write(b"x")

    before = open_descriptors()
    await cancel_everywhere(use)
    await settled(lambda: open_descriptors() == before)
    assert open_descriptors() == before
    assert os.listdir(tmp_path) in ([], ["file"])


async def test_a_cancelled_open_in_an_executor_closes_the_file(tmp_path):
    entered, go_on = threading.Event(), threading.Event()
    opened = []

    def opener(path, flags):
        entered.set()
        assert go_on.wait(20)
        opened.append(os.open(path, flags, 0o600))
        return opened[0]

    with ThreadPoolExecutor(1) as executor:
        task = asyncio.ensure_future(ours.open(tmp_path / "file", "w", opener=opener, executor=executor).__aenter__())
        while not entered.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
    with pytest.raises(OSError):
        os.fstat(opened[0])


async def test_a_cancelled_close_of_a_blocking_file_closes_it(tmp_path):
    blocking = open(tmp_path / "file", "w")
    file = our_threadpool.wrap(blocking)
    closing = asyncio.ensure_future(file.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await settled(lambda: blocking.closed)
    assert blocking.closed


async def test_a_temporary_file_whose_blocking_file_was_asked_for_is_removed(tmp_path):
    async with ours.tempfile.NamedTemporaryFile("w+", dir=tmp_path) as file:
        await file.write("x")
        assert isinstance(file.buffer, io.BufferedRandom)
        assert os.listdir(tmp_path) == [os.path.basename(file.name)]
    assert os.listdir(tmp_path) == []
    assert file.closed
