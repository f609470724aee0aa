"""Which homes this process has open: one handle each, for libdb registers a process once for an environment.

Its registry is a file lock, which POSIX gives up when any descriptor of the file is closed: a second opening of a home
would end the first one's registration. So it is refused before libdb, or anything that looks into the registry, is
reached.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from asyncstore.bdb import errors

__all__ = ("Claim", "claim", "claimed")

_homes: set[tuple[int, int]] = set()  # (device, inode) of each home that this process has open
_lock = threading.RLock()  # re-entrant: Environment.__del__ may run in the middle of any allocation


class Claim:
    """A home that is this process' until `release`."""

    __slots__ = ("_identity",)

    def __init__(self, identity: tuple[int, int]) -> None:
        self._identity = identity

    def release(self) -> None:
        """Let this process open the home again. Idempotent."""
        with _lock:
            _homes.discard(self._identity)


def claim(home: str, doing: str, of: str) -> Claim:
    """Claim the directory `home`. Raises `AlreadyOpen`, and what the system says of a directory that is not there."""
    try:
        info = os.stat(home)
    except OSError as exc:
        kind = errors.Error.by_code.get(exc.errno or 0, errors.IOFailure)
        raise kind(doing=doing, of=of, code=exc.errno or 0) from exc
    identity = (info.st_dev, info.st_ino)
    with _lock:
        if identity in _homes:
            raise errors.AlreadyOpen(doing=doing, of=of)
        _homes.add(identity)
    return Claim(identity)


@contextlib.contextmanager
def claimed(home: str, doing: str) -> Iterator[None]:
    """Claim `home` for the length of the block."""
    mine = claim(home, doing, f"environment {home!r}")
    try:
        yield
    finally:
        mine.release()
