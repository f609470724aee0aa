"""Reads and writes that are done on the spot or not at all."""

from __future__ import annotations

import errno
import os
import pty
import socket
import threading
from pathlib import Path

import pytest

from asyncstore.aio import _nowait, _resident
from asyncstore.aio._descriptor import Descriptor
from asyncstore.aio._device import Device
from asyncstore.aio._nowait import INLINE_LIMIT, MISSES, RETRY, Mode
from asyncstore.aio._resident import Resident
from asyncstore.aio.errors import FileClosed
from tests.aio.disk import PAGE, drop, in_memory, need_nowait, pages

OVERLAYFS = 0x794C7630


@pytest.fixture
def hot(tmp_path: Path):
    """A descriptor of 16 cached pages, and their content."""
    path = tmp_path / "hot"
    content = pages(path, 16)
    need_nowait(path)
    descriptor = Descriptor.adopt(os.open(path, os.O_RDWR | os.O_CLOEXEC), name=path)
    yield descriptor, content
    descriptor.abandon()


class Answers:
    """Stands in for preadv: counts the calls and gives each the same answer, a count or an errno."""

    def __init__(self, answer: int, *, error: bool) -> None:
        self.answer = answer
        self.error = error
        self.calls = 0

    def __call__(self, fd: int, buffers: object, offset: int, flags: int = 0) -> int:
        self.calls += 1
        if self.error:
            raise OSError(self.answer, os.strerror(self.answer))
        return self.answer


def test_cached_bytes_come_at_once(hot):
    descriptor, content = hot
    assert descriptor.read_cached(PAGE, 3 * PAGE) == content[3 * PAGE : 4 * PAGE]
    assert descriptor.read_cached(10, 4090) == content[4090:4100]
    assert descriptor.read_cached(0, 0) == b""


def test_the_end_of_the_file_is_told_by_a_short_count(hot):
    descriptor, content = hot
    assert descriptor.read_cached(PAGE, len(content) - 5) == content[-5:]
    assert descriptor.read_cached(PAGE, len(content)) == b""
    assert descriptor.read_cached(PAGE, len(content) + 10**9) == b""


@pytest.mark.parametrize("count", [0, 100])
def test_a_short_count_before_the_end_is_a_miss_not_the_end(hot, monkeypatch, count):
    """A partly cached range, and the zero of Linux 5.9 and 5.10 that should have been EAGAIN."""
    descriptor, _ = hot
    monkeypatch.setattr(_nowait, "_preadv", Answers(count, error=False))
    assert descriptor.read_cached(PAGE, 0) is None


def test_a_read_is_a_miss_exactly_when_the_kernel_would_wait(tmp_path, monkeypatch):
    """What the kernel lacks is up to it: a quick disk can deliver within the call. Its answer is what counts."""
    path = tmp_path / "cold"
    content = pages(path, 64)
    need_nowait(path)
    preadv, answers = _nowait._preadv, []

    def watched(fd: int, buffers: object, offset: int, flags: int = 0) -> int:
        try:
            answers.append(preadv(fd, buffers, offset, flags))
        except OSError as exc:
            answers.append(exc.errno)
            raise
        return answers[-1]

    monkeypatch.setattr(_nowait, "_preadv", watched)
    descriptor = Descriptor.adopt(os.open(path, os.O_RDONLY), name=path)
    try:
        drop(path)
        for start in range(0, len(content), 8 * PAGE):
            found = descriptor.read_cached(PAGE, start)
            answer = answers.pop()
            assert not answers
            assert found == (content[start : start + PAGE] if answer == PAGE else None), answer
    finally:
        descriptor.abandon()


def test_after_eight_misses_only_every_64th_read_tries(hot, monkeypatch):
    descriptor, content = hot
    misses = Answers(errno.EAGAIN, error=True)
    with monkeypatch.context() as patch:
        patch.setattr(_nowait, "_preadv", misses)
        for _ in range(MISSES + 3 * RETRY):
            assert descriptor.read_cached(PAGE, 0) is None
        assert misses.calls == MISSES + 3
    for _ in range(RETRY):
        descriptor.read_cached(PAGE, 0)
    assert descriptor.read_cached(PAGE, 0) == content[:PAGE], "a hit ends the pause"


