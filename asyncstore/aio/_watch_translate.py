"""From inotify's events to changes: which directory a watch descriptor stands for, and which two halves make a move.

Pure: no system call, no loop, no clock. What has to be done outside comes back as an action, in the order in which it
is to be done.

What makes it more than a table:

- A move is two events with a common cookie, in two directories, and other events may lie between them (inotify(7)). The
  first half waits for the second; `expire` gives up on it and calls it a deletion. A waiting half whose path is heard
  of again is given up at once, so that the changes of one path keep their order.
- A directory made inside a recursive watch can be filled before it is watched. So it is watched first and listed
  then, and what the list holds is reported as created. What is made between the two is in the list and comes as an
  event as well: `_found` remembers the list until the events of that time have passed, and drops the second report.
- Renaming a directory renames everything below: the table of paths is rewritten.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from asyncstore.aio._change import ALWAYS, Change, ChangeKind
from asyncstore.aio._inotify import Mask, RawEvent

__all__ = ("Action", "Ended", "Report", "Scan", "Translator", "Unwatch", "watch_mask")

# Needed to keep the table of directories right, whatever the consumer wants to hear.
_STRUCTURE = Mask.CREATE | Mask.DELETE | Mask.MOVED_FROM | Mask.MOVED_TO | Mask.DELETE_SELF | Mask.MOVE_SELF
_OPTIONAL = {
    ChangeKind.MODIFIED: Mask.MODIFY,
    ChangeKind.ATTRIBUTES: Mask.ATTRIB,
    ChangeKind.WRITTEN: Mask.CLOSE_WRITE,
}
_ROOT_GONE = Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT | Mask.IGNORED


def watch_mask(kinds: frozenset[ChangeKind]) -> int:
    """Return what to ask of the kernel so that `kinds` can be told."""
    mask = _STRUCTURE | Mask.EXCL_UNLINK  # nothing about files that are open but have no name any more
    for kind, bit in _OPTIONAL.items():
        if kind in kinds:
            mask |= bit
    return int(mask)


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the consumer."""

    change: Change


@dataclass(frozen=True, slots=True)
class Scan:
    """Watch and list the directory and all below, then call `Translator.scanned`; `anew`: after lost events."""

    path: str
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Unwatch:
    """Remove these watches: their directories have left the tree."""

    wds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """The root is gone; nothing follows."""


Action = Report | Scan | Unwatch | Ended


@dataclass(frozen=True, slots=True)
class _Departure:
    """The first half of a move."""

    path: str
    is_dir: bool
    order: int


