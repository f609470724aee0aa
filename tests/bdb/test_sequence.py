"""Sequences give each number once, in order, to all tasks and after every end."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, strategies as st

from tests.bdb.binding import bdb


def codec():
    from asyncstore.bdb import _sequence

    return _sequence


async def test_numbers_begin_at_one_and_follow_each_other(db):
    numbers = db.sequence(b"orders")
    assert [await numbers.next() for _ in range(250)] == list(range(1, 251))


async def test_tasks_share_the_numbers_in_store_and_get_each_once(db):
    numbers = db.sequence(b"orders", cache=7)
    given = await asyncio.gather(*(numbers.next() for _ in range(100)))
    assert sorted(given) == list(range(1, 101))


async def test_two_objects_of_one_sequence_never_give_the_same(db):
    one, two = db.sequence(b"orders", cache=10), db.sequence(b"orders", cache=3)
    given = await asyncio.gather(*(numbers.next() for numbers in (one, two) * 50))
    assert len(set(given)) == 100


async def test_nothing_is_stored_before_the_first_number(db):
    numbers = db.sequence(b"orders", start=5, cache=10)
    assert await numbers.state() is None
    assert not await db.exists(b"orders")
    assert await numbers.next() == 5
    state = await numbers.state()
    assert (state.value, state.minimum, state.decreasing, state.wrap) == (15, 1, False, False)


async def test_numbers_go_on_after_closing_and_skip_only_what_was_in_store(tmp_path):
    async with bdb.open(tmp_path) as env, env.database("a") as db:
        assert await db.sequence(b"s", cache=10).next() == 1
    async with bdb.open(tmp_path) as env, env.database("a") as db:
        assert await db.sequence(b"s", cache=10).next() == 11


async def test_a_transaction_that_is_undone_gives_its_numbers_back(env, db):
    numbers = db.sequence(b"invoices")
    async with env.transaction() as txn:
        assert [await numbers.next(txn=txn) for _ in range(3)] == [1, 2, 3]
    async with env.transaction() as txn:
        assert await numbers.next(txn=txn) == 4
        await txn.abort()
    async with env.transaction() as txn:
        assert await numbers.next(txn=txn) == 4


async def test_numbers_are_taken_in_rows(db):
    numbers = db.sequence(b"s")
    assert await numbers.take(5) == range(1, 6)
    assert await numbers.take(1) == range(6, 7)


async def test_the_end_is_told_and_every_number_before_it_is_given(db):
    numbers = db.sequence(b"s", maximum=12, cache=5)
    assert [await numbers.next() for _ in range(12)] == list(range(1, 13))
    for _ in range(2):
        with pytest.raises(bdb.errors.SequenceExhausted, match="0 of 1 numbers are left up to 12"):
            await numbers.next()
    with pytest.raises(bdb.errors.SequenceExhausted):
        await numbers.take(1)


async def test_wrapping_begins_again_at_the_other_end(db):
    up = db.sequence(b"up", minimum=3, maximum=6, start=5, wrap=True, cache=3)
    assert [await up.next() for _ in range(7)] == [5, 6, 3, 4, 5, 6, 3]
    down = db.sequence(b"down", minimum=-1, maximum=1, decreasing=True, wrap=True)
    assert [await down.next() for _ in range(5)] == [1, 0, -1, 1, 0]
    rows = db.sequence(b"rows", maximum=5, wrap=True)
    assert [await rows.take(2) for _ in range(3)] == [range(1, 3), range(3, 5), range(1, 3)]


async def test_other_terms_than_the_stored_ones_are_refused_by_name(db):
    await db.sequence(b"s", maximum=150).next()
    await db.sequence(b"s").take(1)  # whatever they are
    for terms, said in (
        ({"maximum": 50}, "maximum is 150, not 50"),
        ({"decreasing": True}, "it increases"),
        ({"wrap": True}, "does not wrap"),
    ):
        with pytest.raises(bdb.errors.InvalidArgument, match=said):
            await db.sequence(b"s", **terms).take(1)


async def test_a_record_that_is_no_sequence_is_refused_and_kept(db):
    await db.put(b"s", b"a plain value")
    with pytest.raises(bdb.errors.InvalidArgument, match="32 bytes"):
        await db.sequence(b"s").next()
    await db.put(b"t", b"\0" * 32)
    with pytest.raises(bdb.errors.InvalidArgument, match="not that of a sequence"):
        await db.sequence(b"t").state()
    assert await db.get(b"s") == b"a plain value"


@pytest.mark.parametrize(
    "terms",
    [{"start": 0, "minimum": 1}, {"minimum": 2, "maximum": 1}, {"cache": 0}, {"cache": True}, {"maximum": 1 << 63}],
)
async def test_terms_that_cannot_be_are_refused_at_once(db, terms):
    with pytest.raises(ValueError):
        db.sequence(b"s", **terms)


async def test_a_cancelled_waiter_skips_no_number(db):
    numbers = db.sequence(b"s", cache=3)
    waiter = asyncio.ensure_future(numbers.next())
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert [await numbers.next() for _ in range(4)] == [1, 2, 3, 4]


async def test_duplicates_hold_no_sequence(env):
    with pytest.raises(bdb.errors.Misuse, match="several values"):
        (await env.database("dup", duplicates="sorted")).sequence(b"s")


async def test_the_record_is_libdbs_own_kind(tmp_path):
    """libdb's sequence handle goes on where ours stopped, and the other way round."""
    from berkeleydb import db as libdb

    async with bdb.open(tmp_path) as env, env.database("a") as db:
        await db.sequence(b"s", start=5, minimum=1, maximum=1000, cache=10).next()

    def take(count: int) -> list[int]:
        environment = libdb.DBEnv()
        environment.open(str(tmp_path), libdb.DB_INIT_MPOOL | libdb.DB_INIT_TXN | libdb.DB_INIT_LOG | libdb.DB_CREATE
                         | libdb.DB_INIT_LOCK | libdb.DB_PRIVATE | libdb.DB_RECOVER)  # fmt: skip
        database = libdb.DB(environment)
        database.open("a.db", dbtype=libdb.DB_BTREE, flags=libdb.DB_AUTO_COMMIT)
        sequence = libdb.DBSequence(database)
        sequence.open(b"s", None, 0)
        assert sequence.get_range() == (1, 1000)
        found = [sequence.get(1) for _ in range(count)]
        sequence.close()
        database.close()
        environment.close()
        return found

    assert await asyncio.to_thread(take, 3) == [15, 16, 17]
    async with bdb.open(tmp_path) as env, env.database("a") as db:
        assert await db.sequence(b"s").next() == 18


@given(
    fields=st.tuples(
        st.integers(-100, 100), st.integers(-100, 0), st.integers(1, 100), st.booleans(), st.booleans()
    ),
    swapped=st.booleans(),
)  # fmt: skip
def test_a_state_survives_its_record(fields, swapped):
    module = codec()
    state = module.SequenceState(*fields)
    assert module.decode(module.encode(state, swapped=swapped), swapped=swapped) == state


@given(
    start=st.integers(0, 9), counts=st.lists(st.integers(1, 12), max_size=12), down=st.booleans(), wrap=st.booleans()
)
def test_rows_are_disjoint_until_the_sequence_wraps(start, counts, down, wrap):
    module = codec()
    state, given = module.SequenceState(start, 0, 9, down, wrap), []
    for count in counts:
        try:
            row, state = state.take(count, count)
        except ValueError:
            assert not wrap or count > 10
            continue
        assert len(row) == count
        assert all(0 <= number <= 9 for number in row)
        given += row
    if not wrap:
        assert len(set(given)) == len(given)
