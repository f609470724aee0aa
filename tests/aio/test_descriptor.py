"""An open file: every operation right, every buffer and number safe, whatever is cancelled, closed or refused."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import pickle
import resource
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from asyncstore.aio import _blocking, _lifetime, _sync
from asyncstore.aio._descriptor import Descriptor
from asyncstore.aio._nowait import Mode
from asyncstore.aio._ring import Ring
from asyncstore.aio.errors import FileClosed, PartialWrite
from asyncstore.errors import Closed, Error
from asyncstore.pool import default_pool
from asyncstore.testing import cancel_everywhere
from tests.aio.disk import PAGE, in_memory, pages
from tests.aio.rest import settled

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    pages(path, 64)
    return path


@pytest.fixture(params=["inline", "ring", "thread"])
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


async def opened(path: Path, flags: int = os.O_RDWR, engine: str = "inline") -> Descriptor:
    """A descriptor whose reads and writes are served by `engine`, or by the next one where that does not work."""
    descriptor = await Descriptor.open(path, flags)
    if engine != "inline":
        descriptor._mode = Mode.NEVER
    if engine == "thread":
        descriptor._ringable = False
    return descriptor


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Gate:
    """A call for worker threads that begins, says so, and ends when it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self, *_: object) -> str:
        self.begun.set()
        assert self.go.wait(30)
        return "ended"

    async def has_begun(self) -> None:
        while not self.begun.is_set():
            await asyncio.sleep(0.001)


async def test_reads_are_exact(path, engine):
    content = path.read_bytes()
    descriptor = await opened(path, os.O_RDONLY, engine)
    for n, offset in (
        (PAGE, 0),
        (1, 77),
        (3 * PAGE, 100),
        (PAGE, len(content) - 9),
        (10, len(content)),
        (0, 5),
        (1, 10**12),
    ):
        assert await descriptor.pread(n, offset) == content[offset : offset + n]
    assert await descriptor.pread(10 * len(content), 0) == content
    await descriptor.close()


async def test_reads_into_buffers_fill_one_after_the_other(path, engine):
    content = path.read_bytes()
    descriptor = await opened(path, os.O_RDONLY, engine)
    buffers = [bytearray(10), bytearray(0), memoryview(bytearray(5000)), bytearray(3)]
    assert await descriptor.preadv(buffers, 100) == 5013
    assert b"".join(map(bytes, buffers)) == content[100:5113]
    tail = bytearray(100)
    assert await descriptor.preadv([tail], len(content) - 30) == 30
    assert tail[:30] == content[-30:]
    large = bytearray(len(content) + 10)
    assert await descriptor.preadv([large], 0) == len(content)
    with pytest.raises(TypeError):
        await descriptor.preadv([b"read-only"], 0)
    many = [bytearray(1) for _ in range(3000)]
    assert await descriptor.preadv(many, 0) == 3000
    assert b"".join(many) == content[:3000]
    await descriptor.close()


async def test_writes_are_whole(path, engine):
    descriptor = await opened(path, engine=engine)
    assert await descriptor.pwrite(b"bytes", 10) == 5
    assert await descriptor.pwrite(bytearray(b"array"), 20) == 5
    assert await descriptor.pwrite(memoryview(b"0view0")[1:5], 30) == 4
    assert await descriptor.pwrite(b"", 40) == 0
    assert await descriptor.pwritev([b"one", b"", bytearray(b"two")], 50) == 6
    assert path.read_bytes()[10:56:1] == (
        b"bytes" + pages_from(path, 15, 20) + b"array" + pages_from(path, 25, 30) + b"view" + pages_from(path, 34, 50)
        + b"onetwo"
    )  # fmt: skip
    large = os.urandom(500_000)
    assert await descriptor.pwrite(large, 7) == len(large)
    assert await descriptor.pread(len(large), 7) == large
    pieces = [bytes([i % 256]) * 101 for i in range(3000)]
    assert await descriptor.pwritev(pieces, 3) == 303_000
    assert path.read_bytes()[3:303_003] == b"".join(pieces)
    with pytest.raises(TypeError):
        await descriptor.pwrite("text", 0)
    await descriptor.close()


