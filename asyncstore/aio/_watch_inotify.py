"""Watching with inotify: reads events when there are any, has directories scanned on the pool, feeds the translator.

All state belongs to the loop's thread. While a scan runs nothing is read: events behind it may speak of directories
that only the scan makes known; they wait in the kernel, in their order.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from contextlib import suppress

from asyncstore.aio._change import Change, ChangeKind
from asyncstore.aio._inotify import READ_SIZE, Inotify, Mask, RawEvent, parse
from asyncstore.aio._priority import run
from asyncstore.aio._watch_queue import ChangeQueue
from asyncstore.aio._watch_translate import Action, Ended, Report, Scan, Translator, Unwatch, watch_mask
from asyncstore.aio.errors import WatchLimit

__all__ = ("InotifySource",)

MOVE_WAIT = 0.05  # seconds for the second half of a move: the kernel queues both within one rename(2); arbitrary
ROOM_FOR_A_NAME = 272  # bytes: a read that leaves more than one event's size unused has emptied the kernel's queue

Found = tuple[dict[int, str], list[tuple[str, bool]]]  # watches by descriptor, entries with whether each is a directory


class InotifySource:
    """One inotify descriptor that fills `queue` with the changes of `root`."""

    def __init__(self, root: str, queue: ChangeQueue, *, recursive: bool, kinds: frozenset[ChangeKind]) -> None:
        self._root = root
        self._queue = queue
        self._recursive = recursive
        self._kinds = kinds
        self._mask = watch_mask(kinds)
        self._loop = asyncio.get_running_loop()
        self._events: deque[RawEvent] = deque()  # read and not yet translated: of one read at most
        self._emptied = False  # whether that read has emptied the kernel's queue
        self._scan: asyncio.Task[Found] | None = None
        self._reading = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        try:
            self._inotify = Inotify()
        except OSError as exc:
            raise _named(exc, root) from exc

    async def start(self) -> None:
        """Watch the root; raises OSError when that cannot be done. A cancel leaves nothing but to call `close`."""
        wd = await run(self._add_root)
        self._translator = Translator(self._root, wd, recursive=self._recursive, kinds=self._kinds)
        if self._recursive:
            watches, _ = await run(self._scan_tree, self._root)
            self._translator.scanned(Scan(self._root), watches, [])
        self._queue.on_room = self._work
        self._work()

    def close(self) -> None:
        """Stop. Idempotent; a scan that runs ends at its next directory, and the descriptor is closed with it."""
        self._closed = True
        self._stop_reading()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._events.clear()
        self._inotify.close()

    def abandon(self) -> None:
        """Close from any thread: for a watcher that was dropped, wherever it is collected."""
        if self._loop.is_closed():
            self._inotify.close()
        else:
            self._loop.call_soon_threadsafe(self.close)

    # On worker threads

    def _add_root(self) -> int:
        return self._add(self._root, self._mask)

    def _add(self, path: str, mask: int) -> int:
        try:
            return self._inotify.add_watch(path, mask)
        except OSError as exc:
            if exc.errno != errno.ENOSPC:
                raise
            raise _named(exc, path) from exc

    def _scan_tree(self, top: str) -> Found:
        """Watch `top` and every directory below it, and list what they hold."""
        watches: dict[int, str] = {}
        entries: list[tuple[str, bool]] = []
        directories = [top]
        while directories and not self._closed:
            directory = directories.pop()
            # Below the root a link must be taken for what it is, or a loop of links would be watched for ever.
            strict = 0 if directory == self._root else Mask.DONT_FOLLOW | Mask.ONLYDIR
            # What is gone again, was replaced or may not be read is passed over; its parent tells of it.
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                watches[self._add(directory, self._mask | strict)] = directory
                with os.scandir(directory) as listing:
                    for entry in listing:
                        is_dir = entry.is_dir(follow_symlinks=False)
                        entries.append((entry.path, is_dir))
                        if is_dir:
                            directories.append(entry.path)
        return watches, entries

    # On the loop's thread

    def _work(self) -> None:
        """Translate what has been read, as far as there is room and no scan is needed, then read on."""
        while self._events and self._may_work():
            self._carry_out(self._translator.feed(self._events.popleft()))
        if not self._events and self._emptied and self._scan is None and not self._closed:
            self._emptied = False
            self._translator.drained()
        self._watch_departures()
        if self._may_work() and not self._events:
            if not self._reading:
                self._loop.add_reader(self._inotify.fd, self._readable)
                self._reading = True
        else:
            self._stop_reading()

    def _may_work(self) -> bool:
        # Halves of moves are changes to be, and a flood of them must end somewhere, too.
        return self._scan is None and not self._closed and self._queue.room > self._translator.waiting

    def _stop_reading(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._inotify.fd)
            self._reading = False

    def _readable(self) -> None:
        try:
            data = self._inotify.read()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._fail(exc)
            return
        self._events.extend(parse(data))
        self._emptied = len(data) <= READ_SIZE - ROOM_FOR_A_NAME
        self._work()

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Report(change):
                    self._queue.put(change)
                case Scan():
                    self._begin(action)
                case Unwatch(wds):
                    for wd in wds:
                        self._inotify.rm_watch(wd)
                case Ended():
                    self._queue.end()
                    self.close()

    def _begin(self, scan: Scan) -> None:
        self._scan = self._loop.create_task(run(self._scan_tree, scan.path))
        self._scan.add_done_callback(lambda done: self._scanned(scan, done))

    def _scanned(self, scan: Scan, done: asyncio.Task[Found]) -> None:
        self._scan = None
        if done.cancelled():
            self._fail(None)  # the loop is being torn down
            return
        error = done.exception()
        if self._closed:
            return
        if error is not None:
            self._fail(error)
            return
        watches, entries = done.result()
        self._emptied = False  # of the kernel's queue, what came during the scan is still to be read
        if not scan.anew and len(entries) > self._queue.room:
            # More than the queue may hold: one word for all of them.
            self._queue.put(Change(ChangeKind.OVERFLOW, self._root, None, is_dir=True))
            self._translator.scanned(scan, watches, entries)
        else:
            self._carry_out(self._translator.scanned(scan, watches, entries))
        self._work()

    def _fail(self, error: BaseException | None) -> None:
        self._queue.end(error)
        self.close()

    def _watch_departures(self) -> None:
        if self._timer is None and not self._closed and self._translator.waiting:
            self._timer = self._loop.call_later(MOVE_WAIT, self._expire, self._translator.newest)

    def _expire(self, up_to: int) -> None:
        self._timer = None
        # Halves that wait in the kernel behind a scan or a full queue are not late.
        if self._scan is None and not self._events:
            self._carry_out(self._translator.expire(up_to))
        if not self._closed:
            self._work()


def _named(exc: OSError, path: str) -> OSError:
    """Return an error that names the limit that was reached, where `exc` is about one."""
    if exc.errno == errno.ENOSPC:
        return WatchLimit(exc.errno, "this user's inotify watches are used up: raise fs.inotify.max_user_watches", path)
    if exc.errno in (errno.EMFILE, errno.ENFILE):
        said = "this user's inotify instances or this process's descriptors are used up: raise"
        return WatchLimit(exc.errno, f"{said} fs.inotify.max_user_instances or the limit of open files", path)
    return OSError(exc.errno, exc.strerror, path)
