"""A transaction of a task's, and the savepoints inside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from asyncstore.dbi import errors
from asyncstore.dbi._request import Request, Sort
from asyncstore.pool import heeded

if TYPE_CHECKING:
    from asyncstore.dbi._connection import Connection

__all__ = ("Transaction",)


class Transaction:
    """Commits at the end of its ``async with`` block, or undoes when an exception leaves it; a connection makes it.

    Entering and leaving may raise what `Connection.execute` raises. When the commit fails, all has been undone.
    """

    def __init__(self, connection: Connection, mode: str) -> None:
        self._connection = connection
        self._mode = mode
        self._outer: Transaction | None = None
        self._entered = False
        self.owner: asyncio.Task[Any] | None = None
        self.depth = 0  # 0: a transaction; more: a savepoint inside so many others

    def __repr__(self) -> str:
        kind = f"savepoint {self.depth}" if self.depth else "transaction"
        return f"<Transaction {kind} of {self._connection.title}>"

    async def __aenter__(self) -> Self:
        connection = self._connection
        if self._entered:
            raise errors.Misuse("a transaction is entered once", doing="begin", of=connection.title)
        self._entered = True
        self.owner = asyncio.current_task()
        outer = connection.transaction_open
        if outer is not None and outer.owner is self.owner:
            outer.check_sound("begin")
            self._outer, self.depth = outer, outer.depth + 1
            await self._ask("begin", f"SAVEPOINT {self._name}")
            connection.transaction_open = self
            return self
        await connection.take_turn(self)
        try:
            await connection.submit(self._request("begin", lambda _: connection.engine.begin(self._mode)))
        except BaseException:
            await self._finish("ROLLBACK")  # it may have begun all the same
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outer is not None:
            await self._leave_savepoint(undo=error is not None)
        elif error is not None:
            await self._finish("ROLLBACK")
        else:
            await self._commit()

    async def _commit(self) -> None:
        try:
            self.check_sound("commit")
        except errors.Error:
            await self._finish("ROLLBACK")
            raise
        await self._finish("COMMIT")

    async def _finish(self, word: str) -> None:
        """End the transaction, whatever happens to the task: a cancel leaves that to go on in the background."""
        ending = asyncio.get_running_loop().create_task(self._end(word))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError as exc:
            ending.add_done_callback(heeded)
            exc.maybe_applied = word == "COMMIT"  # type: ignore[attr-defined]  # the builtin class has no such field
            raise

    async def _end(self, word: str) -> None:
        connection = self._connection
        engine = connection.engine
        doing = word.lower()
        try:
            await connection.submit(self._request(doing, lambda _: engine.end(word)))
        except errors.Locked:
            await connection.submit(self._request("rollback", lambda _: engine.end("ROLLBACK")))
            raise
        finally:
            connection.give_turn()

    @property
    def _name(self) -> str:
        return f"asyncstore_{self.depth}"

    async def _leave_savepoint(self, *, undo: bool) -> None:
        connection = self._connection
        connection.transaction_open = self._outer
        if connection.engine.undone:
            if undo:
                return
            self.check_sound("release")
        if undo:
            await self._ask("rollback", f"ROLLBACK TO {self._name}")
        await self._ask("release", f"RELEASE {self._name}")

    async def _ask(self, doing: str, sql: str) -> None:
        asked = asyncio.get_running_loop().create_task(
            self._connection.submit(self._request(doing, lambda connection: connection.execute(sql)))
        )
        try:
            await asyncio.shield(asked)
        except asyncio.CancelledError:
            asked.add_done_callback(heeded)
            raise

    # Any: the driver's connection, and what the call returns, which is not used.
    def _request(self, doing: str, apply: Callable[[Any], Any]) -> Request:
        return Request(self._connection.usage, self._connection.title, doing, Sort.ALONE, apply)

    def check_sound(self, doing: str) -> None:
        """Raise when the database has undone the transaction by itself."""
        if self._connection.engine.undone:
            detail = "an error before made the database undo the whole transaction"
            raise errors.OperationalError(detail, doing=doing, of=self._connection.title)
