"""One connection to PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import asyncpg

from asyncstore.dbi import errors
from asyncstore.dbi._async_session import AsyncSession
from asyncstore.dbi._listen import Notification
from asyncstore.dbi._request import Request
from asyncstore.dbi._rows import Row
from asyncstore.dbi._session import Apply, Dialect, Options
from asyncstore.dbi.postgresql._errors import translate
from asyncstore.dbi.postgresql._prepared import Prepared, Statements

__all__ = ("PostgreSQLSession",)

LATE_CANCELS = 3  # answers that a cancel may spoil which arrives after its statement has ended

# DISCARD ALL would take the prepared statements, too. RESET ALL goes back to what the connection was opened with.
_RESET = "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL; DISCARD TEMP; DISCARD SEQUENCES"


class PostgreSQLSession(AsyncSession):
    """A session on asyncpg."""

    def __init__(self, dialect: Dialect, title: str, raw: asyncpg.Connection[Any], cached_statements: int) -> None:
        self.raw = raw
        self._inside = False  # a transaction of the caller's was begun and has not been ended
        self._hears: dict[tuple[str, Callable[[Notification], None]], Callable[..., None]] = {}
        super().__init__(dialect, title, Statements(raw, cached_statements))

    @property
    def ended(self) -> str:
        if self._inside and not self.raw.is_closed() and not self.raw.is_in_transaction():
            return "a statement before has ended the transaction"
        return ""

    def begin(self, options: Options) -> Apply:
        words = ["BEGIN"]
        if options.isolation is not None:
            words.append(f"ISOLATION LEVEL {options.isolation.upper()}")
        if options.read_only:
            words.append("READ ONLY")

        async def begin(connection: Statements) -> None:
            await connection.raw.execute(" ".join(words))
            self._inside = True

        return begin

    def end(self, word: Literal["COMMIT", "ROLLBACK"]) -> Apply:
        async def end(connection: Statements) -> None:
            self._inside = False
            if not connection.raw.is_in_transaction():
                return
            done = await connection.raw.execute(word)
            if done != word:
                detail = "a statement in it had failed, so the database has undone the whole transaction"
                raise errors.OperationalError(detail, doing="commit", of=self.title, sqlstate="25P02")

        return end

    def stream(self, sql: str, parameters: Any) -> Stream:  # Any: as asyncpg takes them
        return Stream(sql, parameters)

    def reset(self) -> Apply:
        async def reset(connection: Statements) -> None:
            await connection.raw.execute(_RESET)

        return reset

    def listen(self, channels: tuple[str, ...], heard: Callable[[Notification], None]) -> Apply:
        def hear(_: object, pid: int, channel: str, payload: object) -> None:
            heard(Notification(channel, str(payload), pid))

        async def listen(connection: Statements) -> None:
            for channel in channels:
                self._hears[channel, heard] = hear
                await connection.raw.add_listener(channel, hear)

        return listen

    def unlisten(self, channels: tuple[str, ...], heard: Callable[[Notification], None]) -> Apply:
        async def unlisten(connection: Statements) -> None:
            for channel in channels:
                hear = self._hears.pop((channel, heard), None)
                if hear is not None:
                    await connection.raw.remove_listener(channel, hear)

        return unlisten

    def on_loss(self, lost: Callable[[], None]) -> None:
        self.raw.add_termination_listener(lambda _: lost())

    def translate(self, exc: Exception, request: Request) -> BaseException:
        return translate(exc, doing=request.doing, of=request.title)

    async def mend(self, request: Request) -> None:
        # asyncpg has asked the server to stop the statement, and waits here for its answer. The signal that this makes
        # the server send may still arrive behind the statement's end, and hit the next one: so that is one of ours.
        for _ in range(LATE_CANCELS):
            try:
                await self.raw.execute("SELECT 1")
            except asyncpg.QueryCanceledError:
                continue
            except asyncpg.InFailedSQLTransactionError:
                return  # an answer as good as any
            return
        raise errors.ConnectionLost("it does not become quiet", doing=request.doing, of=self.title)

    def lost(self) -> bool:
        return self.raw.is_closed()

    def leave(self) -> Coroutine[Any, Any, None]:
        return self.raw.close()

    def cut(self) -> None:
        if not self.raw.is_closed():
            self.raw.terminate()


class Stream:
    """A result that is read batch by batch, from a portal of the server's (protocol 3, "extended query")."""

    def __init__(self, sql: str, parameters: Any) -> None:  # Any: as asyncpg takes them
        self._sql = sql
        self._parameters = parameters
        self._prepared: Prepared | None = None
        self._cursor: Any = None  # asyncpg's Cursor
        self.open = False

    async def fetch(self, connection: Statements, count: int) -> list[Row]:
        if self._prepared is None:
            self._prepared = await connection.prepared(self._sql)
            self._cursor = await self._prepared.statement.cursor(*self._parameters)
            self.open = True
        rows = list(map(self._prepared.row, await self._cursor.fetch(count)))
        if len(rows) < count:
            await self.close(connection)
        return rows

    async def close(self, connection: Statements) -> None:
        """Give the portal up. Idempotent. The end of the transaction does it, too."""
        cursor, self._cursor, self.open = self._cursor, None, False
        if cursor is not None and connection.raw.is_in_transaction():
            with contextlib.suppress(asyncpg.InFailedSQLTransactionError):  # whose end closes it
                await connection.raw.execute(f'CLOSE "{cursor._portal_name}"')  # noqa: SLF001 - asyncpg has no other way
