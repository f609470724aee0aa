"""How much a loop may serve on the spot before everybody else gets a turn.

An inline hit never suspends its task: a task that only ever hits would keep the loop for itself for ever. The
alternative, one ``sleep(0)`` a hit, costs twice the hit. So hits are counted per turn of the loop, over all tasks. Once
a turn has used up its budget, each task that still comes in it gets a few hits more (as many as cost about what its
wake-up has cost), or one where hits take long.

A turn is told from the next by a callback: the eighth hit schedules one with ``call_soon``, which runs when the turn is
over and starts the count again. Until the eighth hit nothing is scheduled, so that a lone hit costs an addition.

Guarantees: no more than `HITS` + `BURST` hits run in one turn, and `BURST` more for each further task that comes in it,
as long as they yield when told. Assumes: nothing of the GIL; the count belongs to the thread, and a thread runs one
loop at a time.
"""

from __future__ import annotations

import asyncio
import threading
from time import perf_counter

__all__ = ("HITS", "SECONDS", "spend")

HITS = 64  # per turn: at about 1 us each they take as long as the turn of an idle loop costs anyway
BURST = 8  # hits between two looks at the account; for each task that still comes when the hits are spent. A power of 2
SECONDS = 0.0005  # per turn, for hits that are large (256 KiB take 30 us each)


class _Turn:
    """The account of one thread: what has been spent in the running turn, and on which loop."""

    __slots__ = ("deadline", "hits", "loop", "mask")

    def __init__(self) -> None:
        self.hits = 0
        self.mask = BURST - 1  # a hit whose number has none of these bits calls `check`
        self.deadline = 0.0
        self.loop: asyncio.AbstractEventLoop | None = None  # set while a callback is under way that ends the turn

    def check(self) -> bool:
        """Look at the clock, and make sure that the end of this turn will be noticed."""
        loop = asyncio.get_running_loop()
        if self.loop is not loop:  # the first look of this turn, or a loop that stopped before its callback ran
            if self.loop is not None:
                self.hits = 1  # what was counted belongs to the other loop's last turn
                self.mask = BURST - 1
            self.loop = loop
            self.deadline = perf_counter() + SECONDS
            loop.call_soon(self.end, loop)
            return False
        if self.hits < HITS:
            if perf_counter() < self.deadline:
                return False
            self.hits = HITS
            self.mask = 0
        return True

    def end(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin the next turn."""
        if self.loop is loop:
            self.loop = None
            self.hits = 0
            self.mask = BURST - 1


class _Account(threading.local):
    def __init__(self) -> None:
        self.turn = _Turn()


_account = _Account()


def spend() -> bool:
    """Count one hit served inline on the running loop; return whether the caller has to ``await asyncio.sleep(0)`` now.

    True once `HITS` hits, or hits for `SECONDS`, have been served in this turn of the loop, and then until the turn is
    over for every `BURST`-th hit, or for every hit if the time was up first. To be called on the thread of a running
    loop (RuntimeError otherwise, at the latest at the eighth call).
    """
    turn = _account.turn
    hits = turn.hits = turn.hits + 1
    if hits & turn.mask:
        return False
    return turn.check()
