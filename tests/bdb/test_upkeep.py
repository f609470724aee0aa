"""What is done from time to time: waits for locks are looked at as long as there may be any."""

from __future__ import annotations

import asyncio

import pytest

from tests.bdb.binding import bdb


async def test_a_wait_that_was_not_handed_over_yet_is_looked_for_again(tmp_path):
    """libdb has no clock: one who looked, saw nobody wait and stopped, would leave a wait without an end."""
    async with bdb.open(tmp_path, lock_timeout=0.2) as env, env.database("a") as db:
        async with env.transaction() as holder:
            await db.put(b"k", b"1", txn=holder)
            async with env.transaction() as txn:
                waiting = asyncio.ensure_future(db.put(b"k", b"2", txn=txn))
                await asyncio.sleep(0)
                env.upkeep._look_at_locks()  # in the moment between the call and its hand-over
                assert env.upkeep._locks_watched
                async with asyncio.timeout(30):
                    with pytest.raises(bdb.errors.LockTimeout):
                        await waiting
                await txn.abort()
        assert await db.get(b"k") == b"1"
