"""Opens, stats and small whole files out of the kernel's cache, or not at all."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from asyncstore.aio import _cached, _device, _syscalls
from asyncstore.aio._cached import open_cached, read_file_cached, stat_cached
from asyncstore.aio._nowait import INLINE_LIMIT
from tests.aio.disk import drop, in_memory, learned, need_nowait
from tests.aio.rest import settled


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small file on a device that has been learned, its name and its pages cached."""
    path = tmp_path / "small"
    path.write_bytes(b"content")
    need_nowait(path)
    if not _cached._probe():
        pytest.skip("no openat2 with RESOLVE_CACHED")
    return path


def eventually(call, path, *args, **kwargs):
    """Call until it answers, or for some seconds.

    A rename anywhere on the system disturbs a lookup in the cache, and so does a link that is so young that following
    it still has to note the time (relatime).
    """
    for _ in range(5000):
        answer = call(path, *args, **kwargs)
        if answer is not None:
            return answer
        os.stat(path)
        time.sleep(0.001)
    return None


def test_a_cached_file_is_opened_read_and_described(small):
    fd = eventually(open_cached, small, os.O_RDONLY)
    assert fd is not None
    assert os.pread(fd, 100, 0) == b"content"
    assert not os.get_inheritable(fd)
    assert os.get_blocking(fd), "O_NONBLOCK was for the open alone"
    os.close(fd)
    assert eventually(read_file_cached, small) == b"content"
    assert eventually(stat_cached, small) == os.stat(small)
    assert eventually(stat_cached, os.fsencode(small)) == os.stat(small)


def test_what_is_certainly_not_there_is_reported_at_once(small):
    missing = small.with_name("missing")
    for call in (stat_cached, read_file_cached, lambda path: open_cached(path, os.O_RDONLY)):
        assert not missing.exists(), "and the kernel has taken note of it"
        with pytest.raises(FileNotFoundError) as caught:
            eventually(call, missing)
        assert caught.value.filename == str(missing)


def test_a_name_with_a_nul_is_not_cut_short(small):
    """C would take the part before the NUL, which is another file."""
    for call in (stat_cached, read_file_cached, lambda path: open_cached(path, os.O_RDONLY)):
        with pytest.raises(ValueError):
            call(f"{small}\0.txt")


def test_opens_that_change_something_are_left_to_the_pool(small):
    for flags in (os.O_CREAT, os.O_TRUNC, os.O_CREAT | os.O_EXCL):
        assert open_cached(small, os.O_RDWR | flags) is None
    assert open_cached(small.parent, os.O_RDWR | os.O_TMPFILE) is None
    assert small.read_bytes() == b"content"


def test_links_are_followed_or_not_as_asked(small):
    link = small.with_name("link")
    link.symlink_to(small.name)
    # relatime: a lookup that has to note when a link was read is left to the pool, once. Here it is noted already.
    os.utime(link, (2e9, 1e9), follow_symlinks=False)
    assert eventually(stat_cached, link) == os.stat(small)
    assert eventually(stat_cached, link, follow=False) == os.lstat(link)
    assert eventually(read_file_cached, link) == b"content"
    assert open_cached(link, os.O_RDONLY | os.O_NOFOLLOW) is None


def test_names_are_looked_up_below_a_directory_descriptor(small):
    directory = os.open(small.parent, os.O_RDONLY)
    try:
        assert eventually(stat_cached, small.name, dir_fd=directory) == os.stat(small)
        fd = eventually(open_cached, small.name, os.O_RDONLY, dir_fd=directory)
        assert fd is not None
        os.close(fd)
    finally:
        os.close(directory)


def test_a_fifo_is_neither_opened_nor_its_writer_let_go(small):
    """Even an open with O_NONBLOCK would release a writer that waits for a reader, and break its pipe."""
    fifo = small.with_name("fifo")
    os.mkfifo(fifo)
    released = threading.Event()

    def write() -> None:
        fd = os.open(fifo, os.O_WRONLY)
        released.set()
        os.close(fd)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    for _ in range(100):
        assert open_cached(fifo, os.O_RDONLY) is None
        assert read_file_cached(fifo) is None
    assert not released.is_set()
    reader = os.open(fifo, os.O_RDONLY)
    writer.join(10)
    os.close(reader)
    assert released.is_set()


def test_a_name_given_to_a_fifo_between_the_two_opens_is_not_returned(small, monkeypatch):
    real = _cached._locate

    def swap(path, dir_fd, *, follow):
        located = real(path, dir_fd, follow=follow)
        small.unlink()
        os.mkfifo(small)
        return located

    monkeypatch.setattr(_cached, "_locate", swap)
    assert open_cached(small, os.O_RDONLY) is None


