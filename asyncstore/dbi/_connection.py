"""A connection: statements of many tasks, gathered into batches, and transactions that belong to one of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from asyncstore._opening import Opening
from asyncstore.dbi import errors
from asyncstore.dbi._request import Request, Sort
from asyncstore.dbi._rows import Result, Row
from asyncstore.dbi._session import Dialect, Isolation, Mode, Options, Parameters, Session
from asyncstore.dbi._sql import first_word
from asyncstore.dbi._url import Database, database_of
from asyncstore.pool import Pool as Workers, Usage

if TYPE_CHECKING:
    from asyncstore.dbi._iteration import Rows
    from asyncstore.dbi._listen import Listener
    from asyncstore.dbi._transaction import Transaction
    from asyncstore.dbi.sqlite._extras import SQLiteExtras

__all__ = ("Connection", "check_lock_timeout", "check_statement", "connect")

GRACE = 0.05  # seconds beyond a statement's time until it is given up without word from its session; arbitrary
CONTROL = frozenset({"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "START", "ABORT"})


def connect(
    url: str | Database,
    *,
    lock_timeout: float = 5.0,
    workers: Workers | None = None,
    **options: Any,  # Any: each database has its own
) -> Opening[Connection]:
    """Open a database: ``db = await connect(url)``, or ``async with connect(url) as db``.

    `url`: ``sqlite:///notes.db`` (four slashes before an absolute path), ``sqlite://`` for one in memory,
    ``postgresql://user:password@host:5432/name``, ``mysql://user:password@host:3306/name``, ``duckdb:///file``.
    `lock_timeout`: seconds that a statement waits for what somebody else has locked, and a task for another's
    transaction. `workers` carry blocking calls (default: the process-wide ones).

    `options` are the database's own, here or in the URL's query; see its page.

    Raises ValueError and TypeError for what cannot be, `OperationalError` when the database cannot be opened,
    `NotSupportedError` when its driver is not installed. A cancel leaves nothing open.
    """
    database = database_of(url, options)
    check_lock_timeout(lock_timeout)

    async def make() -> Connection:
        return Connection(await database.connect(lock_timeout=lock_timeout, workers=workers), lock_timeout)

    return Opening(make)


def check_lock_timeout(lock_timeout: float) -> None:
    """Raise ValueError for what is no time to wait for a lock."""
    if not 0 < lock_timeout < 1e6:
        raise ValueError(f"lock_timeout is a positive number of seconds, not {lock_timeout!r}")


def check_statement(sql: str, doing: str, title: str) -> None:
    """Raise TypeError for what is no statement, `Misuse` for one that begins or ends a transaction."""
    if sql.__class__ is not str:
        raise TypeError(f"a statement is a str, not {type(sql).__name__}")
    if first_word(sql) in CONTROL:
        raise errors.Misuse("transactions are begun and ended by `async with db.transaction()`", doing=doing, of=title)


class Connection:
    """An open database; made by `connect`.

    Any number of tasks may use it at once. What they ask for in the same moment travels together, and what changes
    something is committed together, each statement by itself as far as its caller can tell. A transaction belongs to
    the task that began it: statements of other tasks wait until it has ended.

    Belongs to the event loop on which it was opened.
    """

    def __init__(self, session: Session, lock_timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.session = session  # what carries requests out; for this package
        self._dialect: Dialect = session.dialect
        self.title = session.title
        self.lock_timeout = lock_timeout
        self.usage = Usage()  # requests under way
        self.traces = False  # a statement may have changed the session for those after it
        self.transaction_open: Transaction | None = None  # of a task; the others wait for its end
        self._turns = Usage()  # how many transactions are open: none or one
        self._closing: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closing is not None else "broken" if self.session.broken else "open"
        return f"<Connection {self.title} {state} busy={self.usage.busy}>"

    def __del__(self) -> None:
        if self._closing is None:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            with contextlib.suppress(Exception):  # of an interpreter that is going down
                self.session.abort()

    # Statements

    async def execute(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> Result:
        """Carry a statement out and return what it brought about, its rows included.

        `parameters`: a sequence for ``?``, a mapping for ``:name``. `timeout`: seconds after which it is stopped, with
        `QueryTimeout`; None: never. A cancel stops it too. Outside of a transaction it is committed when this returns.

        Raises `ProgrammingError` for a statement that is wrong, `IntegrityError` for what a constraint refuses,
        `Locked` when somebody else holds a lock for `lock_timeout`, `Misuse` for BEGIN, COMMIT and their like, which
        `transaction` is for.
        """
        call = self._call("execute", self._dialect.operations.execute, sql, parameters)
        found: Result = await self.ask("execute", *call, timeout)
        return found

    async def fetch_all(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> list[Row]:
        """Return all rows of a statement; see `execute`, and `iterate` for results that are large."""
        call = self._call("fetch_all", self._dialect.operations.fetch_all, sql, parameters)
        found: list[Row] = await self.ask("fetch_all", *call, timeout)
        return found

    async def fetch_one(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> Row | None:
        """Return the first row of a statement, None when it has none; see `execute`."""
        call = self._call("fetch_one", self._dialect.operations.fetch_one, sql, parameters)
        found: Row | None = await self.ask("fetch_one", *call, timeout)
        return found

    # Any: a value is whatever the database has.
    async def fetch_value(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> Any:
        """Return the first value of the first row, None when there is no row; see `execute`."""
        call = self._call("fetch_value", self._dialect.operations.fetch_value, sql, parameters)
        return await self.ask("fetch_value", *call, timeout)

    async def executemany(self, sql: str, sets: Iterable[Parameters], *, timeout: float | None = None) -> Result:
        """Carry a statement out once for each set of parameters, all of them or none; see `execute`."""
        check_statement(sql, "executemany", self.title)
        self.traces = self.traces or self._dialect.leaves_traces(sql)
        text, all_sets = self._dialect.prepare_many(sql, sets)
        apply = partial(self._dialect.operations.execute_many, sql=text, sets=all_sets)
        found: Result = await self.ask("executemany", Sort.ALONE, apply, timeout, size=64 * len(all_sets))
        return found

    async def executescript(self, text: str, *, timeout: float | None = None) -> None:
        """Carry out several statements separated by semicolons, each by itself; the first that fails ends it."""
        if not isinstance(text, str):
            raise TypeError(f"a script is a str, not {type(text).__name__}")
        self.traces = True
        apply = partial(self._dialect.operations.execute_script, text=text)
        await self.ask("executescript", Sort.ALONE, apply, timeout)

    def iterate(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> Rows:
        """Return the rows of a statement as an async iterator that reads them in batches; see `Rows`.

        `timeout`: seconds for each batch.
        """
        from asyncstore.dbi._iteration import Rows

        check_statement(sql, "iterate", self.title)
        self.traces = self.traces or self._dialect.leaves_traces(sql)
        return Rows(self, *self._dialect.prepare(sql, parameters), timeout)

    async def lend(self, stack: AsyncExitStack, sql: str) -> Connection:  # noqa: ARG002 - a pool asks what it is for
        """Give an iteration its connection; see `_iteration.Source`. For this package."""
        if self._dialect.stream_alone:
            outer = self.transaction_open
            if outer is None or outer.owner is not asyncio.current_task():
                from asyncstore.dbi._transaction import Transaction

                await stack.enter_async_context(Transaction(self, Options(), iteration=True))
        return self

    def transaction(
        self, *, isolation: Isolation | None = None, read_only: bool = False, mode: Mode | None = None
    ) -> Transaction:
        """Return a transaction: an ``async with`` that commits at its end, or undoes when an exception leaves it.

        It belongs to the task that enters it: statements of that task on this connection are in it, those of others
        wait. Inside another transaction of the same task it is a savepoint, and these options are the outer one's.

        `isolation`: "read uncommitted", "read committed", "repeatable read" or "serializable"; None: the database's
        default. `read_only`: what would change something is refused. `mode`: when SQLite takes its locks, "immediate"
        unless told otherwise, "deferred" or "exclusive". Raises `NotSupportedError` for what the database has not.
        """
        from asyncstore.dbi._transaction import Transaction

        options = Options(isolation, read_only, mode)
        options.check()
        self._dialect.check(options)
        return Transaction(self, options)

    def listen(self, *channels: str, max_pending: int = 10_000) -> Listener:
        """Return what somebody sends to `channels` as an async iterator, inside its ``async with``; see `Listener`.

        PostgreSQL's NOTIFY, on this connection, which can go on with statements meanwhile. `max_pending`: notifications
        that are kept until somebody takes them; with more, the iteration ends with `NotificationsLost`. Raises
        `NotSupportedError` for other databases.
        """
        from asyncstore.dbi._listen import Listener

        if not channels or not all(isinstance(channel, str) and channel for channel in channels):
            raise ValueError(f"channels are names, and one at least, not {channels!r}")
        if not isinstance(max_pending, int) or max_pending < 1:
            raise ValueError(f"max_pending is a positive int, not {max_pending!r}")
        self.traces = True
        return Listener(self, channels, max_pending)

    @property
    def sqlite(self) -> SQLiteExtras:
        """What only SQLite has; `NotSupportedError` for other databases."""
        if self._dialect.kind != "sqlite":
            raise errors.NotSupportedError("it is no SQLite", doing="use", of=self.title)
        from asyncstore.dbi.sqlite._extras import SQLiteExtras

        self.traces = True
        return SQLiteExtras(self)

    # Any: the outcome is the operation's.
    def _call(
        self, doing: str, operation: Callable[..., Any], sql: str, parameters: Parameters
    ) -> tuple[Sort, Callable[[Any], Any]]:
        check_statement(sql, doing, self.title)
        text, values = self._dialect.prepare(sql, parameters)
        self.traces = self.traces or self._dialect.leaves_traces(sql)
        return self._dialect.sort_of(sql), partial(operation, sql=text, parameters=values)

    # Asking

    # Any, from here on: what is asked for and what comes of it are the operation's.
    async def ask(
        self, doing: str, sort: Sort, apply: Callable[[Any], Any], timeout: float | None = None, *, size: int = 64
    ) -> Any:
        """Have `apply` called with the driver's connection on a worker, in its turn. For this package."""
        self.check_open(doing)
        if timeout is not None and not timeout > 0:
            raise ValueError(f"a timeout is a positive number of seconds, not {timeout!r}")
        request = Request(self.usage, self.title, doing, sort, apply, size)
        if timeout is None:
            return await self._in_turn(request)
        request.stop_at = time.monotonic() + timeout
        try:
            # Its worker stops it by itself and knows what came of it; this is for one that still waits for its turn.
            async with asyncio.timeout(timeout + GRACE):
                return await self._in_turn(request)
        except errors.Error:
            raise  # one of them is a TimeoutError too
        except TimeoutError as exc:
            error = errors.QueryTimeout("its time was up", doing=doing, of=self.title)
            error.maybe_applied = request.handed_over and sort is not Sort.READ
            raise error from exc

    async def _in_turn(self, request: Request) -> Any:
        transaction = self.transaction_open
        if transaction is not None:
            if transaction.owner is asyncio.current_task():
                transaction.check_sound(request.doing)
            else:
                await self._until_free(request.doing)
        return await self.submit(request)

    async def submit(self, request: Request) -> Any:
        """Have `request` carried out now. For this package."""
        try:
            return await self.session.submit(request)
        except asyncio.CancelledError as exc:
            request.abandoned = True
            self.session.stop(request)
            if request.handed_over and request.sort is not Sort.READ:
                exc.maybe_applied = True  # type: ignore[attr-defined]  # the builtin class has no such field
            raise

    async def give_up(self, apply: Callable[[Any], Any]) -> None:
        """Have `apply` carried out, which gives something up, whoever's transaction is open. For this package."""
        await self.submit(Request(self.usage, self.title, "release", Sort.ALONE, apply))

    async def _until_free(self, doing: str) -> None:
        """Wait for the end of another task's transaction."""
        try:
            async with asyncio.timeout(self.lock_timeout):
                while self.transaction_open is not None:
                    await self._turns.idle()
        except TimeoutError as exc:
            detail = "another task's transaction holds the connection"
            raise errors.Locked(detail, doing=doing, of=self.title) from exc
        self.check_open(doing)

    async def take_turn(self, transaction: Transaction) -> None:
        """Wait until no other transaction is open and nothing is under way; then `transaction` is the open one."""
        self.check_open("begin")
        if self.transaction_open is not None:
            await self._until_free("begin")
        self.transaction_open = transaction
        self._turns.enter()
        try:
            await self.usage.idle()
        except BaseException:
            self.give_turn()
            raise

    async def quiet(self) -> None:
        """Return when nothing is under way and no transaction is open. For this package."""
        while self.usage.busy or self._turns.busy:
            await self.usage.idle()
            await self._turns.idle()

    def give_turn(self) -> None:
        """Let others go on: the open transaction has ended."""
        self.transaction_open = None
        self._turns.leave()

    @property
    def usable(self) -> bool:
        """Whether it has neither been closed nor lost."""
        return self._closing is None and not self.session.broken

    def check_open(self, doing: str) -> None:
        """Raise unless the connection can be used now, on this loop."""
        if self._closing is not None:
            raise errors.Closed(doing=doing, of=self.title)
        if asyncio.get_running_loop() is not self._loop:
            raise errors.Misuse("it was opened on another event loop", doing=doing, of=self.title)

    async def aclose(self) -> None:
        """Finish what was asked for before, undo an open transaction, and close. Idempotent.

        A cancel leaves the closing to go on in the background.
        """
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self.usage.idle()
        await self.session.aclose()

    def abort(self) -> None:
        """Close at once: what is under way fails, and the database undoes what was not committed. Idempotent."""
        if self._closing is None:
            self._closing = self._loop.create_future()
            self._closing.set_result(None)
            self.session.abort()
