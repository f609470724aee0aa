"""Group commit: one flush for many writes, each atomic, each with its own outcome."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import textwrap

import pytest

from asyncstore.bdb import _commit, _core
from asyncstore.bdb._library import db as libdb
from tests.bdb.binding import bdb


def flushes(env) -> int:
    return env.home.handle.log_stat()["scount"]


async def test_writes_submitted_together_share_one_flush_of_the_log(env, db):
    before, commits = flushes(env), env.statistics().commits
    await asyncio.gather(*(db.put(b"%d" % i, b"x") for i in range(100)))
    assert env.statistics().commits - commits == 1
    assert 1 <= flushes(env) - before <= 2  # the second when the log buffer fills at the same time


async def test_a_write_alone_has_a_flush_of_its_own(env, db):
    before = flushes(env)
    await db.put(b"a", b"x")
    await db.put(b"b", b"x")
    assert flushes(env) - before == 2


async def test_durability_write_flushes_nothing(tmp_path):
    async with bdb.open(tmp_path, durability="write") as env, env.database("a") as db:
        before = flushes(env)
        for i in range(10):
            await db.put(b"%d" % i, b"x")
        assert flushes(env) == before


async def test_writes_of_one_tick_happen_in_the_order_of_the_calls(db):
    outcomes = await asyncio.gather(
        db.delete(b"k"), db.put(b"k", b"1"), db.put(b"k", b"2"), db.delete(b"k"), db.delete(b"k"), db.put(b"k", b"3")
    )
    assert outcomes == [False, None, None, True, False, None]
    assert await db.get(b"k") == b"3"


async def test_a_group_has_a_bound_in_requests_and_one_in_bytes(env, db, monkeypatch):
    await asyncio.gather(*(db.put(b"%d" % i, b"x") for i in range(_core.GROUP_REQUESTS + 1)))
    assert env.statistics().commits == 2
    env.writes._max_bytes = 1000
    await asyncio.gather(*(db.put(b"%d" % i, b"x" * 400) for i in range(4)))
    assert env.statistics().commits == 4


class Faulty:
    """A database's handle that fails the operations on some keys, after having done them: libdb may fail half-way."""

    def __init__(self, handle, failures: dict[bytes, Exception], times: int = 1 << 30) -> None:
        self.handle = handle
        self.failures = failures
        self.times = times

    def put(self, key, value, transaction):
        self.handle.put(key, value, transaction)
        if key in self.failures and self.times:
            self.times -= 1
            raise self.failures[key]

    def __getattr__(self, name: str):
        return getattr(self.handle, name)


async def test_an_error_of_one_write_reaches_its_caller_alone(env, db):
    too_large = libdb.DBInvalidArgError(22, "Invalid argument -- the record is too large")
    db.handle = Faulty(db.handle, {b"5": too_large, b"7": too_large})
    commits = env.statistics().commits
    outcomes = await asyncio.gather(*(db.put(b"%d" % i, b"x") for i in range(10)), return_exceptions=True)
    for i, outcome in enumerate(outcomes):
        if i in (5, 7):
            assert isinstance(outcome, bdb.errors.InvalidArgument)
            assert outcome.__cause__ is too_large
            assert "put database 'main'" in str(outcome)
        else:
            assert outcome is None
    assert [key async for key, _ in db.range()] == [b"%d" % i for i in range(10) if i not in (5, 7)]
    assert env.statistics().commits - commits == 1  # the others still share one


async def test_a_group_that_gives_way_in_a_deadlock_is_done_again(db):
    gave_way = libdb.DBLockDeadlockError(-30993, "DB_LOCK_DEADLOCK: Locker killed to resolve a deadlock")
    db.handle = Faulty(db.handle, {b"1": gave_way}, times=3)
    await asyncio.gather(*(db.put(b"%d" % i, b"x") for i in range(3)))
    assert [key async for key, _ in db.range()] == [b"0", b"1", b"2"]


async def test_a_deadlock_without_end_becomes_a_retryable_error(db, monkeypatch):
    monkeypatch.setattr(_commit, "DEADLOCK_TRIES", 3)
    gave_way = libdb.DBLockDeadlockError(-30993, "DB_LOCK_DEADLOCK: Locker killed to resolve a deadlock")
    db.handle = Faulty(db.handle, {b"1": gave_way})
    first, second = await asyncio.gather(db.put(b"0", b""), db.put(b"1", b""), return_exceptions=True)
    assert first is None
    assert isinstance(second, bdb.errors.Deadlock)
    assert second.retryable
    assert await db.get(b"0") == b""
    assert await db.get(b"1") is None


