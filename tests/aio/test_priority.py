"""File requests carry the priority of whoever asks."""

from __future__ import annotations

from asyncstore.aio import _priority, priority
from asyncstore.aio._priority import run


async def test_jobs_are_submitted_at_the_current_priority(monkeypatch):
    seen = []

    class Recorder:
        async def run(self, fn, *args, priority, on_discard):
            seen.append((priority, on_discard))
            return fn(*args)

    monkeypatch.setattr(_priority, "default_pool", Recorder)
    assert await run(max, 1, 2) == 2
    with priority(-3):
        assert await run(max, 3, 4, on_discard=print) == 4
    assert seen == [(0, None), (-3, print)]
