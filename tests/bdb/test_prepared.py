"""A commit in two phases survives a crash between them, undecided, and is then decided once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap

import pytest

from tests.bdb.binding import bdb

CRASH = """
    import asyncio, os, sys
    from asyncstore import bdb

    async def main():
        env = await bdb.open(sys.argv[1])
        db = await env.database("a")
        await db.put(b"before", b"1")
        for gid in sys.argv[2:]:
            txn = env.transaction()
            await db.put(gid.encode(), b"prepared", txn=txn)
            await txn.prepare(gid.encode())
        os._exit(0)

    asyncio.run(main())
"""


async def crash(home, *gids: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(CRASH), str(home), *gids]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)


async def test_what_was_prepared_is_committed_after_a_crash(tmp_path):
    await crash(tmp_path, "one")
    async with bdb.open(tmp_path) as env:
        (prepared,) = await env.recover_prepared()
        assert prepared.gid == b"one"
        await prepared.commit()
        async with env.database("a") as db:
            assert await db.get(b"one") == b"prepared"
    async with bdb.open(tmp_path) as env, env.database("a") as db:
        assert await env.recover_prepared() == []
        assert await db.get(b"one") == b"prepared"


async def test_what_was_prepared_is_undone_after_a_crash(tmp_path):
    await crash(tmp_path, "one")
    async with bdb.open(tmp_path) as env:
        (prepared,) = await env.recover_prepared()
        await prepared.abort()
        for decide in (prepared.commit, prepared.abort):
            with pytest.raises(bdb.errors.TransactionEnded):
                await decide()
        async with env.database("a") as db:
            assert [key async for key, _ in db.range()] == [b"before"]


async def test_it_keeps_its_locks_until_it_is_decided(tmp_path):
    await crash(tmp_path, "one")
    async with bdb.open(tmp_path, lock_timeout=0.2) as env:
        (prepared,) = await env.recover_prepared()
        async with env.database("a") as db:
            with pytest.raises(bdb.errors.LockTimeout):
                await db.get(b"one")
            await prepared.commit()
            assert await db.get(b"one") == b"prepared"


async def test_a_prepared_transaction_is_committed_or_undone_and_nothing_else(env, db):
    for end in ("commit", "abort"):
        txn = env.transaction()
        await db.put(b"k", end.encode(), txn=txn)
        await txn.prepare(b"gid")
        assert txn.state == "prepared"
        with pytest.raises(bdb.errors.TransactionEnded, match="prepared"):
            await db.put(b"k", b"more", txn=txn)
        await getattr(txn, end)()
        assert await db.get(b"k") == b"commit"


async def test_what_was_left_prepared_at_closing_is_found_again(tmp_path):
    async with bdb.open(tmp_path) as env:
        db = await env.database("a")
        txn = env.transaction()
        await db.put(b"k", b"v", txn=txn)
        await txn.prepare(b"left")
    async with bdb.open(tmp_path) as env:
        (prepared,) = await env.recover_prepared()
        await prepared.commit()
        async with env.database("a") as db:
            assert await db.get(b"k") == b"v"


@pytest.mark.parametrize("gid", [b"", b"x" * 129, "text", None])
async def test_a_global_id_has_up_to_128_bytes(env, gid):
    async with env.transaction() as txn:
        with pytest.raises(ValueError, match="128"):
            await txn.prepare(gid)


async def test_a_nested_transaction_is_not_prepared(env, db):
    async with env.transaction() as txn, txn.transaction() as inner:
        with pytest.raises(bdb.errors.Misuse, match="nested"):
            await inner.prepare(b"gid")
