"""What can be asked of a database, and how each is done with the binding's handle inside a transaction.

Group commit, reads outside of transactions and explicit transactions all carry out these same functions, so that an
operation means the same wherever it happens.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from asyncstore.bdb._library import db
from asyncstore.bdb._request import Operation, Request

__all__ = (
    "APPEND", "CONSUME", "COUNT", "DELETE", "DELETE_PAIR", "EXISTS", "GET", "GET_ALL", "GET_BY_NUMBER", "GET_MANY",
    "GET_PART", "GET_SIZE", "HAS_PAIR", "KEY_RANGE", "NUMBER_OF", "PUT", "PUT_MANY", "PUT_NEW_KEY", "PUT_NEW_PAIR",
    "PUT_PAIR", "PUT_PAIRS", "PUT_PART", "REFUSALS", "TRUNCATE", "UPDATE", "UserError",
)  # fmt: skip

MANY_BYTES = 256 * 1024  # of values read together: a few, when they are large, so that others get their turn

# Errors that say no and leave nothing half-done: a transaction goes on after them.
REFUSALS: tuple[type[Exception], ...] = (db.DBKeyExistError, db.DBNotFoundError, db.DBKeyEmptyError)


class UserError(Exception):
    """Carries an exception of a caller's own function, which reaches that caller as it is."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


# Any, in all that follows: handles, cursors and transactions are the binding's.


def _get(handle: Any, txn: Any, request: Request) -> bytes | None:
    found: bytes | None = handle.get(request.key, None, txn)
    return found


def _get_part(handle: Any, txn: Any, request: Request) -> bytes | None:
    offset, length = request.argument
    found: bytes | None = handle.get(request.key, None, txn, 0, length, offset)
    return found


def _get_size(handle: Any, txn: Any, request: Request) -> int | None:
    try:
        size: int = handle.get_size(request.key, txn)
    except (db.DBNotFoundError, db.DBKeyEmptyError):
        return None
    return size


def _get_all(handle: Any, txn: Any, request: Request) -> list[bytes]:
    cursor = handle.cursor(txn)
    try:
        record = cursor.set(request.key)
        values: list[bytes] = []
        while record is not None and len(values) != request.argument:
            values.append(record[1])
            record = cursor.next_dup()
        return values
    finally:
        cursor.close()


def _get_many(handle: Any, txn: Any, request: Request) -> list[bytes | None]:
    """Return the values of the first keys, as many as make a batch."""
    values: list[bytes | None] = []
    room = MANY_BYTES
    for key in request.argument:
        value = handle.get(key, None, txn)
        values.append(value)
        if value is not None:
            room -= len(value)
            if room <= 0:
                break
    return values


def _exists(handle: Any, txn: Any, request: Request) -> bool:
    return bool(handle.exists(request.key, txn))


def _has_pair(handle: Any, txn: Any, request: Request) -> bool:
    return handle.get_both(request.key, request.argument, txn) is not None


def _count(handle: Any, txn: Any, request: Request) -> int:
    cursor = handle.cursor(txn)
    try:
        return int(cursor.count()) if cursor.set(request.key) is not None else 0
    finally:
        cursor.close()


def _key_range(handle: Any, txn: Any, request: Request) -> tuple[float, float, float]:
    less, equal, greater = handle.key_range(request.key, txn)
    return less, equal, greater


def _put(handle: Any, txn: Any, request: Request) -> None:
    handle.put(request.key, request.argument, txn)


def _put_new_key(handle: Any, txn: Any, request: Request) -> None:
    handle.put(request.key, request.argument, txn, db.DB_NOOVERWRITE)


def _put_pair(handle: Any, txn: Any, request: Request) -> None:
    # Sorted duplicates are a set of pairs: one that is there already is stored.
    with suppress(db.DBKeyExistError):
        handle.put(request.key, request.argument, txn)


def _put_new_pair(handle: Any, txn: Any, request: Request) -> None:
    handle.put(request.key, request.argument, txn, db.DB_NODUPDATA)


