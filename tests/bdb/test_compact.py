"""Compaction gathers records into fewer pages, in steps, and stands in nobody's way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.bdb.binding import bdb


@pytest.fixture
async def sparse(tmp_path):
    """A database of which most records were deleted, in an environment that waits a third of a second for a lock."""
    async with bdb.open(tmp_path / "home", lock_timeout=0.3) as env:
        db = await env.database("a")
        await db.put_many((b"%05d" % number, b"v" * 100) for number in range(8000))
        async with env.transaction() as txn, db.cursor(txn=txn) as cursor:
            async for key, _ in cursor:
                if int(key) % 20:
                    await cursor.delete()
        yield db


async def test_pages_are_freed_and_records_stay(sparse, tmp_path):
    await sparse.environment.checkpoint()
    before = (tmp_path / "home" / "a.db").stat().st_size
    seen: list[Any] = []
    done = await sparse.compact(progress=seen.append)
    await sparse.environment.checkpoint()
    assert done.freed > 100
    assert (tmp_path / "home" / "a.db").stat().st_size < before / 2
    assert len(seen) > 1
    assert seen[-1] == done
    assert [one.examined for one in seen] == sorted(one.examined for one in seen)
    assert [int(key) async for key, _ in sparse.range()] == list(range(0, 8000, 20))


async def test_pages_are_kept_when_asked_to(sparse, tmp_path):
    assert (await sparse.compact(free=False)).returned == 0
    assert [int(key) async for key, _ in sparse.range()] == list(range(0, 8000, 20))


async def test_a_part_is_compacted(sparse):
    part = await sparse.compact(b"00000", b"00500")
    assert part.freed < (await sparse.compact()).freed


async def test_it_can_be_cancelled_between_its_steps(sparse):
    task: asyncio.Task[Any]
    task = asyncio.ensure_future(sparse.compact(progress=lambda _: task.cancel()))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [int(key) async for key, _ in sparse.range()] == list(range(0, 8000, 20))
    assert (await sparse.compact()).freed > 0


async def test_writers_get_on_meanwhile(sparse):
    compacting = asyncio.ensure_future(sparse.compact())
    written = 0
    while not compacting.done():
        await sparse.put(b"x%05d" % written, b"v")
        written += 1
    await compacting
    assert len([key async for key, _ in sparse.range(prefix=b"x")]) == written


async def test_a_lock_that_is_kept_is_told_and_not_waited_for_without_end(sparse):
    env = sparse.environment
    async with env.transaction() as txn:
        await sparse.put(b"04000", b"held", txn=txn)
        with pytest.raises(bdb.errors.LockTimeout):
            await sparse.compact()
    assert (await sparse.compact()).freed > 0


@pytest.mark.parametrize("percent", [-1, 101, True, 1.5])
async def test_a_percentage_is_one(sparse, percent):
    with pytest.raises(ValueError, match="fill_percent"):
        await sparse.compact(fill_percent=percent)


@pytest.mark.parametrize("options", [{"type": "hash"}, {"type": "recno"}])
async def test_other_types_are_compacted_too(env, options):
    db = await env.database("a", **options)
    keys = [number if options["type"] == "recno" else b"%05d" % number for number in range(1, 2001)]
    await db.put_many((key, b"v" * 100) for key in keys)
    for key in keys[100:]:
        await db.delete(key)
    await db.compact()
    assert sorted([key async for key, _ in db.range()]) == keys[:100]


@pytest.mark.parametrize("options", [{"type": "queue", "record_length": 4}, {"type": "heap"}])
async def test_what_cannot_be_compacted_is_refused(env, options):
    with pytest.raises(bdb.errors.Misuse, match="cannot be compacted"):
        await (await env.database("a", **options)).compact()
