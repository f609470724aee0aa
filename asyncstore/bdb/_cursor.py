"""A cursor: a place in a database, moved and written through by its caller.

For sequential reading `Database.range` is the better tool: it fetches in batches and holds nothing in between. A cursor
holds a lock on the page it stands on, and each call is a hop to a worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar

from asyncstore.bdb import errors
from asyncstore.bdb._library import db
from asyncstore.bdb._request import Operation, Request
from asyncstore.bdb._scan import fill
from asyncstore.bdb._session import Lease, Session
from asyncstore.pool import Usage, heeded

if TYPE_CHECKING:
    from asyncstore.bdb._store import Store

__all__ = ("Cursor",)

K = TypeVar("K", bytes, int)
R = TypeVar("R", bound=tuple[Any, ...])

Position = Literal["first", "last", "new", "before", "after"]
_POSITIONS = {
    "first": db.DB_KEYFIRST,
    "last": db.DB_KEYLAST,
    "new": db.DB_NODUPDATA,
    "before": db.DB_BEFORE,
    "after": db.DB_AFTER,
}


def _call(place: _Place, txn: Any, request: Request) -> Any:
    """Call a function with the binding's cursor, which the first call opens. On a worker."""
    function: Callable[[Any], Any] = request.argument
    return function(place.opened(txn))


def _close(place: _Place, _txn: Any, _request: Request) -> None:
    place.close_here()


_CLOSE = Operation("close", _close)


class _Place:
    """The binding's cursor, which the session refers to; so the `Cursor` is collected when its user drops it."""

    __slots__ = ("_cursor", "_session", "closed", "handle", "title")

    # Any: handles and cursors are the binding's.
    def __init__(self, handle: Any, session: Session, title: str) -> None:
        self.handle = handle
        self.title = title
        self.closed = False
        self._session = session
        self._cursor: Any = None

    def opened(self, txn: Any) -> Any:
        """Return the binding's cursor, opened in `txn` by the first call."""
        if self._cursor is None:
            if self.closed:
                raise errors.Closed(doing="use", of=self.title)
            self.adopt(self.handle.cursor(txn))
        return self._cursor

    def adopt(self, cursor: Any) -> None:
        """Take over a cursor of the binding's; for the worker that is inside."""
        self._cursor = cursor
        self._session.cursors.add(self)

    def close_here(self) -> None:
        """Close the binding's cursor; for the worker that is inside. Idempotent."""
        cursor, self._cursor = self._cursor, None
        self.closed = True
        self._session.cursors.discard(self)
        if cursor is not None:
            cursor.close()


