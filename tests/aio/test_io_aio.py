"""What IO::AIO has and `os` has not: statx, extents, mappings, sendfile."""

from __future__ import annotations

import errno
import mmap
import os
import time

import pytest

from asyncstore import aio
from asyncstore.aio import _extents, _statx


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content" * 10_000)
    return path


@pytest.fixture
def mapping(file):
    with open(file, "r+b") as opened, mmap.mmap(opened.fileno(), 0) as memory:
        yield memory


async def test_statx_tells_what_stat_tells_and_when_the_file_was_born(file, tmp_path):
    theirs = os.stat(file)
    ours = await aio.statx(file)
    assert (ours.mode, ours.ino, ours.dev, ours.nlink) == theirs[:4]
    assert (ours.uid, ours.gid, ours.size, ours.blocks) == (*theirs[4:7], theirs.st_blocks)
    assert (ours.mtime_ns, ours.ctime_ns) == (theirs.st_mtime_ns, theirs.st_ctime_ns)
    assert ours.btime_ns is None or abs(ours.btime_ns - time.time_ns()) < 3600 * 10**9
    (tmp_path / "link").symlink_to("file")
    assert (await aio.statx(tmp_path / "link")).ino == ours.ino
    assert (await aio.statx(tmp_path / "link", follow_symlinks=False)).ino == os.lstat(tmp_path / "link").st_ino
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert (await aio.statx(b"file", dir_fd=fd)).ino == ours.ino
    finally:
        os.close(fd)
    assert (await aio.statx("/dev/null")).rdev == os.stat("/dev/null").st_rdev
    with pytest.raises(FileNotFoundError) as caught:
        await aio.statx(tmp_path / "none")
    assert caught.value.filename == str(tmp_path / "none")


async def test_statx_says_so_where_the_system_has_none(file, monkeypatch):
    monkeypatch.setattr(_statx, "_call", lambda: None)
    with pytest.raises(OSError, match="no statx") as caught:
        await aio.statx(file)
    assert caught.value.errno == errno.ENOSYS


async def test_extents_cover_the_data_and_leave_the_holes_out(tmp_path):
    block = 1 << 20
    with open(tmp_path / "sparse", "wb") as file:
        for number in (1, 3):
            os.pwrite(file.fileno(), b"x" * block, number * block)
        file.truncate(6 * block)
    try:
        found = await aio.extents(tmp_path / "sparse", sync=True)
    except OSError as exc:
        pytest.skip(f"this file system does not tell: {exc}")
    covered = {offset // block for each in found for offset in range(each.logical, each.logical + each.length, 4096)}
    assert covered == {1, 3}
    assert found[-1].flags & _extents.LAST
    assert found == sorted(found, key=lambda each: each.logical)


async def test_extents_are_asked_for_until_the_last(tmp_path, monkeypatch):
    with open(tmp_path / "holes", "wb") as file:
        for number in range(0, 40, 2):
            os.pwrite(file.fileno(), b"x" * 65536, number * 65536)
    try:
        whole = await aio.extents(tmp_path / "holes", sync=True)
    except OSError as exc:
        pytest.skip(f"this file system does not tell: {exc}")
    monkeypatch.setattr(_extents, "_AT_ONCE", 3)
    assert await aio.extents(tmp_path / "holes") == whole
    assert len(whole) > 3


async def test_extents_of_what_has_none_raise_with_the_name(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError) as caught:
        await aio.extents(tmp_path / "fifo")
    assert caught.value.filename == str(tmp_path / "fifo")
    with pytest.raises(FileNotFoundError):
        await aio.extents(tmp_path / "none")


async def test_a_mapping_is_written_out(file, mapping):
    mapping[:3] = b"CON"
    await aio.msync(mapping)
    await aio.msync(mapping, 5000, 10, wait=False, invalidate=True)
    assert file.read_bytes().startswith(b"CONtent")


async def test_the_pages_of_a_mapping_are_brought_in_and_nailed_down(mapping):
    try:
        await aio.mtouch(mapping)
        await aio.mtouch(mapping, 4096, 100, modify=True)
    except OSError as exc:
        if exc.errno != errno.EINVAL:  # before Linux 5.14
            raise
    await aio.mlock(mapping, 0, 4096)
    await aio.munlock(mapping, 0, 4096)
    assert mapping[:7] == b"content"


async def test_a_read_only_mapping_is_taken_too(file):
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        await aio.mlock(memory)
        await aio.munlock(memory)


@pytest.mark.parametrize("bad", [(-1, 10), (0, 10**9), (70_001, None)])
async def test_a_range_outside_of_the_mapping_is_refused(mapping, bad):
    for call in (aio.msync, aio.mtouch, aio.mlock, aio.munlock):
        with pytest.raises(ValueError, match="mapping of 70000"):
            await call(mapping, *bad)


async def test_what_is_no_open_mapping_is_refused(mapping):
    with pytest.raises(TypeError, match="mmap"):
        await aio.msync(bytearray(5))
    mapping.close()
    with pytest.raises(ValueError, match="closed"):
        await aio.msync(mapping)


async def test_sendfile_sends_from_an_offset_and_from_where_the_file_stands(file, tmp_path):
    with open(file, "rb") as source, open(tmp_path / "out", "wb") as target:
        assert await aio.sendfile(target.fileno(), source.fileno(), 7, 7) == 7
        assert await aio.sendfile(target.fileno(), source.fileno(), None, 3) == 3
        assert os.lseek(source.fileno(), 0, os.SEEK_CUR) == 3
    assert (tmp_path / "out").read_bytes() == b"contentcon"
    with pytest.raises(ValueError, match="count"):
        await aio.sendfile(1, 0, 0, -1)
    with pytest.raises(TypeError, match="count"):
        await aio.sendfile(1, 0, 0, None)
    with pytest.raises(ValueError, match="out_fd"):
        await aio.sendfile(-1, 0, 0, 1)