def test_a_hit_starts_the_count_of_misses_again(hot, monkeypatch):
    descriptor, _ = hot
    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(_nowait, "_preadv", Answers(errno.EAGAIN, error=True))
            for _ in range(MISSES - 1):
                assert descriptor.read_cached(PAGE, 0) is None
        assert descriptor.read_cached(PAGE, 0) is not None


def test_what_a_file_system_refuses_is_remembered_for_its_device(hot, monkeypatch):
    descriptor, _ = hot
    device = Device(0)  # no type that is known: nothing but RWF_NOWAIT is tried on it
    refusal = Answers(errno.EOPNOTSUPP, error=True)
    monkeypatch.setattr(_nowait, "_preadv", refusal)
    status = os.fstat(descriptor.fd)
    first, second = (Descriptor(os.dup(descriptor.fd), status, os.O_RDONLY, device, name) for name in "ab")
    assert first.read_cached(PAGE, 0) is None
    assert first.read_cached(PAGE, 0) is None
    third = Descriptor(os.dup(descriptor.fd), status, os.O_RDONLY, device, "c")
    assert third.read_cached(PAGE, 0) is None
    assert refusal.calls == 1
    for each in (first, second, third):
        each.abandon()


def test_an_error_of_the_disk_is_raised(hot, monkeypatch):
    descriptor, _ = hot
    monkeypatch.setattr(_nowait, "_preadv", Answers(errno.EIO, error=True))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        descriptor.read_cached(PAGE, 0)