def test_devices_and_directories_are_left_to_the_pool(small):
    for path in ("/dev/null", "/dev/zero", small.parent):
        assert open_cached(path, os.O_RDONLY) is None


def test_the_kernel_is_told_not_to_wait_for_pages_that_are_not_cached(small, monkeypatch):
    content = os.urandom(200_000)
    small.write_bytes(content)
    drop(small)
    real, flags = os.preadv, []
    monkeypatch.setattr(
        os, "preadv", lambda fd, buffers, offset, flag: flags.append(flag) or real(fd, buffers, offset, flag)
    )
    # A disk that is quick enough delivers before the kernel looks a second time, which is as good.
    assert read_file_cached(small) in (None, content)
    assert flags == [os.RWF_NOWAIT]


@pytest.mark.parametrize("cached", [None, 0, 4096])
def test_a_file_whose_pages_are_not_all_cached_is_left_to_the_pool(small, monkeypatch, cached):
    small.write_bytes(bytes(8192))

    def preadv(_fd, _buffers, _offset, _flags):
        if cached is None:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return cached

    monkeypatch.setattr(os, "preadv", preadv)
    assert read_file_cached(small) is None


def test_large_files_are_left_to_the_pool(small):
    small.write_bytes(bytes(INLINE_LIMIT))
    assert eventually(read_file_cached, small) == bytes(INLINE_LIMIT)
    small.write_bytes(bytes(INLINE_LIMIT + 1))
    assert read_file_cached(small) is None


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 65536])
def test_a_whole_file_is_whole(small, size):
    content = os.urandom(size)
    small.write_bytes(content)
    assert eventually(read_file_cached, small) == content


def test_a_file_that_grows_between_its_size_and_its_read_is_left_to_the_pool(small, monkeypatch):
    real = _cached.open_regular

    def grow(path, flags, dir_fd=None):
        opened = real(path, flags, dir_fd)
        with small.open("ab") as file:
            file.write(b" and more")
        return opened

    monkeypatch.setattr(_cached, "open_regular", grow)
    assert read_file_cached(small) is None


def test_files_of_proc_are_left_to_the_pool_which_knows_their_true_size():
    learned(Path("/proc/self/status"))
    assert read_file_cached("/proc/self/status") is None


def test_files_in_memory_need_no_nowait():
    with in_memory() as directory:
        path = directory / "file"
        path.write_bytes(b"in memory")
        learned(path)
        if _cached._probe():
            assert eventually(read_file_cached, path) == b"in memory"


@pytest.fixture
def nothing_known(monkeypatch):
    monkeypatch.setattr(_device, "_devices", {})


async def test_an_unknown_device_is_learned_on_a_worker_and_then_served(small, nothing_known):
    assert stat_cached(small) is None
    await settled()
    assert eventually(stat_cached, small) == os.stat(small)


async def test_a_device_on_a_server_or_a_daemon_is_never_touched_on_the_loop(small, nothing_known, monkeypatch):
    monkeypatch.setattr(_device, "_LOCAL_TYPES", frozenset())
    for _ in range(2):
        assert stat_cached(small) is None
        assert read_file_cached(small) is None
        assert open_cached(small, os.O_RDONLY) is None
        await settled()


async def test_what_is_known_of_a_device_expires(small, nothing_known, monkeypatch):
    learned(small)
    now = _device.monotonic()
    monkeypatch.setattr(_device, "monotonic", lambda: now + _device.LIFETIME + 1)
    assert stat_cached(small) is None
    await settled()
    assert eventually(stat_cached, small) is not None


def test_without_openat2_everything_is_left_to_the_pool(small, monkeypatch):
    monkeypatch.setattr(_cached, "_works", None)
    monkeypatch.setattr(_syscalls, "_openat2", _syscalls._missing)
    assert stat_cached(small) is None
    assert read_file_cached(small) is None
    assert open_cached(small, os.O_RDONLY) is None


def test_no_descriptor_stays_open(small):
    fifo = small.with_name("fifo")
    os.mkfifo(fifo)
    before = set(os.listdir("/proc/self/fd"))
    for path in (small, fifo, small.parent, "/dev/null", "/proc/self/status"):
        stat_cached(path)
        read_file_cached(path)
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def trusted(small: Path) -> Path:
    """The small file after it was asked for, so that it is asked for directly the next time."""
    _cached._trusted.clear()
    _cached._trusted_links.clear()
    assert eventually(stat_cached, str(small)) is not None
    assert str(small) in _cached._trusted
    return small