class Cursor(Generic[K, R]):
    """A place in a database; made by `Database.cursor`, closed by `aclose`, ``async with`` or with its transaction.

    A fresh cursor stands nowhere: `next` goes to the first record, `previous` to the last. Every method that moves
    returns the record that the cursor then stands on as (key, value), or None when there is no such record; the cursor
    then stays where it was. Calls of one cursor are carried out in their order.

    All methods raise `Closed` after `aclose`, `TransactionEnded` when its transaction has ended, `LockTimeout`,
    `Deadlock` and the other errors of `asyncstore.bdb.errors`. A cancelled call may have moved the cursor.
    """

    def __init__(self, database: Store[K], session: Session, *, own: bool, rmw: bool) -> None:
        self._database: Store[K] = database
        self._session: Session = session
        self._own: bool = own  # the session was made for this cursor alone
        self._rmw: int = db.DB_RMW if rmw else 0
        self._closed: bool = False
        self.title = f"cursor on {database.title}"
        self.usage = Usage()
        self.guarded = database.guarded
        self._lease = Lease(session, self.title) if own else None
        # What operations on cursors are given.
        self.handle: Any = _Place(database.handle, session, self.title)

    def __repr__(self) -> str:
        return f"<Cursor on {self._database.title}{' closed' if self._closed else ''}>"

    # On the loop's thread

    # Any: what a call gives follows from the function, which the public methods know.
    async def _run(self, name: str, function: Callable[[Any], Any]) -> Any:
        if self._closed or self.handle.closed:
            raise errors.Closed(doing=name, of=self.title)
        self._database.check_open(name)
        return await self._session.ask(Request(self, Operation(name, _call), None, function), self._database)

    async def _move(self, name: str, *arguments: Any) -> R | None:
        flags = self._rmw
        found: R | None = await self._run(name, lambda cursor: getattr(cursor, name)(*arguments, flags))
        return found

    async def first(self) -> R | None:
        """Go to the first record."""
        return await self._move("first")

    async def last(self) -> R | None:
        """Go to the last record."""
        return await self._move("last")

    async def next(self) -> R | None:
        """Go to the next record, duplicates included."""
        return await self._move("next")

    async def previous(self) -> R | None:
        """Go to the record before, duplicates included."""
        return await self._move("prev")

    async def next_duplicate(self) -> R | None:
        """Go to the next record if it has the same key."""
        return await self._move("next_dup")

    async def previous_duplicate(self) -> R | None:
        """Go to the record before if it has the same key."""
        return await self._move("prev_dup")

    async def next_key(self) -> R | None:
        """Go to the first record of the next key."""
        return await self._move("next_nodup")

    async def previous_key(self) -> R | None:
        """Go to the last record of the key before."""
        return await self._move("prev_nodup")

    async def current(self) -> R | None:
        """Return the record that the cursor stands on; None when it has been deleted."""
        return await self._move("current")

    def _check_seekable(self, doing: str) -> None:
        if self._database.type == "heap":
            detail = "the binding places no cursor by a record's id; get reads it"
            raise errors.Misuse(doing=doing, of=self.title, detail=detail)

    async def seek(self, key: K) -> R | None:
        """Go to the first record of `key`. Not in heaps."""
        self._check_seekable("seek")
        self._database.check_key(key)
        return await self._move("set", key)

    async def seek_from(self, key: K) -> R | None:
        """Go to the first record whose key is `key` or follows it. For btrees: other types have no order of keys."""
        self._database.check_key(key)
        return await self._move("set_range", key)

    async def seek_pair(self, key: K, value: bytes) -> R | None:
        """Go to the record of exactly this key and value. Not in heaps."""
        self._check_seekable("seek_pair")
        self._database.check_pair(key, value)
        return await self._move("get_both", key, value)

    async def seek_pair_from(self, key: K, value: bytes) -> R | None:
        """Go to the first record of `key` whose value is `value` or follows it. For sorted duplicates."""
        self._database.check_pair(key, value)
        flags = self._rmw | db.DB_GET_BOTH_RANGE
        found: R | None = await self._run("seek_pair_from", lambda c: c.get(key, value, flags=flags))
        return found

    async def seek_number(self, number: int) -> R | None:
        """Go to the record of this number, counted from 1. For btrees with `record_numbers`."""
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number < 1 << 32:
            raise ValueError(f"a record number is 1 to {(1 << 32) - 1}, not {number!r}")
        return await self._move("set_recno", number)

    async def number(self) -> int:
        """Return the number, counted from 1, of the record that the cursor stands on. As `seek_number`."""
        found: int = await self._run("number", lambda cursor: cursor.get_recno())
        return found

    async def count(self) -> int:
        """Return how many records have the key of the one that the cursor stands on."""
        found: int = await self._run("count", lambda cursor: cursor.count())
        return found

    async def fetch(self, count: int) -> list[R]:
        """Return the next `count` records at most, in one hop; the cursor stands on the last. Empty: at the end."""
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"count is an int of at least 1, not {count!r}")
        found: list[R] = await self._run("fetch", lambda c: list(islice(iter(c.next, None), count)))
        return found

    async def fetch_batch(self, records: int, size: int) -> tuple[list[R], bool]:
        """Return the next `records` at most, or `size` bytes of them, and whether there may be more."""

        def fetch(cursor: Any) -> tuple[list[tuple[Any, bytes]], bool]:
            found: list[tuple[Any, bytes]] = []
            more = fill(cursor.next, records, size, found)
            return found, more

        batch: tuple[list[R], bool] = await self._run("range", fetch)
        return batch

    async def put(self, key: K, value: bytes, *, place: Position = "last") -> None:
        """Store a record; the cursor then stands on it. Needs a transaction.

        `place` among unsorted duplicates of the key: "first" or "last"; "new": sorted duplicates, raising `KeyExists`
        for a pair that is there; "before" or "after" the record that the cursor stands on (whose key is used then).
        """
        self._check_write("put")
        self._database.check_record(key, value)
        if place not in _POSITIONS:
            raise ValueError(f"place is one of {', '.join(map(repr, _POSITIONS))}, not {place!r}")
        flags = _POSITIONS[place]
        await self._run("put", lambda cursor: cursor.put(key, value, flags))

    async def replace(self, value: bytes) -> None:
        """Give the record that the cursor stands on another value. Needs a transaction."""
        self._check_write("replace")
        self._database.check_value(value)
        anything = self._database.any_key
        await self._run("replace", lambda cursor: cursor.put(anything, value, db.DB_CURRENT))

    async def delete(self) -> None:
        """Delete the record that the cursor stands on; the cursor stays there. Needs a transaction.

        Raises `KeyEmpty` when it has been deleted already.
        """
        self._check_write("delete")
        await self._run("delete", lambda cursor: cursor.delete())

    async def duplicate(self) -> Cursor[K, R]:
        """Return another cursor of the same transaction that stands on the same record."""
        copy = type(self)(self._database, self._session, own=False, rmw=bool(self._rmw))

        def duplicate(cursor: Any) -> None:
            copy.handle.adopt(cursor.dup(db.DB_POSITION))

        await self._run("duplicate", duplicate)
        return copy

    def _check_write(self, doing: str) -> None:
        if self._own:
            raise errors.Misuse(doing=doing, of=self.title, detail="a cursor writes in a transaction: pass one as txn")
        self._database.check_writable(doing)
        self._session.check_writable(doing)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        """Go to the next record and return it. Raises StopAsyncIteration at the end."""
        record = await self.next()
        if record is None:
            raise StopAsyncIteration
        return record

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the cursor and give up what it holds. Idempotent. A cancel leaves the closing to the background."""
        if self._closed:
            return
        self._closed = True
        if self._lease is not None:
            self._lease.release()
            end = self._session.abort()
        else:
            end = self._session.ask(Request(self, _CLOSE)) if self._session.usable else None
        if end is not None:
            end.add_done_callback(heeded)
            await asyncio.shield(end)  # a cancel must not take the closing back: a lock would stay
