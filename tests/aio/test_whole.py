"""aio.read, read_text, write, write_text, append and read_many."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import resource
import tempfile
import threading

import pytest
from hypothesis import given, settings, strategies as st

from asyncstore import aio
from asyncstore.aio import _whole
from asyncstore.aio._whole_text import TextRules
from asyncstore.testing import cancel_everywhere
from tests.aio.faults import open_descriptors
from tests.aio.rest import settled

NEWLINES = (None, "", "\n", "\r", "\r\n")


async def test_read_returns_what_write_wrote(tmp_path):
    data = os.urandom(100_000)
    assert await aio.write(tmp_path / "f", data) == len(data)
    assert await aio.read(tmp_path / "f") == data


@pytest.mark.parametrize("size", [0, 1, 4096, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, 3_000_000])
async def test_every_size_is_read_whole_from_cache_and_from_the_pool(tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    assert await aio.read(tmp_path / "f") == data
    assert await aio.read(str(tmp_path / "f")) == data
    assert _whole.read_blocking(os.fsencode(tmp_path / "f")) == data


async def test_a_proc_file_that_claims_to_be_empty_is_read_whole():
    assert os.stat("/proc/self/status").st_size == 0
    assert b"Threads:" in await aio.read("/proc/self/status")
    assert b"Threads:" in await aio.read("/proc/self/status", max_bytes=1 << 20)


async def test_a_file_that_grows_while_it_is_read_ends_where_a_read_returns_nothing(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"a" * 10)
    monkeypatch.setattr(_whole, "read_file_cached", lambda path: None)
    true_open = io.FileIO

    class Growing(true_open):
        def readall(self):
            with open(path, "ab") as more:
                more.write(b"b" * 1_000_000)
            return super().readall()

    monkeypatch.setattr(_whole.io, "FileIO", Growing)
    assert len(await aio.read(path)) == 1_000_010


def test_a_read_beyond_two_gib_is_not_cut_where_linux_cuts_one_call():
    size = 0x7FFFF000 + 4096
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:  # holes there cost neither disk nor page cache
        file.truncate(size)
        os.pwrite(file.fileno(), b"end", size - 3)
        try:
            data = _whole.read_blocking(file.name)
        except MemoryError:
            pytest.skip("this machine has no 2 GiB to spare")
        assert len(data) == size
        assert data[-3:] == b"end"


@pytest.mark.parametrize("inline", [True, False])
async def test_max_bytes_lets_a_file_of_that_size_through_and_refuses_one_more(tmp_path, monkeypatch, inline):
    if not inline:
        monkeypatch.setattr(_whole, "read_file_cached", lambda path: None)
    (tmp_path / "f").write_bytes(b"12345")
    assert await aio.read(tmp_path / "f", max_bytes=5) == b"12345"
    with pytest.raises(aio.TooLarge, match="max_bytes=4") as caught:
        await aio.read(tmp_path / "f", max_bytes=4)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(tmp_path / "f")
    with pytest.raises(aio.TooLarge):
        await aio.read_text(tmp_path / "f", max_bytes=4)


async def test_max_bytes_stops_at_an_endless_device():
    with pytest.raises(aio.TooLarge):
        await aio.read("/dev/zero", max_bytes=100_000)


async def test_a_directory_is_told_as_open_tells_it(tmp_path):
    with pytest.raises(IsADirectoryError) as caught:
        await aio.read(tmp_path)
    assert caught.value.filename == str(tmp_path)


async def test_a_missing_file_is_told_with_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        await aio.read(tmp_path / "none")
    assert caught.value.filename == str(tmp_path / "none")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: aio.read("a\0b"), ValueError, "NUL"),
        (lambda: aio.read(b"a\0b"), ValueError, "NUL"),
        (lambda: aio.read("a\ud800"), ValueError, "encoded"),
        (lambda: aio.read(3.5), TypeError, "path should be"),
        (lambda: aio.read("a", max_bytes="5"), TypeError, "max_bytes"),
        (lambda: aio.read("a", max_bytes=-1), ValueError, "max_bytes"),
        (lambda: aio.write("a", "text"), TypeError, "write_text"),
        (lambda: aio.write("a", 5), TypeError, "data should be"),
        (lambda: aio.write("a", memoryview(b"abcd")[::2]), TypeError, "contiguous"),
        (lambda: aio.write("a", b"", mode="rw"), TypeError, "mode"),
        (lambda: aio.write("a", b"", mode=0o100644), ValueError, "mode"),
        (lambda: aio.write_text("a", b"bytes"), TypeError, "write takes bytes"),
        (lambda: aio.append("a", "text"), TypeError, "not str"),
        (lambda: aio.read_text("a", encoding="no-such"), LookupError, "no-such"),
        (lambda: aio.read_text("a", encoding="utf-8", errors="no-such"), LookupError, "no-such"),
        (lambda: aio.read_text("a", encoding="utf-8", newline="x"), ValueError, "newline"),
        (lambda: aio.read_text("a", encoding=5), TypeError, "encoding"),
        (lambda: aio.read_text("a", encoding="hex"), LookupError, "text encoding"),
        (lambda: aio.read_many(["a", 5]), TypeError, "path should be"),
    ],
)
async def test_bad_arguments_are_refused_before_a_worker_sees_them(monkeypatch, call, error, message):
    monkeypatch.setattr(_whole, "run", None)
    monkeypatch.setattr(_whole, "read_file_cached", None)
    with pytest.raises(error, match=message):
        await call()


async def test_text_that_cannot_be_encoded_leaves_the_file_alone(tmp_path):
    (tmp_path / "f").write_text("old")
    with pytest.raises(UnicodeEncodeError):
        await aio.write_text(tmp_path / "f", "\u20ac", encoding="ascii")
    assert (tmp_path / "f").read_text() == "old"


@given(
    data=st.binary(max_size=60) | st.text(alphabet="a\r\n\ufeff\u20ac\U0001f600", max_size=40).map(str.encode),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1", "ascii", "shift_jis", "cp1252"]),
    errors=st.sampled_from(["strict", "replace", "ignore", "surrogateescape"]),
    newline=st.sampled_from(NEWLINES),
)
@settings(max_examples=300, deadline=None)
def test_decoding_is_what_a_text_file_of_io_reads(data, encoding, errors, newline):
    def outcome(read):
        try:
            return read()
        except UnicodeError as exc:
            return type(exc)

    theirs = outcome(lambda: io.TextIOWrapper(io.BytesIO(data), encoding, errors, newline).read())
    assert outcome(lambda: TextRules(encoding, errors, newline).decode(data)) == theirs


@given(
    text=st.text(alphabet="a\r\n\u20ac\udc80", max_size=40),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1", "ascii"]),
    errors=st.sampled_from(["strict", "replace", "ignore", "surrogateescape"]),
    newline=st.sampled_from(NEWLINES),
)
@settings(max_examples=300, deadline=None)
def test_encoding_is_what_a_text_file_of_io_writes(text, encoding, errors, newline):
    raw = io.BytesIO()
    try:
        file = io.TextIOWrapper(raw, encoding, errors, newline)
        file.write(text)
        file.flush()
        theirs = raw.getvalue()
    except UnicodeError as exc:
        with pytest.raises(type(exc)):
            TextRules(encoding, errors, newline).encode(text)
    else:
        # io writes no byte order mark for a text of no character
        assert TextRules(encoding, errors, newline).encode(text) == theirs or not text


async def test_text_goes_there_and_back_small_and_large(tmp_path):
    for text in ("h\u00e9\n", "\u20ac\n" * 300_000):
        assert await aio.write_text(tmp_path / "f", text, encoding="utf-8") == len(text)
        assert await aio.read_text(tmp_path / "f", encoding="utf-8") == text
    assert await aio.read_text(tmp_path / "f", encoding="utf-8", newline="") == text


async def test_append_adds_and_makes_the_file(tmp_path):
    assert await aio.append(tmp_path / "f", b"one") == 3
    assert await aio.append(tmp_path / "f", bytearray(b"two"), durable=True) == 3
    assert (tmp_path / "f").read_bytes() == b"onetwo"


async def test_appends_of_many_tasks_do_not_mix(tmp_path):
    records = [bytes([65 + i]) * 1000 for i in range(20)]
    await asyncio.gather(*(aio.append(tmp_path / "f", record) for record in records))
    data = (tmp_path / "f").read_bytes()
    assert sorted(data[i : i + 1000] for i in range(0, len(data), 1000)) == sorted(records)


async def test_a_new_file_gets_the_mode_cut_by_the_umask_and_an_old_one_keeps_its_own(tmp_path):
    umask = os.umask(0o022)
    try:
        await aio.write(tmp_path / "f", b"", mode=0o666)
        assert os.stat(tmp_path / "f").st_mode & 0o777 == 0o644
        os.chmod(tmp_path / "f", 0o600)
        await aio.write(tmp_path / "f", b"", mode=0o666)
        assert os.stat(tmp_path / "f").st_mode & 0o777 == 0o600
    finally:
        os.umask(umask)


async def test_a_full_disk_says_how_much_was_written():
    with pytest.raises(aio.PartialWrite) as caught:
        await aio.write("/dev/full", b"x")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == "/dev/full"
    assert caught.value.written == 0
    with pytest.raises(OSError, match="No space") as refused:
        await aio.append("/dev/full", b"x")
    assert not isinstance(refused.value, aio.PartialWrite)  # nothing was added: nothing has changed


async def test_a_file_size_limit_says_how_much_was_written(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(aio.PartialWrite) as caught:
            await aio.write(tmp_path / "f", b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert caught.value.written == 4096 == (tmp_path / "f").stat().st_size


async def test_short_writes_are_carried_on(tmp_path, monkeypatch):
    true_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: true_write(fd, bytes(data[:7])))
    await aio.write(tmp_path / "f", b"0123456789" * 10)
    monkeypatch.undo()
    assert (tmp_path / "f").read_bytes() == b"0123456789" * 10


async def test_read_many_answers_in_order_with_errors_in_their_places(tmp_path):
    for i in range(300):
        (tmp_path / str(i)).write_bytes(str(i).encode())
    paths = [tmp_path / str(i) for i in range(300)]
    paths[7] = tmp_path / "none"
    paths[250] = tmp_path
    answers = await aio.read_many(paths, max_bytes=10)
    assert isinstance(answers[7], FileNotFoundError)
    assert isinstance(answers[250], IsADirectoryError)
    del answers[250], answers[7]
    assert answers == [str(i).encode() for i in range(300) if i not in (7, 250)]
    assert await aio.read_many([]) == []


async def test_endless_cached_reads_leave_the_loop_to_others(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(1000):
        await aio.read(tmp_path / "f")
        await aio.stat(tmp_path / "f")
        await aio.read_text(tmp_path / "f")
    task.cancel()
    assert turns >= 1000 * 3 // 100


@pytest.mark.parametrize("name", ["read", "read_text", "write", "write_text", "append", "read_many"])
async def test_a_cancel_at_any_await_leaves_nothing_open(tmp_path, monkeypatch, name):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    monkeypatch.setattr(_whole, "read_file_cached", lambda path: None)
    calls = {
        "read": lambda: aio.read(path),
        "read_text": lambda: aio.read_text(path),
        "write": lambda: aio.write(path, b"new"),
        "write_text": lambda: aio.write_text(path, "new"),
        "append": lambda: aio.append(path, b"new"),
        "read_many": lambda: aio.read_many([path] * 300),
    }
    before = open_descriptors()
    report = await cancel_everywhere(calls[name])
    assert report.points >= 1
    await settled(lambda: open_descriptors() == before)
    assert open_descriptors() == before
    assert await aio.read(path) is not None


async def test_a_read_of_a_fifo_never_blocks_the_loop_thread(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    reader = asyncio.create_task(aio.read(tmp_path / "fifo"))
    await asyncio.sleep(0)  # the loop is alive although nobody writes yet
    writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(b"late",))
    writer.start()
    assert await reader == b"late"
    writer.join()
