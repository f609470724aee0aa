"""Record numbers, queues and heaps."""

from __future__ import annotations

import asyncio

import pytest

from tests.bdb.binding import bdb


async def content(db):
    return [record async for record in db.range()]


@pytest.fixture(params=["recno", "queue"])
async def numbered(request, env):
    options = {"record_length": 4, "pad": 0} if request.param == "queue" else {}
    return await env.database("numbered", type=request.param, **options)


def padded(numbered, value: bytes) -> bytes:
    return value.ljust(4, b"\0") if numbered.type == "queue" else value


async def test_appended_records_are_numbered_from_one(numbered):
    assert [await numbered.append(value) for value in (b"a", b"b", b"c")] == [1, 2, 3]
    assert await numbered.get(2) == padded(numbered, b"b")
    assert await content(numbered) == [(n, padded(numbered, bytes([96 + n]))) for n in (1, 2, 3)]


async def test_appending_in_a_transaction_gives_the_number_there(env, numbered):
    async with env.transaction() as txn:
        assert await numbered.append(b"a", txn=txn) == 1
        assert await numbered.get(1, txn=txn) == padded(numbered, b"a")
        await txn.abort()
    assert await numbered.get(1) is None


async def test_many_that_append_get_each_a_number_of_its_own(numbered):
    numbers = await asyncio.gather(*(numbered.append(b"%d" % task) for task in range(100)))
    assert sorted(numbers) == list(range(1, 101))


async def test_holes_are_not_records(numbered):
    for number in (2, 5, 9):
        await numbered.put(number, b"%d" % number)
    await numbered.delete(5)
    assert [number for number, _ in await content(numbered)] == [2, 9]
    assert await numbered.get(5) is None
    assert await numbered.get(3) is None
    assert not await numbered.exists(5)
    assert not await numbered.delete(5)
    assert [number async for number, _ in numbered.range(3, 10)] == [9]
    assert [number async for number, _ in numbered.range(reverse=True)] == [9, 2]
    assert [number async for number, _ in numbered.range(2, 9)] == [2]


@pytest.mark.parametrize("number", [0, -1, 1 << 32, 1 << 70])
async def test_numbers_that_libdb_would_wrap_are_refused(numbered, number):
    for call in (numbered.get(number), numbered.put(number, b"v"), numbered.delete(number)):
        with pytest.raises(ValueError, match="record number"):
            await call


@pytest.mark.parametrize("number", [True, b"1", "1", 1.0, None])
async def test_numbers_are_ints(numbered, number):
    with pytest.raises(TypeError, match="record number"):
        await numbered.get(number)


async def test_the_largest_number_is_a_number(env):
    lines = await env.database("lines", type="recno")
    with pytest.raises(ValueError, match="prefix"):
        lines.range(prefix=b"1")
    assert await lines.get((1 << 32) - 1) is None


async def test_deleting_moves_up_what_is_behind_when_renumbering(env):
    lines = await env.database("lines", type="recno", renumber=True)
    for value in (b"a", b"b", b"c"):
        await lines.append(value)
    await lines.delete(1)
    assert await content(lines) == [(1, b"b"), (2, b"c")]
    assert await lines.append(b"d") == 3


async def test_records_of_one_length_are_filled_up(env):
    lines = await env.database("lines", type="recno", record_length=5, pad=ord("."))
    await lines.append(b"ab")
    assert await lines.get(1) == b"ab..."
    with pytest.raises(bdb.errors.InvalidArgument):
        await lines.append(b"too long")


# Queues


@pytest.fixture
async def queue(env):
    return await env.database("queue", type="queue", record_length=8, pad=0)


async def test_a_queue_gives_what_came_first(queue):
    for value in (b"1", b"2", b"3"):
        await queue.append(value)
    taken = [await queue.consume() for _ in range(4)]
    assert [None if one is None else (one[0], one[1].rstrip(b"\0")) for one in taken] == [
        (1, b"1"), (2, b"2"), (3, b"3"), None,
    ]  # fmt: skip
    assert await queue.append(b"4") == 4


