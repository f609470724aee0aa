"""A pool: the methods of a connection, carried out on whichever of several is free."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Generator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from asyncstore._opening import Opening
from asyncstore.dbi import errors
from asyncstore.dbi._connection import Connection, check_lock_timeout, check_statement
from asyncstore.dbi._lent import Lent, caller
from asyncstore.dbi._pool_book import Limits
from asyncstore.dbi._pool_keeper import Keeper, Lendable, Setup, Terms
from asyncstore.dbi._rows import Result, Row
from asyncstore.dbi._session import Isolation, Mode, Options, Parameters
from asyncstore.dbi._url import Database, Lanes, database_of
from asyncstore.pool import Pool as Workers

if TYPE_CHECKING:
    from asyncstore.dbi._iteration import Rows
    from asyncstore.dbi._pool_transaction import PoolTransaction

__all__ = ("Pool", "PoolStatistics")

UNLIMITED = 1e9  # seconds: thirty years


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """What a pool has, and what has happened in it.

    `idle`, `lent` and `opening` are connections now, `waiting` callers that wait for one. `opened` counts connections
    since the start, `lost` those that broke, `leaked` those that were dropped and not given back, `timeouts` callers
    that waited in vain. `shared`: connections that all tasks share (SQLite).
    """

    idle: int
    lent: int
    opening: int
    waiting: int
    shared: int
    opened: int
    lost: int
    leaked: int
    timeouts: int


class Pool:
    """Connections to one database: ``async with dbi.Pool(url) as pool`` or ``pool = await dbi.Pool(url)``.

    A statement goes to a connection that is free, and gives it back when it is done. `transaction` and `iterate` keep
    one for their length, and statements of the task that entered a transaction are in it. `acquire` lends one.

    `url`, `lock_timeout` and `options` are those of `connect`. There are `min_size` connections at least and `max_size`
    at most. Whoever finds none free waits, in order, `acquire_timeout` seconds at most; more than `max_waiting` are
    refused. One that was at rest for `max_idle` seconds is closed while there are more than `min_size`, one of
    `max_lifetime` seconds is replaced (None: never). One that was at rest for `check_after` seconds is looked at before
    it is lent, as are all when one was lost. `workers` carry blocking calls (default: the process-wide ones).

    `setup` is awaited with each connection that is opened, before anybody gets it: for functions, settings, temporary
    tables. What it does to the session stays; one that cannot be set up is closed, and who waits for it is told why.

    On SQLite, statements by themselves share connections: one that writes, so that concurrent writes share commits, and
    up to ``max_size - 1`` that read. `acquire` opens others.

    Raises ValueError and TypeError for what cannot be; opening raises what `connect` does. Belongs to one event loop.
    """

    def __init__(
        self,
        url: str | Database,
        *,
        min_size: int = 1,
        max_size: int = 10,
        acquire_timeout: float = 30.0,
        max_idle: float | None = 300.0,
        max_lifetime: float | None = 3600.0,
        check_after: float = 1.0,
        max_waiting: int = 10_000,
        lock_timeout: float = 5.0,
        setup: Setup | None = None,
        workers: Workers | None = None,
        **options: Any,  # Any: each database has its own
    ) -> None:
        self._database: Database = database_of(url, options)
        check_lock_timeout(lock_timeout)
        if not (isinstance(min_size, int) and isinstance(max_size, int) and 0 <= min_size <= max_size >= 1):
            raise ValueError(f"0 <= min_size <= max_size, and max_size >= 1, not {min_size!r} and {max_size!r}")
        if not isinstance(max_waiting, int) or max_waiting < 0:
            raise ValueError(f"max_waiting is an int and not negative, not {max_waiting!r}")
        times = {"acquire_timeout": acquire_timeout, "max_idle": max_idle, "max_lifetime": max_lifetime}
        for name, value in times.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name} is a positive number of seconds, not {value!r}")
        if not check_after >= 0:
            raise ValueError(f"check_after is a number of seconds and not negative, not {check_after!r}")
        least = 0 if self._database.shared else min_size
        self._limits = Limits(least, max_size, max_idle or UNLIMITED, max_lifetime or UNLIMITED)
        if not self._database.remote:
            check_after = UNLIMITED
        self._terms = Terms(acquire_timeout, check_after, max_waiting, lock_timeout, setup)
        self._workers = workers
        self._opened: Keeper | None = None
        self._lanes: Lanes | None = None
        self._bound: dict[asyncio.Task[Any], Connection] = {}  # of tasks inside a transaction
        self._closing: asyncio.Task[None] | None = None
        self.title = f"pool of {self._database.title}"

    def __repr__(self) -> str:
        if self._opened is None:
            return f"<Pool of {self._database.title} not opened>"
        book = self._opened.book
        state = "closed" if book.closed else "open"
        return f"<Pool of {self._database.title} {state} lent={len(book.lent)} idle={len(book.idle)}>"

    # Opening and closing

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._open().__await__()

    async def __aenter__(self) -> Self:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _open(self) -> Self:
        if self._opened is not None:
            raise errors.Misuse("a pool is opened once", doing="open", of=self.title)
        self._opened = Keeper(self._database, self._limits, self._terms, self._workers)
        try:
            await self._opened.start()
            if self._database.shared:
                self._lanes = await self._database.lanes(
                    size=self._limits.max_size,
                    lock_timeout=self._terms.lock_timeout,
                    workers=self._workers,
                    make=self._opened.connection,
                )
        except BaseException:
            self._opened.abort()
            raise
        return self

    async def aclose(self, timeout: float = 30.0) -> None:
        """Close: who waits is refused, what is under way has `timeout` seconds for its end. Idempotent.

        A cancel leaves the closing to go on in the background.
        """
        if self._opened is None or (self._opened.book.closed and self._closing is None):
            return
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(self._opened, timeout))
        await asyncio.shield(self._closing)

    async def _close(self, keeper: Keeper, timeout: float) -> None:
        until = asyncio.get_running_loop().time() + timeout
        await keeper.aclose(timeout)
        if self._lanes is not None:
            try:
                async with asyncio.timeout_at(until):
                    await self._lanes.aclose()
            except TimeoutError:
                self._lanes.abort()

    def __del__(self) -> None:
        keeper = getattr(self, "_opened", None)
        if keeper is not None and not keeper.book.closed:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            keeper.abort()
            if self._lanes is not None:
                self._lanes.abort()

    @property
    def _keeper(self) -> Keeper:
        if self._opened is None:
            raise errors.Misuse("a pool is opened by `async with` or `await`", doing="use", of=self.title)
        return self._opened

    def statistics(self) -> PoolStatistics:
        """Return how many connections there are, and what has happened."""
        keeper = self._keeper
        book = keeper.book
        return PoolStatistics(
            idle=len(book.idle),
            lent=len(book.lent),
            opening=book.opening,
            waiting=len(book.waiting),
            shared=0 if self._lanes is None else self._lanes.size,
            opened=keeper.opened,
            lost=keeper.lost,
            leaked=keeper.leaked,
            timeouts=keeper.timeouts,
        )

    # Statements

    async def execute(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> Result:
        """Carry a statement out; see `Connection.execute`. `timeout` counts the wait for a connection, too."""
        found: Result = await self._run("execute", sql, (sql, parameters), timeout)
        return found

    async def fetch_all(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> list[Row]:
        """Return all rows of a statement; see `execute`."""
        found: list[Row] = await self._run("fetch_all", sql, (sql, parameters), timeout)
        return found

    async def fetch_one(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> Row | None:
        """Return the first row of a statement, None when it has none; see `execute`."""
        found: Row | None = await self._run("fetch_one", sql, (sql, parameters), timeout)
        return found

    # Any: a value is whatever the database has.
    async def fetch_value(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> Any:
        """Return the first value of the first row, None when there is no row; see `execute`."""
        return await self._run("fetch_value", sql, (sql, parameters), timeout)

    async def executemany(self, sql: str, sets: Iterable[Parameters], *, timeout: float | None = None) -> Result:
        """Carry a statement out once for each set of parameters, all of them or none; see `execute`."""
        found: Result = await self._run("executemany", sql, (sql, sets), timeout)
        return found

    async def executescript(self, text: str, *, timeout: float | None = None) -> None:
        """Carry out several statements; see `Connection.executescript`."""
        await self._run("executescript", text, (text,), timeout)

    # Any: what the method of the connection takes and returns.
    async def _run(self, method: str, sql: str, arguments: tuple[Any, ...], timeout: float | None) -> Any:
        keeper = self._keeper
        connection = self._bound.get(asyncio.current_task()) if self._bound else None  # type: ignore[arg-type]  # a task
        if connection is None and self._lanes is not None:
            keeper.check_open(method)
            connection = self._lanes.for_statement(sql) or await self._lanes.another()
        if connection is not None:
            return await getattr(connection, method)(*arguments, timeout=timeout)
        slot = keeper.take_nowait()
        if slot is None:
            slot, timeout = await self._taken_within(method, timeout)
        try:
            return await getattr(slot.connection, method)(*arguments, timeout=timeout)
        finally:
            keeper.give_back(slot, slot.connection)

    async def _taken_within(self, doing: str, timeout: float | None) -> tuple[Lendable, float | None]:
        """Wait for a connection; return it with what is left of `timeout`."""
        if timeout is None:
            return await self._keeper.take(), None
        if not timeout > 0:
            raise ValueError(f"a timeout is a positive number of seconds, not {timeout!r}")
        until = time.monotonic() + timeout
        slot = await self._keeper.take(timeout)
        left = until - time.monotonic()
        if left <= 0:
            self._keeper.give_back(slot, slot.connection)
            raise errors.QueryTimeout("its time was up", doing=doing, of=self.title)
        return slot, left

    def iterate(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> Rows:
        """Return the rows of a statement as an async iterator, which keeps a connection until its end; see `Rows`."""
        from asyncstore.dbi._iteration import Rows

        check_statement(sql, "iterate", self.title)
        return Rows(self, *self._database.dialect.prepare(sql, parameters), timeout)

    async def lend(self, stack: AsyncExitStack, sql: str) -> Connection:
        """Give an iteration its connection; see `_iteration.Source`. For this package."""
        task = asyncio.current_task()
        bound = self._bound.get(task) if task is not None else None
        if bound is None and self._lanes is not None:
            self._keeper.check_open("iterate")
            bound = self._lanes.for_statement(sql) or await self._lanes.another()
        if bound is None:
            bound = await stack.enter_async_context(self.acquire())
        return await bound.lend(stack, sql)

    def transaction(
        self, *, isolation: Isolation | None = None, read_only: bool = False, mode: Mode | None = None
    ) -> PoolTransaction:
        """Return a transaction on a connection of its own; see `Connection.transaction`.

        Inside its block, the statements that its task asks this pool for are in it. Other tasks' go to other
        connections: a task that the block starts is not in the transaction.
        """
        from asyncstore.dbi._pool_transaction import PoolTransaction

        options = Options(isolation, read_only, mode)
        options.check()
        self._database.dialect.check(options)
        return PoolTransaction(self._keeper, self._lanes, self._bound, options)

    def acquire(self, *, timeout: float | None = None) -> Opening[Connection]:
        """Lend a connection: ``async with pool.acquire() as db``, or ``db = await pool.acquire()`` and its `aclose`.

        `timeout`: seconds to wait for it, where that is less than `acquire_timeout`. Raises `PoolTimeout`, with who has
        the connections, `PoolFull`, `Closed`, and what opening one raises. A cancel takes nothing.
        """
        where = caller()

        async def make() -> Connection:
            keeper = self._keeper
            slot = keeper.take_nowait() or await keeper.take(timeout)
            slot.where = where
            return Lent(keeper, slot)

        return Opening(make)