def pages_from(path: Path, start: int, stop: int) -> bytes:
    return path.read_bytes()[start:stop]


async def test_bad_numbers_are_refused_before_anything_is_handed_over(path, engine):
    descriptor = await opened(path, engine=engine)
    before = path.read_bytes()
    for call in (
        lambda: descriptor.pread(-1, 0), lambda: descriptor.pread(1, -1), lambda: descriptor.preadv([bytearray(1)], -1),
        lambda: descriptor.pwrite(b"x", -1), lambda: descriptor.pwritev([b"x"], -1), lambda: descriptor.pwrite(b"", -1),
        lambda: descriptor.pread(1 << 20, -1), lambda: descriptor.pwritev([bytes(200_000)], -1),
    ):  # fmt: skip
        with pytest.raises((ValueError, OSError)):
            await call()
    assert path.read_bytes() == before
    await descriptor.close()


async def test_files_of_proc_are_read_although_their_size_is_0():
    descriptor = await Descriptor.open("/proc/self/status", os.O_RDONLY)
    assert os.fstat(descriptor.fd).st_size == 0
    data = await descriptor.pread(1 << 20, 0)
    assert data.startswith(b"Name:")
    assert await descriptor.pread(5, 0) == b"Name:"
    await descriptor.close()


async def test_a_file_truncated_or_grown_under_its_reader_is_read_as_it_is(path, engine):
    descriptor = await opened(path, os.O_RDONLY, engine)
    assert len(await descriptor.pread(PAGE, PAGE)) == PAGE
    os.truncate(path, PAGE + 3)
    assert len(await descriptor.pread(PAGE, PAGE)) == 3
    assert await descriptor.pread(PAGE, 2 * PAGE) == b""
    with path.open("ab") as file:
        file.write(b"grown")
    assert (await descriptor.pread(PAGE, PAGE))[3:] == b"grown"
    await descriptor.close()


async def test_a_sparse_file_beyond_4_gib_is_reached(tmp_path, engine):
    path = tmp_path / "sparse"
    path.touch()
    descriptor = await opened(path, engine=engine)
    far = 5 << 30
    assert await descriptor.pwrite(b"far", far) == 3
    assert await descriptor.pread(10, far) == b"far"
    assert await descriptor.pread(4, far - 4) == bytes(4)
    await descriptor.close()


async def test_files_in_memory_never_leave_the_loop_thread(monkeypatch):
    with in_memory() as directory:
        path = directory / "file"
        pages(path, 4)
        descriptor = await opened(path)
        monkeypatch.setattr(Descriptor, "run", lambda *_: pytest.fail("took a thread"))
        assert len(await descriptor.pread(PAGE, 0)) == PAGE
        assert await descriptor.pwrite(b"x" * PAGE, 0) == PAGE
        monkeypatch.undo()
        await descriptor.close()


# Opening


