"""Environments: how they are opened, what they hold, what is done to them as a whole."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from tests.bdb.binding import bdb


async def content(db) -> list[Any]:
    return [record async for record in db.range()]


# Opening


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "maybe"}, {"cache_size": 1}, {"cache_size": True}, {"cache_size": 1 << 50}, {"lock_timeout": 0},
        {"lock_timeout": "1"}, {"lock_timeout": float("nan")}, {"checkpoint_bytes": 1}, {"checkpoint_interval": -1},
        {"password": ""}, {"password": b"x"}, {"log_buffer": 1}, {"log_buffer": 1 << 24}, {"log_file_size": 1},
        {"max_transactions": 0}, {"max_locks": 1}, {"priority": 5}, {"priority": "high"},
    ],
)  # fmt: skip
async def test_options_that_cannot_be_are_refused_at_once(tmp_path, options):
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        bdb.open(tmp_path / "home", **options)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("options", [{"log_dir": "logs"}, {"keep_logs": True}])
async def test_an_environment_in_memory_has_no_log_files(options):
    with pytest.raises(ValueError, match="in memory"):
        bdb.open(None, **options)


@pytest.mark.parametrize("home", [b"bytes", 7])
async def test_a_home_is_a_path_of_text(home):
    with pytest.raises(TypeError):
        bdb.open(home)


async def test_only_an_environment_that_is_there_is_opened_without_create(tmp_path):
    (tmp_path / "empty").mkdir()
    for home in ("missing", "empty"):
        with pytest.raises(bdb.errors.NoSuchFile):
            await bdb.open(tmp_path / home, create=False)
    assert os.listdir(tmp_path / "empty") == []
    async with bdb.open(tmp_path / "home"):
        pass
    async with bdb.open(tmp_path / "home", create=False) as env:
        assert env.path == str(tmp_path / "home")


async def test_a_home_that_cannot_be_made_says_why(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((bdb.errors.FileExists, bdb.errors.IOFailure)):
        await bdb.open(tmp_path / "file")


async def test_a_private_environment_leaves_no_shared_regions(tmp_path):
    async with bdb.open(tmp_path, private=True) as env, env.database("a") as db:
        await db.put(b"k", b"v")
        assert not [name for name in os.listdir(tmp_path) if name.startswith("__db")]
    async with bdb.open(tmp_path, private=True) as env, env.database("a") as db:
        assert await db.get(b"k") == b"v"


async def test_an_environment_in_memory_does_everything_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with bdb.open(None) as env, env.database("a") as db:
        async with env.transaction() as txn:
            await db.put(b"k", b"v", txn=txn)
        await asyncio.gather(*(db.put(b"%d" % number, b"v") for number in range(100)))
        assert len(await content(db)) == 101
        await env.checkpoint()
        assert env.path is None
    assert os.listdir(tmp_path) == []


async def test_a_transaction_larger_than_the_log_in_memory_says_so():
    async with bdb.open(None, log_buffer=512 * 1024) as env, env.database("a") as db:
        async with env.transaction() as txn:
            puts = [db.put(b"%d" % number, b"v" * 5000, txn=txn) for number in range(200)]
            outcomes = await asyncio.gather(*puts, return_exceptions=True)
            assert any(isinstance(outcome, bdb.errors.LogBufferFull) for outcome in outcomes)
            await txn.abort()
        await db.put(b"k", b"v")
    with pytest.raises(ValueError, match="in memory"):
        bdb.open(None, log_buffer=256 * 1024)


async def test_log_files_go_where_they_are_sent(tmp_path):
    async with bdb.open(tmp_path, log_dir="logs") as env, env.database("a") as db:
        await db.put(b"k", b"v")
    assert [name for name in os.listdir(tmp_path / "logs") if name.startswith("log.")]
    assert not [name for name in os.listdir(tmp_path) if name.startswith("log.")]


async def test_an_encrypted_environment_keeps_its_secrets_on_the_disk(tmp_path):
    async with bdb.open(tmp_path, password="secret") as env, env.database("a") as db:
        await db.put(b"needle in a", b"haystack")
        await env.checkpoint()
    files = [path for path in tmp_path.iterdir() if not path.name.startswith("__db")]
    assert not any(b"needle in a" in path.read_bytes() for path in files)
    for password in ("wrong", None, "wrong"):
        with pytest.raises(bdb.errors.Error) as caught:
            await bdb.open(tmp_path, password=password)
        assert isinstance(caught.value, (bdb.errors.AccessDenied, bdb.errors.InvalidArgument))
    async with bdb.open(tmp_path, password="secret") as env, env.database("a") as db:
        assert await db.get(b"needle in a") == b"haystack"


# Databases


async def test_several_databases_share_a_file(env, tmp_path):
    one = await env.database("one", file="all")
    two = await env.database("two", file="all", type="hash")
    await one.put(b"k", b"1")
    await two.put(b"k", b"2")
    assert (await one.get(b"k"), await two.get(b"k")) == (b"1", b"2")
    assert sorted(await env.databases("all")) == ["one", "two"]
    await env.database("alone")
    with pytest.raises(bdb.errors.InvalidArgument, match="single"):
        await env.databases("alone.db")
    with pytest.raises(ValueError, match="file to itself"):
        env.database("queue", file="all", type="queue", record_length=4)


async def test_a_database_in_memory_leaves_no_file(env, tmp_path):
    db = await env.database("fleeting", in_memory=True)
    await db.put(b"k", b"v")
    assert await db.get(b"k") == b"v"
    assert "fleeting.db" not in os.listdir(tmp_path / "home")
    with pytest.raises(ValueError, match="in memory"):
        env.database("x", file="f", in_memory=True)


@pytest.mark.parametrize(
    ("made", "asked", "said"),
    [
        ({"type": "btree"}, {"type": "hash"}, "it is a btree, not a hash"),
        ({"duplicates": "sorted"}, {}, "its duplicates are sorted, not none"),
        ({}, {"duplicates": "unsorted"}, "its duplicates are none, not unsorted"),
        ({"type": "queue", "record_length": 4}, {"type": "queue", "record_length": 5}, "record_length is 4, not 5"),
    ],
)
async def test_what_is_there_is_not_opened_as_something_else(env, made, asked, said):
    async with env.database("a", **made):
        pass
    with pytest.raises(bdb.errors.InvalidArgument, match=said):
        await env.database("a", **asked)


async def test_an_existing_database_is_opened_as_what_it_is(env):
    kinds = {
        "btree": {"duplicates": "sorted"}, "hash": {}, "recno": {"renumber": True},
        "queue": {"record_length": 4, "pad": 46}, "heap": {},
    }  # fmt: skip
    for kind, options in kinds.items():
        async with env.database(kind, type=kind, **options) as made:
            layout = made.layout
        async with env.database(kind, type=None) as found:
            assert type(found) is type(made)
            assert found.type == kind
            for name in ("duplicates", "renumber", "record_length", "checksum"):
                assert getattr(found.layout, name) == getattr(layout, name)
    with pytest.raises(bdb.errors.NoSuchFile):
        await env.database("missing", type=None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"type": "tree"}, "type"), ({"duplicates": "some"}, "duplicates"), ({"type": "queue"}, "record_length"),
        ({"type": "recno", "duplicates": "sorted"}, "for btree and hash"), ({"renumber": True}, "renumber"),
        ({"record_numbers": True, "duplicates": "sorted"}, "record numbers"), ({"page_size": 1000}, "power of two"),
        ({"page_size": 256}, "512"), ({"pad": 32}, "pad"), ({"type": "recno", "pad": 256}, "pad"),
        ({"compare_duplicates": min}, "sorted duplicates"), ({"type": "hash", "compare": min}, "compare"),
        ({"type": "queue", "record_length": 0}, "record_length"), ({"extent_pages": 1}, "extent_pages"),
        ({"in_memory": True, "file": "x"}, "in memory"),
    ],
)  # fmt: skip
async def test_layouts_that_cannot_be_are_refused_at_once(env, options, said):
    with pytest.raises(ValueError, match=said):
        env.database("a", **options)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "__db.001", "a\0b", "x" * 201, "\ud800"])
async def test_names_that_are_no_file_names_are_refused(env, name):
    for call in (lambda: env.database(name), lambda: env.database("a", file=name)):
        with pytest.raises(ValueError):
            call()
    with pytest.raises(ValueError):
        await env.remove_database(name)
    with pytest.raises(ValueError):
        await env.rename_database("a", name)


async def test_databases_are_renamed_and_removed_but_not_while_they_are_open(env, tmp_path):
    db = await env.database("a")
    await db.put(b"k", b"v")
    for call in (env.remove_database("a"), env.rename_database("a", "b")):
        with pytest.raises(bdb.errors.InUse):
            await call
    await db.aclose()
    await env.rename_database("a", "b")
    async with env.database("b", create=False) as db:
        assert await db.get(b"k") == b"v"
    await env.remove_database("b")
    for call in (env.remove_database("b"), env.rename_database("b", "c")):
        with pytest.raises(bdb.errors.NoSuchFile):
            await call
    async with env.database("one", file="all"), env.database("two", file="all"):
        pass
    await env.rename_database("one", "uno", file="all")
    await env.remove_database("two", file="all")
    assert await env.databases("all") == ["uno"]


# As a whole


async def test_checkpoints_come_by_bytes(tmp_path):
    async with bdb.open(tmp_path, checkpoint_bytes=100_000, checkpoint_interval=3600) as env, env.database("a") as db:
        for _ in range(3):
            await db.put_many((b"%05d" % number, b"v" * 100) for number in range(1000))
        async with asyncio.timeout(30):
            while env.statistics().checkpoints < 1:
                await asyncio.sleep(0.005)


async def test_checkpoints_come_by_time_when_something_was_written(tmp_path):
    async with bdb.open(tmp_path, checkpoint_interval=0.05) as env, env.database("a") as db:
        await db.put(b"k", b"v")
        async with asyncio.timeout(30):
            while env.statistics().checkpoints < 1:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.2)
        assert env.statistics().checkpoints == 1, "nothing was written since"


async def test_log_files_are_kept_until_they_are_archived(tmp_path):
    options = {"keep_logs": True, "log_file_size": 256 * 1024, "log_buffer": 64 * 1024}
    async with bdb.open(tmp_path, **options) as env, env.database("a") as db:
        for _ in range(3):
            await db.put_many((b"%05d" % number, b"v" * 200) for number in range(3000))
        await env.checkpoint()
        paths = await env.archive_logs()
        assert paths
        assert all(os.path.exists(path) for path in paths)
        assert await env.archive_logs(remove=True) == paths
        assert not any(os.path.exists(path) for path in paths)
        assert await env.archive_logs() == []


async def test_pages_are_written_ahead(env, db):
    await db.put_many((b"%05d" % number, b"v" * 100) for number in range(1000))
    assert await env.trickle(100) > 0
    for percent in (0, 101, True, 1.5):
        with pytest.raises(ValueError, match="percent"):
            await env.trickle(percent)


async def test_statistics_count_what_was_done(env, db):
    before = env.statistics()
    await asyncio.gather(*(db.put(b"%d" % number, b"v") for number in range(10)))
    await asyncio.gather(*(db.get(b"%d" % number) for number in range(20)))
    async with env.transaction():
        now = env.statistics()
    assert (now.writes - before.writes, now.commits - before.commits, now.reads - before.reads) == (10, 1, 20)
    assert (now.state, now.databases, now.transactions, now.pending) == ("open", 1, 1, 0)


async def test_stat_tells_what_libdb_counts(env, db):
    await db.put_many((b"%05d" % number, b"v" * 100) for number in range(1000))
    found = await env.stat()
    assert found.cache.size >= 1 << 20
    assert found.cache.hits > 0
    assert found.log.flushes > 0
    assert found.transactions.committed > 0
    assert found.locks.requests > 0


@pytest.mark.parametrize("kind", ["btree", "hash", "recno", "queue", "heap"])
async def test_stat_of_a_database_counts_its_records(env, kind):
    options = {"record_length": 4} if kind == "queue" else {}
    db = await env.database("a", type=kind, **options)
    for number in range(1, 11):
        if kind == "heap":
            await db.append(b"v")
        else:
            await db.put(b"%d" % number if kind in ("btree", "hash") else number, b"v")
    found = await db.stat()
    assert (found.type, found.records, found.page_size) == (kind, 10, 4096)
    assert (await db.stat(fast=True)).page_size == 4096


async def test_a_forked_child_is_told_that_the_environment_is_not_its_own(env, db):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            asyncio.run(db.get(b"k"))
        except bdb.errors.Misuse:
            status = 0
        finally:
            os._exit(status)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    await db.put(b"k", b"v")
