"""One key-value database of an environment: what all access methods have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable
from enum import Enum
from functools import cmp_to_key
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from asyncstore.bdb import _operations as ops, errors
from asyncstore.bdb._compact import CompactProgress, compact
from asyncstore.bdb._cursor import Cursor
from asyncstore.bdb._many import put_many
from asyncstore.bdb._range import BATCH_BYTES, FIRST_BATCH, Range
from asyncstore.bdb._records import bounds, check_bytes, check_number
from asyncstore.bdb._request import Operation, Request
from asyncstore.bdb._scan import Scan, scan
from asyncstore.bdb._stat import STAT, DatabaseStat
from asyncstore.bdb._usage import Usage

if TYPE_CHECKING:
    from asyncstore.bdb._core import Core
    from asyncstore.bdb._layout import Description
    from asyncstore.bdb._transaction import Transaction

__all__ = ("Database", "State")

K = TypeVar("K", bytes, int)

MANY_KEYS = 256  # keys of a get_many that travel as one request


class State(Enum):
    """Where an environment or a database is: OPEN -> CLOSING (refuses work, ends what it has) -> CLOSED."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Database(Generic[K]):
    """A database of records; made by `Environment.database`, closed by `aclose` or with its environment.

    Keys are bytes, in `RecordDatabase` and `Queue` numbers from 1; values are bytes. Calls may overlap freely. Without
    `txn` each call is a transaction of its own; writes that overlap share one commit (group commit), in the order in
    which they were called. With ``txn=`` a call is part of that transaction.

    What a call does to its caller's data when it is cancelled:

    - a read changes nothing;
    - a write cancelled before it was handed to a worker does not happen; afterwards it may happen, and the
      CancelledError carries ``maybe_applied = True``. In a transaction it is undone with that.

    All methods raise `Closed` after `aclose`, `TypeError` and `ValueError` for keys and values that cannot be,
    `Misuse` on another event loop than the environment's, `LockTimeout` when a lock is not had within the
    environment's `lock_timeout`, and the errors of `asyncstore.bdb.errors` that libdb reports.
    """

    any_key: Any = b""  # a key that a cursor's call must be given and ignores
    closing_rank = 1  # those of lower rank are closed first

    # Any: the handle is the binding's.
    def __init__(self, environment: Core, description: Description, handle: Any) -> None:
        layout = description.layout
        self._environment = environment
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Task[None] | None = None
        self.name = description.name
        self.title = description.title
        self.handle = handle
        self.layout = layout
        self.place = description.place
        self.guarded = layout.guarded
        self.state = State.OPEN
        self.usage = Usage()  # operations inside
        self.holders = Usage()  # open transactions that have used it
        self._order = None if layout.compare is None else cmp_to_key(layout.compare)
        sorted_pairs = layout.duplicates == "sorted"
        self._put = ops.PUT_PAIR if sorted_pairs else ops.PUT
        self.put_many_operation = ops.PUT_PAIRS if sorted_pairs else ops.PUT_MANY

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

    # What a record may be. Any: what callers pass is not always what it should be, which is why it is checked.

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
        """Raise `Misuse` when nothing can be written through this object."""

    # Reading

    async def get(self, key: K, *, txn: Transaction | None = None) -> bytes | None:
        """Return the value of `key`, None when there is none; of several values the first."""
        self.check_key(key)
        found: bytes | None = await self._read(Request(self, ops.GET, key), txn)
        return found

    async def get_part(self, key: K, offset: int, length: int, *, txn: Transaction | None = None) -> bytes | None:
        """Return up to `length` bytes from `offset` of the value of `key`, None when there is no record."""
        self.check_key(key)
        _check_count("offset", offset)
        _check_count("length", length)
        found: bytes | None = await self._read(Request(self, ops.GET_PART, key, (offset, length)), txn)
        return found

    async def get_all(self, key: K, *, limit: int | None = None, txn: Transaction | None = None) -> list[bytes]:
        """Return all values of `key`, at most `limit`, in their order."""
        self.check_key(key)
        if limit is not None:
            _check_count("limit", limit)
        found: list[bytes] = await self._read(Request(self, ops.GET_ALL, key, limit), txn)
        return found

    async def get_many(self, keys: Iterable[K], *, txn: Transaction | None = None) -> list[bytes | None]:
        """Return the values of `keys` in their order, None for each that is not there. Reads in batches."""
        wanted = list(keys)
        for key in wanted:
            self.check_key(key)
        parts = [wanted[start : start + MANY_KEYS] for start in range(0, len(wanted), MANY_KEYS)]
        calls = [self._read(Request(self, ops.GET_MANY, None, part), txn) for part in parts]
        return [value for values in await asyncio.gather(*calls) for value in values]

    async def size(self, key: K, *, txn: Transaction | None = None) -> int | None:
        """Return the length in bytes of the value of `key`, without reading it; None when there is none."""
        self.check_key(key)
        found: int | None = await self._read(Request(self, ops.GET_SIZE, key), txn)
        return found

    async def exists(self, key: K, *, txn: Transaction | None = None) -> bool:
        """Return whether there is a record of `key`."""
        self.check_key(key)
        return bool(await self._read(Request(self, ops.EXISTS, key), txn))

    async def has(self, key: K, value: bytes, *, txn: Transaction | None = None) -> bool:
        """Return whether there is a record of exactly this key and value."""
        self.check_pair(key, value)
        return bool(await self._read(Request(self, ops.HAS_PAIR, key, value), txn))

    async def count(self, key: K, *, txn: Transaction | None = None) -> int:
        """Return how many values `key` has."""
        self.check_key(key)
        found: int = await self._read(Request(self, ops.COUNT, key), txn)
        return found

    # Writing

    async def put(
        self, key: K, value: bytes, *, overwrite: bool = True, new_pair: bool = False, txn: Transaction | None = None
    ) -> None:
        """Store `value` under `key`. Returns when it is as durable as the environment promises.

        It replaces the value that was there, or among duplicates is added to them. With `overwrite` false an existing
        key raises `KeyExists`; with `new_pair` (sorted duplicates) an existing pair of this key and value does, which
        otherwise stays as it is.
        """
        self.check_record(key, value)
        operation = self._put
        if not overwrite or new_pair:
            if new_pair and self.layout.duplicates != "sorted":
                raise ValueError("new_pair is for sorted duplicates")
            operation = ops.PUT_NEW_PAIR if overwrite else ops.PUT_NEW_KEY
        await self._write(Request(self, operation, key, value, len(value) + _size(key)), txn)

    async def put_part(
        self, key: K, value: bytes, offset: int, length: int | None = None, *, txn: Transaction | None = None
    ) -> None:
        """Replace `length` bytes (default: as many as `value` has) from `offset` of the value of `key` by `value`.

        A record that is not there, or is shorter than `offset`, is filled up with zero bytes.
        """
        self.check_key(key)
        check_bytes("value", value)
        _check_count("offset", offset)
        length = len(value) if length is None else length
        _check_count("length", length)
        argument = (value, offset, length)
        await self._write(Request(self, ops.PUT_PART, key, argument, len(value) + _size(key)), txn)

    async def put_many(
        self, records: Iterable[tuple[K, bytes]] | AsyncIterable[tuple[K, bytes]], *, txn: Transaction | None = None
    ) -> int:
        """Store many records in their order and return their count.

        They travel in batches of about 256 KiB. Each batch is one transaction unless `txn` makes them all one; when one
        fails, those before it are stored.
        """
        return await put_many(self, records, txn)

    async def update(
        self, key: K, function: Callable[[bytes | None], bytes | None], *, txn: Transaction | None = None
    ) -> bytes | None:
        """Replace the value of `key` by ``function(value)`` in one step; return the new value.

        `function` gets None when there is no record, and returns None to have none. It runs on a worker and may run
        more than once, so it must be quick, depend on its argument only, and call nothing of this package. What it
        raises reaches the caller, and nothing is changed. Raises `Misuse` for databases with duplicates.
        """
        self.check_key(key)
        if self.layout.duplicates:
            raise errors.Misuse(doing="update", of=self.title, detail="a key with several values has not one to update")
        found: bytes | None = await self._write(Request(self, ops.UPDATE, key, function, 256), txn)
        return found

    async def delete(self, key: K, value: bytes | None = None, *, txn: Transaction | None = None) -> bool:
        """Remove the record of `key`, with all its values or the one given; return whether there was one."""
        self.check_key(key)
        if value is None:
            return bool(await self._write(Request(self, ops.DELETE, key, None, _size(key)), txn))
        check_bytes("value", value)
        return bool(await self._write(Request(self, ops.DELETE_PAIR, key, value, _size(key)), txn))

    # Order and numbers, of btrees

    async def key_range(self, key: K, *, txn: Transaction | None = None) -> tuple[float, float, float]:
        """Return about which parts of all keys (0 to 1) are less than, equal to and greater than `key`. For btrees."""
        self._only("btree", "key_range")
        self.check_key(key)
        found: tuple[float, float, float] = await self._read(Request(self, ops.KEY_RANGE, key), txn)
        return found

    async def get_by_number(self, number: int, *, txn: Transaction | None = None) -> tuple[K, bytes] | None:
        """Return the record of this number, counted from 1 in the order of the keys. Needs `record_numbers`."""
        check_number(number)
        found: tuple[K, bytes] | None = await self._read(Request(self, ops.GET_BY_NUMBER, number), txn)
        return found

    async def number_of(self, key: K, *, txn: Transaction | None = None) -> int | None:
        """Return the number of the record of `key`, None when there is none. Needs `record_numbers`."""
        self.check_key(key)
        found: int | None = await self._read(Request(self, ops.NUMBER_OF, key), txn)
        return found

    def _only(self, kind: str, doing: str) -> None:
        if self.type != kind:
            raise errors.Misuse(doing=doing, of=self.title, detail=f"it is a {self.type}, not a {kind}")

    # The database as a whole

    async def stat(self, *, fast: bool = False) -> DatabaseStat:
        """Return libdb's counts of records, pages and bytes; `fast` leaves out what needs all pages to be read."""
        self.check_open("stat")
        session = self._environment.reading_session(self.title)
        try:
            found: DatabaseStat = await session.ask(Request(self, STAT, None, fast), self)
        finally:
            session.abort()
        return found

    async def truncate(self, *, txn: Transaction | None = None) -> int:
        """Delete all records and return how many there were."""
        count: int = await self.write(ops.TRUNCATE, None, 0, txn)
        return count

    async def compact(
        self,
        start: K | None = None,
        stop: K | None = None,
        *,
        fill_percent: int = 0,
        free: bool = True,
        progress: Callable[[CompactProgress], object] | None = None,
    ) -> CompactProgress:
        """Gather the records into fewer pages, and with `free` return the emptied ones to the file system.

        Works in many short transactions, between which others get on, and may be cancelled between them. `fill_percent`
        (1 to 100): how full pages shall be, 0 for as full as can be. `progress` is called on the loop after each step.
        """
        self.check_open("compact")
        return await compact(self, start, stop, fill_percent, free=free, progress=progress)

    # Ranges and cursors

    def range(
        self,
        start: K | None = None,
        stop: K | None = None,
        *,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
        txn: Transaction | None = None,
    ) -> Range[K]:
        """Return an async iterator (and context manager) over the (key, value) of a range, in the order of the keys.

        The range has the keys from `start` up to but not including `stop`, those only that begin with `prefix`;
        `reverse` gives the same records from the last to the first; `limit` stops after so many. Hash and heap
        databases have no order of keys: they are read as a whole, forward. See `Range` about concurrent writers.
        """
        self.check_open("range")
        if limit is not None:
            _check_count("limit", limit)
        for key in (start, stop):
            if key is not None:
                self.check_key(key)
        if self.type in ("hash", "heap"):
            if start is not None or stop is not None or prefix is not None or reverse:
                raise ValueError(f"a {self.type} database has no order of keys: it is read as a whole, forward")
            return self._held_range(limit, txn)
        plan, empty = self._plan(start, stop, prefix, reverse=reverse)
        return Range(self._fetch_in(txn), self.title, plan, empty=empty, limit=limit)

    def _plan(self, start: K | None, stop: K | None, prefix: bytes | None, *, reverse: bool) -> tuple[Scan, bool]:
        low: Any = start
        high: Any = stop
        if prefix is not None:
            if self._order is not None or not isinstance(self.any_key, bytes):
                raise ValueError("a prefix is for keys that are bytes and sorted as such")
            low, high = bounds(low, high, prefix)
        order = self._order or (lambda key: key)
        empty = low is not None and high is not None and not order(low) < order(high)
        numbered = isinstance(self.any_key, int)
        kept = self.layout.kept_duplicates
        plan = Scan(
            low, high, reverse=reverse, records=FIRST_BATCH, size=BATCH_BYTES, duplicates=kept, order=self._order,
            numbered=numbered,
        )  # fmt: skip
        return plan, empty

    def _fetch_in(self, txn: Transaction | None) -> Callable[[Scan], Any]:
        def fetch(plan: Scan) -> Any:
            return self._read(Request(self, scan, None, plan), txn, scanning=True)

        return fetch

    def _held_range(self, limit: int | None, txn: Transaction | None) -> Range[K]:
        cursor = self.cursor(txn=txn)

        def fetch(plan: Scan) -> Any:
            return cursor.fetch_batch(plan.records, plan.size)

        plan = Scan(None, None, reverse=False, records=FIRST_BATCH, size=BATCH_BYTES)
        return Range(fetch, self.title, plan, empty=False, limit=limit, close=cursor.aclose)

    def cursor(self, *, rmw: bool = False, txn: Transaction | None = None) -> Cursor[K]:
        """Return a cursor, to be used as ``async with db.cursor() as cursor`` or closed by its `aclose`.

        Without `txn` it reads what is committed and holds a lock on the page it stands on, so do not dawdle. With it,
        it reads and writes as part of that transaction; `rmw` then locks what it reads for writing (DB_RMW), which
        spares a deadlock between two that read and then write.
        """
        self.check_open("open a cursor")
        if txn is None:
            if rmw:
                raise ValueError("rmw locks for a later write, which needs a transaction: pass one as txn")
            return Cursor(self, self._environment.reading_session(self.title), own=True, rmw=False)
        return Cursor(self, txn.session_for(self._environment), own=False, rmw=rmw)

    # How requests are made

    def check_open(self, doing: str) -> None:
        """Raise unless the database can be used now, on this loop."""
        if self.state is not State.OPEN:
            raise errors.Closed(doing=doing, of=self.title)
        # A future of this loop set by another loop's thread would be a race; the gatherers belong to one loop.
        if asyncio.get_running_loop() is not self._loop:
            raise errors.Misuse(doing=doing, of=self.title, detail="it was opened on another event loop")
        self._environment.check_working(doing, self.title)

    # Any: the outcome's type follows from the operation, which the public methods know.
    async def _read(self, request: Request, txn: Transaction | None, *, scanning: bool = False) -> Any:
        self.check_open(request.operation.name)
        if txn is not None:
            return await txn.session_for(self._environment).ask(request, self)
        # A batch of a range takes a millisecond: it gets a job of its own, and holds up no get.
        return await (self._environment.scans if scanning else self._environment.reads).add(request)

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

    async def write(self, operation: Operation, argument: Any, size: int, txn: Transaction | None) -> Any:
        """Carry out an operation that writes without a key of its own. For this package."""
        return await self._write(Request(self, operation, None, argument, size), txn)

    async def read(self, operation: Operation, argument: Any, txn: Transaction | None) -> Any:
        """Carry out an operation that reads and may take long. For this package."""
        return await self._read(Request(self, operation, None, argument), txn, scanning=True)

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
            await self._environment.close_database(self)
        finally:
            self.state = State.CLOSED

    async def close_others(self) -> None:
        """Close what has to be closed before this: nothing, in an ordinary database."""


def _size(key: Any) -> int:
    return len(key) if key.__class__ is bytes else 8


def _check_count(what: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise ValueError(f"{what} is an int of 0 to {(1 << 31) - 1}, not {value!r}")
