"""libdb's lock detector, run from outside. Blocking calls, made on worker threads.

libdb has no clock: a wait for a lock ends in time only if somebody makes the detector look. And it looks only if it has
noted that somebody waits (`need_dd`) or that the earliest time-out is over (`next_timeout`).

libdb 5.3 loses that note: a pass that began before a wait writes what it found (`next_timeout`: none) after the wait
has written its own, and from then on no pass looks, so the wait has no end. Threads that wait beside one that looks
bring it about within seconds. Every wait that begins makes the next pass look at all of them, so `provoke` begins one.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from asyncstore.bdb._library import LIBDB_ERRORS, db

__all__ = ("look", "provoke")

PASSES = 50  # of the detector, while the wait that provokes it begins; 1 ms between two
_OBJECT = b"asyncstore: provokes the lock detector"


# Any: the handle is the binding's.
def look(handle: Any) -> int:
    """Break deadlocks and end the waits whose time is up, of those that libdb knows of; return how many."""
    # Not DB_LOCK_EXPIRE: that would use up the note that a deadlock is to be looked for, without looking for it.
    return int(handle.lock_detect(db.DB_LOCK_MINWRITE))


def provoke(handle: Any) -> int:
    """Have the detector look at every wait, also at those that libdb has lost sight of; return how many it ended."""
    first, second = handle.lock_id(), handle.lock_id()
    try:
        held = handle.lock_get(first, _OBJECT, db.DB_LOCK_WRITE)
        # A thread of its own: the workers may all be inside waits that have no end.
        waiting = threading.Thread(target=_wait, args=(handle, second), name="asyncstore-bdb-detector", daemon=True)
        try:
            waiting.start()
            ended = 0
            for _ in range(PASSES):
                waiting.join(0.001)
                ended += look(handle)
        finally:
            handle.lock_put(held)
        waiting.join()
    finally:
        handle.lock_id_free(second)
        handle.lock_id_free(first)
    return ended


def _wait(handle: Any, locker: int) -> None:
    with contextlib.suppress(*LIBDB_ERRORS):  # its time may be up before the lock is let go
        handle.lock_put(handle.lock_get(locker, _OBJECT, db.DB_LOCK_WRITE))
