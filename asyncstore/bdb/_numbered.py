"""Databases of numbered records (recno, queue), and heaps, whose records are numbered by libdb."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from asyncstore.bdb import _operations as ops, errors
from asyncstore.bdb._database import Database
from asyncstore.bdb._records import check_bytes, check_number

if TYPE_CHECKING:
    from asyncstore.bdb._transaction import Transaction

__all__ = ("Heap", "Queue", "RecordDatabase")

CONSUME_PAUSE = 0.05  # seconds between two looks for records that other processes append; our own wake at once
RID_BYTES = 6  # of a heap's record id: page number and index


class RecordDatabase(Database[int]):
    """Records numbered from 1 (recno); numbers that were never used or deleted have no record."""

    plain = False
    any_key: Any = 1

    def check_key(self, key: Any) -> None:
        """Raise TypeError or ValueError unless `key` can be a record's number."""
        check_number(key)

    async def append(self, value: bytes, *, txn: Transaction | None = None) -> int:
        """Store `value` behind the last record and return its number. Durable on return, as `put`."""
        self.check_value(value)
        number: int = await self.write(ops.APPEND, value, len(value), txn)
        return number


class Queue(RecordDatabase):
    """Records of one length, taken off the front: of several that append and consume each record goes to one.

    A value shorter than `record_length` is filled up with the padding, and comes back so.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.record_length: Final[int] = self.handle.get_re_len()
        self._appended = asyncio.Event()

    def check_value(self, value: bytes) -> None:
        """Raise TypeError or ValueError unless `value` fits a record: libdb would drop it and say nothing."""
        check_bytes("value", value)
        if len(value) > self.record_length:
            raise ValueError(f"a record of this queue has {self.record_length} bytes, not {len(value)}")

    async def append(self, value: bytes, *, txn: Transaction | None = None) -> int:
        """Store `value` at the end and return its number. Durable on return, as `put`."""
        number = await super().append(value, txn=txn)
        self._appended.set()
        return number

    async def consume(self, *, wait: bool = False, txn: Transaction | None = None) -> tuple[int, bytes] | None:
        """Take the first record off and return (number, value); None when the queue is empty.

        With `wait` it returns only with a record; bound that by `asyncio.timeout`. A cancel that comes too late to stop
        the taking loses the record (`maybe_applied`), unless it is done in a transaction.
        """
        while True:
            self._appended.clear()
            record: tuple[int, bytes] | None = await self.write(ops.CONSUME, None, self.record_length, txn)
            if record is not None or not wait:
                return record
            try:
                await asyncio.wait_for(self._appended.wait(), CONSUME_PAUSE)
            except TimeoutError:
                continue


class Heap(Database[bytes]):
    """Records without an order, under ids that libdb gives them: the cheapest to store, found by id or in a scan."""

    plain = False
    any_key: Any = bytes(RID_BYTES)

    def check_key(self, key: Any) -> None:
        """Raise TypeError or ValueError unless `key` can be a record's id."""
        check_bytes("record id", key)
        if len(key) != RID_BYTES:
            raise ValueError(f"a record id has {RID_BYTES} bytes, as append returned them, not {len(key)}")

    # The binding places no cursor by an id, with which other databases answer these.

    async def count(self, key: bytes, *, txn: Transaction | None = None) -> int:
        """Return 1 when there is a record of this id, else 0."""
        return int(await self.exists(key, txn=txn))

    async def get_all(self, key: bytes, *, limit: int | None = None, txn: Transaction | None = None) -> list[bytes]:
        """Return the value of the record of this id, if there is one."""
        value = await self.get(key, txn=txn)
        return [] if value is None or limit == 0 else [value]

    async def delete(self, key: bytes, value: bytes | None = None, *, txn: Transaction | None = None) -> bool:
        """Remove the record of this id; return whether there was one. Raises `Misuse` when a `value` is given."""
        if value is not None:
            raise errors.Misuse(doing="delete", of=self.title, detail="a record's id has one value: leave it out")
        return await super().delete(key, txn=txn)

    async def append(self, value: bytes, *, txn: Transaction | None = None) -> bytes:
        """Store `value` and return the id of its record. Durable on return, as `put`."""
        self.check_value(value)
        rid: bytes = await self.write(ops.APPEND, value, len(value), txn)
        return rid
