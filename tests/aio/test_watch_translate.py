"""From inotify's events to changes, without a kernel: moves, directories filled before they are watched, overflow."""

from __future__ import annotations

import pytest

from asyncstore.aio._change import USUAL, Change, ChangeKind
from asyncstore.aio._inotify import Mask, RawEvent
from asyncstore.aio._watch_translate import Ended, Report, Scan, Translator, Unwatch

CREATED, MODIFIED, DELETED, MOVED = (
    ChangeKind.CREATED,
    ChangeKind.MODIFIED,
    ChangeKind.DELETED,
    ChangeKind.MOVED,
)
DIR = Mask.ISDIR


def tree(*, recursive: bool = True, kinds=USUAL, watches: dict[int, str] | None = None) -> Translator:
    translator = Translator("/r", 1, recursive=recursive, kinds=frozenset(kinds))
    translator.scanned(Scan("/r"), {1: "/r", **(watches or {})}, [])
    return translator


def report(kind: ChangeKind, path: str, old: str | None = None, is_dir: bool = False) -> Report:
    return Report(Change(kind, path, old, is_dir))


@pytest.mark.parametrize(
    ("mask", "kind"),
    [
        (Mask.CREATE, CREATED),
        (Mask.DELETE, DELETED),
        (Mask.MODIFY, MODIFIED),
        (Mask.ATTRIB, ChangeKind.ATTRIBUTES),
        (Mask.CLOSE_WRITE, ChangeKind.WRITTEN),
        (Mask.MOVED_TO, CREATED),
    ],
)
def test_an_event_becomes_its_change_when_it_is_wanted(mask, kind):
    event = RawEvent(1, mask, 0, "f")
    assert tree(kinds={kind}).feed(event) == [report(kind, "/r/f")]
    other = DELETED if kind is CREATED else CREATED
    assert tree(kinds={other}).feed(event) == []


def test_two_halves_are_a_move_even_with_other_events_between():
    translator = tree(watches={2: "/r/d"})
    assert translator.feed(RawEvent(1, Mask.MOVED_FROM, 7, "a")) == []
    assert translator.waiting == 1
    assert translator.feed(RawEvent(1, Mask.CREATE, 0, "x")) == [report(CREATED, "/r/x")]
    assert translator.feed(RawEvent(2, Mask.MOVED_TO, 7, "b")) == [report(MOVED, "/r/d/b", "/r/a")]
    assert translator.waiting == 0


def test_a_first_half_without_a_second_is_a_deletion():
    translator = tree()
    translator.feed(RawEvent(1, Mask.MOVED_FROM, 7, "a"))
    early = translator.newest
    translator.feed(RawEvent(1, Mask.MOVED_FROM, 8, "b"))
    assert translator.expire(early) == [report(DELETED, "/r/a")]
    assert translator.feed(RawEvent(1, Mask.MOVED_TO, 8, "c")) == [report(MOVED, "/r/c", "/r/b")]
    assert translator.expire(translator.newest) == []


def test_a_first_half_is_given_up_when_its_path_is_heard_of_again():
    translator = tree()
    translator.feed(RawEvent(1, Mask.MOVED_FROM, 7, "a"))
    assert translator.feed(RawEvent(1, Mask.CREATE, 0, "a")) == [report(DELETED, "/r/a"), report(CREATED, "/r/a")]


def test_a_move_that_is_not_wanted_as_one_is_told_in_two():
    translator = tree(kinds={CREATED, DELETED})
    translator.feed(RawEvent(1, Mask.MOVED_FROM, 7, "a"))
    assert translator.feed(RawEvent(1, Mask.MOVED_TO, 7, "b")) == [report(DELETED, "/r/a"), report(CREATED, "/r/b")]


def test_what_happens_in_a_renamed_directory_is_told_under_its_new_name():
    translator = tree(watches={2: "/r/d", 3: "/r/d/e", 4: "/r/dd"})
    translator.feed(RawEvent(1, Mask.MOVED_FROM | DIR, 7, "d"))
    assert translator.feed(RawEvent(4, Mask.MOVED_TO | DIR, 7, "n")) == [report(MOVED, "/r/dd/n", "/r/d", is_dir=True)]
    assert translator.watched == {1: "/r", 2: "/r/dd/n", 3: "/r/dd/n/e", 4: "/r/dd"}
    assert translator.feed(RawEvent(3, Mask.CREATE, 0, "f")) == [report(CREATED, "/r/dd/n/e/f")]


def test_a_directory_that_leaves_the_tree_is_not_watched_any_more():
    translator = tree(watches={2: "/r/d", 3: "/r/d/e", 4: "/r/dd"})
    translator.feed(RawEvent(1, Mask.MOVED_FROM | DIR, 7, "d"))
    assert translator.expire(translator.newest) == [report(DELETED, "/r/d", is_dir=True), Unwatch((2, 3))]
    assert translator.feed(RawEvent(3, Mask.CREATE, 0, "f")) == []
    assert translator.watched == {1: "/r", 4: "/r/dd"}