async def test_open_takes_the_flags_and_the_mode_of_os_open(tmp_path):
    before = os.umask(0o022)
    try:
        made = await Descriptor.open(tmp_path / "new", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
    finally:
        os.umask(before)
    assert os.fstat(made.fd).st_mode & 0o777 == 0o640
    assert not os.get_inheritable(made.fd)
    with pytest.raises(FileExistsError):
        await Descriptor.open(tmp_path / "new", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    with pytest.raises(FileNotFoundError):
        await Descriptor.open(tmp_path / "missing", os.O_RDONLY)
    with pytest.raises(ValueError):
        await Descriptor.open(f"{tmp_path}/new\0more", os.O_RDONLY)
    directory = await Descriptor.open(tmp_path, os.O_RDONLY)
    below = await Descriptor.open("new", os.O_RDONLY, dir_fd=directory.fd)
    assert below.regular
    assert not directory.regular
    for each in (made, directory, below):
        await each.close()


async def test_a_read_only_descriptor_has_the_flags_that_were_asked_for(path):
    for _ in range(2):  # by the pool, then inline
        descriptor = await Descriptor.open(path, os.O_RDONLY)
        assert os.get_blocking(descriptor.fd)
        await descriptor.close()


async def test_an_open_cancelled_anywhere_leaves_no_descriptor(tmp_path, path):
    await settled()
    before = open_descriptors()

    async def open_and_close() -> None:
        for target, flags in ((tmp_path / "new", os.O_RDWR | os.O_CREAT), (path, os.O_RDONLY)):
            descriptor = await Descriptor.open(target, flags)
            try:
                await descriptor.pread(10, 0)
            finally:
                descriptor.abandon()

    await cancel_everywhere(open_and_close)
    gc.collect()
    await settled(lambda: open_descriptors() == before)
    assert open_descriptors() == before


async def test_an_open_cancelled_while_its_worker_is_at_it_closes_what_it_gets(tmp_path, monkeypatch):
    gate = Gate()
    real = os.open

    def slow(*args, **kwargs):
        gate()
        return real(*args, **kwargs)

    monkeypatch.setattr(os, "open", slow)
    before = set(os.listdir("/proc/self/fd"))
    task = asyncio.ensure_future(Descriptor.open(tmp_path / "new", os.O_RDWR | os.O_CREAT))
    await gate.has_begun()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.go.set()
    await settled()
    assert (tmp_path / "new").exists()
    left = {name for name in set(os.listdir("/proc/self/fd")) - before if points_to(name, tmp_path / "new")}
    assert not left


def points_to(name: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{name}") == str(path)
    except FileNotFoundError:
        return False


async def open_forever(path: Path, taken: list[Descriptor]) -> None:
    while True:
        taken.append(await Descriptor.open(path, os.O_RDONLY))


async def test_when_there_are_no_descriptors_left_open_says_so(path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    first = await Descriptor.open(path, os.O_RDONLY)  # whatever is opened once a process is open now
    await first.pread(10, 0)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 4, hard))
        with pytest.raises(OSError) as caught:
            await open_forever(path, taken)
        assert caught.value.errno == errno.EMFILE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in (first, *taken):
            await each.close()


# Closing


async def others_have_run() -> None:
    """Return once every job that was queued before has begun."""
    for _ in range(3):
        await default_pool().run(int)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR], ids=["read", "written"])
async def test_close_waits_for_a_job_that_uses_the_descriptor(path, flags):
    descriptor = await opened(path, flags)
    number = descriptor.fd
    gate = Gate()
    job = asyncio.ensure_future(descriptor.run(gate, number))
    await gate.has_begun()
    closing = asyncio.ensure_future(descriptor.close())
    await others_have_run()
    assert not closing.done()
    assert points_to(str(number), path), "the number is not free yet"
    for refused in (
        descriptor.pread(1, 0),
        descriptor.pwrite(b"x", 0),
        descriptor.fsync(),
        descriptor.run(os.fstat, number),
    ):
        with pytest.raises(FileClosed):
            await refused
    gate.go.set()
    assert await job == "ended"
    await closing
    assert not points_to(str(number), path)


async def test_a_cancelled_job_still_holds_the_descriptor_until_it_has_ended(path, tmp_path):
    """The number must not be given to another file while a worker is about to use it."""
    descriptor = await opened(path)
    number = descriptor.fd
    gate = Gate()

    def write_late() -> None:
        gate()
        os.pwrite(number, b"late", 0)

    job = asyncio.ensure_future(descriptor.run(write_late))
    await gate.has_begun()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    closing = asyncio.ensure_future(descriptor.close())
    await others_have_run()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    assert other != number
    gate.go.set()
    await closing
    assert path.read_bytes()[:4] == b"late"
    assert os.pread(other, 10, 0) == b""
    os.close(other)


async def test_a_cancelled_close_closes_all_the_same(path):
    descriptor = await opened(path)
    number = descriptor.fd
    gate = Gate()
    job = asyncio.ensure_future(descriptor.run(gate))
    await gate.has_begun()
    closing = asyncio.ensure_future(descriptor.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    gate.go.set()
    await job
    await settled()
    assert not points_to(str(number), path)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR], ids=["read", "written"])
