"""A function that reads and writes several records as one, for the price of a put."""

from __future__ import annotations

import asyncio
import random

import pytest

from asyncstore.testing import cancel_everywhere
from tests.bdb.binding import bdb


def transfer(view, accounts, source: bytes, target: bytes, amount: int) -> int:
    left = int(view.get(accounts, source)) - amount
    if left < 0:
        raise ValueError("not enough")
    view.put(accounts, source, b"%d" % left)
    view.put(accounts, target, b"%d" % (int(view.get(accounts, target)) + amount))
    return left


async def content(db):
    return [record async for record in db.range()]


@pytest.fixture
async def accounts(db):
    await db.put_many((b"%02d" % number, b"100") for number in range(20))
    return db


async def test_what_it_returns_is_returned_and_what_it_wrote_is_there(env, accounts):
    assert await env.atomically(transfer, accounts, b"00", b"01", amount=30) == 70
    assert await accounts.get_many([b"00", b"01"]) == [b"70", b"130"]


async def test_what_it_raises_is_raised_and_nothing_is_changed(env, accounts):
    before = await content(accounts)

    def half(view) -> None:
        view.put(accounts, b"00", b"0")
        view.delete(accounts, b"01")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await env.atomically(half)
    assert await content(accounts) == before


async def test_many_share_one_commit_and_each_fails_alone(env, accounts):
    before = env.statistics().commits
    rng = random.Random(5)
    keys = [b"%02d" % number for number in range(20)]
    outcomes = await asyncio.gather(
        *(env.atomically(transfer, accounts, *rng.sample(keys, 2), amount=rng.choice([1, 5000])) for _ in range(200)),
        return_exceptions=True,
    )
    assert {type(outcome) for outcome in outcomes} == {int, ValueError}
    assert sum([int(value) for _, value in await content(accounts)]) == 2000
    assert env.statistics().commits - before < 20


async def test_it_works_on_several_databases_of_every_kind(env, accounts):
    queue = await env.database("queue", type="queue", record_length=8, pad=0)
    pairs = await env.database("pairs", duplicates="sorted")
    heap = await env.database("heap", type="heap")

    def work(view):
        rid = view.append(heap, b"note")
        view.put(pairs, b"k", b"b")
        view.put(pairs, b"k", b"a")
        assert view.get_all(pairs, b"k") == [b"a", b"b"]
        assert view.delete(pairs, b"k", b"a")
        assert view.exists(accounts, b"00")
        assert not view.delete(accounts, b"none")
        return rid, view.append(queue, b"job")

    rid, number = await env.atomically(work)
    assert number == 1
    assert await heap.get(rid) == b"note"
    assert await pairs.get_all(b"k") == [b"b"]
    with pytest.raises(bdb.errors.Misuse, match="not appended to"):
        await env.atomically(lambda view: view.append(accounts, b"v"))


async def test_a_refusal_can_be_caught_and_the_function_goes_on(env, accounts):
    def work(view) -> str:
        try:
            view.put(accounts, b"00", b"new", overwrite=False)
        except bdb.errors.KeyExists:
            view.put(accounts, b"new", b"0", overwrite=False)
            return "there already"
        return "new"

    assert await env.atomically(work) == "there already"
    assert await accounts.get_many([b"00", b"new"]) == [b"100", b"0"]


async def test_a_lock_that_is_kept_is_waited_for(env, accounts):
    async with env.transaction() as txn:
        await accounts.put(b"00", b"50", txn=txn)
        waiting = asyncio.ensure_future(env.atomically(transfer, accounts, b"00", b"01", 10))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
    assert await waiting == 40


async def test_a_lock_that_is_not_had_is_told_even_if_the_function_swallows_it(tmp_path):
    async with bdb.open(tmp_path, lock_timeout=0.1) as env, env.database("a") as db:

        def stubborn(view) -> str:
            try:
                view.put(db, b"k", b"2")
            except Exception:
                pass
            return "done"

        async with env.transaction() as txn:
            await db.put(b"k", b"1", txn=txn)
            with pytest.raises(bdb.errors.LockTimeout):
                await env.atomically(stubborn)
        assert await db.get(b"k") == b"1"


async def test_indices_follow(env, accounts):
    index = await accounts.associate("by_value", lambda key, value: value)
    await env.atomically(transfer, accounts, b"00", b"01", 30)
    assert await index.get_with_key(b"70") == (b"00", b"70")


async def test_arguments_are_checked(env, accounts, tmp_path):
    for work in (
        lambda view: view.get(accounts, "text"),
        lambda view: view.put(accounts, b"k", "text"),
        lambda view: view.delete(accounts, None),
    ):
        with pytest.raises(TypeError):
            await env.atomically(work)
    async with bdb.open(tmp_path / "other") as other, other.database("a") as db:
        with pytest.raises(bdb.errors.Misuse, match="another environment"):
            await env.atomically(lambda view: view.get(db, b"k"))


async def test_a_view_is_of_no_use_afterwards_and_a_closed_database_neither(env, accounts):
    kept = await env.atomically(lambda view: view)
    with pytest.raises(bdb.errors.TransactionEnded):
        kept.get(accounts, b"00")
    await accounts.aclose()
    with pytest.raises(bdb.errors.Closed):
        await env.atomically(lambda view: view.get(accounts, b"00"))


async def test_a_closed_environment_runs_nothing(tmp_path):
    async with bdb.open(tmp_path) as env:
        pass
    with pytest.raises(bdb.errors.Closed):
        await env.atomically(print)


async def test_a_cancel_anywhere_changes_all_or_nothing(env, accounts):
    async def check() -> None:
        await accounts.put(b"sync", b"")  # behind what was under way
        assert sum([int(value) for key, value in await content(accounts) if key != b"sync"]) == 2000

    async def use() -> None:
        await env.atomically(transfer, accounts, b"02", b"03", 1)

    assert (await cancel_everywhere(use, check=check)).points >= 1
