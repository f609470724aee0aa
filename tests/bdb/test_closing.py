"""Closing: what was asked for ends, what comes after is refused, nothing is left open."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref

import pytest

from asyncstore.pool import Pool
from tests.bdb.binding import bdb


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def drop(held: list) -> None:
    """Give the objects up and see them collected; a worker may hold the last request until it is scheduled next."""
    alive = [weakref.ref(thing) for thing in held]
    held.clear()
    while any(reference() is not None for reference in alive):
        gc.collect()


async def test_work_in_flight_ends_before_the_close(env, db):
    work = [asyncio.ensure_future(db.put(b"%d" % i, b"x")) for i in range(600)]
    work += [asyncio.ensure_future(db.get(b"%d" % i)) for i in range(600)]
    await asyncio.sleep(0)
    await env.aclose()
    assert all(task.done() for task in work)
    assert [await task for task in work[:600]] == [None] * 600


async def test_every_call_after_the_close_says_so(env, db):
    await env.aclose()
    for call in (db.get(b"k"), db.exists(b"k"), db.put(b"k", b"v"), db.delete(b"k"), env.database("other")):
        with pytest.raises(bdb.errors.Closed, match="it has been closed"):
            await call
    with pytest.raises(bdb.errors.Closed):
        db.range()
    await env.aclose()
    await db.aclose()


async def test_a_closed_database_leaves_the_others_open(env, db):
    other = await env.database("other")
    await db.aclose()
    with pytest.raises(bdb.errors.Closed, match="database 'main'"):
        await db.get(b"k")
    await other.put(b"k", b"v")
    assert env.statistics().databases == 1


async def test_a_range_whose_database_is_closed_meanwhile_says_so(db, monkeypatch):
    monkeypatch.setattr("asyncstore.bdb._range.FIRST_BATCH", 1)
    await asyncio.gather(db.put(b"a", b""), db.put(b"b", b""))
    records = db.range()
    await anext(records)
    await db.aclose()
    with pytest.raises(bdb.errors.Closed):
        await anext(records)


async def test_closing_twice_at_once_closes_once(tmp_path):
    env = await bdb.open(tmp_path)
    await asyncio.gather(env.aclose(), env.aclose(), env.aclose())
    async with bdb.open(tmp_path):
        pass


async def test_a_cancelled_close_goes_on_in_the_background(tmp_path):
    env = await bdb.open(tmp_path)
    closing = asyncio.ensure_future(env.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await env.aclose()
    assert env.statistics().state == "closed"
    async with bdb.open(tmp_path):
        pass


async def test_a_database_that_is_being_opened_is_closed_with_its_environment(tmp_path):
    env = await bdb.open(tmp_path)
    opening = asyncio.ensure_future(env.database("late").__aenter__())
    await asyncio.sleep(0)
    await env.aclose()
    db = await opening
    with pytest.raises(bdb.errors.Closed):
        await db.get(b"k")


async def test_opening_cancelled_at_every_turn_leaves_nothing_open(tmp_path):
    before = descriptors()

    async def use() -> None:
        async with bdb.open(tmp_path, cache_size=1 << 20) as env, env.database("a") as db:
            await db.put(b"k", b"v")
            await db.get(b"k")

    turns, ended = 0, False
    while not ended:
        task = asyncio.ensure_future(use())
        for _ in range(turns):
            await asyncio.sleep(
                0.0005
            )  # the place of the cancel is what varies; nothing is expected to be ready by now
        turns += 1
        ended = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        while True:  # an open that was cancelled closes on its worker; until then the home is taken
            try:
                env = await bdb.open(tmp_path, cache_size=1 << 20)
            except bdb.errors.AlreadyOpen:
                await asyncio.sleep(0)
                continue
            await env.aclose()
            break
    assert descriptors() <= before


async def test_opening_and_closing_leaves_no_descriptor(tmp_path):
    async with bdb.open(tmp_path):
        pass
    before = descriptors()
    for _ in range(5):
        async with bdb.open(tmp_path) as env, env.database("a") as db:
            await db.put(b"k", b"v")
    assert descriptors() <= before


async def test_an_environment_that_is_dropped_open_warns_and_can_be_opened_again(tmp_path):
    env = await bdb.open(tmp_path)
    db = await env.database("a")
    await db.put(b"k", b"v")
    held = [env, db]
    del env, db
    with pytest.warns(ResourceWarning, match="was not closed"):
        drop(held)
    async with bdb.open(tmp_path) as env, env.database("a") as db:
        assert await db.get(b"k") == b"v"


async def test_no_call_into_libdb_is_made_on_the_loop_thread(tmp_path, monkeypatch):
    from asyncstore.bdb import _commit, _home, _read

    loop_thread = threading.get_ident()
    seen = []
    for owner, name in [
        (_home.Home, "__init__"),
        (_home.Home, "close"),
        (_home.Home, "open_database"),
        (_commit.Committer, "__call__"),
        (_read.Reader, "__call__"),
        (_home.Home, "close_database"),
    ]:
        real = getattr(owner, name)

        def spy(*args, real=real, name=name, **options):
            seen.append(name)
            assert threading.get_ident() != loop_thread, name
            return real(*args, **options)

        monkeypatch.setattr(owner, name, spy)
    async with bdb.open(tmp_path) as env, env.database("a") as db:
        await db.put(b"k", b"v")
        await db.get(b"k")
        assert [record async for record in db.range()]
    assert set(seen) == {"__init__", "close", "open_database", "__call__", "close_database"}


async def test_a_pool_that_is_closed_first_turns_calls_into_errors_and_not_into_waiting(tmp_path):
    pool = Pool()
    env = await bdb.open(tmp_path, pool=pool)
    db = await env.database("a")
    await db.put(b"k", b"v")
    await pool.aclose()
    for call in (db.get(b"k"), db.put(b"k", b"w"), db.range().__anext__()):
        with pytest.raises(bdb.errors.Closed, match="pool is gone"):
            await call
    await env.aclose()  # on a worker of its own
    async with bdb.open(tmp_path) as env, env.database("a") as db:
        assert await db.get(b"k") == b"v"


async def test_a_full_pool_delays_and_loses_nothing(tmp_path):
    pool = Pool(max_workers=1, max_pending=1)
    async with bdb.open(tmp_path, pool=pool) as env, env.database("a") as db:
        release = threading.Event()
        stuck = asyncio.ensure_future(pool.run(release.wait))
        others = [asyncio.ensure_future(pool.run(int)) for _ in range(3)]
        await asyncio.sleep(0)
        writes = [asyncio.ensure_future(db.put(b"%d" % i, b"x")) for i in range(10)]
        while not env.writes._scheduled:
            await asyncio.sleep(0)
        release.set()
        await asyncio.gather(stuck, *others, *writes)
        assert len([record async for record in db.range()]) == 10
    await pool.aclose()
