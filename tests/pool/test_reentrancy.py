"""A finaliser may submit a job wherever a garbage collection begins, even inside the pool's own critical section."""

from __future__ import annotations

import asyncio


async def test_a_job_submitted_while_the_submitting_thread_holds_the_queues_lock_neither_hangs_nor_is_lost(single):
    await single.run(int)
    with single.crew.lock:  # what a finaliser finds when the collection began inside enqueue
        inner = single.submit_nowait(int, "7")
        outer = single.submit_nowait(int, "8")
    async with asyncio.timeout(30):
        assert await asyncio.gather(inner, outer) == [7, 8]
