"""A disk that fills up under writers and transactions: who has no room is told, all others go on, nothing is lost.

The disk is a small tmpfs where mounting is allowed (ENOSPC, for all files together), and anywhere a limit on the size
of files (EFBIG, which stands for a quota too).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from asyncstore.testing import Unavailable, small_tmpfs
from tests.bdb.binding import bdb
from tests.bdb.nursery import Nursery

PROGRAM = """
    import resource

    CACHE = 1 << 20
    ROOM = 72 * 4096  # bytes that are left: whole pages, for of one across the limit a part would be written

    class Tmpfs:
        def __init__(self, folder):
            self.ballast = os.path.join(folder, "ballast")

        def fill(self):
            with open(self.ballast, "wb", buffering=0) as file:
                for size in (1 << 20, 1 << 12, 1):
                    try:
                        while True:
                            file.write(bytes(size))
                    except OSError:
                        pass
                file.truncate(file.tell() - ROOM)

        def make_room(self):
            os.unlink(self.ballast)

    class Limit:
        def __init__(self, folder):
            pass

        def fill(self):
            self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, self.before[1]))

        def make_room(self):
            resource.setrlimit(resource.RLIMIT_FSIZE, self.before)

    async def writing(db, name, size, kept, refused):
        for number in range(1000):
            key = b"%s %d" % (name, number)
            try:
                await db.put(key, key[:1] * size)
            except bdb.errors.DiskFull as exc:
                assert isinstance(exc, OSError) and exc.retryable
                refused[key.decode()] = exc
                return
            kept.append(key.decode())
        raise AssertionError("the disk is not full")

    async def transacting(env, left, right, name, kept, refused):
        for number in range(1000):
            key = b"%s %d" % (name, number)
            try:
                async with env.transaction() as txn:
                    for db in (left, right):
                        await db.put(key, key[:1] * 5000, txn=txn)
            except bdb.errors.DiskFull as exc:
                refused[key.decode()] = exc
                return
            except (bdb.errors.Deadlock, bdb.errors.LockTimeout):
                continue  # undone, for another reason
            kept.append(key.decode())
        raise AssertionError("the disk is not full")

    async def reading(left, reads):
        while True:
            assert await left.get(b"before") == b"x"
            assert await left.get(b"not there") is None
            reads.append(1)

    async def fill_up(home, kind, folder):
        disk = {"tmpfs": Tmpfs, "limit": Limit}[kind](folder)
        async with bdb.open(home, cache_size=CACHE, log_file_size=1 << 20, log_buffer=1 << 16) as env:
            async with env.database("left") as left, env.database("right") as right:
                await left.put(b"before", b"x")
                disk.fill()
                kept, refused, reads = ["before"], {}, []
                reader = asyncio.ensure_future(reading(left, reads))
                await asyncio.gather(
                    *(writing(left, b"w%d" % one, 2000, kept, refused) for one in range(16)),
                    *(transacting(env, left, right, b"t%d" % one, kept, refused) for one in range(2)),
                )
                assert len(set(map(id, refused.values()))) == len(refused) == 18
                many = len(reads)
                while len(reads) < many + 20:  # reads go on
                    await asyncio.sleep(0)
                reader.cancel()
                await asyncio.wait([reader])
                assert reader.cancelled()
                there = {key.decode() async for key, _ in left.range()}
                assert there == set(kept), "of what was refused nothing is there"
                disk.make_room()
                await asyncio.gather(*(left.put(b"after %d" % one, b"x" * 2000) for one in range(20)))
                async with env.transaction() as txn:
                    await right.put(b"after all", b"x", txn=txn)
                say(json.dumps([kept, sorted(refused)]))
                await asyncio.Event().wait()

    async def open_it(home):
        while True:
            try:
                async with bdb.open(home, cache_size=CACHE) as env, env.database("left") as left:
                    say("opened", len([1 async for _ in left.range()]))
                return
            except bdb.errors.DiskFull as exc:
                say("full", exc.errno)
                await asyncio.to_thread(sys.stdin.readline)
"""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery(PROGRAM) as started:
        yield started


@pytest.fixture(params=["tmpfs", "limit"])
def disk(request, tmp_path) -> Iterator[tuple[str, Path]]:
    """The kind of a small disk, and a folder on it."""
    with ExitStack() as stack:
        folder = tmp_path
        if request.param == "tmpfs":
            try:
                folder = stack.enter_context(small_tmpfs(16 << 20))
            except Unavailable as reason:
                pytest.skip(str(reason))
        yield request.param, folder


def fill(ballast: Path) -> None:
    with open(ballast, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 12))


def test_a_disk_full_under_writers_and_transactions_refuses_some_and_loses_nothing(disk, nursery):
    kind, folder = disk
    with nursery.child("fill_up", str(folder / "home"), kind, str(folder)) as child:
        (said,) = child.count(1)
        child.kill()
    kept, refused = json.loads(said)

    async def check() -> None:
        async with bdb.open(folder / "home", cache_size=1 << 20) as env:
            left, right = await env.database("left"), await env.database("right")
            there = {key.decode(): value async for key, value in left.range()}
            others = {key.decode(): value async for key, value in right.range()}
        assert set(kept) <= there.keys()
        assert not set(refused) & there.keys()
        assert there.keys() - set(kept) == {f"after {one}" for one in range(20)}
        both = {key for key in kept if key.startswith("t")}
        assert others.keys() == both | {"after all"}
        assert all(others[key] == there[key] == key[:1].encode() * 5000 for key in both)

    asyncio.run(check())


def test_an_open_that_has_no_room_to_recover_says_so_and_succeeds_later(nursery):
    """On a real full disk only: libdb would be killed by SIGBUS in the regions that it cannot make."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(small_tmpfs(24 << 20))
        except Unavailable as reason:
            pytest.skip(str(reason))
        with nursery.child("fill_up", str(folder / "home"), "tmpfs", str(folder)) as child:
            kept, _ = json.loads(child.count(1)[0])
            child.kill()
        ballast = folder / "more"
        fill(ballast)
        with nursery.child("open_it", str(folder / "home")) as child:
            assert child.count(1) == ["full 28"]
            ballast.unlink()
            child.tell("again")
            assert child.rest() == [f"opened {len(kept) + 20}"]
