"""Secondary indices: a database that libdb keeps in step with another, under keys made from its records.

libdb writes an index in the transaction that writes the record, so both or neither are there. It is read by its keys
and gives the records of the database that it indexes.

Batches of a range are read through a second handle on the index's file, one that libdb does not know as an index: it
gives the bare pairs (index key, key), among which a place can be sought; libdb's own secondary cursor seeks none among
duplicates (through this binding). The records are read in the same transaction, which keeps its locks until the batch
is complete, so that each pair still has its record.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from asyncstore.bdb import _operations as ops, errors
from asyncstore.bdb._callbacks import Extractor, guard_extractor, index_keys
from asyncstore.bdb._cursor import Cursor
from asyncstore.bdb._library import db
from asyncstore.bdb._operations import UserError
from asyncstore.bdb._range import Range, plan_range
from asyncstore.bdb._records import check_count
from asyncstore.bdb._request import Operation, Request
from asyncstore.bdb._scan import Place, Scan, scan
from asyncstore.bdb._store import Store
from asyncstore.bdb._translate import translated

if TYPE_CHECKING:
    from asyncstore.bdb._core import Core
    from asyncstore.bdb._database import Database
    from asyncstore.bdb._home import Home
    from asyncstore.bdb._layout import Description
    from asyncstore.bdb._transaction import Transaction

__all__ = ("Index", "IndexCursor", "IndexHandles", "IndexTerms", "open_index")

K = TypeVar("K", bytes, int)

_NUMBER = struct.Struct("=I")  # how libdb stores a record's number in an index: db_recno_t


@dataclass(frozen=True, slots=True)
class IndexTerms:
    """How an index is made: its keys by `extract`, which never change when it is `immutable`."""

    extract: Extractor
    immutable: bool


class IndexHandles(NamedTuple):
    """The binding's two handles on an index: one that libdb keeps in step, one that places are sought with."""

    index: Any
    entries: Any


@dataclass(frozen=True, slots=True)
class _IndexScan(Scan):
    """One batch of a range over an index: its tuples are (index key, key, value)."""

    def behind(self, batch: Sequence[tuple[Any, ...]]) -> Place:
        """Return the place of the last tuple of `batch`."""
        key, primary_key, _ = batch[-1]
        return Place(key, primary_key if isinstance(primary_key, bytes) else _NUMBER.pack(primary_key), 0)


def _get_with_key(handle: Any, txn: Any, request: Request) -> tuple[Any, bytes] | None:
    found: tuple[Any, bytes] | None = handle.pget(request.key, None, txn)
    return found


def _get_all_with_keys(handle: Any, txn: Any, request: Request) -> list[tuple[Any, bytes]]:
    cursor = handle.cursor(txn)
    try:
        found: list[tuple[Any, bytes]] = []
        record = cursor.pget(request.key, flags=db.DB_SET)
        while record is not None and len(found) != request.argument:
            found.append((record[1], record[2]))
            record = cursor.pget(flags=db.DB_NEXT_DUP)
        return found
    finally:
        cursor.close()


def _read_entries(_handle: Any, txn: Any, request: Request) -> tuple[list[tuple[bytes, Any, bytes]], bool]:
    """Return a batch of (index key, key, value) and whether the range may go on behind it."""
    index: Any = request.owner
    session = request.session
    if session is not None and session.snapshot:
        return _entries(index, txn, request)
    # A transaction that reads what is committed lets go of a page as it leaves it: a child keeps all until its end.
    child = index.environment.handle.txn_begin(txn, db.DB_TXN_NOWAIT if session is None else 0)
    try:
        return _entries(index, child, request)
    finally:
        child.abort()  # it has changed nothing


def _entries(index: Index[Any], txn: Any, request: Request) -> tuple[list[tuple[bytes, Any, bytes]], bool]:
    pairs, more = scan.apply(index.entries, txn, request)
    get, numbered, room = index.primary.handle.get, index.numbered, request.argument.size
    found: list[tuple[bytes, Any, bytes]] = []
    for key, raw in pairs:
        primary_key = _NUMBER.unpack(raw)[0] if numbered else raw
        value = get(primary_key, None, txn)
        if value is None:
            detail = "it has an entry without a record; rebuild it"
            raise UserError(errors.Corrupt(doing="range", of=index.title, detail=detail))
        found.append((key, primary_key, value))
        room -= len(value)
        if room <= 0 and len(found) < len(pairs):
            return found, True
    return found, more


def _rebuild(_handle: Any, txn: Any, request: Request) -> int:
    index: Any = request.owner
    index.entries.truncate(txn)
    return _fill(index.primary.handle, index.entries, index.terms.extract, txn, unique=index.unique, title=index.title)


