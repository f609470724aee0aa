"""How SQLite is talked to: it takes both notations of parameters itself, and has few types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from asyncstore.dbi._request import Sort
from asyncstore.dbi._session import Operations, Options, Parameters
from asyncstore.dbi._sql import leaves_traces, sort_of
from asyncstore.dbi._values import PLAIN, as_text
from asyncstore.dbi.sqlite import _operations

__all__ = ("SQLiteDialect",)


class SQLiteDialect:
    """SQLite's ways."""

    kind = "sqlite"
    operations: Operations = _operations
    stream_alone = False

    def sort_of(self, sql: str) -> Sort:
        return sort_of(sql)

    # Any: values are whatever a caller passes.
    def prepare(self, sql: str, parameters: Parameters) -> tuple[str, Any]:
        if parameters.__class__ is tuple and PLAIN.issuperset(map(type, parameters)):
            return sql, parameters  # nearly always
        return sql, _converted(parameters)

    def prepare_many(self, sql: str, sets: Iterable[Parameters]) -> tuple[str, list[Any]]:
        given = list(sets)
        if set(map(type, given)) == {tuple} and PLAIN.issuperset(map(type, chain.from_iterable(given))):
            return sql, given  # C has found that out
        return sql, [_converted(parameters) for parameters in given]

    def leaves_traces(self, sql: str) -> bool:
        return leaves_traces(sql)

    def check(self, options: Options) -> None:
        """SQLite's transactions are serializable, which is never less than was asked for."""


def _converted(parameters: Parameters) -> Parameters:
    if isinstance(parameters, Mapping):
        values = list(parameters.values())
        if not PLAIN.issuperset(map(type, values)):
            values = as_text(values, list(parameters))
        return dict(zip(parameters, values, strict=True))
    if isinstance(parameters, str | bytes) or not isinstance(parameters, Sequence):
        raise TypeError(f"parameters are a sequence or a mapping, not {type(parameters).__name__}")
    if PLAIN.issuperset(map(type, parameters)):
        return tuple(parameters)
    return as_text(parameters, range(1, len(parameters) + 1))
