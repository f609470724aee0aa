"""What a caller stores and reads back, and what is refused before it reaches a worker."""

from __future__ import annotations

import asyncio

import pytest

from tests.bdb.binding import bdb


async def test_a_stored_value_is_read_back_until_it_is_deleted(db):
    assert await db.get(b"k") is None
    assert not await db.exists(b"k")
    await db.put(b"k", b"one")
    await db.put(b"k", b"two")
    assert await db.get(b"k") == b"two"
    assert await db.exists(b"k")
    assert await db.delete(b"k") is True
    assert await db.delete(b"k") is False
    assert await db.get(b"k") is None


@pytest.mark.parametrize("key", [b"", b"\0", b"\xff" * 300, b"k" * 20_000], ids=["empty", "nul", "ff", "overflow page"])
@pytest.mark.parametrize("value", [b"", b"\0\0", b"v" * 300_000], ids=["empty", "nuls", "overflow pages"])
async def test_any_bytes_are_a_key_and_a_value(db, key, value):
    await db.put(key, value)
    assert await db.get(key) == value
    assert [record async for record in db.range()] == [(key, value)]


async def test_what_was_stored_is_there_after_reopening(tmp_path):
    for durability in ("full", "write", "none"):
        async with bdb.open(tmp_path, durability=durability) as env, env.database("a") as db:
            await db.put(durability.encode(), b"kept")
    env = await bdb.open(tmp_path)
    db = await env.database("a", create=False)
    assert [key async for key, _ in db.range()] == [b"full", b"none", b"write"]
    await env.aclose()


async def test_two_databases_of_an_environment_are_apart(env):
    first, second = await env.database("first"), await env.database("second")
    await asyncio.gather(first.put(b"k", b"1"), second.put(b"k", b"2"))
    assert (await first.get(b"k"), await second.get(b"k")) == (b"1", b"2")


async def test_the_same_database_may_be_open_twice(env):
    first, second = await env.database("same"), await env.database("same")
    await first.put(b"k", b"v")
    await first.aclose()
    assert await second.get(b"k") == b"v"


@pytest.mark.parametrize("bad", ["text", bytearray(b"x"), memoryview(b"x"), 7, None])
async def test_keys_and_values_that_are_no_bytes_never_reach_a_worker(env, db, bad):
    before = env.statistics()
    for call in (db.get, db.exists, db.delete, lambda key: db.put(key, b"v"), lambda value: db.put(b"k", value)):
        with pytest.raises(TypeError, match="is bytes, not"):
            await call(bad)
    assert env.statistics() == before


async def test_an_item_longer_than_the_binding_can_pass_is_refused(db, monkeypatch):
    monkeypatch.setattr("asyncstore.bdb._records.MAX_ITEM_BYTES", 10)
    await db.put(b"k" * 10, b"v" * 10)
    with pytest.raises(ValueError, match="a key has at most 10 bytes, not 11"):
        await db.put(b"k" * 11, b"")
    with pytest.raises(ValueError, match="a value has at most 10 bytes, not 11"):
        await db.put(b"", b"v" * 11)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".x", "a/b", "/etc/passwd", "../up", "a\0b", "__db.001", "__dbx", "x" * 201, "\ud800"]
)
async def test_a_name_that_could_leave_the_home_or_hit_a_file_of_libdb_is_refused(env, name):
    with pytest.raises(ValueError, match=r"database's name|belong to Berkeley DB"):
        env.database(name)


@pytest.mark.parametrize("name", ["log.0000000001", "DB_CONFIG", "größe", "x" * 200, "a b"])
async def test_any_other_name_is_a_file_of_its_own(env, name, tmp_path):
    db = await env.database(name)
    await db.put(b"k", b"v")
    assert (tmp_path / "home" / f"{name}.db").exists()


async def test_a_missing_database_is_not_made_unless_wanted(env, tmp_path):
    with pytest.raises(bdb.errors.NoSuchFile, match="open database 'absent' in"):
        await env.database("absent", create=False)
    assert not (tmp_path / "home" / "absent.db").exists()


async def test_a_missing_home_is_not_made_unless_wanted(tmp_path):
    with pytest.raises(bdb.errors.NoSuchFile) as caught:
        await bdb.open(tmp_path / "absent", create=False)
    assert isinstance(caught.value, FileNotFoundError)
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"durability": "most"}, ValueError),
        ({"cache_size": 1}, ValueError),
        ({"cache_size": 1 << 50}, ValueError),
        ({"cache_size": "64M"}, TypeError),
    ],
)
async def test_bad_options_are_refused_at_once(tmp_path, arguments, error):
    with pytest.raises(error):
        bdb.open(tmp_path, **arguments)


async def test_an_unknown_type_of_database_is_refused_at_once(env):
    with pytest.raises(ValueError, match="'heap', not 'tree'"):
        env.database("x", type="tree")


async def test_a_process_opens_an_environment_once(tmp_path, env):
    with pytest.raises(bdb.errors.AlreadyOpen) as caught:
        await bdb.open(tmp_path / "home")
    assert caught.value.retryable
    assert await (await env.database("x")).get(b"k") is None  # the first is not disturbed


async def test_reads_of_one_tick_share_a_job(env, db, monkeypatch):
    batches = env.reads.batches
    await asyncio.gather(*(db.get(b"%d" % i) for i in range(100)))
    assert env.reads.batches == batches + 1


async def test_another_loop_is_told_so(db):
    def elsewhere() -> None:
        with pytest.raises(bdb.errors.Misuse, match="another event loop"):
            asyncio.run(db.get(b"k"))

    await asyncio.to_thread(elsewhere)


async def test_repr_tells_the_state_and_no_key(env, db):
    await db.put(b"secret", b"secret")
    assert "open" in repr(env)
    assert "'main'" in repr(db)
    assert "secret" not in repr(env) + repr(db)