async def test_a_close_cancelled_anywhere_closes_all_the_same(path, flags):
    before = open_descriptors()

    async def open_and_close() -> None:
        descriptor = await opened(path, flags)
        try:
            await descriptor.close()
        finally:
            assert descriptor.closed

    await settled()
    await cancel_everywhere(open_and_close)
    await settled()
    gc.collect()
    assert open_descriptors() <= before + 2, "the ring's at most"


async def test_close_is_idempotent_and_several_may_wait_for_it(path):
    descriptor = await opened(path)
    gate = Gate()
    job = asyncio.ensure_future(descriptor.run(gate))
    await gate.has_begun()
    closers = [asyncio.ensure_future(descriptor.close()) for _ in range(3)]
    await asyncio.sleep(0)
    gate.go.set()
    await asyncio.gather(job, *closers)
    await descriptor.close()
    assert descriptor.closed
    assert "closed" in repr(descriptor)


async def test_what_close_reports_reaches_the_caller_and_the_number_is_free(path, monkeypatch):
    descriptor = await opened(path)
    number = descriptor.fd
    real = os.close

    def fail(fd: int) -> None:
        real(fd)
        if fd == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "close", fail)
    with pytest.raises(OSError) as caught:
        await descriptor.close()
    assert caught.value.errno == errno.EIO
    await descriptor.close()


async def test_a_written_file_is_closed_on_a_worker_a_read_one_on_the_spot(path, monkeypatch):
    threads: list[int] = []
    real = os.close

    def note(fd: int) -> None:
        if points_to(str(fd), path):
            threads.append(threading.get_ident())
        real(fd)

    for flags in (os.O_RDONLY, os.O_RDWR):
        descriptor = await opened(path, flags)
        monkeypatch.setattr(os, "close", note)
        await descriptor.close()
        monkeypatch.undo()
    read, written = threads
    assert read == threading.get_ident() != written


async def test_closing_a_fifo_does_not_wait_for_a_reader_that_waits_for_ever(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    descriptor = await Descriptor.open(path, os.O_RDWR)
    number = descriptor.fd
    reading = asyncio.ensure_future(descriptor.run(os.read, number, 10))
    for _ in range(20):
        await asyncio.sleep(0.001)
    await asyncio.wait_for(descriptor.close(), 10)
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, b"late")
    os.close(writer)
    assert await reading == b"late"
    await settled()
    assert not points_to(str(number), path)