def test_a_new_directory_is_scanned_and_what_it_holds_is_reported_once():
    translator = tree()
    scan = Scan("/r/d")
    assert translator.feed(RawEvent(1, Mask.CREATE | DIR, 0, "d")) == [report(CREATED, "/r/d", is_dir=True), scan]
    found = [("/r/d/a", False), ("/r/d/e", True), ("/r/d/e/b", False)]
    assert translator.scanned(scan, {2: "/r/d", 3: "/r/d/e"}, found) == [
        report(CREATED, "/r/d/a"),
        report(CREATED, "/r/d/e", is_dir=True),
        report(CREATED, "/r/d/e/b"),
    ]
    # These were made between the watch and the listing, and so come again; c after the listing.
    assert translator.feed(RawEvent(2, Mask.CREATE, 0, "a")) == []
    assert translator.feed(RawEvent(2, Mask.CREATE | DIR, 0, "e")) == []
    assert translator.feed(RawEvent(2, Mask.CREATE, 0, "c")) == [report(CREATED, "/r/d/c")]
    assert translator.feed(RawEvent(3, Mask.DELETE, 0, "b")) == [report(DELETED, "/r/d/e/b")]
    assert translator.feed(RawEvent(3, Mask.CREATE, 0, "b")) == [report(CREATED, "/r/d/e/b")]


def test_after_the_events_of_the_scan_a_creation_is_a_creation():
    translator = tree()
    translator.scanned(Scan("/r/d"), {2: "/r/d"}, [("/r/d/a", False)])
    translator.drained()
    assert translator.feed(RawEvent(2, Mask.CREATE, 0, "a")) == [report(CREATED, "/r/d/a")]


def test_a_flat_watch_does_not_scan():
    translator = tree(recursive=False)
    assert translator.feed(RawEvent(1, Mask.CREATE | DIR, 0, "d")) == [report(CREATED, "/r/d", is_dir=True)]


def test_overflow_is_told_after_the_tree_is_watched_again():
    translator = tree(watches={2: "/r/a", 3: "/r/b"})
    translator.feed(RawEvent(1, Mask.MOVED_FROM, 7, "x"))
    scan = Scan("/r", anew=True)
    assert translator.feed(RawEvent(-1, Mask.Q_OVERFLOW, 0, "")) == [scan]
    assert translator.waiting == 0
    outcome = translator.scanned(scan, {1: "/r", 3: "/r/c", 5: "/r/new"}, [("/r/c", True), ("/r/new", True)])
    assert outcome == [Unwatch((2,)), report(ChangeKind.OVERFLOW, "/r", is_dir=True)]
    assert translator.watched == {1: "/r", 3: "/r/c", 5: "/r/new"}


def test_overflow_of_a_flat_watch_is_told_at_once():
    translator = tree(recursive=False, kinds={MODIFIED})
    assert translator.feed(RawEvent(-1, Mask.Q_OVERFLOW, 0, "")) == [report(ChangeKind.OVERFLOW, "/r", is_dir=True)]


@pytest.mark.parametrize("mask", [Mask.DELETE_SELF | DIR, Mask.MOVE_SELF, Mask.UNMOUNT, Mask.IGNORED])
def test_the_end_of_the_root_is_the_end(mask):
    translator = tree(kinds={MODIFIED})
    assert translator.feed(RawEvent(1, mask, 0, "")) == [report(ChangeKind.GONE, "/r"), Ended()]


def test_a_departure_is_told_before_the_end():
    translator = tree()
    translator.feed(RawEvent(1, Mask.MOVED_FROM, 7, "a"))
    assert translator.feed(RawEvent(1, Mask.DELETE_SELF, 0, "")) == [
        report(DELETED, "/r/a"),
        report(ChangeKind.GONE, "/r"),
        Ended(),
    ]


def test_a_subdirectory_is_spoken_of_by_its_parent_only():
    translator = tree(kinds={ChangeKind.ATTRIBUTES, DELETED}, watches={2: "/r/d"})
    assert translator.feed(RawEvent(2, Mask.ATTRIB | DIR, 0, "")) == []
    assert translator.feed(RawEvent(2, Mask.DELETE_SELF, 0, "")) == []
    assert translator.feed(RawEvent(2, Mask.IGNORED, 0, "")) == []
    assert translator.watched == {1: "/r"}
    assert translator.feed(RawEvent(1, Mask.ATTRIB | DIR, 0, "")) == [report(ChangeKind.ATTRIBUTES, "/r", is_dir=True)]
