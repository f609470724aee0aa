"""The participants of the Berkeley DB benchmark: asyncstore, and four ways to call a blocking store from coroutines."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from bench.aio_files import endless
from bench.bdb_stores import (
    INDEXED,
    RECORDS,
    VALUE_SIZE,
    Libdb,
    Lmdb,
    Record,
    Sqlite,
    Store,
    check_scan,
    check_stored,
    count_of,
    counted_up,
    home_of,
    key_of,
    mark_of,
    new_key,
    require,
    value_of,
)
from bench.harness import Case, NotOffered, Participant

__all__ = (
    "Asyncstore", "Bench", "Blocking", "LmdbBlocking", "LmdbToThread", "SqliteBlocking", "SqliteToThread",
    "ToThread",
)  # fmt: skip

NEW_KEYS = 200_000  # prepared for puts: more than one measurement stores
MANY = 100  # keys of a get_many
BULK = 10_000  # records of a put_many
BULKS = 12  # prepared for put_many
SLOTS = 16  # tasks that run transactions at a time, each on records of its own
SLOT_KEYS = 100
GROUP = 512  # puts that asyncstore has in one commit at most
PUTS = ("durable_put", "loose_put", "put_many")
LAST = key_of(RECORDS - 1)
SCANNED = RECORDS * (len(LAST) + VALUE_SIZE)  # bytes


class Bench(Participant):
    """What all participants share: where a case's store is, its keys, and a look afterwards at what is in it."""

    kind: type[Store] = Libdb  # what reads the store when its participant has closed it
    home = "libdb"

    async def open(self, path: Path, *, durable: bool) -> None:
        raise NotImplementedError

    async def open_index(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def everything(self) -> list[Record]:
        """Return all records by the way that a scan goes."""
        raise NotImplementedError

    async def prepare(self, case: Case) -> None:
        self.case = case
        self.path = home_of(self.data, self.home + INDEXED if case.operation == "index_get" else self.home)
        if case.operation in PUTS:
            self.path = home_of(self.data, f"{self.home}-written")
            shutil.rmtree(self.path, ignore_errors=True)
        elif not (self.path / "complete").exists():
            raise NotOffered(f"the package of {self.home} is not installed")
        self.numbers = itertools.count()
        self.slots = list(range(SLOTS))
        self.ups = 0  # values counted up
        if case.operation in ("durable_put", "loose_put"):
            self.new = endless([(key, value_of(key)) for key in map(new_key, range(NEW_KEYS))])
        elif case.operation == "put_many":
            keys = [[new_key(number) for number in range(BULK * bulk, BULK * bulk + BULK)] for bulk in range(BULKS)]
            self.bulks = endless([[(key, value_of(key)) for key in part] for part in keys])
        elif case.operation in ("get", "get_many", "index_get"):
            self.keys = endless(map(key_of, random.sample(range(RECORDS), 60_000)))
        if case.operation != "open_and_close":
            await self.open(self.path, durable=case.operation != "loose_put")
        if case.operation == "index_get":
            await self.open_index()
            await self.everything()  # into the cache; each get is checked
        elif case.operation in ("get", "get_many", "scan", "batches"):
            check_scan(await self.everything())  # and it is all in the cache now
        elif case.operation not in (*PUTS, "open_and_close"):
            await self.close()
            self.counts_before = self.counts()
            await self.open(self.path, durable=True)
        self.flushes_before = self.flushes()

    async def finish(self) -> None:
        flushed = self.flushes() - self.flushes_before
        if self.case.operation != "open_and_close":
            await self.close()
        if self.case.operation in PUTS:
            done = next(self.numbers) * (BULK if self.case.operation == "put_many" else 1)
            least = 0 if self.case.operation != "durable_put" else done if self.case.tasks == 1 else done / GROUP
            require(self.kind is not Libdb or flushed >= least, f"{flushed} flushes of the log for {done} puts")
            store = self.kind(self.path, durable=True)
            check_stored(store, min(done, NEW_KEYS if self.case.operation != "put_many" else BULK * BULKS))
            store.close()
            shutil.rmtree(self.path)
        elif self.case.operation.startswith(("transaction", "update")):
            counts = self.counts()
            require(counts == self.counts_before + self.ups, f"{counts} after {self.counts_before} + {self.ups}")

    def flushes(self) -> int:
        """Return how often the log was flushed, where that can be asked."""
        return 0

    def slot_key(self, slot: int, number: int) -> bytes:
        return key_of(RECORDS // SLOTS * slot + 37 * (number % SLOT_KEYS))

    def counts(self) -> int:
        """Return the sum of what the records say that transactions change; the store is closed."""
        store = self.kind(self.path, durable=True)
        values = [store.get(self.slot_key(slot, number)) for slot in range(SLOTS) for number in range(SLOT_KEYS)]
        store.close()
        return sum(count_of(value) for value in values if value is not None)

    async def in_slot(self, keys: int, work: Callable[[list[bytes]], Awaitable[None]]) -> None:
        """Run `work` on keys that no other task uses meanwhile."""
        slot, number = self.slots.pop(), next(self.numbers)
        await work([self.slot_key(slot, keys * number + place) for place in range(keys)])
        self.slots.append(slot)
        self.ups += keys

    async def transaction(self) -> None:
        await self.in_slot(1, self.read_and_write)

    async def transaction_of_4(self) -> None:
        await self.in_slot(2, self.read_and_write)

    async def update(self) -> None:
        await self.in_slot(1, self.update_one)

    async def read_and_write(self, keys: list[bytes]) -> None:
        """Count the values of `keys` up in one transaction whose steps are this coroutine's."""
        raise NotImplementedError

    async def update_one(self, keys: list[bytes]) -> None:
        """Count one value up by a function."""
        raise NotImplementedError

    async def open_and_close(self) -> None:
        await self.open(self.path, durable=True)
        await self.close()


class Asyncstore(Bench):
    home = "asyncstore"

    async def open(self, path: Path, *, durable: bool) -> None:
        from asyncstore import bdb

        self.environment = await bdb.open(path, durability="full" if durable else "none")
        self.database = await self.environment.database("records")

    async def open_index(self) -> None:
        self.index = await self.database.associate("marks", mark_of)

    async def close(self) -> None:
        await self.environment.aclose()

    def flushes(self) -> int:
        if self.case.operation == "open_and_close":
            return 0
        return int(self.environment.handle.log_stat()["scount"])

    async def everything(self) -> list[Record]:
        return [record async for record in self.database.range()]

    async def durable_put(self) -> None:
        key, value = next(self.new)
        next(self.numbers)
        await self.database.put(key, value)

    loose_put = durable_put

    async def get(self) -> None:
        key = next(self.keys)
        value = await self.database.get(key)
        require(value is not None and value.startswith(key), value)

    async def index_get(self) -> None:
        key = next(self.keys)
        value = await self.index.get(key[6:])
        require(value is not None and value.startswith(key), value)

    async def get_many(self) -> int:
        keys = list(itertools.islice(self.keys, MANY))
        require_all(keys, await self.database.get_many(keys))
        return MANY

    async def scan(self) -> int:
        size = 0
        async for key, value in self.database.range():
            size += len(key) + len(value)
        require(size == SCANNED, f"{size} bytes instead of {SCANNED}")
        return RECORDS

    async def batches(self) -> int:
        count, batch = 0, []
        async for batch in self.database.range().batches():
            count += len(batch)
        require((count, batch[-1][0]) == (RECORDS, LAST), count)
        return count

    async def put_many(self) -> int:
        next(self.numbers)
        return await self.database.put_many(next(self.bulks))

    async def read_and_write(self, keys: list[bytes]) -> None:
        get, put = self.database.get, self.database.put
        async with self.environment.transaction() as txn:
            for key in keys:
                value = await get(key, txn=txn)
                await put(key, counted_up(value), txn=txn)

    async def update_one(self, keys: list[bytes]) -> None:
        await self.database.update(keys[0], counted_up)


class Blocking(Bench):
    """A store called on the loop."""

    async def open(self, path: Path, *, durable: bool) -> None:
        self.store: Any = self.kind(path, durable=durable)

    async def open_index(self) -> None:
        self.store.open_index()

    async def close(self) -> None:
        self.store.close()

    def flushes(self) -> int:
        return self.store.flushes() if self.kind is Libdb and self.case.operation != "open_and_close" else 0

    async def everything(self) -> list[Record]:
        return list(self.store.scan())

    async def durable_put(self) -> None:
        key, value = next(self.new)
        next(self.numbers)
        self.store.put(key, value)

    loose_put = durable_put

    async def get(self) -> None:
        key = next(self.keys)
        value = self.store.get(key)
        require(value is not None and value.startswith(key), value)

    async def index_get(self) -> None:
        key = next(self.keys)
        value = self.store.index_get(key[6:])
        require(value is not None and value.startswith(key), value)

    async def get_many(self) -> int:
        keys = list(itertools.islice(self.keys, MANY))
        require_all(keys, self.store.get_many(keys))
        return MANY

    async def scan(self) -> int:
        size = 0
        for key, value in self.store.scan():
            size += len(key) + len(value)
        require(size == SCANNED, f"{size} bytes instead of {SCANNED}")
        return RECORDS

    async def batches(self) -> int:
        count, batch = 0, []
        for batch in self.store.batches():
            count += len(batch)
        require((count, batch[-1][0]) == (RECORDS, LAST), count)
        return count

    async def put_many(self) -> int:
        next(self.numbers)
        self.store.put_many(next(self.bulks))
        return BULK

    async def read_and_write(self, keys: list[bytes]) -> None:
        store = self.store
        txn = store.begin()
        for key in keys:
            store.put_in(txn, key, counted_up(store.get(key, txn)))
        store.commit(txn)

    async def update_one(self, keys: list[bytes]) -> None:
        self.store.update(keys[0], counted_up)


class ToThread(Blocking):
    """A store whose every call goes to a thread."""

    async def open(self, path: Path, *, durable: bool) -> None:
        self.writing = asyncio.Lock()
        self.store = await asyncio.to_thread(self.kind, path, durable=durable)

    async def close(self) -> None:
        await asyncio.to_thread(self.store.close)

    async def durable_put(self) -> None:
        key, value = next(self.new)
        next(self.numbers)
        await asyncio.to_thread(self.store.put, key, value)

    loose_put = durable_put

    async def get(self) -> None:
        key = next(self.keys)
        value = await asyncio.to_thread(self.store.get, key)
        require(value is not None and value.startswith(key), value)

    async def index_get(self) -> None:
        key = next(self.keys)
        value = await asyncio.to_thread(self.store.index_get, key[6:])
        require(value is not None and value.startswith(key), value)

    async def get_many(self) -> int:
        keys = list(itertools.islice(self.keys, MANY))
        require_all(keys, await asyncio.to_thread(self.store.get_many, keys))
        return MANY

    async def scan(self) -> int:
        size = 0
        # One hop for all of them, and the memory that it takes: a hop for each is hopeless.
        for key, value in await asyncio.to_thread(lambda: list(self.store.scan())):
            size += len(key) + len(value)
        require(size == SCANNED, f"{size} bytes instead of {SCANNED}")
        return RECORDS

    async def batches(self) -> int:
        count, batch = 0, []
        batches: Iterator[list[Record]] = self.store.batches()
        while more := await asyncio.to_thread(next, batches, None):
            batch = more
            count += len(batch)
        require((count, batch[-1][0]) == (RECORDS, LAST), count)
        return count

    async def put_many(self) -> int:
        next(self.numbers)
        await asyncio.to_thread(self.store.put_many, next(self.bulks))
        return BULK

    async def read_and_write(self, keys: list[bytes]) -> None:
        store, hop = self.store, asyncio.to_thread
        txn = await hop(store.begin)
        for key in keys:
            value = await hop(store.get, key, txn)
            await hop(store.put_in, txn, key, counted_up(value))
        await hop(store.commit, txn)

    async def update_one(self, keys: list[bytes]) -> None:
        await asyncio.to_thread(self.store.update, keys[0], counted_up)


class SqliteBlocking(Blocking):
    kind, home = Sqlite, "sqlite"


class SqliteToThread(ToThread):
    kind, home = Sqlite, "sqlite"

    async def read_and_write(self, keys: list[bytes]) -> None:
        async with self.writing:  # a connection has one transaction at a time, whoever's statements come
            await super().read_and_write(keys)

    async def update_one(self, keys: list[bytes]) -> None:
        async with self.writing:
            await super().update_one(keys)


class LmdbBlocking(Blocking):
    kind, home = Lmdb, "lmdb"


class LmdbToThread(ToThread):
    kind, home = Lmdb, "lmdb"

    async def prepare(self, case: Case) -> None:
        if case.operation == "batches":
            raise NotOffered("lmdb has no reading transaction that moves from thread to thread")
        if case.operation.startswith("transaction"):
            from lmdb import aio  # what has them, on a thread of their own each

            self.aio = aio
        await super().prepare(case)

    async def read_and_write(self, keys: list[bytes]) -> None:
        async with self.aio.wrap(self.store.environment).begin(write=True) as txn:
            for key in keys:
                await txn.put(key, counted_up(await txn.get(key)))


def require_all(keys: list[bytes], values: list[bytes | None]) -> None:
    """Raise unless each key has a value of its own."""
    for key, value in zip(keys, values, strict=True):
        require(value is not None and value.startswith(key), (key, value))
