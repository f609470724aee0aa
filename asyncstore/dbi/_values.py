"""Parameters: Python values that a database has no type for, as what they are best kept as."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

__all__ = ("PLAIN", "TEXT", "Adapter", "as_text")

PLAIN: frozenset[type] = frozenset({int, str, bytes, float, type(None)})  # what every database takes as it is

# What a database without such types stores for them: decimals, dates, times and UUIDs as text in their standard
# notations (ISO 8601, RFC 9562), time spans in seconds, dicts and lists as JSON.
TEXT: Mapping[type, Callable[[Any], Any]] = {
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
class Adapter:
    """Makes of parameters what a driver takes: `plain` types stay as they are, `convert` has functions for others.

    A class that is derived from one of these counts as it.
    """

    def __init__(self, plain: Iterable[type], convert: Mapping[type, Callable[[Any], Any]]) -> None:
        self._plain = frozenset(plain)
        self._convert = dict(convert)

    def adapted(self, values: Any) -> Any:
        """Return `values`, a sequence or a dict, as the driver takes them: a tuple or a dict of its own.

        Raises TypeError for a value that has no place in a database, by its place or name.
        """
        if isinstance(values, dict):
            return dict(zip(values, self.each(list(values.values()), list(values)), strict=True))
        if self._plain.issuperset(map(type, values)):
            return tuple(values)
        return tuple(self.each(values, range(1, len(values) + 1)))

    def each(self, values: Sequence[Any], places: Sequence[Any]) -> list[Any]:
        """Return each of `values` as the driver takes it; `places` are what messages call them."""
        plain = self._plain
        return [
            value if value.__class__ in plain else self._converted(value, place)
            for value, place in zip(values, places, strict=True)
        ]

    def _converted(self, value: Any, place: Any) -> Any:
        for kind in type(value).__mro__:
            convert = self._convert.get(kind)
            if convert is not None:
                return convert(value)
            if kind in self._plain:
                return value
        raise TypeError(f"parameter {place!r} is of type {type(value).__name__}, which has no place in a database")


as_text = Adapter(PLAIN, TEXT).each
