"""A connection: statements of many tasks, gathered into batches, and transactions that belong to one of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from asyncstore._opening import Opening
from asyncstore.dbi import errors
from asyncstore.dbi._request import Request, Sort
from asyncstore.dbi._rows import Result, Row
from asyncstore.dbi._sql import first_word, sort_of
from asyncstore.dbi._url import settings_of
from asyncstore.dbi._values import PLAIN, as_text
from asyncstore.dbi.sqlite import _operations as ops
from asyncstore.dbi.sqlite._engine import Engine
from asyncstore.pool import Gatherer, Lane, Pool, PoolClosed, Usage, default_pool

if TYPE_CHECKING:
    from asyncstore.dbi._iteration import Rows
    from asyncstore.dbi._transaction import Transaction

__all__ = ("Connection", "connect")

BATCH = 1024  # statements of one job; those that change something share a commit
BATCH_BYTES = 8 * 1024 * 1024
GRACE = 0.05  # seconds beyond a statement's time until it is given up without word from its worker; arbitrary
OPEN_PAUSE = 0.02  # seconds until a database that somebody has locked is opened again
CONTROL = frozenset({"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"})

Parameters = Sequence[Any] | Mapping[str, Any]  # Any: whatever a database takes
Mode = Literal["deferred", "immediate", "exclusive"]


def connect(
    url: str,
    *,
    lock_timeout: float = 5.0,
    pool: Pool | None = None,
    **options: Any,  # Any: each database has its own
) -> Opening[Connection]:
    """Open a database: ``db = await connect(url)``, or ``async with connect(url) as db``.

    `url`: ``sqlite:///notes.db`` (four slashes before an absolute path), ``sqlite://`` for one in memory.
    `lock_timeout`: seconds that a statement waits for what somebody else has locked, and a task for another's
    transaction. `pool` carries the blocking calls (default: the process-wide one).

    Options of SQLite, here or in the URL's query: `mode` "ro", "rw" or "rwc" (made when it is not there);
    `journal_mode` ("wal"); `synchronous` ("full": what was acknowledged survives a power cut); `foreign_keys`
    (enforced); `cached_statements`.

    Raises ValueError and TypeError for what cannot be, `OperationalError` when the file cannot be opened.
    """
    settings = settings_of(url, options)
    if not 0 < lock_timeout < 1e6:
        raise ValueError(f"lock_timeout is a positive number of seconds, not {lock_timeout!r}")

    async def make() -> Connection:
        workers = pool or default_pool()
        lane = workers.lane(name=f"dbi {settings.title}")
        deadline = time.monotonic() + lock_timeout
        try:
            while True:
                try:
                    engine = await lane.run(Engine, settings, on_discard=Engine.close)
                except errors.Locked:
                    if time.monotonic() >= deadline:
                        raise
                    await asyncio.sleep(OPEN_PAUSE)
                else:
                    return Connection(engine, lane, lock_timeout)
        except BaseException:
            await lane.aclose()
            raise

    return Opening(make)


class Connection:
    """An open database; made by `connect`.

    Any number of tasks may use it at once. What they ask for in the same moment travels together, and what changes
    something is committed together, each statement by itself as far as its caller can tell. A transaction belongs to
    the task that began it: statements of other tasks wait until it has ended.

    Belongs to the event loop on which it was opened.
    """

    def __init__(self, engine: Engine, lane: Lane, lock_timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._engine = engine
        self._lane = lane
        self.title = engine.title
        self.lock_timeout = lock_timeout
        self.usage = Usage()  # requests under way
        self._gatherer: Gatherer[Request] = Gatherer(
            lane, engine, width=1, max_requests=BATCH, max_bytes=BATCH_BYTES, patience=lock_timeout, ordered=True,
            eager=True,
        )  # fmt: skip
        self.transaction_open: Transaction | None = None  # of a task; the others wait for its end
        self._turns = Usage()  # how many transactions are open: none or one
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "open" if self._closing is None else "closed"
        return f"<Connection {self.title} {state} busy={self.usage.busy}>"

    def __del__(self) -> None:
        if self._closing is None:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            with contextlib.suppress(Exception):  # of an interpreter that is going down
                self._engine.close()

    # Statements

    async def execute(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> Result:
        """Carry a statement out and return what it brought about, its rows included.

        `parameters`: a sequence for ``?``, a mapping for ``:name``. `timeout`: seconds after which it is stopped, with
        `QueryTimeout`; None: never. A cancel stops it too. Outside of a transaction it is committed when this returns.

        Raises `ProgrammingError` for a statement that is wrong, `IntegrityError` for what a constraint refuses,
        `Locked` when somebody else holds a lock for `lock_timeout`, `Misuse` for BEGIN, COMMIT and their like, which
        `transaction` is for.
        """
        found: Result = await self.ask("execute", *self._call("execute", ops.execute, sql, parameters), timeout)
        return found

    async def fetch_all(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> list[Row]:
        """Return all rows of a statement; see `execute`, and `iterate` for results that are large."""
        found: list[Row] = await self.ask(
            "fetch_all", *self._call("fetch_all", ops.fetch_all, sql, parameters), timeout
        )
        return found

    async def fetch_one(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> Row | None:
        """Return the first row of a statement, None when it has none; see `execute`."""
        found: Row | None = await self.ask(
            "fetch_one", *self._call("fetch_one", ops.fetch_one, sql, parameters), timeout
        )
        return found

    # Any: a value is whatever the database has.
    async def fetch_value(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> Any:
        """Return the first value of the first row, None when there is no row; see `execute`."""
        return await self.ask("fetch_value", *self._call("fetch_value", ops.fetch_value, sql, parameters), timeout)

    async def executemany(self, sql: str, sets: Iterable[Parameters], *, timeout: float | None = None) -> Result:
        """Carry a statement out once for each set of parameters, all of them or none; see `execute`."""
        self._check_statement("executemany", sql)
        all_sets = self._all_parameters(sets)
        apply = partial(ops.execute_many, sql=sql, sets=all_sets)
        found: Result = await self.ask("executemany", Sort.ALONE, apply, timeout, size=64 * len(all_sets))
        return found

    async def executescript(self, text: str, *, timeout: float | None = None) -> None:
        """Carry out several statements separated by semicolons, each by itself; the first that fails ends it."""
        if not isinstance(text, str):
            raise TypeError(f"a script is a str, not {type(text).__name__}")
        await self.ask("executescript", Sort.ALONE, partial(ops.execute_script, text=text), timeout)

    def iterate(self, sql: str, parameters: Parameters = (), *, timeout: float | None = None) -> Rows:
        """Return the rows of a statement as an async iterator that reads them in batches; see `Rows`.

        `timeout`: seconds for each batch.
        """
        from asyncstore.dbi._iteration import Rows

        self._check_statement("iterate", sql)
        return Rows(self, ops.Stream(self._engine, sql, self._parameters(parameters)), timeout)

    def transaction(self, mode: Mode = "immediate") -> Transaction:
        """Return a transaction: an ``async with`` that commits at its end, or undoes when an exception leaves it.

        It belongs to the task that enters it: statements of that task on this connection are in it, those of others
        wait. Inside another transaction of the same task it is a savepoint. `mode`: when SQLite takes its locks.
        """
        from asyncstore.dbi._transaction import Transaction

        if mode not in ("deferred", "immediate", "exclusive"):
            raise ValueError(f"mode is 'deferred', 'immediate' or 'exclusive', not {mode!r}")
        return Transaction(self, mode)

    # Any: the outcome is the operation's.
    def _call(
        self, doing: str, operation: Callable[..., Any], sql: str, parameters: Parameters
    ) -> tuple[Sort, Callable[[Any], Any]]:
        self._check_statement(doing, sql)
        return sort_of(sql), partial(operation, sql=sql, parameters=self._parameters(parameters))

    def _check_statement(self, doing: str, sql: str) -> None:
        if sql.__class__ is not str:
            raise TypeError(f"a statement is a str, not {type(sql).__name__}")
        if first_word(sql) in CONTROL:
            raise errors.Misuse(
                "transactions are begun and ended by `async with db.transaction()`", doing=doing, of=self.title
            )

    def _parameters(self, parameters: Parameters) -> Parameters:
        """Return `parameters` as SQLite takes them; a copy, so that nobody changes them under a worker."""
        if parameters.__class__ is tuple and PLAIN.issuperset(map(type, parameters)):
            return parameters  # nearly always
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

    def _all_parameters(self, sets: Iterable[Parameters]) -> Sequence[Parameters]:
        """Return many sets of parameters as SQLite takes them. Of tuples that it takes as they are, C finds out."""
        given = list(sets)
        if set(map(type, given)) == {tuple} and PLAIN.issuperset(map(type, chain.from_iterable(given))):
            return given
        return [self._parameters(parameters) for parameters in given]

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
            return await self._gatherer.add(request)
        except asyncio.CancelledError as exc:
            request.abandoned = True
            if request.handed_over and request.sort is not Sort.READ:
                exc.maybe_applied = True  # type: ignore[attr-defined]  # the builtin class has no such field
            raise

    async def give_up(self, apply: Callable[[Any], Any]) -> None:
        """Have `apply` carried out, which gives something up, whoever's transaction is open. For this package."""
        await self.submit(Request(self.usage, self.title, "release", Sort.ALONE, apply))

    def release(self, apply: Callable[[Any], Any]) -> None:
        """Have `apply` carried out when there is time: it gives up what somebody dropped. Any thread may call it."""
        if not self._loop.is_closed():
            request = Request(self.usage, self.title, "release", Sort.ALONE, apply)
            with contextlib.suppress(RuntimeError):  # closed by another thread just now
                self._loop.call_soon_threadsafe(self._gatherer.add, request)

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

    def give_turn(self) -> None:
        """Let others go on: the open transaction has ended."""
        self.transaction_open = None
        self._turns.leave()

    @property
    def engine(self) -> Engine:
        """What carries requests out. For this package."""
        return self._engine

    @property
    def usable(self) -> bool:
        """Whether it has not been closed."""
        return self._closing is None

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
        try:
            await self._lane.run(self._engine.close)
        except PoolClosed:
            if self._gatherer.left_behind:
                raise  # a statement may be under way on a worker that the pool did not wait for
            async with Pool(max_workers=1) as rescue:
                await rescue.run(self._engine.close)
        finally:
            await self._lane.aclose()
