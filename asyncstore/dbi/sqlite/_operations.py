"""What is done with SQLite's connection: functions that are called on a worker and return an outcome."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from asyncstore.dbi._rows import Result, Row, row_class

__all__ = ("Stream", "execute", "execute_many", "execute_script", "fetch_all", "fetch_one", "fetch_value")

Parameters = Sequence[Any] | Mapping[str, Any]  # Any: what SQLite takes, see `_values`


def _columns(cursor: sqlite3.Cursor) -> tuple[str, ...]:
    return tuple([column[0] for column in cursor.description or ()])


def execute(connection: sqlite3.Connection, sql: str, parameters: Parameters) -> Result:
    """Carry a statement out, and return what it brought about with all its rows."""
    cursor = connection.execute(sql, parameters)
    if cursor.description is None:
        return Result(cursor.rowcount, cursor.lastrowid)
    columns = _columns(cursor)
    rows = list(map(row_class(columns), cursor))
    return Result(cursor.rowcount, cursor.lastrowid, columns, rows)  # the count is there once all rows are


def execute_many(connection: sqlite3.Connection, sql: str, sets: Sequence[Parameters]) -> Result:
    """Carry a statement out once for each set of parameters; all of them or none."""
    outside = not connection.in_transaction
    connection.execute("BEGIN IMMEDIATE" if outside else "SAVEPOINT asyncstore_many")
    try:
        cursor = connection.executemany(sql, sets)
        connection.execute("COMMIT" if outside else "RELEASE asyncstore_many")
    except BaseException:
        if connection.in_transaction:
            if not outside:
                connection.execute("ROLLBACK TO asyncstore_many")
            connection.execute("ROLLBACK" if outside else "RELEASE asyncstore_many")
        raise
    return Result(cursor.rowcount, cursor.lastrowid)


def execute_script(connection: sqlite3.Connection, text: str) -> None:
    """Carry out several statements, one after the other."""
    if not connection.in_transaction:
        connection.executescript(text)
        return
    for statement in _statements(text):  # executescript would commit what is open
        connection.execute(statement)


def _statements(text: str) -> list[str]:
    """Cut a script at the semicolons that end a statement: SQLite itself says which do (a trigger has others)."""
    found: list[str] = []
    start = place = 0
    while (place := text.find(";", place)) >= 0:
        place += 1
        if sqlite3.complete_statement(text[start:place]):
            found.append(text[start:place])
            start = place
    if text[start:].strip():
        found.append(text[start:])
    return found


def fetch_all(connection: sqlite3.Connection, sql: str, parameters: Parameters) -> list[Row]:
    """Return all rows."""
    cursor = connection.execute(sql, parameters)
    return list(map(row_class(_columns(cursor)), cursor))


def fetch_one(connection: sqlite3.Connection, sql: str, parameters: Parameters) -> Row | None:
    """Return the first row, None when there is none."""
    cursor = connection.execute(sql, parameters)
    row = cursor.fetchone()
    return None if row is None else row_class(_columns(cursor))(row)


def fetch_value(connection: sqlite3.Connection, sql: str, parameters: Parameters) -> Any:
    """Return the first value of the first row, None when there is none."""
    row = connection.execute(sql, parameters).fetchone()
    return None if row is None else row[0]


class Engine(Protocol):
    """What a stream tells that it is open."""

    streams: int


@dataclass(slots=True, eq=False)
class Stream:
    """A result that is read batch by batch: the worker's side of it."""

    engine: Engine
    sql: str
    parameters: Parameters
    cursor: sqlite3.Cursor | None = None
    row: type[Row] = Row

    @property
    def open(self) -> bool:
        """Whether SQLite keeps something for it."""
        return self.cursor is not None

    def fetch(self, connection: sqlite3.Connection, count: int) -> list[Row]:
        """Return the next `count` rows; fewer are the last."""
        if self.cursor is None:
            self.cursor = connection.execute(self.sql, self.parameters)
            self.engine.streams += 1
            self.row = row_class(_columns(self.cursor))
        rows = list(map(self.row, self.cursor.fetchmany(count)))
        if len(rows) < count:
            self.close(connection)
        return rows

    def close(self, _: sqlite3.Connection) -> None:
        """Give the cursor up. Idempotent."""
        cursor, self.cursor = self.cursor, None
        if cursor is not None:
            self.engine.streams -= 1
            cursor.close()
