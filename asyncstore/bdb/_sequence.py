"""Sequences: numbers given out once each, kept in a record of libdb's own kind (DB_SEQUENCE).

libdb's sequence handle cannot use its cache inside a transaction, and is one more thing to close in the right order. So
the record is read and written here, as any other, in the transaction that is at hand: numbers taken outside of one
share the group commit, those taken in one come back when it is undone.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from asyncstore.bdb import errors
from asyncstore.bdb._library import db
from asyncstore.bdb._operations import UserError
from asyncstore.bdb._request import Operation, Request

if TYPE_CHECKING:
    from asyncstore.bdb._database import Database
    from asyncstore.bdb._transaction import Transaction

__all__ = ("CACHE", "Sequence", "SequenceState", "Terms", "decode", "encode")

CACHE = 100  # numbers taken at a time: a group commit for each hundred, and at most so many skipped by a crash
VERSION = 2  # of the record, db.h's DB_SEQUENCE_VERSION
LEAST, MOST = -(1 << 63) + 1, (1 << 63) - 2  # so that the number behind the last one fits the record too

# db.h, DB_SEQ_RECORD: version, flags, value, maximum, minimum
_RECORD = {
    False: struct.Struct("=IIqqq"),
    True: struct.Struct(">IIqqq" if struct.pack("=H", 1) == b"\1\0" else "<IIqqq"),
}
_DEC, _INC, _RANGE_SET, _WRAP = 1, 2, 4, 8


@dataclass(frozen=True, slots=True)
class SequenceState:
    """What a sequence's record says: the `value` that comes next, and its terms."""

    value: int
    minimum: int
    maximum: int
    decreasing: bool
    wrap: bool

    def take(self, count: int, least: int) -> tuple[range, SequenceState]:
        """Return `count` numbers in their order, or as many as there are but at least `least`, and what comes then.

        Raises ValueError when there are fewer than `least`.
        """
        left = self.value - self.minimum + 1 if self.decreasing else self.maximum - self.value + 1
        state = self
        if left < least:
            size = self.maximum - self.minimum + 1
            if not self.wrap or size < least:
                raise ValueError(f"{max(left, 0)} of {least} numbers are left up to {self._end}")
            state, left = replace(self, value=self.maximum if self.decreasing else self.minimum), size
        step = -1 if self.decreasing else 1
        behind = state.value + step * min(count, left)
        return range(state.value, behind, step), replace(state, value=behind)

    @property
    def _end(self) -> int:
        return self.minimum if self.decreasing else self.maximum


@dataclass(frozen=True, slots=True)
class Terms:
    """What a caller asked of a sequence; None: whatever it is, or the default when it is new."""

    start: int | None
    minimum: int | None
    maximum: int | None
    decreasing: bool
    wrap: bool

    @classmethod
    def of(cls, start: int | None, minimum: int | None, maximum: int | None, *, decreasing: bool, wrap: bool) -> Self:
        """Return the terms, checked. Raises TypeError and ValueError."""
        for name, value in (("start", start), ("minimum", minimum), ("maximum", maximum)):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} is an int, not {type(value).__name__}")
            if not LEAST <= value <= MOST:
                raise ValueError(f"{name} is {LEAST} to {MOST}, not {value}")
        terms = cls(start, minimum, maximum, decreasing, wrap)
        fresh = terms.fresh()
        if not fresh.minimum <= fresh.value <= fresh.maximum:
            raise ValueError(f"a sequence cannot start at {fresh.value} between {fresh.minimum} and {fresh.maximum}")
        return terms

    def fresh(self) -> SequenceState:
        """Return the state of a new sequence."""
        down = self.decreasing
        start, minimum, maximum = self.start, self.minimum, self.maximum
        if minimum is None:
            minimum = LEAST if down or (start is not None and start < 1) else 1
        maximum = MOST if maximum is None else maximum
        start = (maximum if down else minimum) if start is None else start
        return SequenceState(start, minimum, maximum, down, self.wrap)

    def differs(self, state: SequenceState) -> str:
        """Say in what a stored sequence is not as asked for; empty: in nothing."""
        if self.decreasing != state.decreasing:
            return f"it {'decreases' if state.decreasing else 'increases'}"
        if self.wrap != state.wrap:
            return f"it {'wraps' if state.wrap else 'does not wrap'} around"
        for name in ("minimum", "maximum"):
            asked, found = getattr(self, name), getattr(state, name)
            if asked is not None and asked != found:
                return f"its {name} is {found}, not {asked}"
        return ""


def encode(state: SequenceState, *, swapped: bool = False) -> bytes:
    """Return the record of `state`; `swapped`: the database has the other byte order than this machine."""
    flags = (_DEC if state.decreasing else _INC) | _RANGE_SET | (_WRAP if state.wrap else 0)
    return _RECORD[swapped].pack(VERSION, flags, state.value, state.maximum, state.minimum)


