"""How many operations are inside an object: closing waits for them, since closing a handle in use crashes libdb."""

from __future__ import annotations

import asyncio

__all__ = ("Usage",)


class Usage:
    """A counter with a way to wait for zero. Used on one loop's thread only."""

    __slots__ = ("_waiters", "busy")

    def __init__(self) -> None:
        self.busy = 0
        self._waiters: list[asyncio.Future[None]] = []

    def enter(self) -> None:
        """Count one operation in."""
        self.busy += 1

    def leave(self) -> None:
        """Count one operation out, and wake who waits for the last."""
        self.busy -= 1
        if self.busy == 0:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()

    async def idle(self) -> None:
        """Return when nothing is inside. A cancel changes nothing."""
        if self.busy:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
