"""Joins: the records that several indices agree on, found by libdb's join of cursors (DB->join)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from asyncstore.bdb import errors
from asyncstore.bdb._range import Range, whole
from asyncstore.bdb._request import Operation, Request
from asyncstore.bdb._scan import Scan, fill
from asyncstore.bdb._session import Lease
from asyncstore.pool import Usage, heeded

if TYPE_CHECKING:
    from asyncstore.bdb._database import Database
    from asyncstore.bdb._index import Index
    from asyncstore.bdb._session import Session
    from asyncstore.bdb._transaction import Transaction

__all__ = ("join",)

K = TypeVar("K", bytes, int)


class _Join:
    """The cursors of one join: one positioned in each index, and libdb's over all of them."""

    guarded = False

    def __init__(self, database: Database[Any], criteria: Sequence[tuple[Index[Any], bytes]], session: Session) -> None:
        self._database = database
        self._criteria = criteria
        self._session = session
        self._cursors: list[Any] = []  # the binding's; the joined one last
        self._begun = False
        self.title = f"join of {database.title}"
        self.usage = Usage()
        self.handle: Any = self  # what operations are given: this object, which opens the cursors when first used

    # Any: transactions and cursors are the binding's.
    def fetch_here(self, txn: Any, request: Request) -> tuple[list[tuple[Any, bytes]], bool]:
        """Return a batch and whether there may be more; on a worker."""
        plan: Scan = request.argument
        if not self._begun and not self._begin(txn):
            return [], False
        found: list[tuple[Any, bytes]] = []
        more = fill(partial(self._cursors[-1].get, 0), plan.records, plan.size, found)
        return found, more

    def _begin(self, txn: Any) -> bool:
        self._begun = True
        self._session.cursors.add(self)
        for index, key in self._criteria:
            cursor = index.handle.cursor(txn)
            self._cursors.append(cursor)
            if cursor.set(key) is None:
                return False  # libdb must not be asked to join a cursor that stands nowhere
        self._cursors.append(self._database.handle.join(self._cursors))
        return True

    def close_here(self) -> None:
        """Close the cursors, the joined one first."""
        self._session.cursors.discard(self)
        while self._cursors:
            self._cursors.pop().close()


def _fetch(joined: _Join, txn: Any, request: Request) -> tuple[list[tuple[Any, bytes]], bool]:
    return joined.fetch_here(txn, request)


def _close(joined: _Join, _txn: Any, _request: Request) -> None:
    joined.close_here()


_FETCH = Operation("join", _fetch)
_CLOSE = Operation("close", _close)


def join(
    database: Database[K], criteria: Sequence[tuple[Index[K], bytes]], limit: int | None, txn: Transaction | None
) -> Range[tuple[K, bytes]]:
    """Join; see `Database.join`."""
    if not criteria:
        raise ValueError("a join needs at least one pair of an index and a key")
    for index, key in criteria:
        index.check_open("join")
        index.check_key(key)
        if index not in database.indices:
            raise errors.Misuse(doing="join", of=database.title, detail=f"{index.title} is not an index of it")
    own = txn is None
    session = (
        database.environment.reading_session(database.title) if txn is None else txn.session_for(database.environment)
    )
    joined = _Join(database, criteria, session)
    lease = Lease(session, joined.title) if own else None  # held by the range, through its functions

    def fetch(plan: Scan) -> Awaitable[tuple[list[tuple[K, bytes]], bool]]:
        database.check_open("join")
        return session.ask(Request(joined, _FETCH, None, plan), database)

    return Range(fetch, joined.title, whole(), empty=False, limit=limit, close=_closer(session, joined, lease))


def _closer(session: Session, joined: _Join, lease: Lease | None) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        if lease is not None:
            lease.release()
            end = session.abort()
        else:
            end = session.ask(Request(joined, _CLOSE)) if session.usable else None
        if end is not None:
            end.add_done_callback(heeded)
            await asyncio.shield(end)  # a cancel must not take the closing back: a lock would stay

    return close
