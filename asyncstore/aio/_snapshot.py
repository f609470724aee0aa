"""Snapshots of a tree by stat, and what changed between two of them: watching where the system does not tell.

A path that vanished and one that appeared with the same inode, kind, size and time of modification are one that
moved; the inode alone would not do, because a new file often gets the number of one just deleted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from asyncstore.aio._change import Change, ChangeKind

__all__ = ("Entry", "Snapshot", "compare", "take")


class Entry(NamedTuple):
    """What is remembered of a path.

    `content` is the size and time of modification of what is no directory; `rights` are mode, owner and group;
    `trace` is what stays when it is moved.
    """

    identity: tuple[int, int]
    is_dir: bool
    content: tuple[int, int]
    rights: tuple[int, int, int]
    trace: tuple[int, ...]


Snapshot = dict[str, Entry]


def take(root: str, recursive: bool, stopped: Callable[[], bool]) -> Snapshot:  # noqa: FBT001 - a job takes no keywords
    """Return the snapshot of `root` and what it holds (everything below it when `recursive`). Blocks: for a worker.

    The root itself is looked up through links and missing when it does not exist; what cannot be read is passed over.
    `stopped` is asked at every directory and ends it early.
    """
    found: Snapshot = {}
    with suppress(FileNotFoundError, NotADirectoryError):
        found[root] = _entry(os.stat(root))
    directories = [root] if root in found and found[root].is_dir else []
    while directories and not stopped():
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError), os.scandir(directories.pop()) as listing:
            for item in listing:
                with suppress(FileNotFoundError):
                    found[item.path] = entry = _entry(item.stat(follow_symlinks=False))
                    if entry.is_dir and recursive:
                        directories.append(item.path)
    return found


def _entry(info: os.stat_result) -> Entry:
    is_dir = stat.S_ISDIR(info.st_mode)
    # A directory's size and time change with its entries, which are compared themselves.
    content = (0, 0) if is_dir else (info.st_size, info.st_mtime_ns)
    trace = (info.st_dev, info.st_ino, is_dir, info.st_mtime_ns, *content)
    return Entry((info.st_dev, info.st_ino), is_dir, content, (info.st_mode, info.st_uid, info.st_gid), trace)


def compare(old: Snapshot, new: Snapshot) -> list[Change]:
    """Return the changes that lead from `old` to `new`: moves, deletions, creations, changes in place."""
    vanished = {path for path in old if path not in new}
    appeared = {path for path in new if path not in old}
    moves = _moves(old, new, vanished, appeared)
    for path in old.keys() & new.keys():
        if old[path].is_dir != new[path].is_dir:
            vanished.add(path)
            appeared.add(path)
    return [
        *moves,
        # The innermost first, as rm -r and inotify have it; outermost first for what was made.
        *(Change(ChangeKind.DELETED, path, None, old[path].is_dir) for path in sorted(vanished, reverse=True)),
        *(Change(ChangeKind.CREATED, path, None, new[path].is_dir) for path in sorted(appeared)),
        *_in_place(old, new, appeared),
    ]


def _moves(old: Snapshot, new: Snapshot, vanished: set[str], appeared: set[str]) -> list[Change]:
    """Find the moves and take their ends out of the two sets; what moved inside a directory that moved goes unsaid."""
    origins = {old[path].trace: path for path in sorted(vanished)}
    # Each origin once: of two new links to one file, one is the move and the other is new.
    moved = {path: origins.pop(new[path].trace) for path in sorted(appeared) if new[path].trace in origins}
    changes = []
    for path in sorted(moved):
        origin = moved[path]
        vanished.discard(origin)
        appeared.discard(path)
        above = os.path.dirname(path)
        if moved.get(above) != os.path.dirname(origin) or os.path.basename(path) != os.path.basename(origin):
            changes.append(Change(ChangeKind.MOVED, path, origin, new[path].is_dir))
    return changes


def _in_place(old: Snapshot, new: Snapshot, appeared: set[str]) -> list[Change]:
    changes = []
    for path in sorted(old.keys() & new.keys() - appeared):
        before, after = old[path], new[path]
        if before.content != after.content or before.identity != after.identity:
            changes.append(Change(ChangeKind.MODIFIED, path, None, after.is_dir))
            changes.append(Change(ChangeKind.WRITTEN, path, None, after.is_dir))
        if before.rights != after.rights:
            changes.append(Change(ChangeKind.ATTRIBUTES, path, None, after.is_dir))
    return changes
