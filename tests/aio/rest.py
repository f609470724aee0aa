"""Waiting for the default pool to come to rest, so that what a cancelled call left behind can be counted."""

from __future__ import annotations

import asyncio

from asyncstore.pool import default_pool


async def settled() -> None:
    """Return once no job is queued or running."""
    for _ in range(10_000):
        stats = default_pool().stats()
        if not stats.queued and not stats.running:
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"the pool does not come to rest: {default_pool().stats()}")
