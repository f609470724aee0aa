"""A finaliser may submit a job wherever a garbage collection begins, even inside the pool's own critical section."""

from __future__ import annotations

import asyncio
import threading

from asyncstore.pool import Pool, _default


async def test_a_job_submitted_while_the_submitting_thread_holds_the_queues_lock_neither_hangs_nor_is_lost(single):
    await single.run(int)
    with single.crew.lock:  # what a finaliser finds when the collection began inside enqueue
        inner = single.submit_nowait(int, "7")
        outer = single.submit_nowait(int, "8")
    async with asyncio.timeout(30):
        assert await asyncio.gather(inner, outer) == [7, 8]


def test_the_default_pool_may_be_asked_for_while_it_is_made(monkeypatch):
    class Interrupted(Pool):
        """What a finaliser does when the collection began inside the constructor."""

        def __init__(self) -> None:
            if not asked:
                asked.append(None)
                asked[0] = _default.default_pool()
            super().__init__()

    asked: list[Pool | None] = []
    monkeypatch.setattr(_default, "_default", None)
    monkeypatch.setattr(_default, "Pool", Interrupted)
    made: list[Pool] = []
    thread = threading.Thread(target=lambda: made.append(_default.default_pool()), daemon=True)
    thread.start()
    thread.join(10)
    assert made, "it waits for itself"
    assert made[0] is asked[0], "and there is one"
