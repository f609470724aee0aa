"""What libdb reports by itself: recorded and handed over, and nobody kept alive or brought down by it."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.bdb.binding import bdb  # noqa: F401 - skips the module where there is no libdb

if TYPE_CHECKING:
    from asyncstore.bdb._rep_events import Event, Events


@pytest.fixture
def events() -> Events:
    from asyncstore.bdb._rep_events import Events

    return Events()


@pytest.fixture
def handle(events: Events, tmp_path: Path) -> Iterator[Any]:
    """The binding's handle of an environment that is not replicated and reports to `events`."""
    from asyncstore.bdb._library import db

    handle = db.DBEnv()
    events.attach(handle)
    handle.open(str(tmp_path), db.DB_CREATE | db.DB_INIT_MPOOL | db.DB_PRIVATE | db.DB_THREAD)
    yield handle
    try:
        handle.close()
    except db.DBRunRecoveryError:
        pass  # the tests declare it unusable


def declare_unusable(handle: Any) -> None:
    from asyncstore.bdb._library import db

    handle.set_flags(db.DB_PANIC_ENVIRONMENT, 1)
    with pytest.raises(db.DBRunRecoveryError):
        handle.memp_sync()


def test_a_fatal_error_is_reported_once_though_libdb_repeats_it(events, handle):
    from asyncstore.bdb._rep_events import RepEvent

    seen: list[Event] = []
    events.subscribe(seen.append)
    declare_unusable(handle)
    declare_unusable(handle)
    assert [event.kind for event in seen] == [RepEvent.PANIC]
    assert events.recent() == tuple(seen)
    assert seen[0].at > 0
    assert seen[0].site is None


def test_the_handle_keeps_nobody_alive_who_listens(events, handle):
    """The binding's handle is no garbage collector's: what it holds strongly would never be let go."""
    from asyncstore.bdb._rep_events import Events

    class Owner:
        def __init__(self) -> None:
            self.handle = handle
            self.events = Events()
            self.events.attach(handle)
            self.events.subscribe(self.note)

        def note(self, event: Event) -> None:
            raise AssertionError(event)

    gone = weakref.ref(Owner())
    gc.collect()
    assert gone() is None
    declare_unusable(handle)  # and nothing happens


def test_a_subscriber_that_raises_is_logged_and_dropped_and_the_others_go_on(events, caplog, capfd):
    from asyncstore.bdb._rep_events import RepEvent, _Relay

    seen: list[Event] = []

    def fail(event: Event) -> None:
        raise RuntimeError("the loop is closed")

    events.subscribe(fail)
    events.subscribe(seen.append)
    relay = _Relay(events)
    with caplog.at_level(logging.WARNING, "asyncstore.bdb"):
        relay(None, RepEvent.NEW_MASTER.value, 3)
        relay(None, RepEvent.MASTER.value, None)
    assert [(event.kind, event.site) for event in seen] == [(RepEvent.NEW_MASTER, 3), (RepEvent.MASTER, None)]
    assert [record.name for record in caplog.records] == ["asyncstore.bdb"]
    assert "the loop is closed" in caplog.text
    assert capfd.readouterr().err == ""  # the binding would print what reached it


def test_an_ended_subscription_gets_no_more(events):
    from asyncstore.bdb._rep_events import RepEvent

    seen: list[Event] = []
    end = events.subscribe(seen.append)
    events.record(RepEvent.CLIENT, None)
    end()
    end()
    events.record(RepEvent.MASTER, None)
    assert [event.kind for event in seen] == [RepEvent.CLIENT]


def test_an_event_that_is_not_known_is_one_all_the_same(events):
    from asyncstore.bdb._rep_events import RepEvent, _Relay

    _Relay(events)(None, 4711, None)
    assert [event.kind for event in events.recent()] == [RepEvent.OTHER]


def test_what_is_kept_is_bounded_and_failed_attempts_to_connect_do_not_crowd_it(events):
    from asyncstore.bdb._rep_events import KEPT, RepEvent

    events.record(RepEvent.MASTER, None)
    seen: list[Event] = []
    events.subscribe(seen.append)
    for _ in range(KEPT + 1):
        events.record(RepEvent.CONNECT_TRY_FAILED, None)
    assert len(seen) == KEPT + 1
    assert [event.kind for event in events.recent()] == [RepEvent.MASTER]
    for number in range(KEPT + 1):
        events.record(RepEvent.NEW_MASTER, number)
    assert [event.site for event in events.recent()] == list(range(1, KEPT + 1))


def test_an_unacknowledged_commit_is_known_to_its_thread_alone_until_it_is_asked_for(events):
    from asyncstore.bdb._rep_events import RepEvent

    told: list[bool] = []
    committed, asked = threading.Event(), threading.Event()

    def commit() -> None:
        events.begin_commit()
        events.record(RepEvent.PERM_FAILED, None)
        committed.set()
        asked.wait()
        told.append(events.take_unacknowledged())
        told.append(events.take_unacknowledged())

    thread = threading.Thread(target=commit)
    thread.start()
    committed.wait()
    elsewhere = events.take_unacknowledged()
    asked.set()
    thread.join()
    assert elsewhere is False
    assert told == [True, False]


def test_what_a_commit_before_met_is_forgotten_when_the_next_begins(events):
    from asyncstore.bdb._rep_events import RepEvent

    events.record(RepEvent.PERM_FAILED, None)  # a checkpoint's, say
    events.begin_commit()
    assert events.take_unacknowledged() is False