_GET_WITH_KEY = Operation("get_with_key", _get_with_key)
_GET_ALL_WITH_KEYS = Operation("get_all_with_keys", _get_all_with_keys)
_RANGE = Operation("range", _read_entries)
_REBUILD = Operation("rebuild", _rebuild, writes=True)


class Index(Store[bytes], Generic[K]):
    """A secondary index; made by `Database.associate`, closed with its database or before.

    Its keys are what the extractor made of the records; what is read by them are the records of the indexed database.
    It is written by writing there. `delete` deletes the records that it finds. Errors and cancellation are as in
    `Database`.
    """

    closing_rank = 0  # before the database that it indexes

    def __init__(
        self, environment: Core, description: Description, handles: IndexHandles, primary: Database[K],
        terms: IndexTerms,
    ) -> None:  # fmt: skip
        super().__init__(environment, description, handles.index)
        self.entries = handles.entries  # the binding's
        self.primary: Database[K] = primary
        self.terms = terms
        self.unique = self.layout.duplicates is None
        self.numbered = isinstance(primary.any_key, int)
        self.guarded = primary.guarded = True
        primary.indices.add(self)

    def check_writable(self, doing: str) -> None:
        """Raise `Misuse` unless this can be done through an index: records are written where they are."""
        if doing not in ("delete", "rebuild"):
            detail = "an index is written by way of the database that it indexes"
            raise errors.Misuse(doing=doing, of=self.title, detail=detail)

    async def get_with_key(self, key: bytes, *, txn: Transaction | None = None) -> tuple[K, bytes] | None:
        """Return the first record under the index key `key` as (its own key, value), None when there is none."""
        self.check_key(key)
        found: tuple[K, bytes] | None = await self._read(Request(self, _GET_WITH_KEY, key), txn)
        return found

    async def get_all_with_keys(
        self, key: bytes, *, limit: int | None = None, txn: Transaction | None = None
    ) -> list[tuple[K, bytes]]:
        """Return the records under the index key `key`, at most `limit`, as (own key, value) in the order of those."""
        self.check_key(key)
        if limit is not None:
            check_count("limit", limit)
        found: list[tuple[K, bytes]] = await self._read(Request(self, _GET_ALL_WITH_KEYS, key, limit), txn)
        return found

    async def delete(self, key: bytes, *, txn: Transaction | None = None) -> bool:
        """Delete all records under the index key `key`; return whether there was one."""
        self.check_key(key)
        return bool(await self._write(Request(self, ops.DELETE, key, None, len(key)), txn))

    def range(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        *,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
        txn: Transaction | None = None,
    ) -> Range[tuple[bytes, K, bytes]]:
        """Return an async iterator over (index key, key, value), in the order of the index keys.

        The arguments are those of `Database.range`, for index keys.
        """
        self.check_range(start, stop, limit)
        plan, empty = plan_range(
            start, stop, prefix, reverse=reverse, duplicates=self.layout.kept_duplicates, order=self.order
        )
        fields = {name: getattr(plan, name) for name in Scan.__dataclass_fields__}
        return Range(self.fetcher(_RANGE, txn), self.title, _IndexScan(**fields), empty=empty, limit=limit)

    def cursor(self, *, rmw: bool = False, txn: Transaction | None = None) -> IndexCursor[K]:
        """Return a cursor over (index key, key, value); see `Database.cursor`. Its `delete` deletes the record."""
        session, own = self.session_of_cursor(rmw=rmw, txn=txn)
        return IndexCursor(self, session, own=own, rmw=rmw)

    async def rebuild(self, *, txn: Transaction | None = None) -> int:
        """Make the index anew from all records, in one transaction, and return how many entries it has.

        For when the extractor gives other keys than it used to, or records were written without the index. Nothing else
        is written meanwhile. Raises `KeyExists` when two records have one key in a `unique` index.
        """
        count: int = await self.write(_REBUILD, None, 0, txn)
        return count

    async def open_again(self) -> IndexHandles:
        """Open fresh handles, kept in step with the fresh one of the database; for `adopt`."""
        home, description = self._environment.home, self.description

        def discard(handles: IndexHandles) -> None:
            for handle in handles:
                home.close_database(handle, description.title)

        work = partial(open_index, home, self.primary.handle, self.terms, description, create=False)
        return await self._environment.opened(work, discard, description.title)

    def adopt(self, handle: IndexHandles) -> None:
        """Use these handles from now on."""
        self._stale += self.entries, self.handle
        self.handle, self.entries = handle

    async def close_others(self) -> None:
        """Take leave of the indexed database."""
        self.primary.indices.discard(self)
        await self._environment.close_handle(self.entries, self.title)


