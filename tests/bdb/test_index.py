"""Secondary indices follow their database, whatever is done to it, and give its records by other keys."""

from __future__ import annotations

import asyncio
import gc

import pytest

from tests.bdb.binding import bdb

PEOPLE = {b"1": b"ann,Rome", b"2": b"bob,Oslo", b"3": b"cid,Rome", b"4": b"dan,Bonn", b"5": b"eve,Rome"}


def city(_key: bytes, value: bytes) -> bytes | None:
    return value.partition(b",")[2] or None


def name(_key: bytes, value: bytes) -> bytes:
    return value.partition(b",")[0]


def letters(_key: bytes, value: bytes) -> list[bytes]:
    return [bytes([one]) for one in value.partition(b",")[0]]


@pytest.fixture
async def people(db):
    await db.put_many(PEOPLE.items())
    return db


@pytest.fixture
async def by_city(people):
    return await people.associate("by_city", city)


async def everything(iterator):
    return [record async for record in iterator]


async def test_an_index_made_over_records_that_are_there_holds_them_all(by_city):
    assert await everything(by_city.range()) == [
        (b"Bonn", b"4", PEOPLE[b"4"]),
        (b"Oslo", b"2", PEOPLE[b"2"]),
        (b"Rome", b"1", PEOPLE[b"1"]),
        (b"Rome", b"3", PEOPLE[b"3"]),
        (b"Rome", b"5", PEOPLE[b"5"]),
    ]


async def test_reading_by_an_index_key_gives_the_records(by_city):
    assert await by_city.get(b"Bonn") == PEOPLE[b"4"]
    assert await by_city.get_with_key(b"Bonn") == (b"4", PEOPLE[b"4"])
    assert await by_city.get(b"Nowhere") is None
    assert await by_city.get_with_key(b"Nowhere") is None
    assert await by_city.get_all(b"Rome") == [PEOPLE[b"1"], PEOPLE[b"3"], PEOPLE[b"5"]]
    assert await by_city.get_all_with_keys(b"Rome", limit=2) == [(b"1", PEOPLE[b"1"]), (b"3", PEOPLE[b"3"])]
    assert await by_city.get_many([b"Oslo", b"Nowhere", b"Rome"]) == [PEOPLE[b"2"], None, PEOPLE[b"1"]]
    assert await by_city.count(b"Rome") == 3
    assert await by_city.exists(b"Oslo")
    assert await by_city.get_part(b"Oslo", 0, 3) == b"bob"
    assert await by_city.size(b"Oslo") == len(PEOPLE[b"2"])


async def test_every_kind_of_write_keeps_the_index_in_step(people, by_city):
    await people.put(b"1", b"ann,Bonn")
    await people.delete(b"2")
    await people.put(b"6", b"fay")  # no city: no entry
    await people.update(b"3", lambda value: value.replace(b"Rome", b"Graz"))
    await people.put_part(b"4", b"Ulm ", 4)
    await people.put_many([(b"7", b"gus,Rome")])
    pairs = [(key, own) async for key, own, _ in by_city.range()]
    assert pairs == [(b"Bonn", b"1"), (b"Graz", b"3"), (b"Rome", b"5"), (b"Rome", b"7"), (b"Ulm ", b"4")]
    assert await people.truncate() == 6
    assert await everything(by_city.range()) == []


async def test_a_transaction_that_is_undone_leaves_no_entries(env, people, by_city):
    async with env.transaction() as txn:
        await people.put(b"9", b"zoe,Graz", txn=txn)
        assert await by_city.get(b"Graz", txn=txn) == b"zoe,Graz"
        assert [key async for key, *_ in by_city.range(b"Graz", b"Grb", txn=txn)] == [b"Graz"]
        await txn.abort()
    assert await by_city.get(b"Graz") is None


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("bounds", [{}, {"start": b"k2"}, {"stop": b"k2"}, {"prefix": b"k1"}, {"limit": 333}])
async def test_a_range_over_many_entries_of_few_keys_gives_each_once(db, reverse, bounds):
    records = {b"%05d" % number: b"k%d" % (number % 3) for number in range(3000)}
    await db.put_many(records.items())
    index = await db.associate("index", lambda key, value: value)
    expected = sorted((value, key, value) for key, value in records.items())
    if "start" in bounds:
        expected = [entry for entry in expected if entry[0] >= bounds["start"]]
    if "stop" in bounds:
        expected = [entry for entry in expected if entry[0] < bounds["stop"]]
    if "prefix" in bounds:
        expected = [entry for entry in expected if entry[0].startswith(bounds["prefix"])]
    if reverse:
        expected.reverse()
    assert await everything(index.range(reverse=reverse, **bounds)) == expected[: bounds.get("limit")]


async def test_a_range_goes_on_behind_entries_that_are_deleted_meanwhile(db):
    await db.put_many((b"%03d" % number, b"same") for number in range(200))
    index = await db.associate("index", lambda key, value: value)
    seen = []
    async for _, key, _ in index.range():
        seen.append(key)
        await db.delete(key)
    assert seen == [b"%03d" % number for number in range(200)]


