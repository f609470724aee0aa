"""What can be asked of a database means the same outside of a transaction and in one, for every access method."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asyncstore.pool import Pool
from tests.bdb.binding import bdb

KEYED = [{"type": "btree"}, {"type": "hash"}]


@asynccontextmanager
async def nothing():
    yield None


@pytest.fixture(params=[False, True], ids=["alone", "in a transaction"])
async def txn(request, env):
    """None, or an open transaction."""
    async with env.transaction() if request.param else nothing() as transaction:
        yield transaction


@pytest.fixture(params=KEYED, ids=lambda options: options["type"])
async def keyed(request, env):
    return await env.database("keyed", **request.param)


async def content(db, txn=None) -> list[Any]:
    return sorted([record async for record in db.range(txn=txn)])


async def test_put_get_exists_size_delete(keyed, txn):
    assert await keyed.get(b"k", txn=txn) is None
    assert await keyed.size(b"k", txn=txn) is None
    assert not await keyed.exists(b"k", txn=txn)
    await keyed.put(b"k", b"value", txn=txn)
    assert await keyed.get(b"k", txn=txn) == b"value"
    assert await keyed.size(b"k", txn=txn) == 5
    assert await keyed.exists(b"k", txn=txn)
    assert await keyed.has(b"k", b"value", txn=txn)
    assert not await keyed.has(b"k", b"other", txn=txn)
    assert await keyed.delete(b"k", txn=txn) is True
    assert await keyed.delete(b"k", txn=txn) is False


async def test_empty_keys_and_values_are_keys_and_values(keyed, txn):
    await keyed.put(b"", b"", txn=txn)
    assert await keyed.get(b"", txn=txn) == b""
    assert await keyed.size(b"", txn=txn) == 0
    assert await content(keyed, txn) == [(b"", b"")]


async def test_large_records_come_back_whole(keyed, txn):
    value = bytes(range(256)) * 8000
    await keyed.put(b"k", value, txn=txn)
    assert await keyed.get(b"k", txn=txn) == value
    assert await keyed.get_part(b"k", 1_000_001, 3, txn=txn) == value[1_000_001:1_000_004]


async def test_an_existing_key_is_refused_when_it_is_not_to_be_replaced(keyed, txn):
    await keyed.put(b"k", b"1", overwrite=False, txn=txn)
    with pytest.raises(bdb.errors.KeyExists):
        await keyed.put(b"k", b"2", overwrite=False, txn=txn)
    assert await keyed.get(b"k", txn=txn) == b"1"


async def test_parts_of_a_value_are_read_and_replaced(keyed, txn):
    await keyed.put(b"k", b"0123456789", txn=txn)
    assert await keyed.get_part(b"k", 2, 3, txn=txn) == b"234"
    assert await keyed.get_part(b"k", 8, 9, txn=txn) == b"89"
    assert await keyed.get_part(b"k", 20, 1, txn=txn) == b""
    assert await keyed.get_part(b"missing", 0, 1, txn=txn) is None
    await keyed.put_part(b"k", b"AB", 2, txn=txn)
    assert await keyed.get(b"k", txn=txn) == b"01AB456789"
    await keyed.put_part(b"k", b"", 0, 4, txn=txn)
    assert await keyed.get(b"k", txn=txn) == b"456789"
    await keyed.put_part(b"k", b"longer", 6, 0, txn=txn)
    assert await keyed.get(b"k", txn=txn) == b"456789longer"
    await keyed.put_part(b"new", b"x", 3, txn=txn)
    assert await keyed.get(b"new", txn=txn) == b"\0\0\0x"


async def test_many_keys_are_answered_in_their_order(keyed, txn):
    keys = [b"%04d" % number for number in range(1000)]
    assert await keyed.put_many(((key, key) for key in keys[::2]), txn=txn) == 500
    asked = list(reversed(keys))
    assert await keyed.get_many(asked, txn=txn) == [key if int(key) % 2 == 0 else None for key in asked]
    assert await keyed.get_many([], txn=txn) == []


async def test_many_large_values_are_fetched_a_few_at_a_time(env, keyed):
    keys = [b"%02d" % number for number in range(12)]
    await keyed.put_many((key, key * 50_000) for key in keys)
    before = env.statistics().reads
    assert await keyed.get_many([*keys, b"missing"]) == [*(key * 50_000 for key in keys), None]
    assert env.statistics().reads - before == 5


async def test_a_value_is_updated_in_one_step(keyed, txn):
    async def add(key: bytes, number: int) -> bytes | None:
        return await keyed.update(key, lambda old: b"%d" % (int(old or 0) + number), txn=txn)

    assert await add(b"k", 5) == b"5"
    await asyncio.gather(*(add(b"k", 1) for _ in range(50)))
    assert await keyed.get(b"k", txn=txn) == b"55"
    assert await keyed.update(b"k", lambda _: None, txn=txn) is None
    assert not await keyed.exists(b"k", txn=txn)
    assert await keyed.update(b"k", lambda _: None, txn=txn) is None


async def test_a_function_that_raises_or_returns_no_bytes_changes_nothing(keyed, txn):
    await keyed.put(b"k", b"1", txn=txn)
    with pytest.raises(ZeroDivisionError):
        await keyed.update(b"k", lambda _: 1 // 0, txn=txn)
    with pytest.raises(TypeError, match="bytes or None"):
        await keyed.update(b"k", lambda _: "text", txn=txn)
    assert await keyed.get(b"k", txn=txn) == b"1"


async def test_truncating_deletes_all_and_counts_them(keyed, txn):
    await keyed.put_many(((b"%d" % number, b"") for number in range(300)), txn=txn)
    assert await keyed.truncate(txn=txn) == 300
    assert await content(keyed, txn) == []


# Duplicates


@pytest.fixture(params=["sorted", "unsorted"])
def kind(request):
    return request.param


@pytest.fixture(params=KEYED, ids=lambda options: options["type"])
async def duplicates(request, env, kind):
    return await env.database("duplicates", duplicates=kind, **request.param)


async def test_a_key_has_several_values(duplicates, kind, txn):
    for value in (b"b", b"a", b"c", b"a"):
        await duplicates.put(b"k", value, txn=txn)
    values = [b"a", b"b", b"c"] if kind == "sorted" else [b"b", b"a", b"c", b"a"]
    assert await duplicates.get_all(b"k", txn=txn) == values
    assert await duplicates.get_all(b"k", limit=2, txn=txn) == values[:2]
    assert await duplicates.get_all(b"missing", txn=txn) == []
    assert await duplicates.get(b"k", txn=txn) == values[0]
    assert await duplicates.count(b"k", txn=txn) == len(values)
    assert await duplicates.count(b"missing", txn=txn) == 0
    assert await duplicates.has(b"k", b"c", txn=txn)
    assert not await duplicates.has(b"k", b"d", txn=txn)


async def test_one_value_or_all_are_deleted(duplicates, txn):
    await duplicates.put_many([(b"k", b"a"), (b"k", b"b"), (b"l", b"a")], txn=txn)
    assert await duplicates.delete(b"k", b"a", txn=txn) is True
    assert await duplicates.delete(b"k", b"a", txn=txn) is False
    assert await duplicates.get_all(b"k", txn=txn) == [b"b"]
    await duplicates.put(b"k", b"a", txn=txn)
    assert await duplicates.delete(b"k", txn=txn) is True
    assert await content(duplicates, txn) == [(b"l", b"a")]


async def test_update_wants_one_value_a_key(duplicates):
    with pytest.raises(bdb.errors.Misuse, match="several values"):
        await duplicates.update(b"k", lambda old: old)


async def test_a_pair_is_stored_once_among_sorted_duplicates(env, txn):
    db = await env.database("sorted", duplicates="sorted")
    await db.put(b"k", b"v", txn=txn)
    await db.put(b"k", b"v", txn=txn)
    with pytest.raises(bdb.errors.KeyExists):
        await db.put(b"k", b"v", new_pair=True, txn=txn)
    await db.put(b"k", b"w", new_pair=True, txn=txn)
    assert await db.get_all(b"k", txn=txn) == [b"v", b"w"]
    with pytest.raises(ValueError, match="sorted duplicates"):
        await (await env.database("plain")).put(b"k", b"v", new_pair=True)


# Order and numbers


async def test_a_key_is_placed_among_all(env, txn):
    db = await env.database("a")
    await db.put_many(((b"%04d" % number, b"x" * 50) for number in range(2000)), txn=txn)
    less, equal, greater = await db.key_range(b"1000", txn=txn)
    assert less == pytest.approx(0.5, abs=0.1)
    assert less + equal + greater == pytest.approx(1.0)
    with pytest.raises(bdb.errors.Misuse, match="not a btree"):
        await (await env.database("h", type="hash")).key_range(b"k")


async def test_records_are_counted_to(env, txn):
    db = await env.database("a", record_numbers=True)
    await db.put_many([(b"a", b"1"), (b"b", b"2"), (b"d", b"3")], txn=txn)
    assert await db.get_by_number(2, txn=txn) == (b"b", b"2")
    assert await db.get_by_number(4, txn=txn) is None
    assert await db.number_of(b"d", txn=txn) == 3
    assert await db.number_of(b"c", txn=txn) is None
    await db.delete(b"a", txn=txn)
    assert await db.number_of(b"d", txn=txn) == 2


# Comparisons


def backwards(left: bytes, right: bytes) -> int:
    return (left < right) - (left > right)


async def test_keys_and_values_may_have_an_order_of_their_own(env):
    db = await env.database("a", duplicates="sorted", compare=backwards, compare_duplicates=backwards)
    await db.put_many([(b"a", b"1"), (b"b", b"1"), (b"b", b"2"), (b"c", b"1")])
    expected = [(b"c", b"1"), (b"b", b"2"), (b"b", b"1"), (b"a", b"1")]
    assert [record async for record in db.range()] == expected
    assert [record async for record in db.range(reverse=True)] == expected[::-1]
    assert [key async for key, _ in db.range(b"b", b"a")] == [b"b", b"b"]
    with pytest.raises(ValueError, match="prefix"):
        db.range(prefix=b"b")


async def test_a_comparison_that_raises_undoes_what_it_was_asked_for(env):
    broken: list[bool] = []

    def compare(left: bytes, right: bytes) -> int:
        if broken:
            raise ZeroDivisionError("by design")
        return backwards(left, right)

    db = await env.database("a", compare=compare)
    await db.put_many([(b"a", b"1"), (b"c", b"1")])
    broken.append(True)
    with pytest.raises(bdb.errors.CallbackFailed, match="by design"):
        await db.put(b"b", b"2")
    with pytest.raises(bdb.errors.CallbackFailed, match="by design"):
        await db.get(b"a")
    broken.clear()
    assert [key async for key, _ in db.range()] == [b"c", b"a"]


# Arguments


@pytest.mark.parametrize("key", ["text", 1, None, bytearray(b"k"), memoryview(b"k")])
async def test_keys_and_values_are_bytes(db, key):
    calls = [
        db.get(key), db.put(key, b""), db.delete(key), db.exists(key), db.size(key), db.get_many([key]),
        db.put_many([(key, b"")]), db.get_all(key), db.count(key), db.update(key, lambda old: old),
        db.put(b"k", key), db.put_many([(b"k", key)]), db.get_part(key, 0, 1), db.put_part(b"k", key, 0),
        db.has(b"k", key),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(TypeError):
            await call
    assert [record async for record in db.range()] == []


@pytest.mark.parametrize("number", [-1, 1 << 31, True, 1.5, "1"])
async def test_counts_are_counts(db, number):
    for call in (db.get_part(b"k", number, 1), db.get_part(b"k", 0, number), db.put_part(b"k", b"", number)):
        with pytest.raises(ValueError):
            await call
    with pytest.raises(ValueError):
        await db.get_all(b"k", limit=number)
    with pytest.raises(ValueError):
        db.range(limit=number)


async def test_the_priority_of_a_read_reaches_the_pool(env, db, monkeypatch):
    seen = []
    submit = Pool.submit_for

    def watched(self, recipient, fn, /, *args, priority=0):
        seen.append(priority)
        submit(self, recipient, fn, *args, priority=priority)

    monkeypatch.setattr(Pool, "submit_for", watched)
    with bdb.priority(3):
        await db.get(b"k")
    await db.get(b"k")
    assert seen == [3, 0]