async def test_the_use_of_a_job_that_never_began_is_given_back(path):
    descriptor = await opened(path)
    with pytest.raises(TypeError):
        await descriptor.run(os.fstat, descriptor.fd, "too", "many")
    tasks = [asyncio.ensure_future(descriptor.run(os.fstat, descriptor.fd)) for _ in range(50)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.wait_for(descriptor.close(), 10)


async def test_what_a_cancelled_job_returns_is_discarded_by_its_owner(path):
    descriptor = await opened(path)
    gate, discarded = Gate(), []
    job = asyncio.ensure_future(descriptor.run(gate, on_discard=discarded.append))
    await gate.has_begun()
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    gate.go.set()
    await settled()
    assert discarded == ["ended"]
    await descriptor.close()


async def test_a_descriptor_left_open_warns_and_is_closed(path):
    descriptor = await opened(path)
    number = descriptor.fd
    holder = [descriptor]
    del descriptor
    with pytest.warns(ResourceWarning, match="unclosed file"):
        holder.clear()
    await settled()
    assert not points_to(str(number), path)


def test_a_worker_that_ends_after_its_loop_closes_what_was_to_be_closed(path):
    gate = Gate()
    loop = asyncio.new_event_loop()

    async def leave() -> int:
        descriptor = await opened(path)
        number = descriptor.fd
        job = asyncio.ensure_future(descriptor.run(gate))
        await gate.has_begun()
        closing = asyncio.ensure_future(descriptor.close())
        await asyncio.sleep(0)
        for task in (job, closing):
            task.cancel()
        await asyncio.gather(job, closing, return_exceptions=True)
        return number

    number = loop.run_until_complete(leave())
    loop.close()
    assert points_to(str(number), path)
    gate.go.set()
    asyncio.run(settled())
    assert not points_to(str(number), path)


# Failing writes


class Disk:
    """Stands in for pwrite on a disk with `room` bytes left."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, _fd: int, view: memoryview, _offset: int) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = min(self.room, len(view))
        self.room -= taken
        return taken


def test_a_write_that_fails_in_the_middle_says_how_much_was_written(monkeypatch):
    monkeypatch.setattr(os, "pwrite", Disk(700))
    with pytest.raises(PartialWrite) as caught:
        _blocking.pwrite_all(0, memoryview(bytes(1000)), 0)
    error = caught.value
    assert (error.errno, error.written, error.maybe_applied) == (errno.ENOSPC, 700, True)
    assert isinstance(error, OSError)
    assert isinstance(error, Error)
    assert isinstance(error.__cause__, OSError)
    again = pickle.loads(pickle.dumps(error))
    assert (again.errno, again.written) == (errno.ENOSPC, 700)


def test_a_write_that_fails_at_once_raises_the_plain_error(monkeypatch):
    monkeypatch.setattr(os, "pwrite", Disk(0))
    with pytest.raises(OSError) as caught:
        _blocking.pwrite_all(0, memoryview(bytes(1000)), 0)
    assert type(caught.value) is OSError


def test_short_writes_go_on_until_all_is_written(monkeypatch, tmp_path):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, view, offset: real(fd, view[:7], offset))
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    data = os.urandom(1000)
    assert _blocking.pwrite_all(fd, memoryview(data), 3) == 1000
    assert os.pread(fd, 2000, 3) == data
    os.close(fd)


@pytest.mark.parametrize("ring", ["0", "1"])
def test_a_limit_on_the_size_of_files_is_met_with_what_was_written(tmp_path, ring):
    """EFBIG from the kernel itself, through every engine: RLIMIT_FSIZE binds the whole process, hence another one."""
    script = f"""
import asyncio, errno, logging, os, resource, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from asyncstore.aio._descriptor import Descriptor
from asyncstore.aio.errors import PartialWrite
logging.getLogger("asyncio").setLevel(logging.ERROR)  # a busy machine makes a step slow, which -X dev would tell
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
async def main():
    for n in (10_000, 200_000):
        descriptor = await Descriptor.open({str(tmp_path)!r} + f"/file{{n}}", os.O_RDWR | os.O_CREAT)
        assert await descriptor.pwrite(bytes(1000), 0) == 1000
        try:
            await descriptor.pwrite(b"x" * n, 95_000)
        except PartialWrite as exc:
            assert (exc.errno, exc.written, exc.maybe_applied) == (errno.EFBIG, 5000, True), exc.written
        else:
            raise AssertionError("written beyond the limit")
        try:
            await descriptor.pwrite(b"x", 100_000)
        except PartialWrite:
            raise
        except OSError as exc:
            assert exc.errno == errno.EFBIG
        assert os.fstat(descriptor.fd).st_size == 100_000
        await descriptor.close()
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "ASYNCSTORE_AIO_RING": ring},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


async def test_closed_files_raise_what_the_files_of_io_raise(path):
    descriptor = await opened(path)
    await descriptor.close()
    for call in (descriptor.pread(1, 0), descriptor.preadv([bytearray(1)], 0), descriptor.pwrite(b"", 0),
                 descriptor.pwritev([b"x"], 0), descriptor.pwritev([bytes(100_000)], 0), descriptor.fdatasync(),
                 descriptor.run(os.fstat, 0)):  # fmt: skip
        with pytest.raises(ValueError) as caught:
            await call
        assert isinstance(caught.value, Closed)


# Syncs


