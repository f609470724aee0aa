"""Dumps and loads agree with the real db_dump and db_load, in both directions."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
from typing import Any

import pytest

from tests.bdb.binding import bdb
from tests.bdb.tools import tool

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sorted": {"duplicates": "sorted"},
    "unsorted": {"duplicates": "unsorted", "checksum": False},
    "numbers": {"record_numbers": True, "page_size": 1024},
    "hash": {"type": "hash"},
    "hash duplicates": {"type": "hash", "duplicates": "sorted"},
    "recno": {"type": "recno"},
    "fixed": {"type": "recno", "renumber": True, "record_length": 5, "pad": 46},
    "queue": {"type": "queue", "record_length": 8, "extent_pages": 16},
    "heap": {"type": "heap"},
}
VALUES = [b"v\\1\n", b"\x00\xff", b"", b"plain", b"v\\1\n"]


async def filled(env, kind: str, name: str = "data", **where: Any):
    db = await env.database(name, **where, **KINDS[kind])
    for number, value in enumerate(VALUES):
        if db.type == "heap":
            await db.append(value)
        elif db.type in ("recno", "queue"):
            await db.put(2 * number + 1, value[:5])
        else:
            await db.put(b"key%d" % (number // 2 if db.layout.duplicates else number), value)
    return db


async def content(db) -> list[Any]:
    records = [record async for record in db.range()]
    return sorted(value for _, value in records) if db.type == "heap" else records


def run(program: str, *arguments: Any, text: bytes | None = None) -> bytes:
    return subprocess.run(
        [tool(program), *map(str, arguments)], input=text, capture_output=True, check=True, timeout=60
    ).stdout


@pytest.mark.parametrize("printable", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_dump_is_what_db_dump_writes(tmp_path, kind, printable):
    ours = io.BytesIO()
    async with bdb.open(tmp_path) as env, await filled_later(env, kind) as db:
        await db.dump(ours, printable=printable)
    options = [*(["-p"] if printable else []), *(["-k"] if kind in ("recno", "fixed", "queue") else [])]
    assert ours.getvalue() == await asyncio.to_thread(run, "db5.3_dump", *options, "-h", tmp_path, "data.db")


async def filled_later(env, kind):
    from contextlib import aclosing

    return aclosing(await filled(env, kind))


@pytest.mark.parametrize("kind", KINDS)
async def test_db_load_reads_our_dump(tmp_path, kind):
    ours = io.BytesIO()
    async with bdb.open(tmp_path / "a") as env:
        db = await filled(env, kind)
        await db.dump(ours)
        expected = await content(db)
    (tmp_path / "b").mkdir()
    await asyncio.to_thread(run, "db5.3_load", tmp_path / "b" / "data.db", text=ours.getvalue())
    async with bdb.open(tmp_path / "b") as env, env.database("data", type=None) as db:
        assert await content(db) == expected


@pytest.mark.parametrize("kind", KINDS)
async def test_we_load_what_db_dump_writes(tmp_path, kind):
    async with bdb.open(tmp_path / "a") as env:
        db = await filled(env, kind)
        expected, layout = await content(db), db.layout
    keyed = ["-k"] if kind in ("recno", "fixed", "queue") else []
    text = await asyncio.to_thread(run, "db5.3_dump", *keyed, "-h", tmp_path / "a", "data.db")
    async with bdb.open(tmp_path / "b") as env:
        (loaded,) = await env.load(io.BytesIO(text), "data")
        assert (loaded.name, loaded.file, loaded.records, loaded.kept) == ("data", None, len(expected), 0)
        async with env.database("data", type=None) as db:
            assert await content(db) == expected
            for name in ("type", "duplicates", "record_numbers", "renumber", "record_length", "checksum"):
                assert getattr(db.layout, name) == getattr(layout, name), name


async def test_all_databases_of_a_file_are_loaded_into_one(tmp_path):
    async with bdb.open(tmp_path / "a") as env:
        one = await filled(env, "plain", "one", file="multi")
        two = await filled(env, "hash", "two", file="multi")
        expected = [await content(one), sorted(await content(two))]
    text = await asyncio.to_thread(run, "db5.3_dump", "-h", tmp_path / "a", "multi")
    async with bdb.open(tmp_path / "b") as env:
        loaded = await env.load(io.BytesIO(text), file="both")
        assert [(one.name, one.file) for one in loaded] == [("one", "both"), ("two", "both")]
        found = [await content(await env.database(name, file="both", type=None)) for name in ("one", "two")]
        assert [found[0], sorted(found[1])] == expected
        with pytest.raises(bdb.errors.InvalidArgument, match="name a file"):
            await env.load(io.BytesIO(text), "all of them")


async def test_records_that_are_there_are_replaced_or_kept(env, db):
    await db.put_many([(b"a", b"1"), (b"b", b"2")])
    text = io.BytesIO()
    await db.dump(text)
    await db.put(b"a", b"other")
    await db.delete(b"b")
    text.seek(0)
    (loaded,) = await env.load(text, "main", overwrite=False)
    assert (loaded.records, loaded.kept) == (1, 1)
    assert await content(db) == [(b"a", b"other"), (b"b", b"2")]
    text.seek(0)
    await env.load(text, "main")
    assert await content(db) == [(b"a", b"1"), (b"b", b"2")]


async def test_a_path_gets_its_file_when_the_dump_is_whole(env, db, tmp_path):
    await db.put_many((b"%05d" % number, b"v" * 50) for number in range(3000))
    seen = []
    target = tmp_path / "dump"
    count = await db.dump(target, progress=lambda progress: seen.append((progress.done, target.exists())))
    assert count == 3000
    assert seen[-1] == (3000, False)
    assert target.read_bytes().endswith(b"DATA=END\n")
    assert os.listdir(tmp_path) == ["home", "dump"] or sorted(os.listdir(tmp_path)) == ["dump", "home"]


async def test_a_cancelled_dump_leaves_nothing_behind(env, db, tmp_path):
    await db.put_many((b"%05d" % number, b"v" * 50) for number in range(3000))
    task: asyncio.Task[int]
    task = asyncio.ensure_future(db.dump(tmp_path / "dump", progress=lambda _: task.cancel()))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert os.listdir(tmp_path) == ["home"]


async def test_a_dump_that_cannot_be_written_says_why(env, db, tmp_path):
    with pytest.raises(bdb.errors.NoSuchFile, match="nowhere"):
        await db.dump(tmp_path / "nowhere" / "dump")
    with pytest.raises(bdb.errors.DiskFull), open("/dev/full", "wb", buffering=0) as full:
        await db.dump(full)


async def test_a_dump_in_a_snapshot_is_of_one_moment(tmp_path):
    text = io.BytesIO()
    async with bdb.open(tmp_path, multiversion=True) as env, env.database("a") as db:
        await db.put_many((b"%05d" % number, b"old") for number in range(2000))
        async with env.transaction(isolation="snapshot") as txn:
            assert await db.get(b"00000", txn=txn) == b"old"

            def change(_progress: Any) -> None:
                tasks.append(asyncio.ensure_future(db.put(b"01999", b"new")))

            tasks: list[Any] = []
            await db.dump(text, txn=txn, progress=change)
        await asyncio.gather(*tasks)
        assert await db.get(b"01999") == b"new"
    assert b"new".hex().encode() not in text.getvalue()


async def test_a_damaged_dump_is_refused_by_its_line_and_what_came_before_stays(env):
    text = b"VERSION=3\nformat=print\ntype=btree\nHEADER=END\n a\n 1\n b\n"
    with pytest.raises(bdb.errors.BadDump, match="line 7: the dump ends in the middle"):
        await env.load(io.BytesIO(text), "half")
    async with env.database("half", create=False) as half:
        assert await content(half) == [(b"a", b"1")]


async def test_a_dump_without_a_name_wants_one(env, tmp_path):
    (tmp_path / "dump").write_bytes(b"VERSION=3\ntype=btree\nHEADER=END\nDATA=END\n")
    with pytest.raises(bdb.errors.InvalidArgument, match="give a name"):
        await env.load(tmp_path / "dump")
    seen: list[Any] = []
    (loaded,) = await env.load(tmp_path / "dump", "empty", progress=seen.append)
    assert loaded.records == 0
    assert (seen[-1].done, seen[-1].total) == (41, 41)
    with pytest.raises(bdb.errors.NoSuchFile):
        await env.load(tmp_path / "missing", "x")
