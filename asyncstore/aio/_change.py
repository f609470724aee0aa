"""What a watcher reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ("ALWAYS", "USUAL", "Change", "ChangeKind")


class ChangeKind(Enum):
    """What has happened to a path."""

    CREATED = "created"
    """It came to be: made, linked, or moved here from where nobody watches."""

    MODIFIED = "modified"
    """The content of a file changed."""

    WRITTEN = "written"
    """A file that was open for writing was closed. Polling cannot see it and reports it with each MODIFIED."""

    ATTRIBUTES = "attributes"
    """Mode, owner, times or extended attributes changed."""

    DELETED = "deleted"
    """It ceased to be, or was moved to where nobody watches."""

    MOVED = "moved"
    """It has moved from `old_path` to `path`, both watched; with a directory goes all that is in it."""

    OVERFLOW = "overflow"
    """Changes have been lost, because they came faster than they were read: look at the whole tree again."""

    GONE = "gone"
    """The watched path itself was deleted, moved or unmounted: nothing more will come."""


ALWAYS = frozenset({ChangeKind.OVERFLOW, ChangeKind.GONE})  # delivered whatever a consumer asks for
USUAL = frozenset({ChangeKind.CREATED, ChangeKind.MODIFIED, ChangeKind.DELETED, ChangeKind.MOVED})


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `path` begins with the watched path as it was given; `old_path` is set for MOVED only."""

    kind: ChangeKind
    path: str
    old_path: str | None = None
    is_dir: bool = False
