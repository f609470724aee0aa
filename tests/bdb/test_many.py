"""Many records at once: in their order, in batches of bounded size, from iterables of both kinds."""

from __future__ import annotations

import asyncio

import pytest

from tests.bdb.binding import bdb  # noqa: F401 - skips the module where there is no libdb


async def content(db):
    return [record async for record in db.range()]


async def test_an_asynchronous_iterable_is_stored_as_it_comes(db):
    async def lines():
        for number in range(3000):
            if number % 500 == 0:
                await asyncio.sleep(0)
            yield b"%05d" % number, b"v"

    assert await db.put_many(lines()) == 3000
    assert [int(key) for key, _ in await content(db)] == list(range(3000))


async def test_the_last_of_several_records_of_a_key_stays(db):
    assert await db.put_many((b"k", b"%d" % number) for number in range(5000)) == 5000
    assert await content(db) == [(b"k", b"4999")]


async def test_batches_are_bounded_by_records_and_by_bytes(env, db):
    before = env.statistics()
    await db.put_many((b"%05d" % number, b"v") for number in range(10_000))
    between = env.statistics()
    assert between.writes - before.writes == 10
    await db.put_many((b"%05d" % number, b"v" * 100_000) for number in range(12))
    assert env.statistics().writes - between.writes == 4


async def test_a_record_that_cannot_be_stops_there_and_what_came_before_stays(db):
    def records():
        for number in range(5000):
            yield (b"%05d" % number, b"v") if number != 3000 else (b"key", "no bytes")

    with pytest.raises(TypeError, match="value is bytes"):
        await db.put_many(records())
    keys = [int(key) for key, _ in await content(db)]
    assert keys == list(range(len(keys)))
    assert len(keys) <= 3000


async def test_an_iterable_that_raises_reaches_the_caller(db):
    def records():
        yield b"k", b"v"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await db.put_many(records())


async def test_in_a_transaction_it_is_all_or_nothing(env, db):
    async with env.transaction() as txn:
        await db.put_many(((b"%05d" % number, b"v") for number in range(3000)), txn=txn)
        assert len(await db.get_many([b"%05d" % number for number in range(3000)], txn=txn)) == 3000
        await txn.abort()
    assert await content(db) == []


async def test_a_cancel_leaves_a_beginning(db):
    async def endless():
        number = 0
        while True:
            yield b"%08d" % number, b"v"
            number += 1

    task = asyncio.ensure_future(db.put_many(endless()))
    async with asyncio.timeout(30):
        while not await db.exists(b"%08d" % 5000):
            await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    keys = [int(key) for key, _ in await content(db)]
    assert keys == list(range(len(keys)))