class Translator:
    """The state of one watched tree, or of one file or flat directory when not `recursive`."""

    def __init__(self, root: str, root_wd: int, *, recursive: bool, kinds: frozenset[ChangeKind]) -> None:
        self._root = root
        self._root_wd = root_wd
        self._recursive = recursive
        self._kinds = kinds | ALWAYS
        self._paths = {root_wd: root}
        self._departures: dict[int, _Departure] = {}  # by cookie
        self._order = 0  # of the newest departure
        self._found: set[str] = set()

    @property
    def waiting(self) -> int:
        """How many first halves of moves wait for their second."""
        return len(self._departures)

    @property
    def newest(self) -> int:
        """The order of the newest first half, for `expire`."""
        return self._order

    @property
    def watched(self) -> dict[int, str]:
        """The directories by watch descriptor."""
        return dict(self._paths)

    def feed(self, event: RawEvent) -> list[Action]:
        """Take one event and return what follows from it."""
        if event.mask & Mask.Q_OVERFLOW:
            return self._overflowed()
        directory = self._paths.get(event.wd)
        if directory is None:
            return []  # of a watch that was removed while its events were queued
        if event.wd == self._root_wd and not event.name and event.mask & _ROOT_GONE:
            return self._ended()
        if event.mask & Mask.IGNORED:
            del self._paths[event.wd]
            return []
        if not event.name:
            # A watched subdirectory speaks of itself, but its parent has told, by name.
            return self._changed(directory, event.mask) if event.wd == self._root_wd else []
        return self._named(os.path.join(directory, event.name), event)

    def scanned(self, scan: Scan, watches: dict[int, str], entries: list[tuple[str, bool]]) -> list[Action]:
        """Take the outcome of a `Scan`: the directories watched, and the (path, is a directory) found in them."""
        if scan.anew:
            stale = tuple(wd for wd in self._paths if wd not in watches and wd != self._root_wd)
            self._paths = {self._root_wd: self._root, **watches}
            removal: list[Action] = [Unwatch(stale)] if stale else []
            # Not before the watches are in place: what happens after the consumer's own look must be seen by them.
            return [*removal, *self._report(ChangeKind.OVERFLOW, self._root, is_dir=True)]
        self._paths.update(watches)
        self._found.update(path for path, _ in entries)
        return [report for path, is_dir in entries for report in self._report(ChangeKind.CREATED, path, is_dir=is_dir)]

    def drained(self) -> None:
        """Take note that every event that was queued during the last scan has been fed."""
        self._found.clear()

    def expire(self, up_to: int) -> list[Action]:
        """Give up on the first halves of moves that are not newer than `up_to`."""
        late = [cookie for cookie, departure in self._departures.items() if departure.order <= up_to]
        return [action for cookie in late for action in self._departed(self._departures.pop(cookie))]

    def _overflowed(self) -> list[Action]:
        self._departures.clear()
        self._found.clear()
        if self._recursive:
            return [Scan(self._root, anew=True)]
        return self._report(ChangeKind.OVERFLOW, self._root, is_dir=True)

    def _ended(self) -> list[Action]:
        last = [action for departure in self._departures.values() for action in self._departed(departure)]
        self._departures.clear()
        return [*last, *self._report(ChangeKind.GONE, self._root), Ended()]

    def _named(self, path: str, event: RawEvent) -> list[Action]:
        is_dir = bool(event.mask & Mask.ISDIR)
        if event.mask & Mask.MOVED_TO and event.cookie in self._departures:
            return self._arrived(path, self._departures.pop(event.cookie))
        actions = self._settle(path)
        if event.mask & Mask.MOVED_FROM:
            self._order += 1
            self._departures[event.cookie] = _Departure(path, is_dir, self._order)
            self._found.discard(path)
        elif event.mask & (Mask.CREATE | Mask.MOVED_TO):
            if path in self._found:
                self._found.discard(path)
                return actions  # the scan has reported it, and watches it if it is a directory
            actions += self._report(ChangeKind.CREATED, path, is_dir=is_dir)
            if is_dir and self._recursive:
                actions.append(Scan(path))
        elif event.mask & Mask.DELETE:
            self._found.discard(path)
            actions += self._report(ChangeKind.DELETED, path, is_dir=is_dir)
        else:
            actions += self._changed(path, event.mask)
        return actions

    def _changed(self, path: str, mask: int) -> list[Action]:
        is_dir = bool(mask & Mask.ISDIR)
        return [
            report
            for kind, bit in _OPTIONAL.items()
            if mask & bit
            for report in self._report(kind, path, is_dir=is_dir)
        ]

    def _settle(self, path: str) -> list[Action]:
        """Give up on the first half of a move away from `path`: something new is heard of there."""
        if not self._departures:
            return []
        for cookie, departure in self._departures.items():
            if departure.path == path:
                return self._departed(self._departures.pop(cookie))
        return []

    def _departed(self, departure: _Departure) -> list[Action]:
        actions = self._report(ChangeKind.DELETED, departure.path, is_dir=departure.is_dir)
        if departure.is_dir:
            gone = tuple(wd for wd, path in self._paths.items() if _inside(path, departure.path))
            for wd in gone:
                del self._paths[wd]
            if gone:
                actions.append(Unwatch(gone))
        return actions

    def _arrived(self, path: str, departure: _Departure) -> list[Action]:
        old, is_dir = departure.path, departure.is_dir
        if is_dir:
            for wd, known in self._paths.items():
                if _inside(known, old):
                    self._paths[wd] = path + known[len(old) :]
        if ChangeKind.MOVED in self._kinds:
            return [Report(Change(ChangeKind.MOVED, path, old, is_dir))]
        deleted = self._report(ChangeKind.DELETED, old, is_dir=is_dir)
        return [*deleted, *self._report(ChangeKind.CREATED, path, is_dir=is_dir)]

    def _report(self, kind: ChangeKind, path: str, *, is_dir: bool = False) -> list[Action]:
        return [Report(Change(kind, path, None, is_dir))] if kind in self._kinds else []


def _inside(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + os.sep)
