"""Functions of the caller's that libdb calls while it works: key extractors of indices, and comparisons.

libdb calls them on the thread that makes the operation, and the binding prints their exceptions and goes on: a record
would be stored without its index entry, a key sorted anywhere. So they are wrapped: what a function raises is kept for
the thread, and whoever made the operation asks for it (`check_callbacks`) and undoes the operation.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from asyncstore.bdb import errors
from asyncstore.bdb._operations import UserError
from asyncstore.bdb._request import Request

__all__ = (
    "Comparison",
    "Extractor",
    "check_callbacks",
    "forget_failure",
    "guard_comparison",
    "guard_extractor",
    "index_keys",
)

Comparison = Callable[[bytes, bytes], int]
# Any: primary keys are bytes or ints by access method.
Extractor = Callable[[Any, bytes], "bytes | Iterable[bytes] | None"]


class _Failure(threading.local):
    error: Exception | None = None


_failure = _Failure()


def forget_failure() -> None:
    """Forget what a function raised on this thread: the operation failed for another reason, and has been undone."""
    _failure.error = None


def check_callbacks(request: Request) -> None:
    """Raise UserError of `CallbackFailed` when a function of the caller's raised since the last look of this thread."""
    cause, _failure.error = _failure.error, None
    if cause is not None:
        detail = f"{type(cause).__name__}: {cause}"
        error = errors.CallbackFailed(doing=request.operation.name, of=request.owner.title, detail=detail)
        error.__cause__ = cause
        raise UserError(error)


def guard_comparison(compare: Comparison) -> Comparison:
    """Return `compare` with its exceptions kept; after one the order is that of bytes, and the operation is undone."""

    def guarded(left: bytes, right: bytes) -> int:
        try:
            order = compare(left, right)
            return (order > 0) - (order < 0)
        except Exception as exc:  # noqa: BLE001 - kept for the thread that made the operation
            _failure.error = _failure.error or exc
            return (left > right) - (left < right)

    return guarded


def index_keys(extract: Extractor, key: Any, value: bytes) -> list[bytes]:
    """Return the index keys of a record, each once. Raises what `extract` raises, and TypeError for what is no key."""
    found = extract(key, value)
    if found is None:
        return []
    if isinstance(found, bytes):
        return [found]
    if isinstance(found, (str, bytearray, memoryview)) or not isinstance(found, Iterable):
        raise TypeError(f"a key extractor returns bytes, several or None, not {type(found).__name__}")
    keys = list(dict.fromkeys(found))
    for one in keys:
        if not isinstance(one, bytes):
            raise TypeError(f"a key extractor returns bytes, several or None, not a {type(one).__name__} in it")
    return keys


def guard_extractor(extract: Extractor, none: int) -> Callable[[Any, bytes], Any]:
    """Return `extract` in the shape that the binding wants: bytes, a list of bytes, or `none` for no entry.

    libdb also calls it to find the entries that a change makes obsolete, so it must give the same for the same record.
    """

    def guarded(key: Any, value: bytes) -> Any:
        try:
            keys = index_keys(extract, key, value)
        except Exception as exc:  # noqa: BLE001 - kept for the thread that made the operation
            _failure.error = _failure.error or exc
            return none
        return keys[0] if len(keys) == 1 else keys or none

    return guarded
