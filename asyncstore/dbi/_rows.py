"""Rows: tuples that also know the names of their columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

__all__ = ("Result", "Row", "row_class")

KEPT = 256  # sets of columns whose classes are kept


# Any, in all that follows: a value is whatever the database has.
class Row(tuple[Any, ...]):
    """One row of a result: a tuple, whose values are found by column name too, as `dict(row)` finds them all.

    Of columns with the same name, the first is found by it.
    """

    __slots__ = ()
    _names: ClassVar[tuple[str, ...]] = ()
    _places: ClassVar[dict[str, int]] = {}

    def __getitem__(self, key: Any) -> Any:
        """Return the value at an index or of a column, or those of a slice. Raises IndexError and KeyError."""
        if key.__class__ is str:
            return tuple.__getitem__(self, self._places[key])
        return tuple.__getitem__(self, key)

    def keys(self) -> tuple[str, ...]:
        """Return the names of the columns."""
        return tuple(self._places)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Iterate over names and values."""
        return ((name, tuple.__getitem__(self, place)) for name, place in self._places.items())

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a column, `default` when there is no such column."""
        place = self._places.get(name)
        return default if place is None else tuple.__getitem__(self, place)

    def __reduce__(self) -> tuple[Any, ...]:
        return _row, (self._names, tuple(self))

    def __repr__(self) -> str:
        return f"Row({', '.join(f'{name}={value!r}' for name, value in self.items())})"


@lru_cache(KEPT)
def row_class(names: tuple[str, ...]) -> type[Row]:
    """Return the class of rows with these columns."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        places.setdefault(name, place)
    return type("Row", (Row,), {"__slots__": (), "_names": names, "_places": places})


def _row(names: tuple[str, ...], values: tuple[Any, ...]) -> Row:
    """Make a row again that was pickled or copied."""
    return row_class(names)(values)


@dataclass(slots=True)
class Result:
    """What a statement brought about.

    `rowcount`: rows changed, -1 when the database does not say. `last_insert_id`: the row id of the last row inserted,
    where the database has such a thing. `columns`: the names of the columns of `rows`.
    """

    rowcount: int = -1
    last_insert_id: int | None = None
    columns: tuple[str, ...] = ()
    rows: list[Row] = field(default_factory=list)