def _put_part(handle: Any, txn: Any, request: Request) -> None:
    value, offset, length = request.argument
    handle.put(request.key, value, txn, 0, length, offset)


def _put_many(handle: Any, txn: Any, request: Request) -> None:
    put = handle.put
    for key, value in request.argument:
        put(key, value, txn)


def _put_pairs(handle: Any, txn: Any, request: Request) -> None:
    for key, value in request.argument:
        with suppress(db.DBKeyExistError):
            handle.put(key, value, txn)


def _get_by_number(handle: Any, txn: Any, request: Request) -> tuple[bytes, bytes] | None:
    cursor = handle.cursor(txn)
    try:
        record: tuple[bytes, bytes] | None = cursor.set_recno(request.key)
    finally:
        cursor.close()
    return record


def _number_of(handle: Any, txn: Any, request: Request) -> int | None:
    cursor = handle.cursor(txn)
    try:
        return int(cursor.get_recno()) if cursor.set(request.key) is not None else None
    finally:
        cursor.close()


def _append(handle: Any, txn: Any, request: Request) -> Any:
    return handle.append(request.argument, txn)


def _delete(handle: Any, txn: Any, request: Request) -> bool:
    try:
        handle.delete(request.key, txn)
    except (db.DBNotFoundError, db.DBKeyEmptyError):
        return False
    return True


def _delete_pair(handle: Any, txn: Any, request: Request) -> bool:
    cursor = handle.cursor(txn)
    try:
        if cursor.get_both(request.key, request.argument, db.DB_RMW) is None:
            return False
        cursor.delete()
        return True
    finally:
        cursor.close()


def _consume(handle: Any, txn: Any, _request: Request) -> tuple[int, bytes] | None:
    record: tuple[int, bytes] | None = handle.consume(txn)
    return record


def _update(handle: Any, txn: Any, request: Request) -> bytes | None:
    old: bytes | None = handle.get(request.key, None, txn, db.DB_RMW)
    function: Callable[[bytes | None], bytes | None] = request.argument
    try:
        new = function(old)
        if new is not None and not isinstance(new, bytes):
            raise TypeError(f"the function given to update returns bytes or None, not {type(new).__name__}")
    except Exception as exc:
        raise UserError(exc) from exc
    if new is not None:
        if new != old:
            handle.put(request.key, new, txn)
    elif old is not None:
        handle.delete(request.key, txn)
    return new


def _truncate(handle: Any, txn: Any, _request: Request) -> int:
    return int(handle.truncate(txn))


GET = Operation("get", _get)
GET_PART = Operation("get", _get_part)
GET_SIZE = Operation("size", _get_size)
GET_ALL = Operation("get_all", _get_all)
GET_MANY = Operation("get_many", _get_many)
EXISTS = Operation("exists", _exists)
HAS_PAIR = Operation("has", _has_pair)
COUNT = Operation("count", _count)
KEY_RANGE = Operation("key_range", _key_range)
PUT = Operation("put", _put, writes=True)
PUT_NEW_KEY = Operation("put", _put_new_key, writes=True)
PUT_PAIR = Operation("put", _put_pair, writes=True)
PUT_PAIRS = Operation("put_many", _put_pairs, writes=True)
GET_BY_NUMBER = Operation("get_by_number", _get_by_number)
NUMBER_OF = Operation("number_of", _number_of)
PUT_NEW_PAIR = Operation("put", _put_new_pair, writes=True)
PUT_PART = Operation("put", _put_part, writes=True)
PUT_MANY = Operation("put_many", _put_many, writes=True)
APPEND = Operation("append", _append, writes=True)
DELETE = Operation("delete", _delete, writes=True)
DELETE_PAIR = Operation("delete", _delete_pair, writes=True)
CONSUME = Operation("consume", _consume, writes=True)
TRUNCATE = Operation("truncate", _truncate, writes=True)
UPDATE = Operation("update", _update, writes=True)
