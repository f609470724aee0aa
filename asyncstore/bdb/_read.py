"""Reads, carried out in batches on a worker thread.

Reads take part in no transaction: each takes and gives back its own page locks, so that it never sees what is not
committed. A read can still be chosen to give way in a deadlock (a page split makes writers wait for it); it is then
simply made again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from asyncstore.bdb._library import LIBDB_ERRORS, db
from asyncstore.bdb._request import Operation, Request
from asyncstore.bdb._translate import DEADLOCK, code_of, translate

__all__ = ("Scan", "read_all")

T = TypeVar("T")

DEADLOCK_TRIES = 20  # times a read gives way before its caller hears of it; each round somebody else gets on


@dataclass(frozen=True, slots=True)
class Scan:
    """One batch of a range: the keys from `low` up to but not including `high` (None: to the end).

    At most `records` of them and `size` bytes. `after`, unless None, is the last key read: the batch begins behind it.
    """

    low: bytes
    high: bytes | None
    after: bytes | None
    reverse: bool
    records: int
    size: int  # bytes; the record that reaches it is the batch's last


def read_all(requests: list[Request]) -> None:
    """Carry out every request and store its outcome in it. Runs on a worker thread."""
    for request in requests:
        handle = request.database.handle
        try:
            match request.operation:
                case Operation.GET:
                    request.result = _again(handle.get, request.key)
                case Operation.EXISTS:
                    request.result = _again(handle.exists, request.key)
                case _:
                    request.result = _again(_scan, (handle, request.argument))
        except LIBDB_ERRORS as exc:
            request.error = translate(exc, doing=request.operation.value, of=request.subject)


def _again(read: Callable[[Any], T], argument: Any) -> T:
    tries = 0
    while True:
        try:
            return read(argument)
        except db.DBError as exc:
            tries += 1
            if code_of(exc) != DEADLOCK or tries == DEADLOCK_TRIES:
                raise


def _scan(handle_and_plan: tuple[Any, Scan]) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Return the records of one batch and whether the range may go on behind them."""
    handle, plan = handle_and_plan
    # The cursor lives inside this call only: held between batches it would hold a page lock for as long as the consumer
    # dawdles, and writers with it.
    cursor = handle.cursor()
    try:
        found: list[tuple[bytes, bytes]] = []
        size = 0
        record, step = _position(cursor, plan)
        while record is not None and _inside(record[0], plan):
            found.append(record)
            size += len(record[0]) + len(record[1])
            if len(found) >= plan.records or size >= plan.size:
                return found, True
            record = step()
        return found, False
    finally:
        cursor.close()


# Any: cursors and what they return are the binding's.
def _position(cursor: Any, plan: Scan) -> tuple[Any, Callable[[], Any]]:
    """Return the first record at or behind the plan's place (None: none there) and the call that yields the next."""
    if not plan.reverse:
        record = cursor.set_range(plan.low if plan.after is None else plan.after)
        if record is not None and record[0] == plan.after:
            record = cursor.next()
        return record, cursor.next
    bound = plan.high if plan.after is None else plan.after
    if bound is None:
        return cursor.last(), cursor.prev
    # set_range stops at the first key >= bound; the one before it is the last key below.
    record = cursor.prev() if cursor.set_range(bound) is not None else cursor.last()
    return record, cursor.prev


def _inside(key: bytes, plan: Scan) -> bool:
    return key >= plan.low if plan.reverse else plan.high is None or key < plan.high