class Syncing:
    """Stands in for both syncs of worker threads: notes them, and lets the first wait for a gate."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = Gate()
        self.calls: list[str] = []
        monkeypatch.setattr(_sync, "_fdatasync", lambda fd: self("data"))
        monkeypatch.setattr(os, "fsync", lambda fd: self("all"))
        monkeypatch.setattr(_sync, "ring_here", lambda: None)

    def __call__(self, kind: str) -> None:
        self.calls.append(kind)
        if len(self.calls) == 1:
            self.gate()


async def test_syncs_join_one_that_has_not_begun_and_never_one_that_has(path, monkeypatch):
    descriptor = await opened(path)
    syncing = Syncing(monkeypatch)
    first = [asyncio.ensure_future(descriptor.fdatasync()) for _ in range(3)]
    await syncing.gate.has_begun()
    later = [asyncio.ensure_future(descriptor.fdatasync()) for _ in range(4)]
    later.append(asyncio.ensure_future(descriptor.fsync()))
    for _ in range(10):
        await asyncio.sleep(0)
    assert syncing.calls == ["data"]
    assert not any(task.done() for task in later), "what began before they asked does not count"
    syncing.gate.go.set()
    await asyncio.gather(*first, *later)
    assert syncing.calls == ["data", "all"], "one for all of them, with the metadata that one of them wants"
    await descriptor.close()


async def test_syncs_through_the_ring_are_shared_and_survive_a_ring_that_fails(path, monkeypatch):
    descriptor = await opened(path)
    if _sync.ring_here() is None:
        pytest.skip("no io_uring")
    if not descriptor._ringable:
        await descriptor.close()
        pytest.skip(f"{path} does not lie on a local disk")
    begun: list[bool] = []
    real = Ring.fsync

    def fsync(self, life, fd, *, data_only):
        begun.append(data_only)
        return real(self, life, fd, data_only=data_only)

    monkeypatch.setattr(Ring, "fsync", fsync)
    first = asyncio.ensure_future(descriptor.fdatasync())
    await asyncio.sleep(0)
    await asyncio.gather(first, *(descriptor.fdatasync() for _ in range(5)), descriptor.fsync())
    assert begun == [True, False]

    def refuse(_self) -> None:
        raise PermissionError(errno.EPERM, "io_uring_enter")

    monkeypatch.setattr("asyncstore.aio._uring_abi.Queues.enter", refuse)
    tasks = [asyncio.ensure_future(descriptor.fdatasync()) for _ in range(5)]
    await asyncio.sleep(0)
    tasks.append(asyncio.ensure_future(descriptor.fsync()))
    await asyncio.wait_for(asyncio.gather(*tasks), 20)
    await descriptor.close()


async def test_a_sync_cancelled_in_the_ring_leaves_the_others_theirs(path):
    descriptor = await opened(path)
    for _ in range(20):
        await descriptor.pwrite(b"dirty", 0)
        tasks = [asyncio.ensure_future(descriptor.fdatasync()) for _ in range(4)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
        assert outcomes[1:] == [None] * 3
    await asyncio.wait_for(descriptor.close(), 20)


async def test_a_cancelled_sync_leaves_the_others_theirs(path, monkeypatch):
    descriptor = await opened(path)
    syncing = Syncing(monkeypatch)
    tasks = [asyncio.ensure_future(descriptor.fdatasync()) for _ in range(3)]
    await syncing.gate.has_begun()
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    syncing.gate.go.set()
    await asyncio.gather(*tasks[1:])
    assert syncing.calls == ["data"]
    await descriptor.close()


async def test_a_sync_that_fails_fails_for_everybody_who_shares_it(path, monkeypatch):
    descriptor = await opened(path)
    monkeypatch.setattr(_sync, "ring_here", lambda: None)

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "disk")

    monkeypatch.setattr(_sync, "_fdatasync", fail)
    outcomes = await asyncio.gather(*(descriptor.fdatasync() for _ in range(3)), return_exceptions=True)
    assert [getattr(each, "errno", None) for each in outcomes] == [errno.EIO] * 3
    await descriptor.close()


async def test_close_waits_for_every_sync_that_was_asked_for(path, monkeypatch):
    descriptor = await opened(path)
    syncing = Syncing(monkeypatch)
    first = asyncio.ensure_future(descriptor.fdatasync())
    await syncing.gate.has_begun()
    second = asyncio.ensure_future(descriptor.fdatasync())
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(descriptor.close())
    await others_have_run()
    assert not closing.done()
    syncing.gate.go.set()
    await asyncio.gather(first, second, closing)
    assert syncing.calls == ["data", "data"]


# Processes and other loops


def test_a_forked_child_closes_its_own_copy_without_waiting_for_the_parents_jobs(path):
    script = f"""
