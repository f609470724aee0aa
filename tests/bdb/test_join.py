"""A join gives the records that all its indices agree on."""

from __future__ import annotations

import pytest

from tests.bdb.binding import bdb


@pytest.fixture
async def shirts(env):
    """A thousand records, an index of each of its three properties."""
    db = await env.database("shirts")
    await db.put_many((b"%04d" % n, b"%d%d%d" % (n % 2, n % 3, n % 5)) for n in range(1000))
    indices = [await db.associate(f"by_{place}", lambda _, value, at=place: value[at : at + 1]) for place in range(3)]
    return db, indices


async def keys(joined):
    return [key async for key, _ in joined]


async def test_a_join_of_all_indices_is_their_intersection(shirts):
    db, (two, three, five) = shirts
    assert await keys(db.join((two, b"1"), (three, b"2"), (five, b"4"))) == [
        b"%04d" % n for n in range(1000) if n % 30 == 29
    ]
    assert await keys(db.join((five, b"3"))) == [b"%04d" % n for n in range(1000) if n % 5 == 3]


async def test_a_join_gives_whole_records(shirts):
    db, (two, three, _) = shirts
    async with db.join((two, b"0"), (three, b"0"), limit=2) as joined:
        assert [record async for record in joined] == [(b"0000", b"000"), (b"0006", b"001")]


async def test_a_join_with_a_key_that_is_not_there_is_empty(shirts):
    db, (two, three, _) = shirts
    assert await keys(db.join((two, b"1"), (three, b"9"))) == []


async def test_a_join_in_a_transaction_sees_its_changes(env, shirts):
    db, (two, _, five) = shirts
    async with env.transaction() as txn:
        await db.put(b"x", b"7 8", txn=txn)
        assert await keys(db.join((two, b"7"), (five, b"8"), txn=txn)) == [b"x"]
        await txn.abort()
    assert await keys(db.join((two, b"7"), (five, b"8"))) == []


async def test_leaving_a_join_early_gives_its_locks_up(env, shirts):
    db, (two, _, five) = shirts
    async with db.join((two, b"1"), (five, b"1")) as joined:
        await anext(joined)
    assert env.statistics().transactions == 0
    assert await db.truncate() == 1000


async def test_a_join_that_is_dropped_gives_its_locks_up_and_warns(env, shirts):
    db, (two, _, five) = shirts

    async def use_and_drop() -> None:
        await anext(db.join((two, b"1"), (five, b"1")))

    with pytest.warns(ResourceWarning, match="dropped"):
        await use_and_drop()
    assert await db.truncate() == 1000


async def test_only_indices_of_the_database_can_be_joined(env, shirts):
    db, (two, *_) = shirts
    other = await env.database("other")
    with pytest.raises(bdb.errors.Misuse, match="not an index"):
        other.join((two, b"1"))
    with pytest.raises(ValueError, match="at least one"):
        db.join()
    with pytest.raises(TypeError, match="bytes"):
        db.join((two, "1"))


async def test_closing_the_environment_ends_a_join(tmp_path):
    async with bdb.open(tmp_path) as env:
        db = await env.database("a")
        index = await db.associate("i", lambda key, value: value)
        await db.put_many((b"%d" % n, b"v") for n in range(100))
        joined = db.join((index, b"v"))
        await anext(joined)
    with pytest.raises(bdb.errors.Closed):
        await keys(joined)
