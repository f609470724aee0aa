"""Waiting for the default pool to come to rest, so that what a cancelled call left behind can be counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from asyncstore.pool import default_pool


async def settled(condition: Callable[[], bool] = lambda: True) -> None:
    """Return once no job is queued or running and `condition` holds; after some seconds return all the same.

    A clean-up that a cancel leaves to the background may begin a moment after the pool has come to rest. What stays
    wrong is for the caller to assert.
    """
    for _ in range(3000):
        stats = default_pool().stats()
        if not stats.queued and not stats.running and condition():
            return
        await asyncio.sleep(0.001)