def test_a_name_that_was_just_answered_for_is_asked_for_directly(trusted, monkeypatch):
    def located(*_arguments, **_options):
        raise AssertionError("looked up again")

    monkeypatch.setattr(_cached, "TRUSTED", 60.0)  # renewed with each answer
    _cached._trusted[str(trusted)].until += 60.0
    monkeypatch.setattr(_cached, "_locate", located)
    trusted.write_bytes(b"other content")
    assert stat_cached(str(trusted)) == os.stat(trusted)
    assert read_file_cached(str(trusted)) == b"other content"
    fd = open_cached(str(trusted), os.O_RDONLY)
    assert fd is not None
    assert os.get_blocking(fd)
    assert not os.get_inheritable(fd)
    os.close(fd)
    assert _cached._trusted[str(trusted)].until > time.monotonic()


def test_trust_in_a_name_ends_after_a_while(trusted, monkeypatch):
    calls = []
    real = _cached._locate
    monkeypatch.setattr(_cached, "_locate", lambda *args, **kwargs: calls.append(args) or real(*args, **kwargs))
    monkeypatch.setattr(_cached, "monotonic", lambda: time.monotonic() + _cached.TRUSTED)
    assert eventually(stat_cached, str(trusted)) is not None
    assert calls


def test_trust_in_a_name_ends_when_it_stands_for_something_else(trusted):
    for make in (os.mkfifo, os.mkdir):
        trust = _cached._trusted[str(trusted)]
        trust.until = time.monotonic() + 60
        trusted.unlink()
        make(trusted)
        assert open_cached(str(trusted), os.O_RDONLY) is None
        assert trust.until == 0.0
        assert read_file_cached(str(trusted)) is None
        (os.rmdir if make is os.mkdir else os.unlink)(trusted)
        trusted.write_bytes(b"content")
        assert eventually(read_file_cached, str(trusted)) == b"content"


def test_trust_in_a_name_ends_when_it_comes_to_lie_on_another_device(trusted):
    trust = _cached._trusted[str(trusted)]
    trust.until = time.monotonic() + 60
    trust.dev += 1
    assert stat_cached(str(trusted)) == os.stat(trusted)
    assert trust.until == 0.0
    trust.until = time.monotonic() + 60
    count = len(os.listdir("/proc/self/fd"))
    assert open_cached(str(trusted), os.O_RDONLY) is None
    assert len(os.listdir("/proc/self/fd")) == count


def test_trust_lasts_no_longer_than_what_is_known_of_the_device(trusted):
    trust = _cached._trusted[str(trusted)]
    trust.until = time.monotonic() + 60
    trust.device.expires = 0.0
    assert stat_cached(str(trusted)) == os.stat(trusted)
    assert trust.until == 0.0


def test_a_trusted_name_that_is_gone_is_reported_as_such(trusted):
    _cached._trusted[str(trusted)].until = time.monotonic() + 60
    trusted.unlink()
    for call in (stat_cached, read_file_cached, lambda path: open_cached(path, os.O_RDONLY)):
        with pytest.raises(FileNotFoundError) as caught:
            call(str(trusted))
        assert caught.value.filename == str(trusted)


def test_an_open_of_a_trusted_name_that_fails_otherwise_is_left_to_the_pool(trusted, monkeypatch):
    _cached._trusted[str(trusted)].until = time.monotonic() + 60

    def no_more(*_arguments):
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(_cached.os, "open", no_more)
    assert open_cached(str(trusted), os.O_RDONLY) is None


def test_a_link_and_what_it_leads_to_are_trusted_apart(trusted):
    link = trusted.with_name("link")
    link.symlink_to(trusted.name)
    os.utime(link, (2e9, 1e9), follow_symlinks=False)
    for _ in range(2):
        assert eventually(stat_cached, str(link)) == os.stat(link)
        assert eventually(stat_cached, str(link), follow=False) == os.lstat(link)


def test_no_more_than_a_bounded_number_of_names_is_kept(trusted, monkeypatch):
    monkeypatch.setattr(_cached, "MAX_TRUSTED", 10)
    for number in range(40):
        path = trusted.with_name(f"f{number}")
        path.write_bytes(b"")
        assert eventually(stat_cached, str(path)) is not None
        assert len(_cached._trusted) <= 10


def test_a_trusted_name_with_a_nul_is_not_cut_short(trusted):
    with pytest.raises(ValueError):
        stat_cached(f"{trusted}\0")
