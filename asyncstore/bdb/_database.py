"""One key-value database of an environment: what all access methods have in common."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from asyncstore.bdb import _operations as ops, errors
from asyncstore.bdb._compact import CompactProgress, compact
from asyncstore.bdb._cursor import Cursor
from asyncstore.bdb._index import IndexTerms
from asyncstore.bdb._join import join
from asyncstore.bdb._layout import Layout, place_of
from asyncstore.bdb._many import put_many
from asyncstore.bdb._range import Range, plan_range, whole
from asyncstore.bdb._records import check_bytes, check_count, check_number
from asyncstore.bdb._request import Request
from asyncstore.bdb._scan import Scan, scan
from asyncstore.bdb._sequence import CACHE, Sequence, Terms
from asyncstore.bdb._store import Store
from asyncstore.bdb.maintenance._dump import dump

if TYPE_CHECKING:
    from asyncstore._opening import Opening
    from asyncstore.bdb._callbacks import Comparison, Extractor
    from asyncstore.bdb._core import Core
    from asyncstore.bdb._index import Index
    from asyncstore.bdb._layout import Description
    from asyncstore.bdb._transaction import Transaction
    from asyncstore.bdb.maintenance._progress import ProgressCallback

__all__ = ("Database",)

K = TypeVar("K", bytes, int)


class Database(Store[K]):
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

    # Any: the handle is the binding's.
    def __init__(self, environment: Core, description: Description, handle: Any) -> None:
        super().__init__(environment, description, handle)
        self.indices: set[Index[K]] = set()
        sorted_pairs = self.layout.duplicates == "sorted"
        self.put_operation = ops.PUT_PAIR if sorted_pairs else ops.PUT
        self.put_many_operation = ops.PUT_PAIRS if sorted_pairs else ops.PUT_MANY

    async def has(self, key: K, value: bytes, *, txn: Transaction | None = None) -> bool:
        """Return whether there is a record of exactly this key and value."""
        self.check_pair(key, value)
        return bool(await self._read(Request(self, ops.HAS_PAIR, key, value), txn))

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
        operation = self.put_operation
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
        check_count("offset", offset)
        length = len(value) if length is None else length
        check_count("length", length)
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

    async def dump(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        *,
        printable: bool = False,
        progress: ProgressCallback | None = None,
        txn: Transaction | None = None,
    ) -> int:
        """Write all records as text that db_load and `Environment.load` read; return how many there were.

        `target` is a path, which gets its file when all is written and only then, or an open binary file. `printable`
        leaves ASCII readable. Every record is one that was committed; for the state at one moment dump in a transaction
        of isolation "snapshot". `progress` is called on the loop. Raises `DiskFull` and the other errors of reading
        and writing. A cancel leaves no file behind.
        """
        return await dump(self, target, printable=printable, progress=progress, txn=txn)

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
    ) -> Range[tuple[K, bytes]]:
        """Return an async iterator (and context manager) over the (key, value) of a range, in the order of the keys.

        The range has the keys from `start` up to but not including `stop`, those only that begin with `prefix`;
        `reverse` gives the same records from the last to the first; `limit` stops after so many. Hash and heap
        databases have no order of keys: they are read as a whole, forward. See `Range` about concurrent writers.
        """
        self.check_range(start, stop, limit)
        if self.type in ("hash", "heap"):
            if start is not None or stop is not None or prefix is not None or reverse:
                raise ValueError(f"a {self.type} database has no order of keys: it is read as a whole, forward")
            return self._held_range(limit, txn)
        plan, empty = plan_range(
            start, stop, prefix, reverse=reverse, duplicates=self.layout.kept_duplicates, order=self.order,
            numbered=isinstance(self.any_key, int),
        )  # fmt: skip
        return Range(self.fetcher(scan, txn), self.title, plan, empty=empty, limit=limit)

    def _held_range(self, limit: int | None, txn: Transaction | None) -> Range[tuple[K, bytes]]:
        cursor = self.cursor(txn=txn)

        def fetch(plan: Scan) -> Awaitable[tuple[list[tuple[K, bytes]], bool]]:
            return cursor.fetch_batch(plan.records, plan.size)

        return Range(fetch, self.title, whole(), empty=False, limit=limit, close=cursor.aclose)

    def join(
        self, *criteria: tuple[Index[K], bytes], limit: int | None = None, txn: Transaction | None = None
    ) -> Range[tuple[K, bytes]]:
        """Return an iterator over the records that are found under each of `criteria`, pairs of an index and its key.

        ``async for key, value in people.join((by_city, b"Rome"), (by_trade, b"cook"))``. The indices are those of this
        database. It works with cursors that are held until the end: leave it by ``async with`` or `aclose`.
        """
        self.check_open("join")
        if limit is not None:
            check_count("limit", limit)
        return join(self, criteria, limit, txn)

    def cursor(self, *, rmw: bool = False, txn: Transaction | None = None) -> Cursor[K, tuple[K, bytes]]:
        """Return a cursor, to be used as ``async with db.cursor() as cursor`` or closed by its `aclose`.

        Without `txn` it reads what is committed and holds a lock on the page it stands on, so do not dawdle. With it,
        it reads and writes as part of that transaction; `rmw` then locks what it reads for writing (DB_RMW), which
        spares a deadlock between two that read and then write.
        """
        session, own = self.session_of_cursor(rmw=rmw, txn=txn)
        return Cursor(self, session, own=own, rmw=rmw)

    # What is kept in step with it

    def associate(
        self,
        name: str,
        extract: Extractor,
        *,
        unique: bool = False,
        create: bool = True,
        immutable: bool = False,
        file: str | None = None,
        compare: Comparison | None = None,
        page_size: int | None = None,
    ) -> Opening[Index[K]]:
        """Open the index `name` of this database: ``async with users.associate("by_mail", mail) as by_mail``.

        ``extract(key, value)`` returns the index key of a record as bytes, several of them, or None for no entry. It
        runs on workers, inside the writes: it must be quick, depend on its arguments only (on the value alone, not on
        what others store) and call nothing of this package. When it raises, the write is undone and raises
        `CallbackFailed`. From now on every write here keeps the index in step, in its own transaction; an index that is
        empty is filled first, while other writes wait. Whoever writes to this database, in any process, must open its
        indices before, with the same `extract`.

        `unique`: a write that would give two records one index key raises `KeyExists`. `immutable` promises that the
        index keys of a record never change, which makes writes quicker. `create`, `file`, `compare` and `page_size` are
        as in `Environment.database`. Raises what opening raises, `CallbackFailed`, `KeyExists`, and `Misuse` when the
        database has duplicates, renumbers, or is open here a second time.
        """
        layout = Layout(
            type="btree", duplicates=None if unique else "sorted", compare=compare, page_size=page_size,
            read_uncommitted=self.layout.read_uncommitted,
        )  # fmt: skip
        if not callable(extract):
            raise TypeError("extract is a function of a key and a value")
        if self.layout.duplicates or self.layout.renumber:
            detail = "records with duplicates or changing numbers cannot be found again through an index"
            raise errors.Misuse(doing="associate", of=self.title, detail=detail)
        place = place_of(name, file, in_memory=self.place.file is None)
        return self._environment.open_index(self, name, place, layout, IndexTerms(extract, immutable), create=create)

    def sequence(
        self,
        key: K,
        *,
        start: int | None = None,
        minimum: int | None = None,
        maximum: int | None = None,
        decreasing: bool = False,
        wrap: bool = False,
        cache: int = CACHE,
    ) -> Sequence:
        """Return the sequence kept in the record of `key`: numbers that are given out once each, to all processes.

        It begins at `start` (default: `minimum`, or `maximum` when `decreasing`) and stays within `minimum` (default 1,
        or the least there is when decreasing) and `maximum`; then it raises `SequenceExhausted`, or with `wrap` begins
        again. `cache` numbers are taken from the database at a time; those not given out when the program ends are
        skipped. Nothing is stored before the first number is taken; then the stored settings count, and others are
        refused (`InvalidArgument`). The record is libdb's own kind. Not for databases with duplicates.
        """
        self.check_key(key)
        if self.layout.duplicates:
            raise errors.Misuse(doing="sequence", of=self.title, detail="a key with several values holds no sequence")
        terms = Terms.of(start, minimum, maximum, decreasing=decreasing, wrap=wrap)
        return Sequence(self, key, terms, cache)

    async def close_others(self) -> None:
        """Close the indices: libdb wants them closed first."""
        for index in list(self.indices):
            await index.closed()


def _size(key: Any) -> int:
    return len(key) if key.__class__ is bytes else 8
