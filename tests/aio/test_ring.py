"""io_uring under a loop: right data, buffers that nobody else gets, and nothing left behind, wherever it ends."""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from asyncstore.aio import _ring, _rings
from asyncstore.aio._descriptor import Descriptor
from asyncstore.aio._nowait import Mode
from asyncstore.aio._ring import SLOTS, Ring
from asyncstore.aio._rings import SLOT, ring_here
from tests.aio.disk import PAGE, drop, learned, pages
from tests.conftest import need

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _need_ring() -> None:
    state = _rings.probe()
    if not state.usable:
        pytest.skip(f"no io_uring: {state.reason}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    pages(path, 512)
    if learned(path).in_memory or not learned(path).local:
        pytest.skip(f"{path} does not lie on a local disk")
    return path


def past_the_cache(descriptor: Descriptor) -> Descriptor:
    """Have every read take the ring, although its pages are cached."""
    descriptor._mode = Mode.NEVER
    return descriptor


async def opened(path: Path, flags: int = os.O_RDWR) -> Descriptor:
    return past_the_cache(await Descriptor.open(path, flags))


def page(index: int) -> bytes:
    return index.to_bytes(8, "little") + bytes([index % 251]) * (PAGE - 8)


def ring() -> Ring:
    here = ring_here()
    assert here is not None
    return here


async def at_rest(of: Ring) -> None:
    while of.in_flight:
        await asyncio.sleep(0.001)
    assert sorted(of._free) == list(range(SLOTS))


async def test_reads_writes_and_syncs_go_through_the_ring(path, monkeypatch):
    descriptor = await opened(path)
    monkeypatch.setattr(Descriptor, "run", lambda *_: pytest.fail("took a thread"))
    assert await descriptor.pread(PAGE, 3 * PAGE) == page(3)
    assert await descriptor.pwrite(b"new", 3 * PAGE) == 3
    assert await descriptor.pread(5, 3 * PAGE) == b"new" + page(3)[3:5]
    assert await descriptor.pread(PAGE, 512 * PAGE - 9) == page(511)[-9:]
    assert await descriptor.pread(PAGE, 512 * PAGE) == b""
    await descriptor.fsync()
    await descriptor.fdatasync()
    await at_rest(ring())
    await descriptor.close()


@pytest.mark.parametrize("count", [300, SLOTS + 100])
async def test_more_requests_in_a_tick_than_the_ring_holds_are_all_served(path, count):
    """More than `ENTRIES` are submitted early; more than `SLOTS` take the pool."""
    descriptor = await opened(path)
    answers = await asyncio.gather(*(descriptor.pread(PAGE, index % 512 * PAGE) for index in range(count)))
    assert answers == [page(index % 512) for index in range(count)]
    await at_rest(ring())
    await descriptor.close()


async def test_a_tick_is_submitted_by_one_system_call(path, monkeypatch):
    descriptor = await opened(path)
    await descriptor.pread(PAGE, 0)
    queues = ring()._queues
    pushed: list[int] = []
    real = type(queues).enter

    def enter(self) -> None:
        pushed.append(self.unsubmitted)
        real(self)

    monkeypatch.setattr(type(queues), "enter", enter)
    await asyncio.gather(*(descriptor.pread(PAGE, index * PAGE) for index in range(64)))
    assert [count for count in pushed if count] == [64]
    await descriptor.close()


async def test_a_slot_is_kept_until_its_completion_whatever_becomes_of_the_caller(path):
    descriptor = await opened(path)
    await descriptor.pread(PAGE, 0)
    here = ring()
    task = asyncio.ensure_future(descriptor.pread(PAGE, PAGE))
    await asyncio.sleep(0)
    assert here.in_flight == 1
    free = len(here._free)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if here.in_flight:
        assert len(here._free) == free, "cancelled, and not yet completed"
    await at_rest(here)
    await descriptor.close()


async def test_a_storm_of_cancels_neither_mixes_data_up_nor_writes_into_foreign_memory(path):
    descriptor = await opened(path)
    await descriptor.pread(PAGE, 0)
    order = random.Random(7)
    for step in range(40):
        if step % 8 == 0:
            drop(path)
        wanted = [order.randrange(512) for _ in range(24)]
        tasks = [asyncio.ensure_future(descriptor.pread(PAGE, index * PAGE)) for index in wanted]
        for _ in range(step % 3):
            await asyncio.sleep(0)
        for task in tasks[:: 1 + step % 2]:
            task.cancel()
        foreign = [bytearray(b"\xaa" * PAGE) for _ in range(64)]
        for index, answer in zip(wanted, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
            assert isinstance(answer, asyncio.CancelledError) or answer == page(index)
        assert all(block == b"\xaa" * PAGE for block in foreign)
    await at_rest(ring())
    for index in range(0, 512, 7):
        assert await descriptor.pread(PAGE, index * PAGE) == page(index)
    await descriptor.close()


async def test_close_waits_for_the_ring_and_a_reused_number_is_never_touched(path, tmp_path):
    """What was asked of the old file reaches the old file, although its number soon belongs to another."""
    other = tmp_path / "other"
    other.write_bytes(b"untouched" * 1000)
    for round_ in range(20):
        descriptor = await opened(path)
        number = descriptor.fd
        mark = bytes([round_]) * 100
        writes = [asyncio.ensure_future(descriptor.pwrite(mark, 5000 * index)) for index in range(8)]
        await asyncio.sleep(0)
        for task in writes[::2]:
            task.cancel()
        await descriptor.close()
        reused = os.open(other, os.O_RDWR)
        await asyncio.gather(*writes, return_exceptions=True)
        assert os.pread(reused, 9000, 0) == b"untouched" * 1000
        os.close(reused)
        assert number >= 0
    await at_rest(ring())


async def test_close_waits_for_a_request_in_the_ring(path, monkeypatch):
    descriptor = await opened(path, os.O_RDONLY)
    await descriptor.pread(PAGE, 0)
    queues = type(ring()._queues)
    real = queues.enter
    monkeypatch.setattr(queues, "enter", lambda self: None)  # nothing is submitted, nothing completes
    reading = asyncio.ensure_future(descriptor.pread(PAGE, PAGE))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(descriptor.close())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not closing.done()
    monkeypatch.setattr(queues, "enter", real)
    ring()._advance()
    assert await reading == page(1)
    await closing


async def test_a_ring_that_the_kernel_shuts_out_is_replaced_by_the_pool(path, monkeypatch):
    """A seccomp filter can be installed at any time."""
    descriptor = await opened(path)
    assert await descriptor.pread(PAGE, 0) == page(0)
    here = ring()

    def refuse(_self) -> None:
        raise PermissionError(errno.EPERM, "io_uring_enter")

    monkeypatch.setattr(type(here._queues), "enter", refuse)
    answers = await asyncio.gather(*(descriptor.pread(PAGE, index * PAGE) for index in range(8)))
    assert answers == [page(index) for index in range(8)]
    assert here.closed
    assert ring_here() is None
    assert await descriptor.pwrite(b"x", 0) == 1
    await descriptor.fdatasync()
    await descriptor.close()


async def test_a_write_in_a_ring_that_fails_may_have_been_applied(path, monkeypatch):
    descriptor = await opened(path)
    await descriptor.pread(PAGE, 0)

    def refuse(_self) -> None:
        raise PermissionError(errno.EPERM, "io_uring_enter")

    monkeypatch.setattr(type(ring()._queues), "enter", refuse)
    with pytest.raises(OSError) as caught:
        await descriptor.pwrite(b"x" * 10, 0)
    assert caught.value.errno == errno.EPERM
    assert getattr(caught.value, "maybe_applied", False)
    await descriptor.close()


async def test_a_kernel_short_of_memory_is_asked_again(path, monkeypatch):
    descriptor = await opened(path)
    await descriptor.pread(PAGE, 0)
    real = type(ring()._queues).enter
    refusals = [BlockingIOError(errno.EAGAIN, "short"), BlockingIOError(errno.EBUSY, "full")]

    def enter(self) -> None:
        if refusals:
            raise refusals.pop()
        real(self)

    monkeypatch.setattr(type(ring()._queues), "enter", enter)
    assert await descriptor.pread(PAGE, PAGE) == page(1)
    assert not refusals
    await descriptor.close()


async def test_requests_beyond_a_slot_take_a_thread(path):
    descriptor = await opened(path)
    await descriptor.pread(PAGE, 0)
    assert await descriptor.pread(SLOT + 1, 0) == path.read_bytes()[: SLOT + 1]
    assert await descriptor.pwrite(bytes(SLOT + 1), 0) == SLOT + 1
    await descriptor.close()


async def test_direct_io_works_at_every_size(path):
    try:
        descriptor = await Descriptor.open(path, os.O_RDWR | os.O_DIRECT)
    except OSError as exc:
        pytest.skip(f"no O_DIRECT here: {exc}")
    content = path.read_bytes()
    for n in (PAGE, SLOT, 4 * SLOT, len(content) + PAGE):
        assert await descriptor.pread(n, 0) == content[:n]
        assert await descriptor.pread(n, PAGE) == content[PAGE : PAGE + n]
    for n in (PAGE, 2 * SLOT):
        assert await descriptor.pwrite(b"d" * n, 0) == n
        assert path.read_bytes()[:n] == b"d" * n
    await descriptor.close()


# Where a ring ends


def rings_open() -> list[str]:
    """The descriptors of this process that belong to rings, or might."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one that listdir used
            continue
        if "io_uring" in target or "eventfd" in target:
            found.append(f"{name}: {target}")
    return found


def new_uvloop() -> asyncio.AbstractEventLoop:
    need("uvloop", "the second loop")
    uvloop = importlib.import_module("uvloop")
    return uvloop.new_event_loop()


LOOPS = [pytest.param(asyncio.new_event_loop, id="asyncio"), pytest.param(new_uvloop, id="uvloop")]


async def leave_reads_in_flight(path: Path) -> None:
    descriptor = await opened(path)
    assert await descriptor.pread(PAGE, 0) == page(0)
    drop(path)
    tasks = [asyncio.ensure_future(descriptor.pread(PAGE, index * PAGE)) for index in range(0, 512, 8)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    descriptor.abandon()


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("politely", [True, False], ids=["shutdown_asyncgens", "close only"])
def test_a_loop_closed_with_reads_in_flight_leaves_no_descriptor_open(path, new_loop, politely):
    def run_once() -> None:
        loop = new_loop()
        try:
            loop.run_until_complete(leave_reads_in_flight(path))
            if politely:
                loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    before = rings_open()
    files = len(os.listdir("/proc/self/fd"))
    run_once()
    first = rings_open()
    count = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        run_once()
    # What stays after the first run belongs to the process (the pool, uvloop), and stays what it is.
    assert not [each for each in first if "io_uring" in each and each not in before]
    assert len(rings_open()) == len(first)
    for _ in range(2000):  # workers may still be closing what the last loop left
        if len(os.listdir("/proc/self/fd")) <= count:
            break
        time.sleep(0.005)
    assert len(os.listdir("/proc/self/fd")) <= count
    assert count >= files


@pytest.mark.parametrize("new_loop", LOOPS)
def test_after_its_asyncgens_are_shut_down_a_loop_reads_without_a_ring(path, new_loop):
    loop = new_loop()
    try:
        descriptor = loop.run_until_complete(opened(path))
        assert loop.run_until_complete(descriptor.pread(PAGE, PAGE)) == page(1)
        loop.run_until_complete(loop.shutdown_asyncgens())
        assert loop.run_until_complete(descriptor.pread(PAGE, 2 * PAGE)) == page(2)
        loop.run_until_complete(descriptor.close())
    finally:
        loop.close()


def test_a_file_outlives_the_loop_that_opened_it(path):
    """Opened under one asyncio.run, read and synced under the next."""
    descriptor = asyncio.run(opened(path))
    asyncio.run(descriptor.pwrite(b"first", 0))
    assert asyncio.run(descriptor.pread(5, 0)) == b"first"
    asyncio.run(descriptor.fsync())
    asyncio.run(descriptor.close())


def test_loops_in_several_threads_have_rings_of_their_own(path):
    rings: list[Ring] = []
    wrong: list[int] = []

    async def read() -> None:
        descriptor = await opened(path)
        for start in range(0, 512, 32):
            answers = await asyncio.gather(*(descriptor.pread(PAGE, (start + i) * PAGE) for i in range(32)))
            wrong.extend(start + i for i, answer in enumerate(answers) if answer != page(start + i))
        rings.append(ring())
        await descriptor.close()

    threads = [threading.Thread(target=asyncio.run, args=(read(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(set(map(id, rings))) == 3
    assert all(each.closed for each in rings)


def test_a_ring_that_cannot_be_settled_in_time_leaks_its_memory_on_purpose(path, monkeypatch):
    monkeypatch.setattr(_ring, "CLOSE_TIMEOUT", 0.0)
    before = len(_ring._leaked)
    loop = asyncio.new_event_loop()

    async def leave_one() -> Ring:
        descriptor = await opened(path)
        await descriptor.pread(PAGE, 0)
        here = ring()
        # Neither submitted nor reaped by the loop any more: in flight as far as anybody can tell.
        monkeypatch.setattr(here._queues.__class__, "enter", lambda self: None)
        task = asyncio.ensure_future(descriptor.pread(PAGE, PAGE))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        descriptor.abandon()
        return here

    here = loop.run_until_complete(leave_one())
    address = here._base
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert here.closed
    assert _ring._leaked[before:] == [(address, SLOT * SLOTS)]
    assert f"{address:x}-" in Path("/proc/self/maps").read_text(), "still mapped"


# Processes


def run_script(body: str, path: Path, **environment: str) -> str:
    script = f"""
import asyncio, logging, os, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
logging.getLogger("asyncio").setLevel(logging.ERROR)  # a busy machine makes a step slow, which -X dev would tell
from asyncstore.aio import _rings
from asyncstore.aio._descriptor import Descriptor
from asyncstore.aio._nowait import Mode
from asyncstore.aio._rings import ring_here, ring_state
path = Path({str(path)!r})
async def check(index=3):
    descriptor = await Descriptor.open(path, os.O_RDWR)
    descriptor._mode = Mode.NEVER
    data = await descriptor.pread(4096, index * 4096)
    assert int.from_bytes(data[:8], "little") == index and len(data) == 4096
    assert await descriptor.pwrite(data, index * 4096) == 4096
    await descriptor.fdatasync()
    await descriptor.close()
    return ring_here() is not None
{body}
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore:This process:DeprecationWarning", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


SECCOMP = """
import ctypes, struct
def forbid(number):
    # Load the number of the system call; 425, 426, 427 (io_uring_*) fail with `number`, everything else is allowed.
    libc = ctypes.CDLL(None, use_errno=True)
    steps = [(0x20, 0, 0, 0), (0x15, 2, 0, 425), (0x15, 1, 0, 426), (0x15, 0, 1, 427),
             (0x06, 0, 0, 0x00050000 | number), (0x06, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HxxxxxxQ", len(steps), ctypes.addressof(code)))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, ctypes.c_ulong(2), ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0
"""


@pytest.mark.parametrize(
    ("number", "said"), [(errno.EPERM, "Operation not permitted"), (errno.ENOSYS, "not implemented")]
)
def test_where_a_container_forbids_io_uring_threads_serve_and_the_reason_is_told(path, number, said):
    output = run_script(f"{SECCOMP}\nforbid({number})\nprint(asyncio.run(check()), ring_state())", path)
    assert output.startswith("False")
    assert said in output


def test_a_filter_installed_while_a_ring_is_in_use_costs_the_ring_only(path):
    body = f"""{SECCOMP}
async def main():
    assert await check()
    forbid(1)
    descriptor = await Descriptor.open(path, os.O_RDONLY)
    descriptor._mode = Mode.NEVER
    for index in range(8):
        assert int.from_bytes((await descriptor.pread(4096, index * 4096))[:8], "little") == index
    await descriptor.close()
    return ring_here() is not None
print(asyncio.run(main()))
"""
    assert run_script(body, path) == "False\n"


def test_nothing_is_tried_at_import_and_the_switch_turns_it_off(path):
    body = "print(ring_state().usable)\nprint(asyncio.run(check()), ring_state().reason)"
    assert run_script(body, path).splitlines()[0] == "None"
    assert run_script(body, path, ASYNCSTORE_AIO_RING="0").splitlines() == [
        "None",
        "False turned off by ASYNCSTORE_AIO_RING=0",
    ]


def test_a_forked_child_has_its_own_ring_and_leaves_the_parents_alone(path):
    body = """
loop = asyncio.new_event_loop()
assert loop.run_until_complete(check())
parent = loop.run_until_complete(asyncio.sleep(0, None)) or [r for r in _rings._rings][0]
base = f"{parent._base:x}-"
pid = os.fork()
if pid == 0:
    try:
        links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        assert not [link for link in links if os.path.lexists(link) and "io_uring" in os.readlink(link)]
        assert base not in Path("/proc/self/maps").read_text(), "the slab was not to be inherited"
        assert asyncio.run(check(5))
        os._exit(0)
    except BaseException as exc:
        print(repr(exc), file=sys.stderr, flush=True)
        os._exit(1)
_, status = os.waitpid(pid, 0)
assert status == 0, status
for index in range(20):
    assert loop.run_until_complete(check(index))
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
print("done")
"""
    assert run_script(body, path) == "done\n"


def test_an_interpreter_that_exits_with_reads_in_flight_exits_quietly(path):
    body = """
async def main():
    descriptor = await Descriptor.open(path, os.O_RDONLY)
    descriptor._mode = Mode.NEVER
    os.posix_fadvise(descriptor.fd, 0, 0, os.POSIX_FADV_DONTNEED)
    tasks = [asyncio.ensure_future(descriptor.pread(4096, i * 4096)) for i in range(64)]
    await asyncio.sleep(0)
    descriptor.abandon()
asyncio.run(main())
print("done")
"""
    assert run_script(body, path) == "done\n"


def test_a_ring_that_cannot_be_had_for_want_of_descriptors_is_done_without(path, monkeypatch):
    async def read() -> None:
        descriptor = await opened(path)

        def refuse(_entries: int) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(_ring, "Queues", refuse)
        assert await descriptor.pread(PAGE, PAGE) == page(1)
        assert ring_here() is None
        await descriptor.close()

    asyncio.run(read())


@pytest.mark.parametrize(
    ("release", "old"), [("6.1.0-18-amd64", True), ("6.2", False), ("5.15.0", True), ("6.18.44-x", False)]
)
def test_kernels_before_6_2_are_left_alone(monkeypatch, release, old):
    class Uname:
        def __init__(self) -> None:
            self.release = release

    monkeypatch.setattr(os, "uname", Uname)
    assert ("is older than" in _rings._obstacle()) is old