async def test_large_values_come_in_batches_of_bounded_size(db, monkeypatch):
    monkeypatch.setattr("asyncstore.bdb._range.BATCH_BYTES", 1000)
    await db.put_many((b"%03d" % number, b"%03d" % number * 200) for number in range(50))
    index = await db.associate("index", lambda key, value: b"k")
    batches = [batch async for batch in index.range().batches()]
    assert [key for batch in batches for _, key, _ in batch] == [b"%03d" % number for number in range(50)]
    assert max(map(len, batches)) == 2


async def test_a_record_may_have_several_index_keys_or_none(people):
    index = await people.associate("letters", letters)
    assert await index.get_all_with_keys(b"n") == [(b"1", PEOPLE[b"1"]), (b"4", PEOPLE[b"4"])]
    assert await index.count(b"b") == 1, "an index key that is given twice counts once"


async def test_a_unique_index_refuses_a_second_record_of_a_key(people):
    by_name = await people.associate("by_name", name, unique=True)
    with pytest.raises(bdb.errors.KeyExists):
        await people.put(b"9", b"ann,Graz")
    assert not await people.exists(b"9")
    assert await by_name.get_with_key(b"ann") == (b"1", PEOPLE[b"1"])


async def test_a_unique_index_is_not_made_over_records_that_share_a_key(people):
    with pytest.raises(bdb.errors.KeyExists):
        await people.associate("by_city", city, unique=True)
    await people.put(b"9", b"zoe,Rome")  # nothing is left that would refuse it
    index = await people.associate("by_city_2", city)
    assert await index.count(b"Rome") == 4


async def test_an_extractor_that_raises_undoes_the_write_and_is_told(people):
    def fussy(_key: bytes, value: bytes) -> bytes:
        return {b"a": b"A", b"b": b"B", b"c": b"C", b"d": b"D", b"e": b"E"}[value[:1]]

    index = await people.associate("fussy", fussy)
    with pytest.raises(bdb.errors.CallbackFailed, match="KeyError") as caught:
        await people.put(b"9", b"x")
    assert isinstance(caught.value.__cause__, KeyError)
    assert not await people.exists(b"9")
    await people.put(b"9", b"b again")
    assert await index.count(b"B") == 2