async def test_a_real_deadlock_between_two_lockers_ends(env, db):
    """A transaction outside of ours holds one page and wants the other, a group wants them in the opposite order."""
    other = await env.database("other")
    await asyncio.gather(db.put(b"k", b""), other.put(b"k", b""))
    handle = env.home.handle
    foreign = handle.txn_begin()
    db.handle.put(b"k", b"foreign", foreign)
    group = asyncio.gather(other.put(b"k", b"group"), db.put(b"k", b"group"))

    def clash() -> None:
        try:
            other.handle.put(b"k", b"foreign", foreign)
        except libdb.DBLockDeadlockError:
            foreign.abort()
        else:
            foreign.commit()

    await asyncio.to_thread(clash)
    await asyncio.wait_for(group, 30)
    assert await db.get(b"k") == b"group"


FULL_DISK = """
    import asyncio, errno, os, resource, sys
    from asyncstore import bdb

    async def main(home):
        async with bdb.open(home) as env, env.database("a") as db:
            await db.put(b"before", b"x")
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
            await db.put(b"fits", b"x" * 30_000)
            group = [db.put(b"%d" % i, b"x" * 30_000) for i in range(8)]
            outcomes = await asyncio.gather(*group, return_exceptions=True)
            failed = [outcome for outcome in outcomes if outcome is not None]
            assert failed and {type(outcome) for outcome in failed} == {bdb.errors.DiskFull}, outcomes
            assert all(isinstance(outcome, OSError) and outcome.retryable for outcome in failed)
            assert len(set(map(id, failed))) == len(failed)  # each caller has an object of its own
            stored = {key async for key, _ in db.range()}
            assert {b"before", b"fits"} <= stored  # reads go on
            for i, outcome in enumerate(outcomes):
                assert (outcome is None) == (b"%d" % i in stored), outcomes
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            await db.put(b"after", b"x")
            print(sorted(key.decode() for key in stored | {b"after"}))
            sys.stdout.flush()
            os._exit(1 if sys.argv[2] == "die" else 0)

    asyncio.run(main(sys.argv[1]))
"""


async def test_a_full_disk_fails_what_does_not_fit_and_spoils_nothing(tmp_path):
    """A limit on the size of files stands for the full disk: the same write(2) fails, at a place of our choosing."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(tmp_path), "die"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout, done.stderr
    stored = eval(done.stdout)
    assert {"before", "after"} <= set(stored)
    async with bdb.open(tmp_path) as env, env.database("a") as db:
        assert [key.decode() async for key, _ in db.range()] == stored


async def test_the_limit_on_file_size_is_the_system_s_own_again():
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000


async def test_a_cancelled_write_that_was_not_handed_over_does_not_happen(env, db):
    task = asyncio.ensure_future(db.put(b"k", b"v"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert not getattr(caught.value, "maybe_applied", False)
    await db.put(b"other", b"")
    assert await db.get(b"k") is None


async def test_a_cancelled_write_that_was_handed_over_says_that_it_may_have_happened(env, db):
    task = asyncio.ensure_future(db.put(b"k", b"v"))
    while not env.writes.busy:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert caught.value.maybe_applied is True
    await db.put(b"other", b"")
    assert await db.get(b"k") == b"v"


async def test_a_cancelled_write_does_not_take_its_group_with_it(env, db):
    tasks = [asyncio.ensure_future(db.put(b"%d" % i, b"x")) for i in range(20)]
    while not env.writes.busy:
        await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [outcome is None for outcome in outcomes] == [False, True] * 10
    for i in range(1, 20, 2):
        assert await db.get(b"%d" % i) == b"x"


async def test_a_checkpoint_is_made_while_bytes_pile_up_and_drops_old_logs(env, db, monkeypatch, tmp_path):
    env.upkeep._checkpoint_bytes = 1_000_000
    for i in range(60):
        await db.put(b"%d" % (i % 4), b"x" * 500_000)
    while not env.statistics().checkpoints:
        await db.get(b"0")
    await env.aclose()
    logs = sorted((tmp_path / "home").glob("log.*"))
    assert len(logs) <= 2  # 30 MB went through log files of 10 MB


async def test_a_failed_checkpoint_is_logged_and_tried_again(env, db, monkeypatch, caplog):
    env.upkeep._checkpoint_bytes = 1
    real, calls = type(env.home).checkpoint, []

    def failing(home) -> None:
        calls.append(home)
        if len(calls) == 1:
            raise bdb.errors.DiskFull(doing="checkpoint", of="environment")
        real(home)

    monkeypatch.setattr(type(env.home), "checkpoint", failing)
    while not env.statistics().checkpoints:
        await db.put(b"k", b"v")
    assert "checkpoint failed" in caplog.text
