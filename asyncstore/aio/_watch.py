"""Watching a file or a directory for changes.

inotify tells of them where there is inotify (Linux); elsewhere, and where it is asked for, the tree is compared with
what it was. Which of the two serves does not show in what the consumer gets, but in when: at once, or at the next
look.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from enum import Enum
from types import TracebackType
from typing import Self

from asyncstore.aio._arguments import StrOrBytesPath, check_path
from asyncstore.aio._change import ALWAYS, USUAL, Change, ChangeKind
from asyncstore.aio._inotify import available
from asyncstore.aio._watch_inotify import InotifySource
from asyncstore.aio._watch_poll import PollingSource
from asyncstore.aio._watch_queue import ChangeQueue
from asyncstore.aio.errors import FileClosed

__all__ = ("Watcher", "watch")

MAX_QUEUE = 16384  # changes kept for the consumer: as many as the kernel keeps by default
INTERVAL = 1.0  # seconds between two looks when polling; looking at 10,000 files takes a worker some 60 ms


class State(Enum):
    """NEW -> STARTING -> OPEN -> CLOSED; every state can go to CLOSED."""

    NEW = "new"
    STARTING = "starting"
    OPEN = "open"
    CLOSED = "closed"


def watch(
    path: StrOrBytesPath,
    *,
    recursive: bool = False,
    events: Iterable[ChangeKind] = USUAL,
    max_queue: int = MAX_QUEUE,
    force_polling: bool = False,
    interval: float = INTERVAL,
) -> Watcher:
    """Return a watcher of `path`: ``async with aio.watch(path) as changes: async for change in changes: ...``.

    A directory is watched with what is directly in it, or with everything below it when `recursive` (links are not
    followed); a file by itself. Watching has begun when the block is entered: what happens from then on is reported.

    `events` are the kinds to report (default: created, modified, deleted, moved); OVERFLOW and GONE come in any case.
    At most `max_queue` changes are kept for a slow consumer, see `Watcher`. `force_polling` compares the tree every
    `interval` seconds instead of asking the kernel: for network file systems, which tell of local changes only. Polling
    also serves where there is no inotify.

    Raises TypeError or ValueError at once for bad arguments. On entering the block, or at the first iteration without
    one: FileNotFoundError and other OSErrors of the path, `WatchLimit` when the system has no more watches to give.
    """
    plain = os.fsdecode(check_path(path))
    if not plain:
        raise ValueError("path is empty")
    kinds = frozenset(events)
    for kind in kinds:
        if not isinstance(kind, ChangeKind):
            raise TypeError(f"events are ChangeKinds, not {kind!r}")
    if not kinds - ALWAYS:
        raise ValueError("events is empty: there is nothing to watch for")
    if isinstance(max_queue, bool) or not isinstance(max_queue, int) or max_queue < 1:
        raise ValueError(f"max_queue is an int of at least 1, not {max_queue!r}")
    if not interval > 0:
        raise ValueError(f"interval is a number of seconds above 0, not {interval!r}")
    return Watcher(
        plain, recursive=recursive, kinds=kinds, max_queue=max_queue, polling=force_polling, interval=interval
    )


class Watcher:
    """The changes of a path, as an async iterator and an async context manager; made by `watch`.

    The iteration ends after GONE and after `aclose`, which also wakes a task that waits. Cancelling that task loses no
    change. Several tasks may iterate; each change goes to one of them.

    When `max_queue` changes wait to be read, no more are taken from the kernel, whose own queue
    (fs.inotify.max_queued_events) then fills. When that overflows, changes are lost, and the consumer gets OVERFLOW: it
    should look at the whole tree itself. So does a directory that comes with more entries than the queue has room
    for. A change equal to the newest one waiting is left out.

    Not followed: the renaming of a directory above the watched path (the reported paths then go stale), and a file that
    is replaced by another of its name (GONE; watch its directory instead).
    """

    def __init__(
        self,
        path: str,
        *,
        recursive: bool,
        kinds: frozenset[ChangeKind],
        max_queue: int,
        polling: bool,
        interval: float,
    ) -> None:
        self.path = path
        self.recursive = recursive
        self.polling = polling or not available()
        self._kinds = kinds
        self._interval = interval
        self._queue = ChangeQueue(max_queue)
        self._state = State.NEW
        self._source: InotifySource | PollingSource | None = None

    def __repr__(self) -> str:
        how = "polling" if self.polling else "inotify"
        return f"<Watcher {self.path!r} {self._state.value} {how} waiting={len(self._queue)}>"

    def __del__(self) -> None:
        if self._state is State.OPEN and self._source is not None and not self._queue.ended:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            self._source.abandon()

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        """Return the next change, waiting for one.

        Raises StopAsyncIteration at the end, `WatchLimit` or another OSError when watching could not go on. A cancel
        loses nothing.
        """
        if self._state is State.NEW:
            await self._start()
        return await self._queue.get()

    async def _start(self) -> None:
        if self._state is not State.NEW:
            raise FileClosed(f"a watcher starts once, and this one is {self._state.value}")
        self._state = State.STARTING
        try:
            self._source = source = self._make()
            await source.start()
        except BaseException:
            await self.aclose()
            raise
        if self._state is State.STARTING:
            self._state = State.OPEN
        else:
            source.close()  # closed by another task while it was starting

    def _make(self) -> InotifySource | PollingSource:
        if self.polling:
            return PollingSource(
                self.path, self._queue, recursive=self.recursive, kinds=self._kinds, interval=self._interval
            )
        return InotifySource(self.path, self._queue, recursive=self.recursive, kinds=self._kinds)

    async def aclose(self) -> None:
        """Stop watching and wake who waits; changes not yet read are dropped. Idempotent, waits for nothing."""
        self._state = State.CLOSED
        if self._source is not None:
            self._source.close()
        self._queue.close()
