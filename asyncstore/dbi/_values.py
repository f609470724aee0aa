"""Parameters: Python values that a database has no type for, as the text that it is best kept as."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

__all__ = ("PLAIN", "as_text")

PLAIN = frozenset({int, str, bytes, float, type(None)})  # what every database takes as it is

_TEXT: dict[type, Callable[[Any], Any]] = {
    bool: int,
    bytearray: bytes,
    memoryview: bytes,
    Decimal: str,
    datetime: lambda value: value.isoformat(" "),
    date: date.isoformat,
    time: time.isoformat,
    timedelta: lambda value: value.total_seconds(),
    UUID: str,
    dict: json.dumps,
    list: json.dumps,
}


# Any, in all that follows: a value is whatever a caller passes.
def as_text(parameters: Sequence[Any], places: Sequence[Any]) -> list[Any]:
    """Return `parameters` with what a database without such types stores for them.

    Decimals, dates, times and UUIDs become text in their standard notations (ISO 8601, RFC 9562), time spans seconds,
    dicts and lists JSON. Raises TypeError for others, named by their entry in `places`.
    """
    return [
        value if value.__class__ in PLAIN else _converted(value, place)
        for value, place in zip(parameters, places, strict=True)
    ]


def _converted(value: Any, place: Any) -> Any:
    for kind in type(value).__mro__:
        convert = _TEXT.get(kind)
        if convert is not None:
            return convert(value)
        if kind in PLAIN:
            return value
    raise TypeError(f"parameter {place!r} is of type {type(value).__name__}, which has no place in a database")