class IndexCursor(Cursor[bytes, "tuple[bytes, K, bytes]"], Generic[K]):
    """A cursor over an index; made by `Index.cursor`. It moves like a `Cursor` and returns (index key, key, value)."""

    async def _move(self, name: str, *arguments: Any) -> tuple[bytes, K, bytes] | None:
        flags = _FLAGS.get(name)
        if flags is None:
            detail = "a cursor over an index is placed by index keys alone"
            raise errors.Misuse(doing=name, of=self.title, detail=detail)
        flags |= self._rmw
        found: tuple[bytes, K, bytes] | None = await self._run(name, lambda c: c.pget(*arguments, flags=flags))
        return found

    async def seek_pair_from(self, key: bytes, value: bytes) -> tuple[bytes, K, bytes] | None:
        """Raise `Misuse`: libdb places no cursor over an index so."""
        return await self._move("seek_pair_from", key, value)

    async def fetch(self, count: int) -> list[tuple[bytes, K, bytes]]:
        """Return the next `count` tuples at most, in one hop. As `Cursor.fetch`."""
        check_count("count", count)

        def fetch(cursor: Any) -> list[tuple[bytes, K, bytes]]:
            return list(islice(iter(partial(cursor.pget, flags=db.DB_NEXT), None), count))

        found: list[tuple[bytes, K, bytes]] = await self._run("fetch", fetch)
        return found


_FLAGS = {
    "first": db.DB_FIRST, "last": db.DB_LAST, "next": db.DB_NEXT, "prev": db.DB_PREV, "next_dup": db.DB_NEXT_DUP,
    "prev_dup": db.DB_PREV_DUP, "next_nodup": db.DB_NEXT_NODUP, "prev_nodup": db.DB_PREV_NODUP,
    "current": db.DB_CURRENT, "set": db.DB_SET, "set_range": db.DB_SET_RANGE,
}  # fmt: skip


# On a worker. Any, from here on: handles and transactions are the binding's.


def open_index(home: Home, primary: Any, terms: IndexTerms, description: Description, *, create: bool) -> IndexHandles:
    """Open an index, fill it when it is empty, and have libdb keep it in step with `primary`."""
    layout, place, title = description.layout, description.place, description.title
    index = home.open_database(place, layout, create, title)
    handles = [index]
    try:
        # What has custom order must be opened with it; the entries are the very same file.
        entries = home.open_database(place, layout, False, title)  # noqa: FBT003 - a job's arguments have no names
        handles.insert(0, entries)
        with translated("associate", title):
            txn = home.handle.txn_begin(None, db.DB_TXN_NOWAIT)
            try:
                if not home.read_only() and _is_empty(entries, txn):
                    _fill(primary, entries, terms.extract, txn, unique=layout.duplicates is None, title=title)
                guarded = guard_extractor(terms.extract, db.DB_DONOTINDEX)
                primary.associate(index, guarded, db.DB_IMMUTABLE_KEY if terms.immutable else 0, txn=txn)
            except BaseException:
                txn.abort()
                raise
            txn.commit()
    except BaseException as exc:
        # libdb keeps an association whose transaction was undone: only closing the index ends it.
        for handle in handles:
            handle.close(db.DB_NOSYNC)
        if isinstance(exc, UserError):
            raise exc.error from exc.error.__cause__
        raise
    return IndexHandles(index, entries)


def _is_empty(handle: Any, txn: Any) -> bool:
    cursor = handle.cursor(txn)
    try:
        return cursor.first() is None
    finally:
        cursor.close()


def _fill(primary: Any, entries: Any, extract: Extractor, txn: Any, *, unique: bool, title: str) -> int:
    """Store an entry for each record. libdb would do this too, but takes two records of one key for one when unique."""
    flags = db.DB_NOOVERWRITE if unique else db.DB_NODUPDATA
    count = 0
    cursor = primary.cursor(txn)
    try:
        for key, value in iter(cursor.next, None):
            try:
                keys = index_keys(extract, key, value)
            except Exception as exc:
                detail = f"{type(exc).__name__}: {exc}"
                error = errors.CallbackFailed(doing="associate", of=title, detail=detail)
                error.__cause__ = exc
                raise UserError(error) from exc
            own = key if isinstance(key, bytes) else _NUMBER.pack(key)
            for one in keys:
                entries.put(one, own, txn, flags)
                count += 1
    finally:
        cursor.close()
    return count
