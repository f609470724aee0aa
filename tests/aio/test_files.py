"""File objects: opening, positional I/O, lines, locks, full disks, and what is left when nobody closes."""

from __future__ import annotations

import asyncio
import errno
import gc
import io
import os
import socket
import subprocess
import sys

import pytest

from asyncstore import aio
from asyncstore.pool import default_pool
from asyncstore.testing import file_size_limit, full_disk
from tests.aio.faults import open_descriptors
from tests.aio.rest import settled

BAD_ARGUMENTS = [
    (("f", "q"), {}),
    (("f", "rw"), {}),
    (("f", ""), {}),
    (("f", "r+w"), {}),
    (("f", "rbt"), {}),
    (("f", "U"), {}),
    (("f", "rb"), {"encoding": "utf-8"}),
    (("f", "rb"), {"errors": "strict"}),
    (("f", "rb"), {"newline": ""}),
    (("f", "r", 0), {}),
    (("f",), {"newline": "x"}),
    (("f",), {"encoding": "no-such-codec"}),
    (("f",), {"closefd": False}),
    ((-1,), {}),
    ((3.5,), {}),
    (("a\0b",), {}),
    ((b"a\0b",), {}),
]


@pytest.mark.parametrize(("args", "options"), BAD_ARGUMENTS)
async def test_bad_arguments_raise_what_builtins_open_raises(tmp_path, monkeypatch, args, options):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").write_text("x")
    with pytest.raises(Exception) as theirs:  # builtins.open says which
        open(*args, **options).close()
    with pytest.raises(type(theirs.value)):
        await aio.open(*args, **options)


async def test_open_can_be_awaited_and_entered(tmp_path):
    path = tmp_path / "file"
    file = await aio.open(path, "w")
    await file.write("text")
    await file.close()
    await file.aclose()
    async with aio.open(path) as file:
        assert await file.read() == "text"
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        await file.read()


@pytest.mark.parametrize("mode", ["r", "rb", "w", "r+b"])
async def test_a_directory_is_refused(tmp_path, mode):
    before = open_descriptors()
    with pytest.raises(IsADirectoryError):
        await aio.open(tmp_path, mode)
    await settled(lambda: open_descriptors() == before)
    assert open_descriptors() == before


