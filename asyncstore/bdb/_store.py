"""What a database and an index have in common: being open, being asked, being read and being closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from functools import cmp_to_key, partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from asyncstore.bdb import _operations as ops, errors
from asyncstore.bdb._records import check_bytes, check_count
from asyncstore.bdb._request import Operation, Request
from asyncstore.bdb._stat import STAT, DatabaseStat
from asyncstore.pool import Usage

if TYPE_CHECKING:
    from asyncstore.bdb._core import Core
    from asyncstore.bdb._layout import Description
    from asyncstore.bdb._scan import Scan
    from asyncstore.bdb._session import Session
    from asyncstore.bdb._transaction import Transaction

__all__ = ("State", "Store")

K = TypeVar("K", bytes, int)

MANY_KEYS = 256  # keys of a get_many that travel as one request


class State(Enum):
    """Where an environment or a database is: OPEN -> CLOSING (refuses work, ends what it has) -> CLOSED."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Store(Generic[K]):
    """An open handle of libdb's and what every one of them is asked: the base of `Database` and `Index`."""

    plain = True  # keys and values may be any bytes
    any_key: Any = b""  # a key that a cursor's call must be given and ignores
    closing_rank = 1  # those of lower rank are closed first

    # Any: the handle is the binding's.
    def __init__(self, environment: Core, description: Description, handle: Any) -> None:
        self._environment = environment
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Task[None] | None = None
        self.description = description
        self._stale: list[Any] = []  # the binding's handles that were replaced, and may have calls inside
        self.name = description.name
        self.title = description.title
        self.handle = handle
        self.layout = description.layout
        self.place = description.place
        compare = description.layout.compare
        self.order = None if compare is None else cmp_to_key(compare)
        self.guarded = description.layout.guarded
        self.state = State.OPEN
        self.usage = Usage()  # operations inside
        self.holders = Usage()  # open transactions that have used it

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.title} {self.state.value} busy={self.usage.busy}>"

    @property
    def type(self) -> str:
        """The access method: "btree", "hash", "recno", "queue" or "heap"."""
        return str(self.layout.type)

    @property
    def environment(self) -> Core:
        """The environment that the database belongs to."""
        return self._environment

    # Any: what callers pass is not always what it should be, which is why it is checked.
    def check_key(self, key: Any) -> None:
        """Raise TypeError or ValueError unless `key` can be a key here."""
        check_bytes("key", key)

    def check_value(self, value: bytes) -> None:
        """Raise TypeError or ValueError unless `value` can be a value here."""
        check_bytes("value", value)

    def check_record(self, key: Any, value: bytes) -> None:
        """Raise TypeError or ValueError unless this can be stored."""
        self.check_key(key)
        self.check_value(value)

    def check_pair(self, key: Any, value: bytes) -> None:
        """Raise TypeError or ValueError unless this can be looked for."""
        self.check_key(key)
        check_bytes("value", value)

    def check_writable(self, doing: str) -> None:
        """Raise `Misuse` when this cannot be written so."""

    # Reading

    async def get(self, key: K, *, txn: Transaction | None = None) -> bytes | None:
        """Return the value of `key`, None when there is none; of several values the first."""
        if not self.plain or key.__class__ is not bytes:
            self.check_key(key)
        found: bytes | None = await self._read(Request(self, ops.GET, key), txn)
        return found

    async def get_part(self, key: K, offset: int, length: int, *, txn: Transaction | None = None) -> bytes | None:
        """Return up to `length` bytes from `offset` of the value of `key`, None when there is no record."""
        self.check_key(key)
        check_count("offset", offset)
        check_count("length", length)
        found: bytes | None = await self._read(Request(self, ops.GET_PART, key, (offset, length)), txn)
        return found

    async def get_all(self, key: K, *, limit: int | None = None, txn: Transaction | None = None) -> list[bytes]:
        """Return all values of `key`, at most `limit`, in their order."""
        self.check_key(key)
        if limit is not None:
            check_count("limit", limit)
        found: list[bytes] = await self._read(Request(self, ops.GET_ALL, key, limit), txn)
        return found

    async def get_many(self, keys: Iterable[K], *, txn: Transaction | None = None) -> list[bytes | None]:
        """Return the values of `keys` in their order, None for each that is not there. Reads in batches."""
        wanted = list(keys)
        if not self.plain or set(map(type, wanted)) != {bytes}:  # the loop of the quick look runs in C
            for key in wanted:
                self.check_key(key)
        parts = [wanted[start : start + MANY_KEYS] for start in range(0, len(wanted), MANY_KEYS)]
        return [
            value for values in await asyncio.gather(*(self._get_some(part, txn) for part in parts)) for value in values
        ]

    async def _get_some(self, keys: list[K], txn: Transaction | None) -> list[bytes | None]:
        found: list[bytes | None] = []
        while len(found) < len(keys):  # once, unless the values are large
            found += await self._read(Request(self, ops.GET_MANY, None, keys[len(found) :]), txn)
        return found

    async def size(self, key: K, *, txn: Transaction | None = None) -> int | None:
        """Return the length in bytes of the value of `key`, without reading it; None when there is none."""
        self.check_key(key)
        found: int | None = await self._read(Request(self, ops.GET_SIZE, key), txn)
        return found

    async def exists(self, key: K, *, txn: Transaction | None = None) -> bool:
        """Return whether there is a record of `key`."""
        self.check_key(key)
        return bool(await self._read(Request(self, ops.EXISTS, key), txn))

    async def count(self, key: K, *, txn: Transaction | None = None) -> int:
        """Return how many values `key` has."""
        self.check_key(key)
        found: int = await self._read(Request(self, ops.COUNT, key), txn)
        return found

    def check_range(self, start: Any, stop: Any, limit: int | None) -> None:
        """Raise unless a range of these bounds can be read now."""
        self.check_open("range")
        if limit is not None:
            check_count("limit", limit)
        for key in (start, stop):
            if key is not None:
                self.check_key(key)

    # The whole of it

    async def stat(self, *, fast: bool = False) -> DatabaseStat:
        """Return libdb's counts of records, pages and bytes; `fast` leaves out what needs all pages to be read."""
        self.check_open("stat")
        session = self._environment.reading_session(self.title)
        try:
            found: DatabaseStat = await session.ask(Request(self, STAT, None, fast), self)
        finally:
            session.abort()
        return found

    # How requests are made

    def check_open(self, doing: str) -> None:
        """Raise unless the database can be used now, on this loop."""
        # A future of this loop set by another loop's thread would be a race; the gatherers belong to one loop.
        if asyncio.get_running_loop() is self._loop and self.state is State.OPEN and self._environment.sound:
            return
        if self.state is not State.OPEN:
            raise errors.Closed(doing=doing, of=self.title)
        if asyncio.get_running_loop() is not self._loop:
            raise errors.Misuse(doing=doing, of=self.title, detail="it was opened on another event loop")
        self._environment.check_working(doing, self.title)

    # Any: the outcome's type follows from the operation, which the public methods know.
    def _read(self, request: Request, txn: Transaction | None, *, scanning: bool = False) -> asyncio.Future[Any]:
        self.check_open(request.operation.name)
        if txn is not None:
            return txn.session_for(self._environment).ask(request, self)
        # A batch of a range takes a millisecond: it gets a job of its own, and holds up no get.
        return (self._environment.scans if scanning else self._environment.reads).add(request)

    async def _write(self, request: Request, txn: Transaction | None) -> Any:
        self.check_open(request.operation.name)
        self.check_writable(request.operation.name)
        gathered = self._environment.writes.add if txn is None else None
        future = gathered(request) if gathered else txn.session_for(self._environment).ask(request, self)  # type: ignore[union-attr]  # one of the two is there
        try:
            return await future
        except asyncio.CancelledError as exc:
            if request.handed_over:
                exc.maybe_applied = True  # type: ignore[attr-defined]  # the builtin class has no such field; DESIGN 11 asks for it
            raise

    async def request(self, operation: Operation, key: Any, argument: Any, txn: Transaction | None) -> Any:
        """Carry out an operation on a key. For this package."""
        request = Request(self, operation, key, argument, 64)
        return await (self._write if operation.writes else self._read)(request, txn)

    async def write(self, operation: Operation, argument: Any, size: int, txn: Transaction | None) -> Any:
        """Carry out an operation that writes without a key of its own. For this package."""
        return await self._write(Request(self, operation, None, argument, size), txn)

    async def read(self, operation: Operation, argument: Any, txn: Transaction | None) -> Any:
        """Carry out an operation that reads and may take long. For this package."""
        return await self._read(Request(self, operation, None, argument), txn, scanning=True)

    def session_of_cursor(self, *, rmw: bool, txn: Transaction | None) -> tuple[Session, bool]:
        """Return the session for a cursor, and whether that is the cursor's own. For this package."""
        self.check_open("open a cursor")
        if txn is not None:
            return txn.session_for(self._environment), False
        if rmw:
            raise ValueError("rmw locks for a later write, which needs a transaction: pass one as txn")
        return self._environment.reading_session(self.title), True

    # Any: batches of a range have the tuples that its operation makes.
    def fetcher(self, operation: Operation, txn: Transaction | None) -> Callable[[Scan], Awaitable[Any]]:
        """Return what gives a range its batches, each carried out by `operation`. For this package."""
        return lambda plan: self._read(Request(self, operation, None, plan), txn, scanning=True)

    async def open_again(self) -> Any:
        """Open a fresh handle, for `adopt`. For the environment, after a change of masters."""
        home, description = self._environment.home, self.description
        return await self._environment.opened(
            partial(home.open_database, description.place, description.layout, False, description.title),  # noqa: FBT003 - a job's arguments have no names
            partial(home.close_database, title=description.title),
            description.title,
        )

    def adopt(self, handle: Any) -> None:
        """Use `handle` from now on; the one before is closed with this object."""
        self._stale.append(self.handle)
        self.handle = handle

    async def aclose(self) -> None:
        """Finish what was asked for before, refuse what comes after, and close. Idempotent.

        While a transaction that has used the database is open, libdb must keep it: the closing then ends with that
        transaction, in the background. A cancel leaves the closing to go on there too.
        """
        if self._closing is None:
            self.state = State.CLOSING
            self._closing = self._loop.create_task(self._close())
        if not self.holders.busy:
            await asyncio.shield(self._closing)

    async def closed(self) -> None:
        """Return when the closing has ended, however long transactions hold it up."""
        await self.aclose()
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self.usage.idle()
        await self.holders.idle()
        try:
            await self.close_others()
            for handle in self._stale:
                await self._environment.close_handle(handle, self.title)
            await self._environment.close_database(self)
        finally:
            self.state = State.CLOSED

    async def close_others(self) -> None:
        """Close what has to be closed before this: nothing, in an ordinary database."""