import asyncio, os, sys, threading
sys.path.insert(0, {str(ROOT)!r})
from asyncstore.aio._descriptor import Descriptor
loop = asyncio.new_event_loop()
go, begun = threading.Event(), threading.Event()
def slow():
    begun.set(); go.wait(30)
async def start():
    descriptor = await Descriptor.open({str(path)!r}, os.O_RDWR)
    job = asyncio.ensure_future(descriptor.run(slow))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    return descriptor, job
descriptor, job = loop.run_until_complete(start())
pid = os.fork()
if pid == 0:
    async def child():
        data = await descriptor.pread(8, 4096 * 3)
        assert int.from_bytes(data, "little") == 3
        number = descriptor.fd
        await descriptor.close()
        try:
            os.fstat(number)
        except OSError:
            return
        raise AssertionError("still open")
    try:
        asyncio.run(asyncio.wait_for(child(), 20))
        os._exit(0)
    except BaseException as exc:
        print(repr(exc), file=sys.stderr, flush=True)
        os._exit(1)
_, status = os.waitpid(pid, 0)
assert status == 0, status
go.set()
async def end():
    await job
    assert int.from_bytes(await descriptor.pread(8, 4096 * 5), "little") == 5
    await descriptor.close()
loop.run_until_complete(end())
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-W", "ignore:This process:DeprecationWarning", "-c", script],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_the_lock_that_a_fork_leaves_taken_is_made_anew(monkeypatch):
    forks = _lifetime._Forks()
    forks.lock.acquire()
    forks.in_child()
    assert forks.lock.acquire(blocking=False)
    assert forks.generation == 1


async def test_adopting_what_cannot_be_adopted_closes_it(path, monkeypatch):
    fd = os.open(path, os.O_RDONLY)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr("asyncstore.aio._descriptor.learn", fail)
    with warnings.catch_warnings(), pytest.raises(OSError):
        Descriptor.adopt(fd)
    assert not points_to(str(fd), path)


async def test_a_file_that_is_only_read_is_closed_on_the_spot(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    opened = await Descriptor.open(path, os.O_RDONLY)
    number = opened.fd
    assert opened.close_now()
    with pytest.raises(OSError):
        os.fstat(number)
    assert opened.close_now(), "and stays so"
    with pytest.raises(FileClosed):
        await opened.pread(1, 0)


async def test_nothing_is_closed_on_the_spot_that_is_in_use_or_whose_close_may_wait(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    written = await Descriptor.open(path, os.O_RDWR)
    assert not written.close_now()
    os.fstat(written.fd)
    await written.close()
    used = await Descriptor.open(path, os.O_RDONLY)
    entered, go_on = threading.Event(), threading.Event()

    def use() -> int:
        entered.set()
        assert go_on.wait(20)
        return os.fstat(used.fd).st_size

    task = asyncio.ensure_future(used.run(use))
    while not entered.is_set():
        await asyncio.sleep(0.001)
    assert not used.close_now()
    go_on.set()
    assert await task == 1
    assert used.close_now()


async def test_a_file_may_be_finalised_while_another_is_being_closed(tmp_path):
    """A collection may begin inside the section that all files share; what it finalises takes the same lock."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    dropped = await Descriptor.open(path, os.O_RDONLY)

    def finalise() -> None:
        with _lifetime._forks.lock:
            dropped.abandon()

    thread = threading.Thread(target=finalise, daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive(), "it waits for itself"
    assert dropped.closed
