"""A transaction of a task's, and the savepoints inside it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from asyncstore.dbi import errors
from asyncstore.dbi._request import Request, Sort
from asyncstore.dbi._session import Apply, Options
from asyncstore.pool import heeded

if TYPE_CHECKING:
    from asyncstore.dbi._connection import Connection

__all__ = ("Transaction",)

ROLLBACK_TIMEOUT = 10.0  # seconds until a connection on which undoing does not end is given up; arbitrary


class Transaction:
    """Commits at the end of its ``async with`` block, or undoes when an exception leaves it; a connection makes it.

    Entering and leaving may raise what `Connection.execute` raises. When the commit fails, all has been undone.
    """

    def __init__(self, connection: Connection, options: Options, *, iteration: bool = False) -> None:
        self._connection = connection
        self._options = options
        self._iteration = iteration  # it is there for one result, and nothing else may be in it
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
            await connection.submit(self._request("begin", connection.session.begin(self._options)))
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
            self._check_running("commit")
        except errors.Error:
            await self._finish("ROLLBACK")
            raise
        await self._finish("COMMIT")

    async def _finish(self, word: Literal["COMMIT", "ROLLBACK"]) -> None:
        """End the transaction, whatever happens to the task: a cancel leaves that to go on in the background."""
        self.owner = None  # when the task is cancelled here and goes on, it waits for the end as others do
        ending = asyncio.get_running_loop().create_task(self._end(word))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError as exc:
            ending.add_done_callback(heeded)
            exc.maybe_applied = word == "COMMIT"  # type: ignore[attr-defined]  # the builtin class has no such field
            raise

    async def _end(self, word: Literal["COMMIT", "ROLLBACK"]) -> None:
        connection = self._connection
        session = connection.session
        try:
            if word == "COMMIT":
                await connection.submit(self._request("commit", session.end(word)))
            else:
                await self._roll_back()
        except errors.Locked:
            await self._roll_back()
            raise
        finally:
            connection.give_turn()

    async def _roll_back(self) -> None:
        connection = self._connection
        session = connection.session
        if session.broken:
            return  # and with it the transaction
        try:
            async with asyncio.timeout(ROLLBACK_TIMEOUT):
                await connection.submit(self._request("rollback", session.end("ROLLBACK")))
        except TimeoutError:
            session.abort()  # the database undoes what its connection leaves behind

    @property
    def _name(self) -> str:
        return f"asyncstore_{self.depth}"

    async def _leave_savepoint(self, *, undo: bool) -> None:
        connection = self._connection
        connection.transaction_open = self._outer
        if undo and (connection.session.ended or connection.session.broken):
            return
        self._check_running("release")
        if undo:
            await self._ask("rollback", f"ROLLBACK TO SAVEPOINT {self._name}")
        await self._ask("release", f"RELEASE SAVEPOINT {self._name}")

    async def _ask(self, doing: str, sql: str) -> None:
        connection = self._connection
        operation = connection.session.dialect.operations.execute
        request = self._request(doing, lambda driver: operation(driver, sql, ()))
        asked = asyncio.get_running_loop().create_task(connection.submit(request))
        try:
            await asyncio.shield(asked)
        except asyncio.CancelledError:
            asked.add_done_callback(heeded)
            raise

    def _request(self, doing: str, apply: Apply) -> Request:
        return Request(self._connection.usage, self._connection.title, doing, Sort.ALONE, apply)

    def disown(self) -> None:
        """The iteration that this is there for has been left: its task waits for the end as others do."""
        if self._iteration:
            self.owner = None

    def check_sound(self, doing: str) -> None:
        """Raise when the transaction has ended by itself, or is there for an iteration alone."""
        self._check_running(doing)
        if self._iteration and doing != "iterate":
            detail = "an iteration holds the connection until its end; a pool, or a transaction around both, helps"
            raise errors.Misuse(detail, doing=doing, of=self._connection.title)

    def _check_running(self, doing: str) -> None:
        ended = self._connection.session.ended
        if ended:
            raise errors.OperationalError(ended, doing=doing, of=self._connection.title)
