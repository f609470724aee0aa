"""Dialects of databases whose drivers mark parameters in a notation of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asyncstore.dbi import errors
from asyncstore.dbi._request import Sort
from asyncstore.dbi._session import Operations, Options, Parameters
from asyncstore.dbi._sql import leaves_traces, sort_of
from asyncstore.dbi._statement import Kind, Statement, Style, Syntax, rewrite
from asyncstore.dbi._values import Adapter

__all__ = ("MarkedDialect",)


class MarkedDialect:
    """Rewrites `?` and `:name` into what the driver takes, and values into those that it has types for."""

    stream_alone = True

    def __init__(self, kind: str, operations: Operations, syntax: Syntax, style: Style, adapter: Adapter) -> None:
        self.kind = kind
        self.operations = operations
        self._syntax = syntax
        self._style = style
        self._adapter = adapter

    def sort_of(self, sql: str) -> Sort:
        return sort_of(sql)

    # Any: values are whatever a caller passes.
    def prepare(self, sql: str, parameters: Parameters) -> tuple[str, Any]:
        statement = rewrite(sql, self._syntax, self._style, _kind_of(parameters))
        return statement.text, self._arranged(statement, parameters)

    def prepare_many(self, sql: str, sets: Iterable[Parameters]) -> tuple[str, list[Any]]:
        given = list(sets)
        if not given:
            return rewrite(sql, self._syntax, self._style, Kind.POSITIONAL).text, []
        kinds = {_kind_of(parameters) for parameters in given}
        if len(kinds) > 1:
            raise TypeError("the sets of parameters are all sequences or all mappings, and not some of them empty")
        statement = rewrite(sql, self._syntax, self._style, kinds.pop())
        return statement.text, [self._arranged(statement, parameters) for parameters in given]

    def _arranged(self, statement: Statement, parameters: Parameters) -> Any:
        try:
            values = statement.arrange(parameters)
        except (LookupError, ValueError) as exc:
            raise errors.ProgrammingError(str(exc.args[0])) from None
        return self._adapter.adapted(values)

    def leaves_traces(self, sql: str) -> bool:
        return leaves_traces(sql)

    def check(self, options: Options) -> None:
        if options.mode is not None:
            raise errors.NotSupportedError(f"mode is for SQLite; {self.kind} has isolation", doing="begin")


def _kind_of(parameters: Parameters) -> Kind:
    if parameters.__class__ is tuple or parameters.__class__ is list:
        return Kind.POSITIONAL if parameters else Kind.NONE
    if isinstance(parameters, Mapping):
        return Kind.NAMED if parameters else Kind.NONE
    if isinstance(parameters, str | bytes) or not isinstance(parameters, Sequence):
        raise TypeError(f"parameters are a sequence or a mapping, not {type(parameters).__name__}")
    return Kind.POSITIONAL if parameters else Kind.NONE