async def test_an_extractor_that_raises_over_what_is_there_makes_no_index(people):
    with pytest.raises(bdb.errors.CallbackFailed, match="ZeroDivisionError"):
        await people.associate("broken", lambda key, value: b"%d" % (1 // 0))
    await people.put(b"9", b"fine")


@pytest.mark.parametrize("keys", ["text", 7, [b"fine", "text"]])
async def test_an_extractor_that_returns_no_bytes_is_told(people, keys):
    with pytest.raises(bdb.errors.CallbackFailed, match="bytes"):
        await people.associate("broken", lambda key, value: keys)


async def test_deleting_by_an_index_key_deletes_the_records(people, by_city):
    assert await by_city.delete(b"Rome")
    assert not await by_city.delete(b"Rome")
    assert [key async for key, _ in people.range()] == [b"2", b"4"]


async def test_an_index_cannot_be_written(env, by_city):
    async with env.transaction() as txn, by_city.cursor(txn=txn) as cursor:
        await cursor.first()
        with pytest.raises(bdb.errors.Misuse, match="by way of"):
            await cursor.put(b"a", b"b")
        with pytest.raises(bdb.errors.Misuse, match="by way of"):
            await cursor.replace(b"b")
    assert not hasattr(by_city, "put")


async def test_a_cursor_moves_over_the_entries(env, people, by_city):
    async with by_city.cursor() as cursor:
        assert await cursor.first() == (b"Bonn", b"4", PEOPLE[b"4"])
        assert await cursor.next_key() == (b"Oslo", b"2", PEOPLE[b"2"])
        assert await cursor.seek_from(b"P") == (b"Rome", b"1", PEOPLE[b"1"])
        assert await cursor.count() == 3
        assert await cursor.next_duplicate() == (b"Rome", b"3", PEOPLE[b"3"])
        assert await cursor.previous() == (b"Rome", b"1", PEOPLE[b"1"])
        assert await cursor.current() == (b"Rome", b"1", PEOPLE[b"1"])
        assert await cursor.fetch(9) == [(b"Rome", b"3", PEOPLE[b"3"]), (b"Rome", b"5", PEOPLE[b"5"])]
        assert await cursor.seek(b"Nowhere") is None
        with pytest.raises(bdb.errors.Misuse, match="index keys"):
            await cursor.seek_pair(b"Rome", b"1")
        with pytest.raises(bdb.errors.Misuse, match="index keys"):
            await cursor.seek_pair_from(b"Rome", b"1")
    async with env.transaction() as txn, by_city.cursor(rmw=True, txn=txn) as cursor:
        assert await cursor.seek(b"Oslo") is not None
        await cursor.delete()
    assert not await people.exists(b"2")


async def test_numbered_records_are_found_by_index_keys(env):
    lines = await env.database("lines", type="recno")
    index = await lines.associate("first", lambda number, value: value[:1])
    assert [await lines.append(value) for value in (b"ab", b"ba", b"ac")] == [1, 2, 3]
    assert await index.get_all_with_keys(b"a") == [(1, b"ab"), (3, b"ac")]
    assert await everything(index.range()) == [(b"a", 1, b"ab"), (b"a", 3, b"ac"), (b"b", 2, b"ba")]
    assert await everything(index.range(reverse=True, limit=2)) == [(b"b", 2, b"ba"), (b"a", 3, b"ac")]


async def test_index_keys_may_have_an_order_of_their_own(people):
    def backwards(left: bytes, right: bytes) -> int:
        return (left < right) - (left > right)

    index = await people.associate("by_name", name, compare=backwards)
    assert [key async for key, *_ in index.range()] == [b"eve", b"dan", b"cid", b"bob", b"ann"]
    assert [key async for key, *_ in index.range(b"dan", b"bob")] == [b"dan", b"cid"]


async def test_an_index_is_kept_and_opened_again(tmp_path):
    async with bdb.open(tmp_path) as env, env.database("a") as db, db.associate("i", name) as _:
        await db.put_many(PEOPLE.items())
    async with bdb.open(tmp_path) as env, env.database("a") as db, db.associate("i", name, create=False) as index:
        assert await index.get_with_key(b"eve") == (b"5", PEOPLE[b"5"])


async def test_what_was_written_without_the_index_is_found_after_rebuilding(env, people, by_city):
    await by_city.aclose()
    await people.put(b"9", b"zoe,Rome")
    index = await people.associate("by_city", city, create=False)
    assert await index.count(b"Rome") == 3
    assert await index.rebuild() == 6
    assert await index.count(b"Rome") == 4


async def test_an_entry_without_its_record_is_reported_as_damage(env, people, by_city):
    await by_city.aclose()
    await people.delete(b"1")
    index = await people.associate("by_city", city)
    with pytest.raises(bdb.errors.Corrupt, match="rebuild"):
        await everything(index.range())
    await index.rebuild()
    assert await index.count(b"Rome") == 2


async def test_closing_the_database_closes_its_indices_first(env, people, by_city):
    await people.aclose()
    assert env.statistics().databases == 0
    with pytest.raises(bdb.errors.Closed):
        await by_city.get(b"Rome")


async def test_closing_the_environment_closes_indices_before_what_they_index(tmp_path):
    async with bdb.open(tmp_path) as env:
        db = await env.database("a")
        index = await db.associate("i", name)
        cursor = index.cursor()
        await cursor.first()
    with pytest.raises(bdb.errors.Closed):
        await index.get(b"a")


async def test_a_database_that_is_open_twice_is_not_indexed_and_an_indexed_one_not_opened_twice(env, people):
    second = await env.database("main")
    with pytest.raises(bdb.errors.Misuse, match="second time"):
        await people.associate("by_city", city)
    await second.aclose()
    await people.associate("by_city", city)
    with pytest.raises(bdb.errors.InUse, match="share"):
        await env.database("main")


async def test_what_cannot_be_indexed_is_refused(env):
    with pytest.raises(bdb.errors.Misuse, match="duplicates"):
        (await env.database("dup", duplicates="sorted")).associate("i", name)
    with pytest.raises(bdb.errors.Misuse, match="changing"):
        (await env.database("lines", type="recno", renumber=True)).associate("i", name)
    with pytest.raises(TypeError, match="function"):
        (await env.database("plain")).associate("i", b"no function")


async def test_an_index_of_a_database_in_memory_is_in_memory_too(tmp_path):
    async with bdb.open(None) as env:
        db = await env.database("a")
        index = await db.associate("i", name)
        await db.put(b"1", b"ann,Rome")
        assert await index.get_with_key(b"ann") == (b"1", b"ann,Rome")
        assert await everything(index.range()) == [(b"ann", b"1", b"ann,Rome")]


async def test_readers_by_index_see_each_record_under_its_own_key_while_it_moves(env, people, by_city):
    """Each value names the key that it is found under: a reader that mixed two states would see another."""

    async def move(key: bytes) -> None:
        for number in range(60):
            await people.put(key, b"x,c%d" % (number % 4))

    async def read() -> None:
        for _ in range(60):
            async for found, _, value in by_city.range(prefix=b"c"):
                assert value == b"x," + found

    await asyncio.gather(*(move(b"%d" % task) for task in range(20, 40)), *(read() for _ in range(3)))


async def test_a_dropped_environment_with_an_index_is_collected_quietly_but_for_its_warning(tmp_path):
    async def open_and_drop():
        env = await bdb.open(tmp_path)
        db = await env.database("a")
        await db.associate("i", name)

    await open_and_drop()
    with pytest.warns(ResourceWarning, match="not closed"):
        gc.collect()
    async with bdb.open(tmp_path) as env, env.database("a", create=False) as db:
        assert not await db.exists(b"1")
