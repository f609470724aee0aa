"""aio.tempfile: gone when the block ends, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import threading

import pytest
from hypothesis import given, settings, strategies as st

from asyncstore import aio
from asyncstore.aio import _temporary
from asyncstore.pool import default_pool
from asyncstore.testing import cancel_everywhere
from tests.aio.faults import open_descriptors
from tests.aio.rest import settled


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The directory for temporary files, empty."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


NAMESAKES = ("NamedTemporaryFile", "SpooledTemporaryFile", "TemporaryDirectory", "TemporaryFile", "mkdtemp", "mkstemp")


@pytest.mark.parametrize("name", NAMESAKES)
def test_parameters_are_named_and_placed_as_in_tempfile(name):
    theirs = inspect.signature(getattr(tempfile, name)).parameters
    ours = inspect.signature(getattr(aio.tempfile, name)).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    assert [ours[each].kind for each in theirs] == [each.kind for each in theirs.values()]
    assert [ours[each].default for each in theirs] == [each.default for each in theirs.values()]


async def test_a_named_file_is_there_with_its_name_and_then_gone(place):
    async with aio.tempfile.NamedTemporaryFile(prefix="a", suffix="z", dir=place) as file:
        assert os.path.basename(file.name).startswith("a")
        assert file.name.endswith("z")
        assert os.listdir(place) == [os.path.basename(file.name)]
        assert stat.S_IMODE(os.stat(file.name).st_mode) == 0o600
        await file.write(b"one\ntwo\n")
        await file.seek(0)
        assert [line async for line in file] == [b"one\n", b"two\n"]
        assert not file.closed
    assert file.closed
    assert os.listdir(place) == []


async def test_a_named_file_can_be_awaited_and_closed(place):
    file = await aio.tempfile.NamedTemporaryFile("w+", encoding="utf-8")
    await file.write("t\u00e9xt")
    await file.flush()
    assert pathlib.Path(file.name).read_bytes() == b"t\xc3\xa9xt"
    await file.close()
    await file.close()
    assert os.listdir(place) == []


async def test_delete_and_delete_on_close_say_when_a_named_file_is_removed(place):
    async with aio.tempfile.NamedTemporaryFile(delete_on_close=False) as file:
        await file.close()
        assert os.listdir(place) == [os.path.basename(file.name)]
    assert os.listdir(place) == []
    async with aio.tempfile.NamedTemporaryFile(delete=False) as file:
        pass
    assert os.listdir(place) == [os.path.basename(file.name)]


async def test_a_named_file_that_its_user_removed_is_no_error(place):
    async with aio.tempfile.NamedTemporaryFile() as file:
        os.unlink(file.name)


async def test_a_nameless_file_leaves_no_name(place):
    async with aio.tempfile.TemporaryFile() as file:
        assert os.listdir(place) == []
        await file.write(b"data")
        await file.seek(0)
        assert await file.read() == b"data"


async def test_a_directory_is_removed_with_what_is_in_it(place):
    async with aio.tempfile.TemporaryDirectory(prefix="d") as path:
        assert os.path.dirname(path) == str(place)
        await aio.makedirs(os.path.join(path, "a", "b"))
        await aio.write(os.path.join(path, "a", "f"), b"")
    assert os.listdir(place) == []
    directory = await aio.tempfile.TemporaryDirectory(dir=os.fsencode(place))
    assert isinstance(directory.name, bytes)
    await directory.cleanup()
    await directory.cleanup()
    assert os.listdir(place) == []
    async with aio.tempfile.TemporaryDirectory(delete=False) as path:
        pass
    assert os.listdir(place) == [os.path.basename(path)]


async def test_mkstemp_and_mkdtemp_give_what_the_caller_removes(place):
    fd, path = await aio.tempfile.mkstemp("z", "a")
    os.close(fd)
    directory = await aio.tempfile.mkdtemp()
    assert sorted(os.listdir(place)) == sorted(map(os.path.basename, (path, directory)))
    assert await aio.tempfile.gettempdir() == str(place)


async def test_an_exception_in_the_block_removes_too(place):
    with pytest.raises(KeyError):
        async with aio.tempfile.NamedTemporaryFile(), aio.tempfile.TemporaryDirectory():
            raise KeyError
    assert os.listdir(place) == []


async def use_named(place):
    async with aio.tempfile.NamedTemporaryFile() as file:
        await file.write(b"data")


async def use_nameless(place):
    async with aio.tempfile.TemporaryFile() as file:
        await file.write(b"data")


async def use_directory(place):
    async with aio.tempfile.TemporaryDirectory() as path:
        await aio.write(os.path.join(path, "f"), b"")


async def use_spooled(place):
    async with aio.tempfile.SpooledTemporaryFile(max_size=3) as file:
        await file.write(b"data")
        await file.seek(0)
        assert await file.read() == b"data"


@pytest.mark.parametrize("use", [use_named, use_nameless, use_directory, use_spooled])
async def test_a_cancel_at_any_await_leaves_nothing_behind(place, use):
    before = open_descriptors()

    async def check():
        await settled(lambda: not os.listdir(place) and open_descriptors() == before)
        gc.collect()
        assert os.listdir(place) == []
        await settled(lambda: open_descriptors() == before)
        assert open_descriptors() == before

    report = await cancel_everywhere(lambda: use(place), check=check)
    assert report.points >= 2


@pytest.mark.parametrize("name", ["mkstemp", "mkdtemp"])
async def test_a_cancelled_mkstemp_or_mkdtemp_leaves_nothing_behind(place, name):
    before = open_descriptors()

    def give_back(made):
        with contextlib.suppress(TypeError):
            os.close(made[0])
        if name == "mkstemp":
            os.unlink(made[1])
        else:
            os.rmdir(made)

    async def check():
        await settled(lambda: not os.listdir(place) and open_descriptors() == before)
        assert os.listdir(place) == []
        await settled(lambda: open_descriptors() == before)
        assert open_descriptors() == before

    make = getattr(aio.tempfile, name)
    assert (await cancel_everywhere(make, check=check, on_result=give_back)).points >= 1


async def test_a_cancel_while_the_worker_makes_the_file_removes_it(place, monkeypatch):
    reached, go = threading.Event(), threading.Event()
    true_mkstemp = _temporary._mkstemp

    def slow(*args):
        reached.set()
        go.wait(10)
        return true_mkstemp(*args)

    monkeypatch.setattr(_temporary, "_mkstemp", slow)
    before = open_descriptors()

    async def use():
        async with aio.tempfile.NamedTemporaryFile(delete=False):
            raise AssertionError("entered")

    task = asyncio.create_task(use())
    while not reached.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await settled(lambda: not os.listdir(place) and open_descriptors() == before)
    assert os.listdir(place) == []
    await settled(lambda: open_descriptors() == before)
    assert open_descriptors() == before


@pytest.mark.parametrize("kind", ["NamedTemporaryFile", "TemporaryDirectory"])
async def test_what_is_dropped_unclosed_warns_and_is_removed(place, kind):
    made = await getattr(aio.tempfile, kind)()
    await default_pool().run(int)  # the worker that made it has let go of it
    assert os.listdir(place)
    made = [made]
    with pytest.warns(ResourceWarning):
        made.clear()
    await settled(lambda: not os.listdir(place))
    assert os.listdir(place) == []


def test_what_is_left_open_at_exit_is_removed(tmp_path):
    program = (
        "import asyncio, sys, tempfile\n"
        "from asyncstore import aio\n"
        "async def main():\n"
        "    global kept\n"
        "    kept = await aio.tempfile.NamedTemporaryFile(), await aio.tempfile.TemporaryDirectory()\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program, str(tmp_path)], check=True, timeout=30)
    assert os.listdir(tmp_path) == []


async def test_bad_arguments_are_refused_by_the_call():
    for make in (
        aio.tempfile.NamedTemporaryFile,
        aio.tempfile.TemporaryFile,
        aio.tempfile.SpooledTemporaryFile,
        aio.tempfile.TemporaryDirectory,
    ):
        with pytest.raises(TypeError, match="suffix"):
            make(suffix=5)
        with pytest.raises(TypeError, match="all str or all bytes"):
            make(suffix="a", prefix=b"b")
        with pytest.raises(ValueError, match="NUL"):
            make(dir="a\0b")
    with pytest.raises(ValueError, match="mode"):
        aio.tempfile.NamedTemporaryFile("no")
    with pytest.raises(ValueError, match="mode"):
        aio.tempfile.SpooledTemporaryFile(mode="no")


async def test_a_missing_directory_is_told_when_it_is_opened(place):
    for make in (aio.tempfile.NamedTemporaryFile, aio.tempfile.TemporaryFile, aio.tempfile.TemporaryDirectory):
        with pytest.raises(FileNotFoundError):
            await make(dir=place / "none")


async def test_an_object_is_used_once_and_says_so_before(place):
    file = aio.tempfile.NamedTemporaryFile()
    with pytest.raises(ValueError, match="not open yet"):
        _ = file.name
    with pytest.raises(AttributeError, match="not open yet"):
        _ = file.read
    async with file:
        with pytest.raises(RuntimeError, match="before"):
            await file
    directory = aio.tempfile.TemporaryDirectory()
    with pytest.raises(ValueError, match="not made yet"):
        _ = directory.name
    async with directory:
        with pytest.raises(RuntimeError, match="before"):
            await directory


# SpooledTemporaryFile


async def test_a_spooled_file_stays_in_memory_until_it_is_large(place):
    async with aio.tempfile.SpooledTemporaryFile(max_size=5) as file:
        await file.write(b"12345")
        assert file.name is None
        assert "in memory" in repr(file)
        await file.write(b"6")
        assert file.name is not None
        assert "on disk" in repr(file)
        await file.seek(0)
        assert await file.read() == b"123456"
        assert os.listdir(place) == []
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        await file.read()


@pytest.mark.parametrize("how", ["rollover", "fileno", "truncate"])
async def test_a_spooled_file_moves_to_disk_when_asked(place, how):
    async with aio.tempfile.SpooledTemporaryFile(max_size=100) as file:
        await file.write(b"abc")
        await file.seek(1)
        await getattr(file, how)(*([200] if how == "truncate" else []))
        assert file.name is not None
        assert await file.tell() == 1
        assert (await file.read(2)) == b"bc"


async def test_a_spooled_file_that_cannot_move_keeps_its_content(place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(place / "none"))
    async with aio.tempfile.SpooledTemporaryFile(max_size=3) as file:
        with pytest.raises(FileNotFoundError):
            await file.write(b"12345")
        await file.seek(0)
        assert await file.read() == b"12345"


async def test_tasks_on_a_spooled_file_are_served_one_after_the_other(place):
    async with aio.tempfile.SpooledTemporaryFile(max_size=50) as file:
        await asyncio.gather(*(file.write(bytes([65 + i]) * 10) for i in range(20)))
        await file.seek(0)
        data = await file.read()
    assert sorted(data[i : i + 10] for i in range(0, 200, 10)) == [bytes([65 + i]) * 10 for i in range(20)]


OPERATIONS = st.lists(
    st.tuples(st.just("write"), st.text(alphabet="ab\u20ac\n\r", max_size=6))
    | st.tuples(st.just("read"), st.integers(-1, 5))
    | st.tuples(st.just("readline"))
    | st.tuples(st.just("seek"), st.just(0), st.sampled_from([0, 2]))
    | st.tuples(st.just("tell"))
    | st.tuples(st.just("rollover")),
    max_size=12,
)


@given(operations=OPERATIONS, binary=st.booleans(), newline=st.sampled_from([None, "", "\n", "\r\n"]))
@settings(max_examples=60, deadline=None)
def test_a_spooled_file_does_what_tempfile_s_does(operations, binary, newline):
    # a write in the middle can cut a euro sign in two, and what is left of it cannot be decoded
    text = {"mode": "w+", "encoding": "utf-8", "errors": "replace", "newline": newline}
    options = {"mode": "w+b"} if binary else text

    async def main():
        theirs = tempfile.SpooledTemporaryFile(max_size=10, **options)
        async with aio.tempfile.SpooledTemporaryFile(max_size=10, **options) as ours:
            for method, *given in operations:
                args = [given[0].encode()] if method == "write" and binary else given
                if method in ("read", "readline") and not binary:
                    theirs.seek(theirs.tell())  # io allows reading after writing only behind a seek
                    await ours.seek(await ours.tell())
                expected = getattr(theirs, method)(*args)
                got = await getattr(ours, method)(*args)
                # what rollover returns is nobody's business, and a text position that is no plain offset is opaque
                opaque = method == "rollover" or (method == "tell" and expected >> 64)
                assert opaque or got == expected, (method, args)
                assert (ours.name is None) is (not theirs._rolled), (method, args)
            theirs.seek(0)
            await ours.seek(0)
            assert [line async for line in ours] == list(theirs)
        theirs.close()

    with asyncio.Runner() as runner:
        runner.run(main())


async def test_a_spooled_text_file_tells_its_encoding(place):
    async with aio.tempfile.SpooledTemporaryFile(mode="w+", encoding="latin-1", errors="replace") as file:
        assert (file.encoding, file.errors, file.mode) == ("latin-1", "replace", "w+")
        await file.writelines(["\u20ac\n", "b\n"])
        await file.rollover()
        await file.seek(0)
        assert await file.readlines() == ["?\n", "b\n"]
        assert file.newlines == "\n"
        assert (file.readable(), file.writable(), file.seekable(), file.isatty()) == (True, True, True, False)
    async with aio.tempfile.SpooledTemporaryFile() as file:
        await file.write(b"abcdef")
        await file.seek(0)
        buffer = bytearray(2)
        assert (await file.readinto(buffer), bytes(buffer)) == (2, b"ab")
        assert await file.read1(2) == b"cd"
        assert await file.truncate(5) == 5
        await file.flush()
        with pytest.raises(AttributeError):
            _ = file.encoding
        with pytest.raises(TypeError):
            await file.write("text")
