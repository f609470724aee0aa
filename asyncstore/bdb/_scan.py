"""One batch of a range: found, read and cut to its bounds on a worker.

Between two batches no cursor is open. Where the next one begins is told by the last record of the one before: its key,
and among duplicates its value (sorted ones) or how many of them have been read (unsorted ones).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import chain, islice
from typing import Any

from asyncstore.bdb._library import db
from asyncstore.bdb._request import Operation, Request

__all__ = ("Duplicates", "Place", "Scan", "fill", "scan")

_GET_BOTH_RANGE = db.DB_GET_BOTH_RANGE

CHUNK = 16  # records read at a time at first; after each chunk their size is looked at
MAX_CHUNK = 256
NUMBER_BYTES = 4  # of a record number


class Duplicates(Enum):
    """How a database keeps several values of a key."""

    NONE = "none"
    SORTED = "sorted"
    UNSORTED = "unsorted"


@dataclass(frozen=True, slots=True)
class Place:
    """The last record read: its key, its value, and how many records in a row had that key."""

    key: Any
    value: bytes
    repeats: int


# Any: keys are bytes or ints by access method; cursors and what they return are the binding's.
@dataclass(frozen=True, slots=True)
class Scan:
    """One batch of a range: the keys from `low` up to but not including `high`; None: from and to the ends.

    At most `records` of them and about `size` bytes. `after` is the place behind which the batch begins. `order` gives
    what keys compare by (None: themselves). `numbered`: keys are record numbers.
    """

    low: Any
    high: Any
    reverse: bool
    records: int
    size: int
    after: Place | None = None
    duplicates: Duplicates = Duplicates.NONE
    order: Callable[[Any], Any] | None = None
    numbered: bool = False

    def behind(self, batch: Sequence[tuple[Any, ...]]) -> Place:
        """Return the place of the last record of `batch`."""
        key, value = batch[-1]
        repeats = 0
        if self.duplicates is Duplicates.UNSORTED:
            for other, _ in reversed(batch):
                if other != key:
                    break
                repeats += 1
            if repeats == len(batch) and self.after is not None and self.after.key == key:
                repeats += self.after.repeats
        return Place(key, value, repeats)


def fill(step: Callable[[], Any], records: int, size: int, found: list[tuple[Any, bytes]]) -> bool:
    """Append to `found` what `step` yields until None, up to `records` and `size` bytes; False: None was met.

    The loop runs in C, chunk by chunk; the chunks follow the size of the records.
    """
    chunk, total = CHUNK, _size(found)
    while len(found) < records and total < size:
        mean = total // (len(found) or 1) + 1
        wanted = max(1, min(chunk, records - len(found), (size - total) // mean if found else 1))
        got = list(islice(iter(step, None), wanted))
        found += got
        if len(got) < wanted:
            return False
        total += _size(got)
        chunk = min(MAX_CHUNK, 2 * chunk)
    return True


def _size(records: list[tuple[Any, bytes]]) -> int:
    """Return the bytes of keys and values; the loops run in C."""
    if records and isinstance(records[0][0], bytes):
        return sum(map(len, chain.from_iterable(records)))
    return sum([len(value) + NUMBER_BYTES for _, value in records])


def _scan(handle: Any, txn: Any, request: Request) -> tuple[list[tuple[Any, bytes]], bool]:
    """Return the records of one batch and whether the range may go on behind them."""
    plan: Scan = request.argument
    # The cursor lives inside this call only: held between batches it would hold a page lock for as long as the consumer
    # dawdles, and writers with it.
    cursor = handle.cursor(txn)
    try:
        first = _first(cursor, plan)
        if first is None:
            return [], False
        found = [first]
        more = fill(cursor.prev if plan.reverse else cursor.next, plan.records, plan.size, found)
    finally:
        cursor.close()
    return _cut(found, plan, more=more)


scan = Operation("range", _scan)


def _cut(found: list[tuple[Any, bytes]], plan: Scan, *, more: bool) -> tuple[list[tuple[Any, bytes]], bool]:
    """Take off what lies past the end of the range; records are in order, so a bisection finds the place."""
    bound = plan.low if plan.reverse else plan.high
    if bound is None:
        return found, more
    order = plan.order or _same
    end = order(bound)
    if plan.reverse:
        if not order(found[-1][0]) < end:
            return found, more
        keep = len(found) - bisect_left(list(reversed(found)), end, key=lambda record: order(record[0]))
    else:
        if order(found[-1][0]) < end:
            return found, more
        keep = bisect_left(found, end, key=lambda record: order(record[0]))
    return found[:keep], False


def _same(key: Any) -> Any:
    return key


def _first(cursor: Any, plan: Scan) -> Any:
    """Return the first record of the batch, None when there is none."""
    if plan.numbered:
        return _first_numbered(cursor, plan)
    if plan.after is not None:
        return _before(cursor, plan) if plan.reverse else _behind(cursor, plan)
    if not plan.reverse:
        return cursor.first() if plan.low is None else cursor.set_range(plan.low)
    if plan.high is None:
        return cursor.last()
    # set_range stops at the first key >= high; the one before it is the last key below.
    return cursor.prev() if cursor.set_range(plan.high) is not None else cursor.last()


def _behind(cursor: Any, plan: Scan) -> Any:
    """Return the record that follows `plan.after`, which may be gone by now."""
    place = plan.after
    assert place is not None, "only asked with a place"
    if plan.duplicates is Duplicates.SORTED:
        record = cursor.get(place.key, place.value, flags=_GET_BOTH_RANGE)
        if record is not None:
            return cursor.next() if record[1] == place.value else record
        return cursor.next_nodup() if cursor.set(place.key) is not None else cursor.set_range(place.key)
    record = cursor.set_range(place.key)
    skip = place.repeats if plan.duplicates is Duplicates.UNSORTED else 1
    while skip and record is not None and record[0] == place.key:
        record = cursor.next()
        skip -= 1
    return record


def _before(cursor: Any, plan: Scan) -> Any:
    """Return the record that precedes `plan.after`, which may be gone by now."""
    place = plan.after
    assert place is not None, "only asked with a place"
    if plan.duplicates is Duplicates.SORTED and cursor.get(place.key, place.value, flags=_GET_BOTH_RANGE) is not None:
        return cursor.prev()
    if plan.duplicates is Duplicates.NONE:
        return cursor.prev() if cursor.set_range(place.key) is not None else cursor.last()
    if cursor.set(place.key) is None:
        return cursor.prev() if cursor.set_range(place.key) is not None else cursor.last()
    record = cursor.prev() if cursor.next_nodup() is not None else cursor.last()
    skip = place.repeats if plan.duplicates is Duplicates.UNSORTED else 0
    while skip and record is not None and record[0] == place.key:
        record = cursor.prev()
        skip -= 1
    return record


def _first_numbered(cursor: Any, plan: Scan) -> Any:
    """Return the first record of a batch of record numbers. Holes are stepped over: nothing can be sought in them."""
    edge = cursor.last() if plan.reverse else cursor.first()
    if edge is None:
        return None
    if plan.reverse:
        begin = plan.high - 1 if plan.high is not None else edge[0]
        begin = min(begin, edge[0] if plan.after is None else plan.after.key - 1)
        end = max(cursor.first()[0], plan.low or 1)
        numbers = range(begin, end - 1, -1)
    else:
        begin = max(plan.low or 1, edge[0] if plan.after is None else plan.after.key + 1, edge[0])
        end = cursor.last()[0]
        numbers = range(begin, (end if plan.high is None else min(end, plan.high - 1)) + 1)
    for number in numbers:
        record = cursor.set(number)
        if record is not None:
            return record
    return None
