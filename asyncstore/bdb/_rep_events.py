"""What libdb reports by itself: changes of masters and sites, acknowledgements that did not come, fatal errors.

libdb calls the notification function on threads of its own, or within the call that made the thing happen. So it only
records, and hands over to subscribers that do no more than pass it on (`loop.call_soon_threadsafe`, a queue's `put`).

Guarantees
- Each event is recorded and given to every subscriber once, on the thread where libdb reported it; no lock is held.
  PANIC, which libdb repeats at every later call, only the first time.
- Nothing is ever raised into libdb.
- The handle of the environment refers to an `Events` weakly only. The binding's handle takes no part in garbage
  collection, so that a strong reference back to whoever owns both would keep all three for ever.
- A commit that was not acknowledged is known to the thread that made it, and to no other: libdb reports it inside the
  commit's own call.

Assumes
- Assigning and reading one attribute, and `deque.append`, are atomic; nothing else of the GIL.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from asyncstore.bdb._library import db

__all__ = ("Event", "Events", "RepEvent")

KEPT = 256  # events: a few changes of masters in a group of some sites; a bound, not a history

_log = logging.getLogger("asyncstore.bdb")


class RepEvent(Enum):
    """What happened; the value is libdb's number (DB_EVENT_*). Without replication only the first four occur."""

    PANIC = int(db.DB_EVENT_PANIC)  # the environment is unusable until it is recovered
    REGISTERED_ALIVE = int(db.DB_EVENT_REG_ALIVE)  # recovery found a process that is alive
    REGISTERED_PANIC = int(db.DB_EVENT_REG_PANIC)  # another process has declared the environment unusable
    WRITE_FAILED = int(db.DB_EVENT_WRITE_FAILED)  # a file of the environment could not be written
    CLIENT = int(db.DB_EVENT_REP_CLIENT)  # this site is a client now
    CONNECT_BROKEN = int(db.DB_EVENT_REP_CONNECT_BROKEN)  # a connection to another site was lost
    CONNECT_ESTABLISHED = int(db.DB_EVENT_REP_CONNECT_ESTD)
    CONNECT_TRY_FAILED = int(db.DB_EVENT_REP_CONNECT_TRY_FAILED)  # again at each `connection_retry`
    DUPLICATE_MASTER = int(db.DB_EVENT_REP_DUPMASTER)  # there were two masters; both stepped down and elect
    ELECTED = int(db.DB_EVENT_REP_ELECTED)  # this site won an election
    ELECTION_FAILED = int(db.DB_EVENT_REP_ELECTION_FAILED)  # too few votes; again after `election_retry`
    INIT_DONE = int(db.DB_EVENT_REP_INIT_DONE)  # this site was given all files by another
    JOIN_FAILURE = int(db.DB_EVENT_REP_JOIN_FAILURE)  # this site cannot catch up, and `auto_init` is off
    LOCAL_SITE_REMOVED = int(db.DB_EVENT_REP_LOCAL_SITE_REMOVED)  # this site does not belong to the group any more
    MASTER = int(db.DB_EVENT_REP_MASTER)  # this site is the master now
    MASTER_FAILURE = int(db.DB_EVENT_REP_MASTER_FAILURE)  # this client has lost its master
    NEW_MASTER = int(db.DB_EVENT_REP_NEWMASTER)  # another site is the master now: the event's `site`
    PERM_FAILED = int(db.DB_EVENT_REP_PERM_FAILED)  # a commit or checkpoint was not acknowledged as asked for
    SITE_ADDED = int(db.DB_EVENT_REP_SITE_ADDED)
    SITE_REMOVED = int(db.DB_EVENT_REP_SITE_REMOVED)
    STARTUP_DONE = int(db.DB_EVENT_REP_STARTUPDONE)  # this client has caught up with its master
    WOULD_ROLL_BACK = int(db.DB_EVENT_REP_WOULD_ROLLBACK)  # a client would have to give up commits, and may not
    OTHER = -1  # one that this version does not know


@dataclass(frozen=True, slots=True)
class Event:
    """Something that libdb reported: `kind`, `at` which time (seconds since the epoch), the number of which `site`.

    `site` is given with NEW_MASTER, and None otherwise. It is this environment's number for that site (see
    `Status.sites`); other sites have other numbers for it.
    """

    kind: RepEvent
    at: float
    site: int | None = None


class _Commit(threading.local):
    unacknowledged: bool = False


class Events:
    """The events of one environment, replicated or not. `attach` comes before the environment's handle is opened."""

    def __init__(self) -> None:
        self._subscribers: tuple[Callable[[Event], object], ...] = ()  # replaced as a whole, under the lock
        self._lock = threading.Lock()
        self._recent: deque[Event] = deque(maxlen=KEPT)
        self._commit = _Commit()
        self._panicked = False

    def attach(self, handle: Any) -> None:
        """Have the binding's environment `handle` report here, for as long as this object is alive."""
        handle.set_event_notify(_Relay(self))

    def subscribe(self, subscriber: Callable[[Event], object]) -> Callable[[], None]:
        """Have `subscriber` called with each event from now on, and return a function that ends this. Thread-safe.

        It is called on libdb's threads and in the middle of libdb's calls: it must neither wait nor use the
        environment. One that raises is logged and not called again.
        """
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)
        return lambda: self._remove(subscriber)

    def _remove(self, subscriber: Callable[[Event], object]) -> None:
        with self._lock:
            self._subscribers = tuple(one for one in self._subscribers if one is not subscriber)

    def recent(self) -> tuple[Event, ...]:
        """Return the last events, oldest first, 256 at most; CONNECT_TRY_FAILED is left out, as it crowds them."""
        return tuple(self._recent.copy())

    def begin_commit(self) -> None:
        """Forget what this thread's earlier commits met: the next `take_unacknowledged` tells of those from now on."""
        self._commit.unacknowledged = False

    def take_unacknowledged(self) -> bool:
        """Tell whether a commit of this thread's, since `begin_commit`, was not acknowledged; and forget it."""
        found, self._commit.unacknowledged = self._commit.unacknowledged, False
        return found

    def record(self, kind: RepEvent, site: int | None) -> None:
        """Record an event and give it to the subscribers, on the thread where it happened."""
        if kind is RepEvent.PERM_FAILED:
            self._commit.unacknowledged = True
        elif kind is RepEvent.PANIC:
            with self._lock:
                known, self._panicked = self._panicked, bool(self._subscribers)
            if known:
                return
        event = Event(kind, time.time(), site)
        if kind is not RepEvent.CONNECT_TRY_FAILED:
            self._recent.append(event)
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:  # noqa: BLE001 - whoever subscribed is not libdb's business, and not the other ones'
                self._remove(subscriber)
                _log.warning("a subscriber to events raised and is not called again", exc_info=True)


class _Relay:
    """What the binding's handle holds: the way to an Events that may be gone."""

    __slots__ = ("_events",)

    def __init__(self, events: Events) -> None:
        self._events = weakref.ref(events)

    def __call__(self, _handle: object, number: int, site: int | None) -> None:
        events = self._events()
        if events is not None:
            events.record(_KINDS.get(number, RepEvent.OTHER), site)


_KINDS: dict[int, RepEvent] = {kind.value: kind for kind in RepEvent}
