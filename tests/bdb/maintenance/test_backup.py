"""A backup made while everything goes on holds all that was committed before it, and becomes a home again."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest

from asyncstore.testing import Unavailable, small_tmpfs
from tests.bdb.binding import bdb


async def content(home: Path, name: str = "a") -> dict[Any, bytes]:
    async with bdb.open(home) as env, env.database(name, create=False, type=None) as db:
        return {key: value async for key, value in db.range()}


async def test_a_backup_holds_what_was_committed_before_it(tmp_path):
    async with bdb.open(tmp_path / "home") as env, env.database("a") as db:
        await db.put_many((b"%05d" % number, b"v" * 100) for number in range(3000))
        queue = await env.database("q", type="queue", record_length=9, extent_pages=1)
        await asyncio.gather(*(queue.append(b"x") for _ in range(1000)))
        hidden = await env.database("one", file="several")
        await hidden.put(b"k", b"v")
        seen: list[Any] = []
        result = await env.backup(tmp_path / "backup", progress=seen.append)
        assert (result.databases, result.logs) == (
            3,
            len([n for n in os.listdir(tmp_path / "home") if n[:4] == "log."]),
        )
        await db.put(b"later", b"")
    assert seen[0].done == 0
    assert seen[-1].unit == "bytes"
    assert seen[-1].done == result.bytes
    restored = await bdb.restore(tmp_path / "backup", tmp_path / "new")
    assert restored.logs == result.logs
    found = await content(tmp_path / "new")
    assert len(found) == 3000
    assert len(await content(tmp_path / "new", "q")) == 1000
    async with bdb.open(tmp_path / "new") as env, env.database("one", file="several") as hidden:
        assert await hidden.get(b"k") == b"v"
    assert all(verdict.sound for verdict in await bdb.verify(tmp_path / "new"))


async def test_a_backup_under_writers_holds_all_that_they_had_acknowledged(tmp_path):
    acknowledged: list[bytes] = []
    async with bdb.open(tmp_path / "home", checkpoint_bytes=50_000, log_file_size=256 * 1024, log_buffer=65536) as env:
        db = await env.database("a")
        await db.put_many((b"old %05d" % number, b"v" * 100) for number in range(5000))

        async def write(task: int) -> None:
            for number in range(10**6):
                key = b"%d %d" % (task, number)
                await db.put(key, key * 10)
                acknowledged.append(key)

        writers = [asyncio.ensure_future(write(task)) for task in range(32)]
        while len(acknowledged) < 500:
            await asyncio.sleep(0.001)
        before = list(acknowledged)
        await env.backup(tmp_path / "backup")
        for writer in writers:
            writer.cancel()
        await asyncio.wait(writers)
        assert len(acknowledged) > len(before), "they went on meanwhile"
    await bdb.restore(tmp_path / "backup", tmp_path / "new")
    found = await content(tmp_path / "new")
    assert not set(before) - found.keys()
    assert sum(key.startswith(b"old") for key in found) == 5000
    assert all(value == key * 10 for key, value in found.items() if not key.startswith(b"old"))
    assert all(verdict.sound for verdict in await bdb.verify(tmp_path / "new"))


async def test_a_backup_is_brought_up_to_date_with_log_files_alone(tmp_path):
    options = {"keep_logs": True, "log_file_size": 256 * 1024, "log_buffer": 65536}
    async with bdb.open(tmp_path / "home", **options) as env, env.database("a") as db:
        await db.put(b"first", b"1")
        await env.backup(tmp_path / "backup")
        await db.put_many((b"%05d" % number, b"v" * 100) for number in range(3000))
        result = await env.backup(tmp_path / "backup", update=True)
        assert result.databases == 0
        assert result.logs > 1
        await db.put(b"last", b"2")
        await env.backup(tmp_path / "backup", update=True)
    await bdb.restore(tmp_path / "backup", tmp_path / "new")
    found = await content(tmp_path / "new")
    assert (found[b"first"], found[b"last"], len(found)) == (b"1", b"2", 3002)


async def test_an_update_that_would_leave_a_gap_is_refused(tmp_path):
    options = {"log_file_size": 256 * 1024, "log_buffer": 65536}
    async with bdb.open(tmp_path / "home", **options) as env, env.database("a") as db:
        await env.backup(tmp_path / "backup")
        for _ in range(3):
            await db.put_many((b"%05d" % number, b"v" * 100) for number in range(3000))
            await env.checkpoint()
        with pytest.raises(bdb.errors.InvalidArgument, match="keep_logs"):
            await env.backup(tmp_path / "backup", update=True)
        (tmp_path / "empty").mkdir()
        with pytest.raises(bdb.errors.InvalidArgument, match="no backup"):
            await env.backup(tmp_path / "empty", update=True)
        with pytest.raises(bdb.errors.NoSuchFile):
            await env.backup(tmp_path / "missing", update=True)


async def test_log_files_are_removed_again_after_a_backup(tmp_path):
    async with bdb.open(tmp_path / "home", log_file_size=256 * 1024, log_buffer=65536) as env, env.database("a") as db:
        await env.backup(tmp_path / "backup")
        for _ in range(3):
            await db.put_many((b"%05d" % number, b"v" * 100) for number in range(3000))
            await env.checkpoint()
        assert not (tmp_path / "home" / "log.0000000001").exists()


async def test_a_moment_in_the_past_is_restored(tmp_path):
    async with bdb.open(tmp_path / "home", keep_logs=True) as env, env.database("a") as db:
        await env.backup(tmp_path / "backup")
        await db.put(b"before", b"1")
        moment = dt.datetime.now(dt.UTC)
        while dt.datetime.now(dt.UTC) < moment + dt.timedelta(seconds=2.1):  # libdb's log knows whole seconds
            await asyncio.sleep(0.05)
        await db.put(b"after", b"2")
        await env.backup(tmp_path / "backup", update=True)
    await bdb.restore(tmp_path / "backup", tmp_path / "new", until=moment + dt.timedelta(seconds=1))
    assert set(await content(tmp_path / "new")) == {b"before"}
    await bdb.restore(tmp_path / "backup", tmp_path / "newest")
    assert set(await content(tmp_path / "newest")) == {b"before", b"after"}


async def test_an_encrypted_environment_is_backed_up_encrypted(tmp_path):
    async with bdb.open(tmp_path / "home", password="secret") as env, env.database("a") as db:
        await db.put(b"needle", b"haystack")
        await env.backup(tmp_path / "backup")
    assert not any(b"needle" in path.read_bytes() for path in (tmp_path / "backup").iterdir())
    await bdb.restore(tmp_path / "backup", tmp_path / "new", password="secret")
    async with bdb.open(tmp_path / "new", password="secret") as env, env.database("a") as db:
        assert await db.get(b"needle") == b"haystack"


async def test_a_directory_that_is_not_empty_is_not_written_to(env, db, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    for target in ("full", "file"):
        with pytest.raises(bdb.errors.FileExists):
            await env.backup(tmp_path / target)
    await env.backup(tmp_path / "backup")
    with pytest.raises(bdb.errors.FileExists):
        await bdb.restore(tmp_path / "backup", tmp_path / "full")
    with pytest.raises(bdb.errors.InvalidArgument, match="no backup"):
        await bdb.restore(tmp_path / "full", tmp_path / "new")
    assert os.listdir(tmp_path / "full") == ["x"]


async def test_a_cancelled_backup_leaves_none(env, db, tmp_path):
    await db.put_many((b"%05d" % number, b"v" * 1000) for number in range(5000))
    task: asyncio.Task[Any]
    task = asyncio.ensure_future(env.backup(tmp_path / "backup", progress=lambda _: task.cancel()))
    with pytest.raises(asyncio.CancelledError):
        await task
    await env.aclose()  # waits for the work to end
    assert os.listdir(tmp_path) == ["home"]


async def test_a_backup_onto_a_full_disk_says_so_and_leaves_none(env, db, tmp_path):
    await db.put_many((b"%05d" % number, b"v" * 1000) for number in range(5000))
    try:
        with small_tmpfs(1 << 20) as small:
            with pytest.raises(bdb.errors.DiskFull):
                await env.backup(small / "backup")
            assert os.listdir(small) == []
    except Unavailable as exc:
        pytest.skip(str(exc))
    await db.put(b"k", b"v")


async def test_an_environment_in_memory_has_nothing_to_back_up(tmp_path):
    async with bdb.open(None) as env:
        with pytest.raises(bdb.errors.Misuse, match="in memory"):
            await env.backup(tmp_path / "backup")
