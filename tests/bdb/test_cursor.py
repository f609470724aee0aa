"""Cursors go wherever libdb's go, write where they stand, and are gone when they are closed or dropped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncstore.testing import cancel_everywhere
from tests.bdb.binding import bdb

RECORDS = [(b"a", b"1"), (b"c", b"2"), (b"e", b"3")]
PAIRS = [(b"a", b"1"), (b"b", b"1"), (b"b", b"2"), (b"b", b"3"), (b"c", b"1")]


@pytest.fixture
async def plain(db):
    await db.put_many(RECORDS)
    return db


@pytest.fixture(params=["sorted", "unsorted"])
async def pairs(env, request):
    db = await env.database("pairs", duplicates=request.param)
    await db.put_many(PAIRS)
    return db


async def content(db) -> list[Any]:
    return [record async for record in db.range()]


async def test_a_fresh_cursor_goes_to_the_ends(plain):
    async with plain.cursor() as cursor:
        assert await cursor.next() == RECORDS[0]
    async with plain.cursor() as cursor:
        assert await cursor.previous() == RECORDS[-1]


async def test_it_walks_both_ways_and_stays_at_the_ends(plain):
    async with plain.cursor() as cursor:
        assert [await cursor.first(), await cursor.next(), await cursor.next()] == RECORDS
        assert await cursor.next() is None
        assert await cursor.current() == RECORDS[-1]
        assert await cursor.previous() == RECORDS[1]
        assert await cursor.last() == RECORDS[2]
        assert await cursor.first() == RECORDS[0]
        assert await cursor.previous() is None


async def test_it_seeks_exactly_or_from_a_key_on(plain):
    async with plain.cursor() as cursor:
        assert await cursor.seek(b"c") == (b"c", b"2")
        assert await cursor.seek(b"b") is None
        assert await cursor.current() == (b"c", b"2"), "it stays where it was"
        assert await cursor.seek_from(b"b") == (b"c", b"2")
        assert await cursor.seek_from(b"f") is None
        assert await cursor.seek_pair(b"c", b"2") == (b"c", b"2")
        assert await cursor.seek_pair(b"c", b"3") is None


async def test_it_moves_among_duplicates_and_past_them(pairs):
    async with pairs.cursor() as cursor:
        assert await cursor.seek(b"b") == (b"b", b"1")
        assert await cursor.count() == 3
        assert await cursor.next_duplicate() == (b"b", b"2")
        assert await cursor.next_duplicate() == (b"b", b"3")
        assert await cursor.next_duplicate() is None
        assert await cursor.previous_duplicate() == (b"b", b"2")
        assert await cursor.next_key() == (b"c", b"1")
        assert await cursor.previous_key() == (b"b", b"3")
        assert await cursor.previous_key() == (b"a", b"1")
        assert await cursor.previous_duplicate() is None
        assert await cursor.seek_pair(b"b", b"2") == (b"b", b"2")


async def test_it_seeks_a_pair_from_a_value_on(env):
    db = await env.database("pairs", duplicates="sorted")
    await db.put_many([(b"k", b"10"), (b"k", b"30")])
    async with db.cursor() as cursor:
        assert await cursor.seek_pair_from(b"k", b"20") == (b"k", b"30")
        assert await cursor.seek_pair_from(b"k", b"40") is None
        assert await cursor.seek_pair_from(b"j", b"10") is None


async def test_it_counts_records(env):
    db = await env.database("numbers", record_numbers=True)
    await db.put_many(RECORDS)
    async with db.cursor() as cursor:
        assert await cursor.seek_number(2) == (b"c", b"2")
        assert await cursor.number() == 2
        assert await cursor.seek_number(4) is None
        with pytest.raises(ValueError, match="record number"):
            await cursor.seek_number(0)


@pytest.mark.parametrize("options", [{"type": "recno"}, {"type": "queue", "record_length": 1}])
async def test_it_walks_over_numbers_and_their_holes(env, options):
    db = await env.database("numbers", **options)
    for number in (1, 2, 5):
        await db.put(number, b"%d" % number)
    await db.delete(2)
    async with db.cursor() as cursor:
        assert [record async for record in cursor] == [(1, b"1"), (5, b"5")]
        assert await cursor.seek(5) == (5, b"5")
        assert await cursor.previous() == (1, b"1")
        assert await cursor.seek(2) is None


@pytest.mark.parametrize("options", [{"type": "hash"}, {"type": "heap"}])
async def test_it_walks_over_records_without_an_order(env, options):
    db = await env.database("bag", **options)
    if options["type"] == "heap":
        keys = [await db.append(value) for _, value in RECORDS]
    else:
        await db.put_many(RECORDS)
        keys = [key for key, _ in RECORDS]
    async with db.cursor() as cursor:
        assert sorted([record async for record in cursor]) == sorted(
            zip(keys, [value for _, value in RECORDS], strict=True)
        )
        if options["type"] == "hash":
            assert await cursor.seek(keys[1]) == (keys[1], b"2")
        else:
            with pytest.raises(bdb.errors.Misuse, match="get reads it"):
                await cursor.seek(keys[1])


async def test_many_records_come_in_one_hop(plain):
    async with plain.cursor() as cursor:
        assert await cursor.fetch(2) == RECORDS[:2]
        assert await cursor.current() == RECORDS[1]
        assert await cursor.fetch(9) == RECORDS[2:]
        assert await cursor.fetch(9) == []
        with pytest.raises(ValueError):
            await cursor.fetch(0)


async def test_it_writes_where_it_stands(env, plain):
    async with env.transaction() as txn, plain.cursor(txn=txn) as cursor:
        await cursor.seek(b"c")
        await cursor.replace(b"new")
        assert await cursor.current() == (b"c", b"new")
        await cursor.next()
        await cursor.delete()
        assert await cursor.current() is None
        with pytest.raises(bdb.errors.KeyEmpty):
            await cursor.delete()
        await cursor.put(b"d", b"4")
        assert await cursor.current() == (b"d", b"4")
        assert await cursor.previous() == (b"c", b"new")
    assert await content(plain) == [(b"a", b"1"), (b"c", b"new"), (b"d", b"4")]


async def test_what_it_wrote_is_undone_with_its_transaction(env, plain):
    async with env.transaction() as txn:
        async with plain.cursor(rmw=True, txn=txn) as cursor:
            async for _ in cursor:
                await cursor.delete()
        assert await content_in(plain, txn) == []
        await txn.abort()
    assert await content(plain) == RECORDS


async def content_in(db, txn) -> list[Any]:
    return [record async for record in db.range(txn=txn)]


async def test_unsorted_duplicates_are_put_where_they_are_wanted(env):
    db = await env.database("pairs", duplicates="unsorted")
    async with env.transaction() as txn, db.cursor(txn=txn) as cursor:
        await cursor.put(b"k", b"middle")
        await cursor.put(b"k", b"last", place="last")
        await cursor.put(b"k", b"first", place="first")
        await cursor.seek_pair(b"k", b"middle")
        await cursor.put(b"ignored", b"before middle", place="before")
        await cursor.next_duplicate()
        await cursor.put(b"ignored", b"after middle", place="after")
    assert await db.get_all(b"k") == [b"first", b"before middle", b"middle", b"after middle", b"last"]


async def test_a_pair_that_is_there_is_refused_when_a_new_one_is_wanted(env):
    db = await env.database("pairs", duplicates="sorted")
    await db.put(b"k", b"v")
    async with env.transaction() as txn, db.cursor(txn=txn) as cursor:
        with pytest.raises(bdb.errors.KeyExists):
            await cursor.put(b"k", b"v", place="new")
        await cursor.put(b"k", b"w", place="new")
        with pytest.raises(ValueError, match="place is one of"):
            await cursor.put(b"k", b"w", place="somewhere")
    assert await db.get_all(b"k") == [b"v", b"w"]


async def test_a_copy_stands_where_the_original_stood(env, plain):
    async with env.transaction() as txn, plain.cursor(txn=txn) as cursor:
        await cursor.seek(b"c")
        copy = await cursor.duplicate()
        await cursor.next()
        assert await copy.current() == (b"c", b"2")
        assert await cursor.current() == (b"e", b"3")
        await copy.aclose()
        with pytest.raises(bdb.errors.Closed):
            await copy.current()
        assert await cursor.current() == (b"e", b"3")


async def test_reading_for_writing_locks_for_writing(tmp_path):
    async with bdb.open(tmp_path, lock_timeout=0.2) as env, env.database("a") as db:
        await db.put(b"k", b"0")
        async with env.transaction() as one, db.cursor(rmw=True, txn=one) as cursor:
            await cursor.seek(b"k")
            with pytest.raises(bdb.errors.LockTimeout):
                await db.get(b"k")
        with pytest.raises(ValueError, match="rmw"):
            db.cursor(rmw=True)


async def test_without_a_transaction_it_only_reads(plain):
    async with plain.cursor() as cursor:
        await cursor.first()
        for call in (cursor.put(b"x", b"y"), cursor.replace(b"z"), cursor.delete()):
            with pytest.raises(bdb.errors.Misuse, match="pass one as txn"):
                await call
    assert await content(plain) == RECORDS


async def test_arguments_that_cannot_be_are_refused_at_once(env, plain):
    async with env.transaction() as txn, plain.cursor(txn=txn) as cursor:
        for call in (cursor.seek("text"), cursor.seek_from(1), cursor.seek_pair(b"a", 1), cursor.put(b"a", "text")):
            with pytest.raises(TypeError):
                await call
        await cursor.first()
        with pytest.raises(TypeError):
            await cursor.replace(bytearray(b"x"))


async def test_a_closed_cursor_says_so(env, plain):
    cursor = plain.cursor()
    await cursor.aclose()
    await cursor.aclose()
    with pytest.raises(bdb.errors.Closed):
        await cursor.first()
    async with env.transaction() as txn:
        inside = plain.cursor(txn=txn)
        await inside.first()
    with pytest.raises((bdb.errors.Closed, bdb.errors.TransactionEnded)):
        await inside.next()
    await inside.aclose()


async def test_calls_that_overlap_are_carried_out_in_their_order(plain):
    async with plain.cursor() as cursor:
        assert await asyncio.gather(cursor.first(), cursor.next(), cursor.next()) == RECORDS


async def test_a_cursor_of_its_own_stands_in_nobodys_way_when_it_is_closed(env, plain):
    cursor = plain.cursor()
    await cursor.first()
    assert env.statistics().transactions == 1
    await cursor.aclose()
    assert env.statistics().transactions == 0
    await plain.put(b"a", b"changed")


async def test_a_dropped_cursor_is_closed_and_warns(env, plain):
    async def use_and_drop() -> None:
        await plain.cursor().first()

    with pytest.warns(ResourceWarning, match="dropped"):
        await use_and_drop()
    await plain.put(b"a", b"changed")  # its lock is gone


async def test_a_cancel_anywhere_leaves_no_lock_behind(env, plain):
    async def use() -> None:
        async with plain.cursor() as cursor:
            await cursor.first()
            await cursor.fetch(2)
        async with env.transaction() as txn, plain.cursor(txn=txn) as cursor:
            await cursor.last()
            copy = await cursor.duplicate()
            await copy.replace(b"new")

    async def at_rest() -> None:
        await plain.put_many(RECORDS)
        async with asyncio.timeout(30):
            while env.statistics().transactions:  # what a second cancel has cut short is closed in the background
                await asyncio.sleep(0.001)

    assert (await cancel_everywhere(use, check=at_rest)).points > 6
