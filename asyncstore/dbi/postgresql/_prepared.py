"""A connection's prepared statements, and what is done with them.

Each statement is parsed and planned by the server once and then called by name, which saves it half of the work;
asyncpg also learns the types of its columns once. Whoever changes a table makes such a statement stale: outside of a
transaction it is prepared and called again, so that nobody notices.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from asyncstore.dbi._rows import Row, row_class
from asyncstore.dbi.postgresql._errors import is_stale

__all__ = ("Prepared", "Statements")

T = TypeVar("T")


class Prepared(NamedTuple):
    """A statement that the server knows."""

    statement: PreparedStatement[Any]
    row: type[Row]
    columns: tuple[str, ...]


class Statements:
    """The driver's connection as operations get it: asyncpg's, with the statements that were prepared on it."""

    def __init__(self, raw: asyncpg.Connection[Any], size: int) -> None:
        self.raw = raw
        self._size = size
        self._known: OrderedDict[str, Prepared] = OrderedDict()

    async def prepared(self, sql: str) -> Prepared:
        """Return a statement ready to be called."""
        found = self._known.get(sql)
        if found is not None:
            self._known.move_to_end(sql)
            return found
        statement = await self.raw.prepare(sql)
        columns = tuple([attribute.name for attribute in statement.get_attributes()])
        found = Prepared(statement, row_class(columns), columns)
        if self._size:
            self._known[sql] = found
            if len(self._known) > self._size:
                self._known.popitem(last=False)
        return found

    async def call(self, sql: str, use: Callable[[Prepared], Awaitable[T]]) -> T:
        """Return what `use` makes of a statement; with one prepared anew when it was stale."""
        known = sql in self._known
        try:
            return await use(await self.prepared(sql))
        except asyncpg.PostgresError as exc:
            if not is_stale(exc):
                raise
            self.forget()
            if not known or self.raw.is_in_transaction():
                raise  # the server has failed the transaction: it has to be begun again
        return await use(await self.prepared(sql))

    def forget(self) -> None:
        """Prepare everything anew."""
        self._known.clear()

    async def script(self, text: str) -> None:
        """Carry out several statements; what they changed may make any prepared one stale."""
        await self.raw.execute(text)

    async def many(self, sql: str, sets: Sequence[Any]) -> None:
        """Carry out a statement for each of `sets`, in one go and one transaction."""
        await self.call(sql, lambda prepared: prepared.statement.executemany(sets))