def test_reads_beyond_256_kib_are_left_to_threads(tmp_path):
    path = tmp_path / "large"
    content = pages(path, INLINE_LIMIT // PAGE + 1)
    need_nowait(path)
    descriptor = Descriptor.adopt(os.open(path, os.O_RDONLY), name=path)
    assert descriptor.read_cached(INLINE_LIMIT, 0) == content[:INLINE_LIMIT]
    assert descriptor.read_cached(INLINE_LIMIT + 1, 0) is None
    descriptor.abandon()


def test_bad_numbers_are_refused(hot):
    descriptor, _ = hot
    with pytest.raises(ValueError):
        descriptor.read_cached(-1, 0)
    for offset in (-1, -(2**40)):  # preadv2 takes -1 for the current position
        with pytest.raises(ValueError):
            descriptor.read_cached(10, offset)
        with pytest.raises(ValueError):
            descriptor.readv_cached([], 0, offset)
        with pytest.raises(ValueError):
            descriptor.write_cached(memoryview(b"x"), offset)


@pytest.mark.parametrize("mode", [Mode.MEMORY, Mode.RESIDENT, Mode.PAUSED, Mode.NEVER])
def test_a_negative_count_is_refused_however_the_file_is_read(hot, mode):
    """pread(2) would answer EINVAL, which says less."""
    descriptor, _ = hot
    descriptor._mode = mode
    with pytest.raises(ValueError, match="negative"):
        descriptor.read_cached(-1, 0)


def test_a_closed_file_says_so(hot):
    descriptor, _ = hot
    descriptor.abandon()
    with pytest.raises(FileClosed):
        descriptor.read_cached(PAGE, 0)


def test_a_file_truncated_under_the_reader_ends_where_it_ends_now(hot):
    descriptor, content = hot
    assert descriptor.read_cached(PAGE, PAGE) is not None
    os.ftruncate(descriptor.fd, 100)
    assert descriptor.read_cached(PAGE, 0) == content[:100]
    assert descriptor.read_cached(PAGE, PAGE) == b""


def test_a_file_grown_after_it_was_opened_is_read_to_its_new_end(hot):
    descriptor, content = hot
    assert descriptor.read_cached(PAGE, len(content)) == b""
    os.pwrite(descriptor.fd, b"more", len(content))
    assert descriptor.read_cached(PAGE, len(content)) == b"more"


def open_fifo(path: Path) -> int:
    os.mkfifo(path)
    return os.open(path, os.O_RDWR)


def open_terminal(_path: Path) -> int:
    master, slave = pty.openpty()
    os.close(master)
    return slave


def open_socket(_path: Path) -> int:
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours.detach()


@pytest.mark.parametrize(
    "opened",
    [open_fifo, open_terminal, open_socket, lambda _: os.open("/dev/zero", os.O_RDWR), lambda p: os.open(p.parent, 0)],
    ids=["fifo", "terminal", "socket", "device", "directory"],
)
def test_only_regular_files_are_ever_touched_inline(tmp_path, monkeypatch, opened):
    def touched(*_: object) -> int:
        raise AssertionError("touched on the loop thread")

    monkeypatch.setattr(_nowait, "_preadv", touched)
    descriptor = Descriptor.adopt(opened(tmp_path / "special"))
    for name in ("pread", "pwrite", "pwritev", "preadv"):
        monkeypatch.setattr(os, name, touched)
    assert not descriptor.regular
    assert descriptor.read_cached(10, 0) is None
    assert descriptor.readv_cached([memoryview(bytearray(10))], 10, 0) is None
    assert descriptor.write_cached(memoryview(b"x"), 0) == 0
    descriptor.abandon()


def test_a_file_that_bypasses_the_cache_is_not_read_inline(tmp_path):
    path = tmp_path / "direct"
    pages(path, 2)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError as exc:
        pytest.skip(f"no O_DIRECT here: {exc}")
    descriptor = Descriptor.adopt(fd)
    assert descriptor.read_cached(PAGE, 0) is None
    descriptor.abandon()


def test_files_in_memory_are_read_and_written_inline():
    with in_memory() as directory:
        path = directory / "file"
        content = pages(path, 4)
        descriptor = Descriptor.adopt(os.open(path, os.O_RDWR), name=path)
        assert descriptor.read_cached(PAGE, PAGE) == content[PAGE : 2 * PAGE]
        assert descriptor.read_cached(PAGE, len(content) - 3) == content[-3:]
        assert descriptor.write_cached(memoryview(b"new"), 5) == 3
        assert path.read_bytes()[5:8] == b"new"
        buffer = bytearray(8)
        assert descriptor.readv_cached([memoryview(buffer)], 8, 4) == 8
        assert buffer[1:4] == b"new"
        descriptor.abandon()


def test_writes_that_must_reach_the_disk_are_not_tried_inline():
    with in_memory() as directory:
        descriptor = Descriptor.adopt(os.open(directory / "file", os.O_RDWR | os.O_CREAT | os.O_DSYNC))
        assert descriptor.write_cached(memoryview(b"x"), 0) == 0
        descriptor.abandon()


def test_a_refused_inline_write_is_remembered_for_its_device(hot, monkeypatch):
    descriptor, _ = hot
    device = Device(0)
    calls = 0

    def refuse(*_: object) -> int:
        nonlocal calls
        calls += 1
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(os, "pwritev", refuse)
    other = Descriptor(os.dup(descriptor.fd), os.fstat(descriptor.fd), os.O_RDWR, device, "other")
    assert [other.write_cached(memoryview(b"x"), 0) for _ in range(3)] == [0, 0, 0]
    assert calls == 1
    other.abandon()


def test_threads_with_loops_of_their_own_do_not_share_scratch_buffers(hot):
    descriptor, content = hot
    wrong: list[int] = []

    def read(start: int) -> None:
        for step in range(3000):
            at = (start + 2 * step) % 16 * PAGE
            if descriptor.read_cached(PAGE, at) != content[at : at + PAGE]:
                wrong.append(step)

    threads = [threading.Thread(target=read, args=(index % 2,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_scratch_buffers_are_bounded(hot):
    descriptor, _ = hot
    for n in range(1, 3000):
        descriptor.read_cached(n, 0)
    for _ in range(6):
        for kib in range(200, 256):
            descriptor.read_cached(kib * 1024, 0)
    scratch = _nowait._scratch
    assert sum(map(int, scratch.slots)) == scratch.held <= _nowait.SCRATCH_BYTES


# Where RWF_NOWAIT is refused: mincore. The descriptor is told that the file system of tmp_path is an overlayfs.


@pytest.fixture
def resident(hot):
    descriptor, content = hot
    device = Device(OVERLAYFS)
    device.nowait_reads = False
    other = Descriptor(os.dup(descriptor.fd), os.fstat(descriptor.fd), os.O_RDWR, device, "overlay")
    assert other._mode is Mode.RESIDENT
    yield other, content
    other.abandon()


def test_mincore_lets_the_second_read_through(resident):
    descriptor, content = resident
    assert descriptor.read_cached(PAGE, 0) is None, "the first read does not pay for a mapping"
    assert descriptor.read_cached(PAGE, 2 * PAGE) == content[2 * PAGE : 3 * PAGE]
    assert descriptor.read_cached(2 * PAGE, 100) == content[100 : 100 + 2 * PAGE]
    assert descriptor.read_cached(PAGE, len(content) - 7) == content[-7:]
    assert descriptor.read_cached(PAGE, len(content) + 7) == b""


def test_mincore_holds_back_what_is_not_in_memory(resident, tmp_path, monkeypatch):
    descriptor, _ = resident
    descriptor.read_cached(PAGE, 0)
    drop(tmp_path / "hot")
    monkeypatch.setattr(os, "pread", lambda *_: pytest.fail("would have waited for the disk"))
    assert descriptor.read_cached(PAGE, 8 * PAGE) is None


def test_mincore_is_asked_no_more_after_eight_misses_until_the_64th_read(resident, tmp_path, monkeypatch):
    descriptor, content = resident
    descriptor.read_cached(PAGE, 0)
    drop(tmp_path / "hot")
    asked = []
    holds = Resident.holds
    monkeypatch.setattr(Resident, "holds", lambda *arguments: asked.append(1) or holds(*arguments))
    for _ in range(_nowait.MISSES + _nowait.RETRY):
        assert descriptor.read_cached(PAGE, 8 * PAGE) is None
    assert len(asked) == _nowait.MISSES, "seven and the one that had its mapping still to come, then the retry"
    os.pread(descriptor.fd, PAGE, 8 * PAGE)
    for _ in range(_nowait.RETRY):
        descriptor.read_cached(PAGE, 8 * PAGE)
    assert descriptor.read_cached(PAGE, 8 * PAGE) == content[8 * PAGE : 9 * PAGE]


def test_mincore_follows_a_file_that_grows_and_shrinks(resident):
    descriptor, content = resident
    descriptor.read_cached(PAGE, 0)
    assert descriptor.read_cached(PAGE, 0) == content[:PAGE]
    os.pwrite(descriptor.fd, b"z" * 2 * PAGE, len(content))
    assert descriptor.read_cached(PAGE, len(content) + PAGE) == b"z" * PAGE
    os.ftruncate(descriptor.fd, 10)
    assert descriptor.read_cached(PAGE, 0) == content[:10]
    assert descriptor.read_cached(PAGE, 4 * PAGE) in (b"", None)


def test_mincore_is_not_believed_about_files_of_others(resident, monkeypatch):
    descriptor, _ = resident
    monkeypatch.setattr(_resident, "_tells_the_truth", lambda fd: False)
    assert [descriptor.read_cached(PAGE, 0) for _ in range(3)] == [None, None, None]


def test_the_mapping_for_mincore_goes_with_the_descriptor(resident):
    descriptor, _ = resident
    for _ in range(2):
        descriptor.read_cached(PAGE, 0)
    mapping = f"{descriptor._resident._address:x}-"
    assert mapping in Path("/proc/self/maps").read_text()
    descriptor.abandon()
    assert descriptor._resident._address == 0
    maps = Path("/proc/self/maps").read_text().splitlines()
    assert not any(line.startswith(mapping) and line.endswith("hot") for line in maps)
