"""Ranges: the same records as a sorted dict would give, in batches, holding nothing between them."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, strategies as st

from asyncstore.bdb import _range
from asyncstore.bdb._records import after_prefix, bounds
from tests.bdb.binding import bdb

KEYS = [b"", b"\0", b"a", b"a\0", b"aa", b"ab", b"b", b"b\xff", b"b\xff\xff", b"c", b"\xff", b"\xff\xff"]
ENDS = [None, b"", b"a", b"aa", b"b", b"b\xff", b"bz", b"\xff", b"\xff\xff\xff"]


def model(start, stop, prefix, reverse, limit):
    keys = [
        key
        for key in sorted(KEYS)
        if (start is None or key >= start) and (stop is None or key < stop) and key.startswith(prefix or b"")
    ]
    return (keys[::-1] if reverse else keys)[:limit]


@pytest.mark.parametrize("batch", [1, 2, 100])
@pytest.mark.parametrize("reverse", [False, True])
async def test_every_range_is_what_a_sorted_dict_gives(db, monkeypatch, batch, reverse):
    monkeypatch.setattr(_range, "FIRST_BATCH", batch)
    monkeypatch.setattr(_range, "MAX_BATCH", batch)
    await asyncio.gather(*(db.put(key, b"v" + key) for key in KEYS))

    async def check(start, stop, prefix, limit):
        found = [r async for r in db.range(start, stop, prefix=prefix, reverse=reverse, limit=limit)]
        expected = model(start, stop, prefix, reverse, limit)
        assert found == [(key, b"v" + key) for key in expected], (start, stop, prefix, limit)

    cases = [(start, stop, None, None) for start in ENDS for stop in ENDS]
    cases += [(start, None, prefix, 2) for start in ENDS for prefix in ENDS]
    cases += [(None, stop, prefix, limit) for stop in ENDS for prefix in ENDS[1:] for limit in (0, 1, 3)]
    await asyncio.gather(*(check(*case) for case in cases))


async def test_a_range_of_an_empty_database_is_empty(db):
    assert [record async for record in db.range()] == []
    assert [record async for record in db.range(reverse=True, prefix=b"x")] == []


async def test_a_long_range_takes_a_batch_a_hop_and_not_a_record_a_hop(env, db):
    await asyncio.gather(*(db.put(b"%05d" % i, b"x") for i in range(3000)))
    before = env.scans.batches
    assert [key async for key, _ in db.range()] == [b"%05d" % i for i in range(3000)]
    assert env.scans.batches - before <= 9  # 32 + 64 + ... + 1024 + the rest


async def test_large_records_make_small_batches(env, db, monkeypatch):
    monkeypatch.setattr(_range, "BATCH_BYTES", 1000)
    await asyncio.gather(*(db.put(b"%d" % i, b"x" * 600) for i in range(6)))
    before = env.scans.batches
    assert len([record async for record in db.range()]) == 6
    assert env.scans.batches - before == 4  # three batches of two, and one that finds the end


async def test_a_consumer_that_stops_early_holds_no_lock(env, db):
    await asyncio.gather(*(db.put(b"%03d" % i, b"x") for i in range(100)))
    async for key, _ in db.range():
        if key == b"003":
            break
    held = (await asyncio.wait_for(asyncio.to_thread(env.home.handle.lock_stat), 10))["nlocks"]
    async with db.range() as records:
        assert (await anext(records))[0] == b"000"
        assert env.home.handle.lock_stat()["nlocks"] == held  # nor does one that is paused
        await db.delete(b"000")  # and a writer gets by
    with pytest.raises(StopAsyncIteration):
        await anext(records)


async def test_records_written_behind_the_consumer_do_not_come_and_those_ahead_do(db, monkeypatch):
    monkeypatch.setattr(_range, "FIRST_BATCH", 2)
    await asyncio.gather(*(db.put(key, b"") for key in (b"b", b"d", b"f")))
    seen = []
    async for key, _ in db.range():
        seen.append(key)
        if key == b"d":
            await asyncio.gather(db.put(b"a", b""), db.put(b"e", b""), db.delete(b"d"), db.delete(b"f"))
    assert seen == [b"b", b"d", b"e"]


async def test_a_cancelled_fetch_loses_no_record(db):
    await asyncio.gather(*(db.put(b"%03d" % i, b"x") for i in range(100)))
    records = db.range()
    task = asyncio.ensure_future(anext(records))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [key async for key, _ in records] == [b"%03d" % i for i in range(100)]


async def test_two_tasks_in_one_range_are_told_so(db):
    await db.put(b"a", b"")
    records = db.range()
    first, second = await asyncio.gather(anext(records), anext(records), return_exceptions=True)
    assert first == (b"a", b"")
    assert isinstance(second, bdb.errors.Misuse)


@pytest.mark.parametrize("limit", [-1, True, 1.0, "1"])
async def test_a_limit_that_counts_nothing_is_refused(db, limit):
    with pytest.raises(ValueError, match="limit is an int"):
        db.range(limit=limit)


async def test_bounds_that_are_no_bytes_are_refused_at_once(db):
    for arguments in ({"start": "a"}, {"stop": 1}, {"prefix": bytearray()}):
        with pytest.raises(TypeError, match="is bytes, not"):
            db.range(**arguments)


@given(st.binary(max_size=4), st.binary(max_size=6))
def test_after_prefix_divides_the_keys(prefix, key):
    end = after_prefix(prefix)
    inside = key >= prefix and (end is None or key < end)
    assert inside == key.startswith(prefix)


@given(*[st.none() | st.binary(max_size=3)] * 3, st.binary(max_size=4))
def test_bounds_hold_what_the_caller_asked_for(start, stop, prefix, key):
    low, high = bounds(start, stop, prefix)
    low = low or b""
    wanted = (start is None or key >= start) and (stop is None or key < stop) and key.startswith(prefix or b"")
    assert (key >= low and (high is None or key < high)) == wanted