async def test_names_that_are_no_utf_8_and_paths_of_all_kinds(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff\xfe"
    async with aio.open(name, "wb") as file:
        await file.write(b"x")
    async with aio.open(os.fsdecode(name), "rb") as file:
        assert await file.read() == b"x"


async def test_files_of_proc_are_read_whole_though_they_have_no_size():
    async with aio.open("/proc/self/status") as file:
        assert "Threads:" in await file.read()
    async with aio.open("/proc/self/status", "rb") as file:
        assert b"Threads:" in b"".join([line async for line in file])


async def test_a_pipe_is_not_read_on_the_loop_thread(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    opening = asyncio.ensure_future(read_all(path))
    for _ in range(10):
        await asyncio.sleep(0)  # a read on the loop thread would hang here
    async with aio.open(path, "wb") as writer:
        await writer.write(b"through")
    assert await opening == b"through"


async def read_all(path):
    async with aio.open(path, "rb") as file:
        return await file.read()


async def test_a_descriptor_of_the_callers_stays_open_without_closefd(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    fd = os.open(path, os.O_RDONLY)
    try:
        os.lseek(fd, 4, os.SEEK_SET)
        async with aio.open(fd, "rb", closefd=False) as file:
            assert await file.read() == b"456789"
        os.fstat(fd)
    finally:
        os.close(fd)


async def test_an_opener_is_used_and_what_it_raises_comes_through(tmp_path):
    seen = []

    def opener(path, flags):
        seen.append(path)
        return os.open(tmp_path / "real", flags | os.O_CREAT)

    async with aio.open("name", "w", opener=opener) as file:
        await file.write("x")
    assert seen == ["name"]
    assert (tmp_path / "real").read_text() == "x"
    with pytest.raises(ZeroDivisionError):
        await aio.open("name", opener=lambda *_: 1 // 0)


def test_too_many_open_files_is_an_os_error():
    program = """
import asyncio, errno, resource
from asyncstore import aio
async def main():
    async with aio.open("/etc/passwd", "rb") as first:
        await first.pread(10, 0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
        files = []
        try:
            while True:
                files.append(await aio.open("/etc/passwd", "rb"))
        except OSError as error:
            print(error.errno == errno.EMFILE, len(files) > 3)
        for file in files:
            await file.close()
        async with aio.open("/etc/passwd") as again:
            print(bool(await again.readline()))
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("True True\nTrue\n", "")


def drop(held: list) -> None:
    held.clear()
    gc.collect()


@pytest.mark.parametrize("mode", ["r", "rb", "wb"])
async def test_a_file_dropped_unclosed_warns_and_closes_its_descriptor(tmp_path, mode):
    (tmp_path / "f").write_text("x")
    before = open_descriptors()
    file = await aio.open(tmp_path / "f", mode)
    held = [file]
    del file
    with pytest.warns(ResourceWarning, match="unclosed file"):
        drop(held)
    await settled(lambda: open_descriptors() == before)
    assert open_descriptors() == before


async def test_positional_calls_leave_the_position_alone(tmp_path):
    async with aio.open(tmp_path / "f", "w+b") as file:
        assert await file.pwrite(b"abcdef", 2) == 6
        assert await file.pread(3, 3) == b"bcd"
        one, two = bytearray(2), bytearray(3)
        assert await file.preadv([one, two], 2) == 5
        assert (bytes(one), bytes(two)) == (b"ab", b"cde")
        assert await file.pwritev([b"X", b"YZ"], 0) == 3
        assert await file.tell() == 0
        assert await file.read() == b"XYZbcdef"
        with pytest.raises(ValueError, match="negative"):
            await file.pread(-1, 0)


async def test_buffered_writes_are_seen_by_positional_reads_and_by_fsync(tmp_path):
    path = tmp_path / "f"
    async with aio.open(path, "w+b") as file:
        await file.write(b"buffered")
        assert path.read_bytes() == b""
        assert await file.pread(8, 0) == b"buffered"
        await file.write(b"!")
        await file.flush()
        await file.fsync()
        await file.fdatasync()
        assert path.read_bytes() == b"buffered!"


async def test_a_sparse_file_beyond_four_gigabytes(tmp_path):
    far = 5 << 30
    async with aio.open(tmp_path / "f", "w+b") as file:
        await file.pwrite(b"far", far)
        assert await file.seek(0, os.SEEK_END) == far + 3
        assert await file.pread(10, far) == b"far"
        await file.seek(far)
        assert await file.read() == b"far"
        assert await file.truncate(far + 1) == far + 1


async def test_a_file_cut_under_its_reader_ends_early(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x" * 300_000)
    async with aio.open(path, "rb") as file:
        assert len(await file.read(1000)) == 1000
        os.truncate(path, 100_000)
        assert len(await file.pread(4096, 200_000)) == 0
        assert len(await file.read()) <= 299_000
        assert await file.read() == b""


async def test_tasks_that_share_a_file_do_not_mix_their_records(tmp_path):
    path = tmp_path / "log"
    async with aio.open(path, "w") as file:

        async def write(n: int) -> None:
            for k in range(200):
                await file.write(f"{n}:{k}:{'x' * 300}\n")

        await asyncio.gather(*(write(n) for n in range(8)))
    lines = path.read_text().splitlines()
    assert len(lines) == 1600
    for n in range(8):
        assert [line for line in lines if line.startswith(f"{n}:")] == [f"{n}:{k}:{'x' * 300}" for k in range(200)]


async def test_tasks_that_share_an_iterator_get_each_line_once(tmp_path):
    path = tmp_path / "lines"
    path.write_text("".join(f"{n}\n" for n in range(20_000)))
    found: list[int] = []
    async with aio.open(path) as file:

        async def take() -> None:
            async for line in file:
                found.append(int(line))
                if not len(found) % 100:
                    await asyncio.sleep(0)

        await asyncio.gather(take(), take(), take())
    assert sorted(found) == list(range(20_000))


async def test_a_full_disk_is_reported_and_what_was_buffered_stays_buffered(tmp_path):
    with full_disk(64 * 1024) as folder:
        file = await aio.open(folder / "f", "wb")
        with pytest.raises(OSError, match=r"No space|too large"):
            await fill(file)
        with pytest.raises(OSError, match=r"No space|too large"):
            await file.close()
        assert file.closed


async def fill(file) -> None:
    for _ in range(100):
        await file.write(b"x" * 8192)
    await file.flush()


async def test_a_lock_excludes_other_opens_and_other_tasks(tmp_path):
    path = tmp_path / "f"
    async with aio.open(path, "w") as one, aio.open(path) as two:
        async with one.lock():
            with pytest.raises(TimeoutError):
                await two.lock(exclusive=False, timeout=0)
            waiting = asyncio.ensure_future(enter(two))
            await asyncio.sleep(0)
            assert not waiting.done()
        async with asyncio.timeout(20):
            await waiting
        async with one.lock(exclusive=False), two.lock(exclusive=False, timeout=0):
            pass


async def enter(file) -> None:
    async with file.lock():
        pass


async def test_sendfile_and_copy_range_move_data_without_python(tmp_path):
    content = os.urandom(200_000)
    (tmp_path / "src").write_bytes(content)
    async with aio.open(tmp_path / "src", "rb") as src, aio.open(tmp_path / "dst", "w+b") as dst:
        assert await src.copy_range(dst, 150_000, 10_000, 0) == 150_000
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            right.setblocking(False)
            sending = asyncio.ensure_future(src.sendfile(left, 5))
            received = b""
            while len(received) < len(content) - 5:
                received += await asyncio.get_running_loop().sock_recv(right, 65536)
            assert await sending == len(content) - 5
    assert received == content[5:]
    assert (tmp_path / "dst").read_bytes() == content[10_000:160_000]


@pytest.mark.skipif(sys.platform != "linux", reason="fallocate(2) is Linux's")
async def test_space_is_reserved_and_metadata_read_through_the_descriptor(tmp_path):
    async with aio.open(tmp_path / "f", "wb") as file:
        await file.fallocate(0, 10_000)
        assert (await file.stat()).st_size == 10_000
        assert isinstance(file.fileno(), int)


async def test_a_hole_is_punched_and_read_as_zeros(tmp_path):
    async with aio.open(tmp_path / "f", "w+b") as file:
        await file.write(b"x" * 8192)
        await file.seek(0)
        assert await file.read(1) == b"x"
        try:
            await file.fallocate(0, 4096, aio.FALLOC_FL_PUNCH_HOLE | aio.FALLOC_FL_KEEP_SIZE)
        except OSError as error:
            assert error.errno == errno.EOPNOTSUPP  # noqa: PT017  # which file system it is, is the machine's business
            return
        assert await file.read() == bytes(4095) + b"x" * 4096


async def test_wrong_directions_are_refused(tmp_path):
    async with aio.open(tmp_path / "f", "w") as file:
        with pytest.raises(io.UnsupportedOperation):
            await file.read()
        with pytest.raises(TypeError):
            await file.write(b"bytes")  # type: ignore[arg-type]  # that is the point
    async with aio.open(tmp_path / "f", "rb") as file:
        with pytest.raises(io.UnsupportedOperation):
            await file.write(b"x")


async def test_writing_out_what_is_buffered_and_closing_is_one_job(tmp_path):
    path = tmp_path / "file"
    file = await aio.open(path, "wb")
    await file.write(b"first,")
    await file.flush()
    await file.write(b"second")
    await settled()
    before = default_pool().stats().done
    await file.close()
    await settled()
    assert default_pool().stats().done - before == 1
    assert path.read_bytes() == b"first,second"


@pytest.mark.parametrize("mode", ["w", "a"])
async def test_a_close_that_is_cancelled_writes_what_is_buffered_all_the_same(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    file = await aio.open(path, mode)
    await file.write("new")
    closing = asyncio.ensure_future(file.close())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await settled(lambda: path.read_bytes().endswith(b"new"))
    assert path.read_bytes() == (b"new" if mode == "w" else b"oldnew")


@pytest.mark.parametrize("mode", ["wb", "ab"])
async def test_a_last_write_that_fails_is_told_by_close_which_closes_all_the_same(tmp_path, mode):
    with file_size_limit(10):
        file = await aio.open(tmp_path / "file", mode)
        number = file.fileno()
        await file.write(b"x" * 20)
        with pytest.raises(OSError) as caught:
            await file.close()
    assert caught.value.errno == errno.EFBIG
    assert file.closed
    with pytest.raises(OSError):
        os.fstat(number)
