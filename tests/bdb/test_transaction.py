"""Transactions: all or nothing, isolated as asked for, bounded, and gone when they are cancelled or dropped."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from asyncstore.testing import CancelMoment, cancel_everywhere
from tests.bdb.binding import bdb


async def content(db) -> list[Any]:
    return [record async for record in db.range()]


@pytest.fixture
async def impatient(tmp_path):
    """An environment that waits for a lock for a fifth of a second."""
    async with bdb.open(tmp_path / "home", lock_timeout=0.2) as env:
        yield env


async def test_a_block_commits_when_it_ends(env, db):
    async with env.transaction() as txn:
        await db.put(b"a", b"1", txn=txn)
        await db.put(b"b", b"2", txn=txn)
        assert await db.get(b"a", txn=txn) == b"1"
    assert txn.state == "committed"
    assert await content(db) == [(b"a", b"1"), (b"b", b"2")]


async def test_a_block_that_raises_undoes_everything(env, db):
    await db.put(b"a", b"0")
    txn = env.transaction()

    async def work() -> None:
        async with txn:
            await db.put(b"a", b"1", txn=txn)
            await db.delete(b"a", txn=txn)
            await db.put(b"b", b"2", txn=txn)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert txn.state == "aborted"
    assert await content(db) == [(b"a", b"0")]


async def test_two_databases_change_together(env):
    one, two = await env.database("one"), await env.database("two", type="queue", record_length=4)
    async with env.transaction() as txn:
        await one.put(b"k", b"v", txn=txn)
        assert await two.append(b"v", txn=txn) == 1
        await txn.abort()
    assert await content(one) == await content(two) == []


async def test_what_is_not_committed_is_seen_by_nobody_else(impatient):
    db = await impatient.database("a")
    async with impatient.transaction() as txn:
        await db.put(b"k", b"v", txn=txn)
        with pytest.raises(bdb.errors.LockTimeout):
            await db.get(b"k")
    assert await db.get(b"k") == b"v"


async def test_a_read_that_meets_a_lock_waits_until_it_is_given_up(env, db):
    txn = env.transaction()
    await db.put(b"k", b"new", txn=txn)
    reading = asyncio.ensure_future(db.get(b"k"))
    writing = asyncio.ensure_future(db.put(b"k", b"newer"))
    done, _ = await asyncio.wait([reading, writing], timeout=0.05)
    assert not done
    await txn.commit()
    assert await reading in (b"new", b"newer")
    await writing
    assert await db.get(b"k") == b"newer"


async def test_a_lock_that_is_kept_stops_only_those_who_ask_for_it(env):
    locked, free = await env.database("locked"), await env.database("free")
    async with env.transaction() as txn:
        await locked.put(b"k", b"v", txn=txn)
        waiting = [asyncio.ensure_future(locked.put(b"k", b"%d" % number)) for number in range(40)]
        waiting += [asyncio.ensure_future(locked.get(b"k")) for _ in range(40)]
        for number in range(100):
            await free.put(b"%d" % number, b"v")
            assert await free.get(b"%d" % number) == b"v"
        assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)


async def test_an_operation_that_fails_is_undone_alone_and_the_transaction_goes_on(env, db):
    await db.put(b"a", b"0")

    def broken(_old: Any) -> bytes:
        raise ZeroDivisionError

    async with env.transaction() as txn:
        await db.put(b"b", b"1", txn=txn)
        with pytest.raises(bdb.errors.KeyExists):
            await db.put(b"a", b"1", overwrite=False, txn=txn)
        with pytest.raises(ZeroDivisionError):
            await db.update(b"a", broken, txn=txn)
        with pytest.raises(TypeError):
            await db.put(b"a", "text", txn=txn)
        assert not await db.delete(b"missing", txn=txn)
        await db.put(b"c", b"2", txn=txn)
    assert await content(db) == [(b"a", b"0"), (b"b", b"1"), (b"c", b"2")]


async def test_operations_that_overlap_are_carried_out_in_the_order_of_the_calls(env, db):
    async with env.transaction() as txn:
        answers = await asyncio.gather(
            db.put(b"k", b"1", txn=txn),
            db.get(b"k", txn=txn),
            db.put(b"k", b"2", txn=txn),
            db.get(b"k", txn=txn),
            db.delete(b"k", txn=txn),
            db.get(b"k", txn=txn),
        )
    assert answers == [None, b"1", None, b"2", True, None]


# Nested


async def test_an_inner_transaction_is_undone_alone(env, db):
    async with env.transaction() as outer:
        await db.put(b"a", b"outer", txn=outer)
        async with outer.transaction() as inner:
            assert await db.get(b"a", txn=inner) == b"outer"
            await db.put(b"a", b"inner", txn=inner)
            await db.put(b"b", b"inner", txn=inner)
            await inner.abort()
        assert await db.get(b"a", txn=outer) == b"outer"
    assert await content(db) == [(b"a", b"outer")]


async def test_an_inner_transaction_that_commits_is_undone_with_the_outer_one(env, db):
    async with env.transaction() as outer:
        async with outer.transaction() as inner:
            await db.put(b"a", b"1", txn=inner)
            async with inner.transaction() as innermost:
                await db.put(b"b", b"2", txn=innermost)
        assert await db.get(b"b", txn=outer) == b"2"
        await outer.abort()
    assert await content(db) == []


async def test_a_transaction_cannot_be_used_while_one_nested_in_it_is_open(env, db):
    async with env.transaction() as outer, outer.transaction() as inner:
        with pytest.raises(bdb.errors.Misuse, match="nested"):
            await db.put(b"a", b"1", txn=outer)
        with pytest.raises(bdb.errors.Misuse, match="nested"):
            outer.transaction()
        with pytest.raises(bdb.errors.Misuse, match="nested"):
            await outer.commit()
        await db.put(b"b", b"2", txn=inner)
    assert await content(db) == [(b"b", b"2")]


async def test_aborting_the_outer_transaction_ends_those_inside(env, db):
    outer = env.transaction()
    inner = outer.transaction()
    await db.put(b"a", b"1", txn=inner)
    await outer.abort()
    assert (outer.state, inner.state) == ("aborted", "aborted")
    with pytest.raises(bdb.errors.TransactionEnded):
        await db.get(b"a", txn=inner)


# Isolation


async def test_serializable_reads_do_not_change_until_the_end(impatient):
    db = await impatient.database("a")
    await db.put(b"k", b"1")
    async with impatient.transaction() as txn:
        assert await db.get(b"k", txn=txn) == b"1"
        with pytest.raises(bdb.errors.LockTimeout):
            await db.put(b"k", b"2")
        assert await db.get(b"k", txn=txn) == b"1"


async def test_committed_reads_keep_no_lock_and_may_change(env, db):
    await db.put(b"k", b"1")
    async with env.transaction(isolation="committed") as txn:
        assert await db.get(b"k", txn=txn) == b"1"
        await db.put(b"k", b"2")
        assert await db.get(b"k", txn=txn) == b"2"


async def test_uncommitted_reads_see_what_may_be_undone(env):
    db = await env.database("a", read_uncommitted=True)
    await db.put(b"k", b"1")
    async with env.transaction() as writer:
        await db.put(b"k", b"2", txn=writer)
        async with env.transaction(isolation="uncommitted") as reader:
            assert await db.get(b"k", txn=reader) == b"2"
        await writer.abort()
    assert await db.get(b"k") == b"1"


async def test_a_snapshot_sees_one_moment_and_stops_nobody(tmp_path):
    async with bdb.open(tmp_path, multiversion=True, lock_timeout=0.5) as env, env.database("a") as db:
        await db.put_many([(b"k", b"1"), (b"l", b"1")])
        async with env.transaction(isolation="snapshot") as txn:
            assert await db.get(b"k", txn=txn) == b"1"
            await db.put(b"k", b"2")
            await db.put(b"l", b"2")
            assert [await db.get(key, txn=txn) for key in (b"k", b"l")] == [b"1", b"1"]
            assert [value async for _, value in db.range(txn=txn)] == [b"1", b"1"]
        assert await db.get(b"k") == b"2"


async def test_a_snapshot_only_reads(tmp_path):
    async with bdb.open(tmp_path, multiversion=True) as env, env.database("a") as db:
        await db.put(b"k", b"1")
        async with env.transaction(isolation="snapshot") as txn, txn.transaction() as inner:
            for call in (db.put(b"k", b"2", txn=inner), db.delete(b"k", txn=inner), db.truncate(txn=inner)):
                with pytest.raises(bdb.errors.Misuse, match="a snapshot only reads"):
                    await call
            async with db.cursor(txn=inner) as cursor:
                assert await cursor.first() == (b"k", b"1")
                with pytest.raises(bdb.errors.Misuse, match="a snapshot only reads"):
                    await cursor.replace(b"2")


# Bounds


async def test_a_wait_for_a_lock_is_bounded_by_the_transactions_own_time(env, db):
    async with env.transaction() as holder:
        await db.put(b"k", b"1", txn=holder)
        async with env.transaction(lock_timeout=0.15) as txn:
            with pytest.raises(bdb.errors.LockTimeout):
                await db.get(b"k", txn=txn)
            await db.environment.checkpoint()
            await txn.abort()
        async with env.transaction(wait=False) as txn:
            with pytest.raises(bdb.errors.LockTimeout):
                await db.put(b"k", b"2", txn=txn)
            await txn.abort()
    assert await db.get(b"k") == b"1"


async def test_a_transaction_that_takes_too_long_is_undone(env, db):
    async def work() -> None:
        async with env.transaction(timeout=0.05) as txn:
            await db.put(b"k", b"v", txn=txn)
            while txn.state == "open":
                await asyncio.sleep(0.01)
            with pytest.raises(bdb.errors.TransactionTimeout):
                await db.get(b"k", txn=txn)

    with pytest.raises(bdb.errors.TransactionTimeout):
        await work()
    assert await content(db) == []


async def test_a_transaction_that_waits_for_a_lock_is_ended_by_its_timeout(env, db):
    async with env.transaction() as holder:
        await db.put(b"k", b"1", txn=holder)
        txn = env.transaction(timeout=0.05)
        with pytest.raises(bdb.errors.TransactionTimeout):
            await db.get(b"k", txn=txn)
    assert txn.state == "aborted"


async def test_a_transaction_may_be_more_durable_than_its_environment(tmp_path):
    async with bdb.open(tmp_path, durability="none") as env, env.database("a") as db:
        before = (await env.stat()).log.flushes
        async with env.transaction() as txn:
            await db.put(b"a", b"1", txn=txn)
        assert (await env.stat()).log.flushes == before
        async with env.transaction(durability="full") as txn:
            await db.put(b"b", b"1", txn=txn)
        assert (await env.stat()).log.flushes > before


# Deadlocks


async def test_of_two_that_wait_for_each_other_one_gives_way_at_once(env):
    left, right = await env.database("left"), await env.database("right")
    for db in (left, right):
        await db.put(b"k", b"0")

    async def lock(first, second, value: bytes, met: asyncio.Barrier) -> None:
        async with env.transaction() as txn:
            await first.put(b"k", value, txn=txn)
            await met.wait()
            await second.put(b"k", value, txn=txn)

    met = asyncio.Barrier(2)
    outcomes = await asyncio.gather(lock(left, right, b"1", met), lock(right, left, b"2", met), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Deadlock", "NoneType"]
    winner = b"1" if outcomes[0] is None else b"2"
    assert await left.get(b"k") == await right.get(b"k") == winner


async def test_after_a_deadlock_nothing_can_be_done_but_leave(env):
    left, right = await env.database("left"), await env.database("right")
    one, two = env.transaction(), env.transaction()
    await left.put(b"k", b"1", txn=one)
    await right.put(b"k", b"2", txn=two)
    outcomes = await asyncio.gather(
        right.put(b"k", b"1", txn=one), left.put(b"k", b"2", txn=two), return_exceptions=True
    )
    victim = one if outcomes[0] is not None else two
    with pytest.raises(bdb.errors.Deadlock):
        await left.get(b"k", txn=victim)
    with pytest.raises(bdb.errors.Deadlock):
        await victim.commit()
    await (two if victim is one else one).commit()
    assert victim.state == "aborted"


@pytest.mark.parametrize("favoured", [0, 1])
async def test_in_a_deadlock_the_lower_priority_gives_way(env, favoured):
    left, right = await env.database("left"), await env.database("right")
    txns = [env.transaction(priority=10 if place == favoured else 0) for place in range(2)]
    await left.put(b"k", b"0", txn=txns[0])
    await right.put(b"k", b"1", txn=txns[1])
    outcomes = await asyncio.gather(
        right.put(b"k", b"0", txn=txns[0]), left.put(b"k", b"1", txn=txns[1]), return_exceptions=True
    )
    assert outcomes[favoured] is None
    assert isinstance(outcomes[1 - favoured], bdb.errors.Deadlock)
    for txn in txns:
        await txn.abort()


async def test_a_storm_of_deadlocks_ends_and_loses_nothing(env):
    accounts = await env.database("accounts", page_size=512)
    keys = [b"%04d" % number for number in range(60)]
    await accounts.put_many((key, b"100".rjust(60)) for key in keys)
    rng = random.Random(7)
    plans = [rng.sample(keys, rng.randint(2, 5)) for _ in range(50)]

    async def shift(plan: list[bytes]) -> None:
        async def work(txn) -> None:
            for key, change in zip(plan, (-len(plan) + 1, *[1] * (len(plan) - 1)), strict=True):
                balance = int(await accounts.get(key, txn=txn)) + change
                await accounts.put(key, (b"%d" % balance).rjust(60), txn=txn)

        await env.run_transaction(work, attempts=1000)

    await asyncio.gather(*(shift(plan) for plan in plans))
    assert sum([int(value) async for _, value in accounts.range()]) == 100 * len(keys)
    assert (await env.stat()).locks.deadlocks > 0, "there was no storm"


async def test_a_function_is_run_so_many_times_and_then_its_deadlock_is_told(env):
    runs = []

    async def unlucky(_txn) -> None:
        runs.append(1)
        raise bdb.errors.Deadlock(doing="test", of="a test")

    with pytest.raises(bdb.errors.Deadlock):
        await env.run_transaction(unlucky, attempts=3)
    assert len(runs) == 3

    async def broken(_txn) -> None:
        runs.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await env.run_transaction(broken)
    assert len(runs) == 4, "only a deadlock is worth another run"


async def test_what_the_function_returns_is_returned(env, db):
    async def work(txn) -> str:
        await db.put(b"k", b"v", txn=txn)
        return "done"

    assert await env.run_transaction(work) == "done"
    assert await db.get(b"k") == b"v"


# Endings


async def test_a_transaction_that_has_ended_says_so(env, db):
    async with env.transaction() as txn:
        await db.put(b"k", b"v", txn=txn)
    for call in (lambda: db.get(b"k", txn=txn), txn.commit, txn.abort, lambda: txn.prepare(b"x")):
        with pytest.raises(bdb.errors.TransactionEnded):
            await call()
    with pytest.raises(bdb.errors.TransactionEnded):
        txn.transaction()
    undone = env.transaction()
    await undone.abort()
    await undone.abort()  # idempotent
    with pytest.raises(bdb.errors.TransactionEnded):
        await db.get(b"k", txn=undone)


async def test_a_transaction_that_did_nothing_ends_as_well(env):
    async with env.transaction() as txn:
        pass
    assert txn.state == "committed"
    async with env.transaction() as txn:
        await txn.abort()
    assert txn.state == "aborted"
    assert env.statistics().transactions == 0


async def test_the_transaction_of_another_environment_is_refused(env, tmp_path):
    async with bdb.open(tmp_path / "other") as other, other.database("a") as db, env.transaction() as txn:
        with pytest.raises(bdb.errors.Misuse, match="another environment"):
            await db.get(b"k", txn=txn)


@pytest.mark.parametrize(
    "options",
    [{"isolation": "none"}, {"isolation": "snapshot"}, {"priority": -1}, {"priority": True}, {"attempts": 0}],
)
async def test_options_that_cannot_be_are_refused_at_once(env, options):
    with pytest.raises(ValueError):
        await env.run_transaction(lambda txn: asyncio.sleep(0), **options)


async def test_a_database_that_a_transaction_uses_closes_when_that_ends(env, db):
    txn = env.transaction()
    await db.put(b"k", b"v", txn=txn)
    await db.aclose()
    with pytest.raises(bdb.errors.Closed):
        await db.get(b"k")
    assert env.statistics().databases == 1
    await txn.commit()
    await db.closed()
    assert env.statistics().databases == 0
    async with env.database("main") as again:
        assert await again.get(b"k") == b"v"


async def test_closing_the_environment_undoes_what_is_open(tmp_path):
    async with bdb.open(tmp_path) as env:
        db = await env.database("a")
        outer = env.transaction()
        await db.put(b"k", b"v", txn=outer)
        inner = outer.transaction()
        await db.put(b"l", b"v", txn=inner)
        await db.cursor(txn=inner).first()
    assert (outer.state, inner.state) == ("aborted", "aborted")
    async with bdb.open(tmp_path) as env, env.database("a") as db:
        assert await content(db) == []


async def test_a_dropped_transaction_is_undone_and_warns(env, db):
    async def use_and_drop() -> None:
        await db.put(b"k", b"v", txn=env.transaction())

    with pytest.warns(ResourceWarning, match="dropped"):
        await use_and_drop()
    await db.put(b"k", b"w")  # its lock is gone
    async with asyncio.timeout(60):
        while env.statistics().transactions:  # its worker tells a little later
            await asyncio.sleep(0.001)


# Cancellation


async def at_rest(env, db) -> None:
    """Nothing is left of a transaction: no lock, no session."""
    for key in (b"a", b"b"):
        await db.put(key, b"rest")
    await open_transactions(env, 0)


async def open_transactions(env, count: int) -> None:
    """Wait until so many transactions are open: what a second cancel has cut short is undone in the background."""
    async with asyncio.timeout(30):
        while env.statistics().transactions != count:
            await asyncio.sleep(0.001)


async def test_a_cancel_anywhere_leaves_no_lock_and_no_transaction_behind(env, db):
    async def use() -> None:
        async with env.transaction() as txn:
            await db.put(b"a", b"1", txn=txn)
            assert await db.get(b"a", txn=txn) == b"1"
            async with txn.transaction() as inner:
                await db.put(b"b", b"2", txn=inner)
                async with db.cursor(txn=inner) as cursor:
                    await cursor.seek(b"a")
                    await cursor.replace(b"3")

    report = await cancel_everywhere(use, check=lambda: at_rest(env, db))
    assert report.points > 6


async def test_a_cancel_of_one_that_waits_for_a_lock_leaves_nothing_behind(env, db):
    async with env.transaction() as holder:
        await db.put(b"a", b"1", txn=holder)

        async def use() -> None:
            async with env.transaction() as txn:
                await db.put(b"a", b"2", txn=txn)

        for _ in range(5):
            task = asyncio.ensure_future(use())
            await asyncio.wait([task], timeout=0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await open_transactions(env, 1)
    await at_rest(env, db)


async def test_a_cancel_of_calls_without_a_transaction_leaves_nothing_behind(env, db):
    async def use() -> None:
        await db.put(b"a", b"1")
        await db.get(b"a")
        await db.update(b"a", lambda old: old)
        await db.put_many([(b"a", b"2"), (b"b", b"3")])
        await db.get_many([b"a", b"b"])
        async with db.range() as records:
            async for _ in records:
                pass
        async with db.cursor() as cursor:
            await cursor.first()
        await db.delete(b"a")
        await db.stat()
        await db.compact()
        await env.checkpoint()

    report = await cancel_everywhere(
        use, check=lambda: at_rest(env, db), moments=(CancelMoment.SUSPENDED, CancelMoment.UNDER_WAY)
    )
    assert report.points > 10


async def test_a_cancelled_commit_says_that_it_may_have_happened(env, db):
    async def run(moment: int) -> tuple[bool, bool]:
        await db.delete(b"k")
        txn = env.transaction()
        await db.put(b"k", b"v", txn=txn)
        commit = asyncio.ensure_future(txn.commit())
        for _ in range(moment):
            await asyncio.sleep(0)
        commit.cancel()
        try:
            await commit
        except asyncio.CancelledError as exc:
            told = getattr(exc, "maybe_applied", False)
        else:
            told = True
        while txn.state == "ending":
            await asyncio.sleep(0.001)
        return told, await db.exists(b"k")

    for moment in range(1, 8):
        told, there = await run(moment)
        assert told or not there, "what nobody was told of has happened"


async def test_opening_and_closing_survive_a_cancel_anywhere(tmp_path):
    async def use() -> None:
        async with bdb.open(tmp_path) as env, env.database("a") as db:
            await db.put(b"k", b"v")

    async def check() -> None:
        while True:  # a cancelled opening or closing goes on in the background
            try:
                async with bdb.open(tmp_path) as env, env.database("a") as db:
                    return await db.put(b"k", b"v")
            except bdb.errors.AlreadyOpen:
                await asyncio.sleep(0.001)

    report = await cancel_everywhere(use, check=check)
    assert report.points > 3
