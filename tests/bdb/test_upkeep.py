"""What is done from time to time: waits for locks end, whatever the moment at which they are looked at."""

from __future__ import annotations

import asyncio

import pytest

from tests.bdb.binding import bdb


async def test_a_wait_that_was_not_handed_over_yet_when_it_was_looked_for_ends_all_the_same(tmp_path):
    """libdb has no clock: one who looks, sees nobody wait and stops looking, would leave a wait without an end."""
    async with bdb.open(tmp_path, lock_timeout=0.2) as env, env.database("a") as db:
        async with env.transaction() as holder:
            await db.put(b"k", b"1", txn=holder)
            async with env.transaction() as txn:
                waiting = asyncio.ensure_future(db.put(b"k", b"2", txn=txn))
                await asyncio.sleep(0)
                assert not waiting.done()
                for timer in env.upkeep._timers:
                    timer.cancel()
                env.upkeep._look_at_locks()  # what the last of them would have done at this moment
                async with asyncio.timeout(30):
                    with pytest.raises(bdb.errors.LockTimeout):
                        await waiting
                await txn.abort()
        assert await db.get(b"k") == b"1"
