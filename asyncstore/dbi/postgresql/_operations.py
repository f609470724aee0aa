"""What is done with a connection to PostgreSQL: coroutine functions that return an outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncstore.dbi import errors
from asyncstore.dbi._rows import Result, Row
from asyncstore.dbi.postgresql._prepared import Prepared, Statements

__all__ = ("execute", "execute_many", "execute_script", "fetch_all", "fetch_one", "fetch_value")

Parameters = Sequence[Any]  # Any: what PostgreSQL takes


def _count(status: str | None) -> int:
    """Return how many rows a command tag ("UPDATE 3") tells of, -1 when it tells of none."""
    last = (status or "").rpartition(" ")[2]
    return int(last) if last.isdigit() else -1


async def execute(connection: Statements, sql: str, parameters: Parameters) -> Result:
    """Carry a statement out, and return what it brought about with all its rows."""

    async def use(prepared: Prepared) -> Result:
        records = await prepared.statement.fetch(*parameters)
        count = _count(prepared.statement.get_statusmsg())
        return Result(count, None, prepared.columns, list(map(prepared.row, records)))

    return await connection.call(sql, use)


async def fetch_all(connection: Statements, sql: str, parameters: Parameters) -> list[Row]:
    """Return all rows."""

    async def use(prepared: Prepared) -> list[Row]:
        return list(map(prepared.row, await prepared.statement.fetch(*parameters)))

    return await connection.call(sql, use)


async def fetch_one(connection: Statements, sql: str, parameters: Parameters) -> Row | None:
    """Return the first row, None when there is none."""

    async def use(prepared: Prepared) -> Row | None:
        record = await prepared.statement.fetchrow(*parameters)
        return None if record is None else prepared.row(record)

    return await connection.call(sql, use)


async def fetch_value(connection: Statements, sql: str, parameters: Parameters) -> Any:
    """Return the first value of the first row, None when there is none."""
    row = await fetch_one(connection, sql, parameters)
    return None if not row else row[0]


async def execute_many(connection: Statements, sql: str, sets: Sequence[Parameters]) -> Result:
    """Carry a statement out once for each set of parameters; all of them or none."""
    await connection.many(sql, sets)
    return Result()


async def execute_script(connection: Statements, text: str) -> None:
    """Carry out several statements; the server makes one transaction of them."""
    outside = not connection.raw.is_in_transaction()
    try:
        await connection.script(text)
    finally:
        if outside and not connection.raw.is_closed() and connection.raw.is_in_transaction():
            await connection.raw.execute("ROLLBACK")
            raise errors.ProgrammingError("it left a transaction open, which has been undone", doing="executescript")