async def test_a_value_that_is_too_long_is_refused_where_libdb_would_lose_it(queue):
    with pytest.raises(ValueError, match="8 bytes, not 9"):
        await queue.append(b"123456789")
    with pytest.raises(ValueError, match="8 bytes"):
        await queue.put(1, b"123456789")
    assert await queue.consume() is None


async def test_each_record_goes_to_one_of_many_that_consume(queue):
    taken: list[int] = []

    async def consumer() -> None:
        while True:
            number, _ = await queue.consume(wait=True)
            taken.append(number)

    consumers = [asyncio.ensure_future(consumer()) for _ in range(10)]
    await asyncio.gather(*(queue.append(b"%d" % number) for number in range(200)))
    async with asyncio.timeout(30):
        while len(taken) < 200:
            await asyncio.sleep(0.001)
    for one in consumers:
        one.cancel()
    await asyncio.wait(consumers)
    assert sorted(taken) == list(range(1, 201))


async def test_waiting_for_a_record_can_be_bounded(queue):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await queue.consume(wait=True)
    await queue.append(b"x")
    assert (await queue.consume(wait=True))[0] == 1


async def test_what_was_consumed_in_a_transaction_that_is_undone_is_there_again(env, queue):
    await queue.append(b"x")
    async with env.transaction() as txn:
        assert (await queue.consume(txn=txn))[0] == 1
        await txn.abort()
    assert (await queue.consume())[0] == 1


async def test_extents_hold_a_queue_in_several_files(env, tmp_path):
    queue = await env.database("long", type="queue", record_length=100, extent_pages=1)
    for _ in range(3):
        await asyncio.gather(*(queue.append(b"x") for _ in range(100)))
    await env.checkpoint()
    assert len(list((tmp_path / "home").glob("__dbq.long.db.*"))) > 3
    assert [number for number, _ in await content(queue)] == list(range(1, 301))


# Heaps


@pytest.fixture
async def heap(env):
    return await env.database("heap", type="heap")


async def test_a_heap_finds_records_by_the_ids_it_gave_them(env, heap):
    ids = await asyncio.gather(*(heap.append(b"%d" % number) for number in range(50)))
    assert len(set(ids)) == 50
    assert await heap.get_many(ids) == [b"%d" % number for number in range(50)]
    await heap.put(ids[3], b"longer than before")
    assert await heap.get(ids[3]) == b"longer than before"
    assert await heap.count(ids[3]) == 1
    assert await heap.get_all(ids[3]) == [b"longer than before"]
    assert await heap.delete(ids[3])
    assert not await heap.delete(ids[3])
    assert await heap.get(ids[3]) is None
    assert await heap.count(ids[3]) == 0
    assert await heap.get_all(ids[3]) == []
    assert sorted(await content(heap)) == sorted((rid, b"%d" % number) for number, rid in enumerate(ids) if number != 3)
    async with env.transaction() as txn:
        rid = await heap.append(b"x", txn=txn)
        assert await heap.get(rid, txn=txn) == b"x"


async def test_an_id_is_what_append_returned(heap):
    with pytest.raises(ValueError, match="6 bytes"):
        await heap.get(b"short")
    with pytest.raises(TypeError):
        await heap.get(1)
    with pytest.raises(bdb.errors.Misuse, match="leave it out"):
        await heap.delete(b"\0" * 6, b"value")


@pytest.mark.parametrize("options", [{"type": "hash"}, {"type": "heap"}])
async def test_what_has_no_order_is_read_as_a_whole(env, options):
    db = await env.database("bag", **options)
    for argument in ({"start": b"\0" * 6}, {"stop": b"\0" * 6}, {"prefix": b"a"}, {"reverse": True}):
        with pytest.raises(ValueError, match="no order"):
            db.range(**argument)