def decode(record: bytes, *, swapped: bool = False) -> SequenceState:
    """Return the state that `record` holds. Raises ValueError when it is no sequence's."""
    layout = _RECORD[swapped]
    if len(record) != layout.size:
        raise ValueError(f"a sequence has a record of {layout.size} bytes, not {len(record)}")
    version, flags, value, maximum, minimum = layout.unpack(record)
    if version != VERSION or not flags & (_INC | _DEC) or minimum > maximum:
        raise ValueError("the record is not that of a sequence")
    return SequenceState(value, max(minimum, LEAST), min(maximum, MOST), bool(flags & _DEC), bool(flags & _WRAP))


def _take(handle: Any, txn: Any, request: Request) -> range:
    terms: Terms
    terms, count, least = request.argument
    swapped = bool(handle.get_byteswapped())
    record = handle.get(request.key, None, txn, db.DB_RMW)
    of = f"sequence {request.owner.title}"
    if record is None:
        state = terms.fresh()
    else:
        state = _decoded(record, of, swapped=swapped)
        wrong = terms.differs(state)
        if wrong:
            raise UserError(errors.InvalidArgument(doing="take", of=of, detail=wrong))
    try:
        numbers, state = state.take(count, least)
    except ValueError as exc:
        raise UserError(errors.SequenceExhausted(doing="take", of=of, detail=str(exc))) from exc
    handle.put(request.key, encode(state, swapped=swapped), txn)
    return numbers


def _state(handle: Any, txn: Any, request: Request) -> SequenceState | None:
    record = handle.get(request.key, None, txn)
    if record is None:
        return None
    return _decoded(record, f"sequence {request.owner.title}", swapped=bool(handle.get_byteswapped()))


def _decoded(record: bytes, of: str, *, swapped: bool) -> SequenceState:
    try:
        return decode(record, swapped=swapped)
    except ValueError as exc:
        raise UserError(errors.InvalidArgument(doing="take", of=of, detail=str(exc))) from exc


_TAKE = Operation("take", _take, writes=True)
_STATE = Operation("state", _state)


class Sequence:
    """Numbers given out once each; made by `Database.sequence`. There is nothing to close.

    Tasks that share the object share the numbers it has in store. What is taken is never given again, except in a
    transaction that is undone.
    """

    def __init__(self, database: Database[Any], key: Any, terms: Terms, cache: int) -> None:
        if isinstance(cache, bool) or not isinstance(cache, int) or not 1 <= cache < 1 << 31:
            raise ValueError(f"cache is an int of at least 1, not {cache!r}")
        self._database = database
        self._key = key
        self._terms = terms
        self._cache = cache
        self._store = iter(range(0))
        self._filling: asyncio.Future[range] | None = None

    def __repr__(self) -> str:
        return f"<Sequence {self._key!r} of {self._database.title}>"

    async def next(self, *, txn: Transaction | None = None) -> int:
        """Return the next number.

        Without `txn` it comes from the store of `cache` numbers; in a transaction it is taken from the record itself,
        which stays locked until the transaction ends, and comes back when that is undone: so numbers have no gaps.

        Raises `SequenceExhausted` when there are no more, `InvalidArgument` when the record is not a sequence with
        these terms. A cancel skips no number.
        """
        if txn is not None:
            return (await self.take(1, txn=txn))[0]
        while True:
            number = next(self._store, None)
            if number is not None:
                return number
            if self._filling is None:
                self._filling = asyncio.ensure_future(self._ask(self._cache, 1, None))
                self._filling.add_done_callback(self._filled)
            # Shielded: the others wait for the same numbers.
            await asyncio.shield(self._filling)

    def _filled(self, filling: asyncio.Future[range]) -> None:
        self._filling = None
        if not filling.cancelled() and filling.exception() is None:
            self._store = iter(filling.result())

    async def take(self, count: int, *, txn: Transaction | None = None) -> range:
        """Return `count` numbers in a row, past those in the store.

        With wrapping around, what is left before the end is skipped when it is fewer. Errors are those of `next`. A
        cancel may come too late to stop the taking, and skips the numbers.
        """
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count < 1 << 31:
            raise ValueError(f"count is an int of at least 1, not {count!r}")
        return await self._ask(count, count, txn)

    async def _ask(self, count: int, least: int, txn: Transaction | None) -> range:
        argument = (self._terms, count, least)
        numbers: range = await self._database.request(_TAKE, self._key, argument, txn)
        return numbers

    async def state(self, *, txn: Transaction | None = None) -> SequenceState | None:
        """Return what the record says, None when no number was taken yet. `value` is behind all that are in store."""
        found: SequenceState | None = await self._database.request(_STATE, self._key, None, txn)
        return found
