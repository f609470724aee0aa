"""Watching by looking again and again: for systems and file systems that do not tell of changes."""

from __future__ import annotations

import asyncio
import errno
import os

from asyncstore.aio._change import ALWAYS, Change, ChangeKind
from asyncstore.aio._priority import run
from asyncstore.aio._snapshot import Snapshot, compare, take
from asyncstore.aio._watch_queue import ChangeQueue

__all__ = ("PollingSource",)


class PollingSource:
    """Fills `queue` with what changed in `root` since it looked last, `interval` seconds after each look."""

    def __init__(
        self, root: str, queue: ChangeQueue, *, recursive: bool, kinds: frozenset[ChangeKind], interval: float
    ) -> None:
        self._root = root
        self._queue = queue
        self._recursive = recursive
        self._kinds = kinds | ALWAYS
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._known: Snapshot = {}
        self._look: asyncio.Task[Snapshot] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def start(self) -> None:
        """Take the first look; raises FileNotFoundError when there is no root. A cancel leaves nothing running."""
        self._known = await self._take()
        if self._root not in self._known:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._root)
        self._queue.on_room = self._schedule
        self._schedule()

    def close(self) -> None:
        """Stop. Idempotent; a look that is being taken ends at its next directory."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def abandon(self) -> None:
        """Close from any thread: for a watcher that was dropped, wherever it is collected."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.close)

    async def _take(self) -> Snapshot:
        return await run(take, self._root, self._recursive, lambda: self._closed)

    def _schedule(self) -> None:
        # A full queue is no reason to lose anything: the next look, when there is room again, sees the sum of it all.
        if not self._closed and self._timer is None and self._look is None and self._queue.room:
            self._timer = self._loop.call_later(self._interval, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._look = self._loop.create_task(self._take())
        self._look.add_done_callback(self._looked)

    def _looked(self, done: asyncio.Task[Snapshot]) -> None:
        self._look = None
        if done.cancelled():  # the loop is being torn down
            self.close()
            self._queue.end()
            return
        error = done.exception()
        if self._closed:
            return
        if error is not None:
            self.close()
            self._queue.end(error)
            return
        self._report(done.result())
        self._schedule()

    def _report(self, seen: Snapshot) -> None:
        root = seen.get(self._root)
        if root is None or root.identity != self._known[self._root].identity:
            self._queue.put(Change(ChangeKind.GONE, self._root))
            self._queue.end()
            self.close()
            return
        changes = [change for kept in compare(self._known, seen) for change in self._wanted(kept)]
        self._known = seen
        if len(changes) > self._queue.room:
            self._queue.put(Change(ChangeKind.OVERFLOW, self._root, None, is_dir=True))
            return
        for change in changes:
            self._queue.put(change)

    def _wanted(self, change: Change) -> list[Change]:
        if change.kind is ChangeKind.MOVED and ChangeKind.MOVED not in self._kinds and change.old_path is not None:
            halves = (
                Change(ChangeKind.DELETED, change.old_path, None, change.is_dir),
                Change(ChangeKind.CREATED, change.path, None, change.is_dir),
            )
            return [half for half in halves if half.kind in self._kinds]
        return [change] if change.kind in self._kinds else []
