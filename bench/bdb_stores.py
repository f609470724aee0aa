"""Four stores behind one blocking face: Berkeley DB, SQLite and LMDB as a program without asyncstore calls them.

Each is set up as its users would for the same promise: at durability "full" a write that returned is on the disk, at
"none" it may be lost when the machine or the process dies. All hold the same records.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

RECORDS = 100_000
VALUE_SIZE = 100
BATCH = 1024  # records of a batch of a scan: what asyncstore's grow to
CACHE_SIZE = 64 << 20  # bytes: asyncstore's default; all records fit in
FORMAT = "2"  # of the stores on the disk; a new one has them made anew
PRIME = 1_000_000_007  # a factor of no key's number: multiplying by one below it scatters them, each once

INDEXED = "-indexed"  # behind the names of the stores that have an index

Record = tuple[bytes, bytes]


class WrongDataError(Exception):
    """A participant returned what was not stored, or did not store what it said; ends the run as a failure."""

    def __init__(self, what: object) -> None:
        super().__init__(f"wrong data: {what!r}")


def key_of(number: int) -> bytes:
    return b"%012d" % number


def value_of(key: bytes, count: int = 0) -> bytes:
    """Return a value that tells which key it belongs to and how often it was counted up."""
    return b"%b%08d" % (key, count) + b"v" * (VALUE_SIZE - len(key) - 8)


def mark_of(_key: bytes, value: bytes) -> bytes:
    """Return what the index finds a record by: six digits of its value, which no other record has."""
    return value[6:12]


def count_of(value: bytes) -> int:
    return int(value[12:20])


def counted_up(value: bytes | None) -> bytes:
    if value is None:
        raise WrongDataError("nothing, where a record is")
    return value_of(value[:12], count_of(value) + 1)


def new_key(number: int) -> bytes:
    """Return the key of the n-th put: new ones, in scattered order."""
    return key_of(number * 7_368_787 % PRIME)


class Libdb:
    """The berkeleydb package, set up as asyncstore sets it up."""

    name = "libdb"

    def __init__(self, path: Path, *, durable: bool) -> None:
        from berkeleydb import db

        self.db = db
        path.mkdir(parents=True, exist_ok=True)
        self.environment = db.DBEnv()
        self.environment.set_cachesize(0, CACHE_SIZE)
        self.environment.set_lg_bsize(1 << 20)
        self.environment.log_set_config(db.DB_LOG_AUTO_REMOVE, 1)
        self.environment.set_tx_max(1024)
        self.environment.set_lk_max_locks(10_000)
        self.environment.set_lk_max_objects(10_000)
        self.environment.set_lk_detect(db.DB_LOCK_MINWRITE)
        if not durable:
            self.environment.set_flags(db.DB_TXN_NOSYNC, 1)
        parts = db.DB_INIT_MPOOL | db.DB_INIT_TXN | db.DB_INIT_LOG | db.DB_INIT_LOCK | db.DB_THREAD | db.DB_CREATE
        self.environment.open(str(path), parts | db.DB_REGISTER | db.DB_RECOVER)
        self.handle = db.DB(self.environment)
        self.handle.set_flags(db.DB_CHKSUM)
        self.handle.open("records.db", None, db.DB_BTREE, db.DB_THREAD | db.DB_CREATE | db.DB_AUTO_COMMIT)
        self.index: Any = None

    def open_index(self) -> None:
        """Keep the records in step with an index from now on, and fill it when it is empty."""
        db = self.db
        self.index = db.DB(self.environment)
        self.index.set_flags(db.DB_CHKSUM | db.DB_DUPSORT)
        self.index.open("marks.db", None, db.DB_BTREE, db.DB_THREAD | db.DB_CREATE | db.DB_AUTO_COMMIT)
        txn = self.environment.txn_begin()
        self.handle.associate(self.index, mark_of, db.DB_CREATE, txn)
        txn.commit()

    def index_get(self, mark: bytes) -> bytes | None:
        """Return the value whose mark this is."""
        return self.index.get(mark)

    def close(self) -> None:
        if self.index is not None:
            self.index.close(self.db.DB_NOSYNC)
        self.handle.close(self.db.DB_NOSYNC)
        self.environment.txn_checkpoint(0, 0, self.db.DB_FORCE)
        self.environment.close()

    def flushes(self) -> int:
        """Return how many times the log was written to the disk."""
        return int(self.environment.log_stat()["scount"])

    def get(self, key: bytes, txn: Any = None) -> bytes | None:
        return self.handle.get(key, None, txn)

    def put(self, key: bytes, value: bytes) -> None:
        while True:
            try:
                return self.handle.put(key, value)
            except self.db.DBLockDeadlockError:
                continue  # several threads met: the victim does it again

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        return [self.handle.get(key) for key in keys]

    def put_many(self, records: Iterable[Record]) -> None:
        txn = self.environment.txn_begin()
        for key, value in records:
            self.handle.put(key, value, txn)
        txn.commit()

    def scan(self) -> Iterator[Record]:
        cursor = self.handle.cursor()
        try:
            yield from iter(cursor.next, None)
        finally:
            cursor.close()

    def batches(self) -> Iterator[list[Record]]:
        cursor = self.handle.cursor()
        try:
            while batch := list(islice(iter(cursor.next, None), BATCH)):
                yield batch
        finally:
            cursor.close()

    def begin(self) -> Any:
        return self.environment.txn_begin()

    def put_in(self, txn: Any, key: bytes, value: bytes) -> None:
        self.handle.put(key, value, txn)

    def commit(self, txn: Any) -> None:
        txn.commit()

    def update(self, key: bytes, function: Callable[[bytes | None], bytes]) -> None:
        txn = self.environment.txn_begin()
        self.handle.put(key, function(self.handle.get(key, None, txn, self.db.DB_RMW)), txn)
        txn.commit()


class Sqlite:
    """The standard library's sqlite3: one connection, which SQLite itself lets threads share."""

    name = "sqlite"

    def __init__(self, path: Path, *, durable: bool) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite3.connect(path / "records.sqlite", isolation_level=None, check_same_thread=False)
        mode = self.connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        self.connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
        self.connection.execute(f"PRAGMA cache_size={-CACHE_SIZE // 1024}")
        level = self.connection.execute("PRAGMA synchronous").fetchone()[0]
        assert (mode, level) == ("wal", 2 if durable else 0), "not the durability that was asked for"
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS records (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
        )

    def open_index(self) -> None:
        self.connection.execute("CREATE INDEX IF NOT EXISTS marks ON records (substr(value, 7, 6))")

    def index_get(self, mark: bytes) -> bytes | None:
        row = self.connection.execute("SELECT value FROM records WHERE substr(value, 7, 6) = ?", (mark,)).fetchone()
        return None if row is None else row[0]

    def close(self) -> None:
        self.connection.close()

    def get(self, key: bytes, _txn: Any = None) -> bytes | None:
        row = self.connection.execute("SELECT value FROM records WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def put(self, key: bytes, value: bytes) -> None:
        self.connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?)", (key, value))

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        wanted = ",".join("?" * len(keys))
        found = dict(self.connection.execute(f"SELECT key, value FROM records WHERE key IN ({wanted})", keys))  # noqa: S608  # question marks only
        return [found.get(key) for key in keys]

    def put_many(self, records: Iterable[Record]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany("INSERT OR REPLACE INTO records VALUES (?, ?)", records)
        self.connection.execute("COMMIT")

    def scan(self) -> Iterator[Record]:
        return self.connection.execute("SELECT key, value FROM records ORDER BY key")

    def batches(self) -> Iterator[list[Record]]:
        cursor = self.connection.execute("SELECT key, value FROM records ORDER BY key")
        return iter(lambda: cursor.fetchmany(BATCH), [])

    def begin(self) -> Any:
        self.connection.execute("BEGIN IMMEDIATE")

    def put_in(self, _txn: Any, key: bytes, value: bytes) -> None:
        self.put(key, value)

    def commit(self, _txn: Any) -> None:
        self.connection.execute("COMMIT")

    def update(self, key: bytes, function: Callable[[bytes | None], bytes]) -> None:
        self.begin()
        self.put(key, function(self.get(key)))
        self.commit(None)


class Lmdb:
    """The lmdb package."""

    name = "lmdb"

    def __init__(self, path: Path, *, durable: bool) -> None:
        import lmdb

        path.mkdir(parents=True, exist_ok=True)
        self.environment = lmdb.open(str(path), map_size=1 << 32, max_dbs=1, sync=durable)

    def open_index(self) -> None:
        """LMDB keeps no index in step: whoever wants one stores it beside the records, in the same transaction."""
        self.marks = self.environment.open_db(b"marks", dupsort=True)
        with self.environment.begin(write=True) as txn:
            if not txn.stat(self.marks)["entries"]:
                for key, value in list(islice(txn.cursor(), RECORDS)):  # behind them is the name of the index
                    txn.put(mark_of(key, value), key, db=self.marks)

    def index_get(self, mark: bytes) -> bytes | None:
        with self.environment.begin() as txn:
            key = txn.get(mark, db=self.marks)
            return None if key is None else txn.get(key)

    def close(self) -> None:
        self.environment.close()

    def get(self, key: bytes, txn: Any = None) -> bytes | None:
        if txn is not None:
            return txn.get(key)
        with self.environment.begin() as reading:
            return reading.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        with self.environment.begin(write=True) as txn:
            txn.put(key, value)

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        with self.environment.begin() as txn:
            return [txn.get(key) for key in keys]

    def put_many(self, records: Iterable[Record]) -> None:
        with self.environment.begin(write=True) as txn:
            for key, value in records:
                txn.put(key, value)

    def scan(self) -> Iterator[Record]:
        with self.environment.begin() as txn:
            yield from txn.cursor()

    def batches(self) -> Iterator[list[Record]]:
        records = self.scan()
        return iter(lambda: list(islice(records, BATCH)), [])

    def begin(self) -> Any:
        return self.environment.begin(write=True)

    def put_in(self, txn: Any, key: bytes, value: bytes) -> None:
        txn.put(key, value)

    def commit(self, txn: Any) -> None:
        txn.commit()

    def update(self, key: bytes, function: Callable[[bytes | None], bytes]) -> None:
        with self.environment.begin(write=True) as txn:
            txn.put(key, function(txn.get(key)))


Store = Libdb | Sqlite | Lmdb
STORES: tuple[type[Store], ...] = (Libdb, Sqlite, Lmdb)


def home_of(data: Path, name: str) -> Path:
    """Return where the filled store of a participant is."""
    return data / "bdb" / name


def fill_stores(data: Path) -> None:
    """Make filled stores of each kind that is installed, and of asyncstore's own, without and with an index."""
    kinds = [("asyncstore", Libdb), *((kind.name, kind) for kind in STORES)]
    for name, kind in [(name + suffix, kind) for name, kind in kinds for suffix in ("", INDEXED)]:
        home = home_of(data, name)
        done = home / "complete"
        if done.exists() and done.read_text() == FORMAT:
            continue
        shutil.rmtree(home, ignore_errors=True)
        try:
            store = kind(home, durable=True)
        except ImportError:
            shutil.rmtree(home)
            continue
        store.put_many((key, value_of(key)) for key in map(key_of, range(RECORDS)))
        if name.endswith(INDEXED):
            store.open_index()
        store.close()
        done.write_text(FORMAT)


def check_scan(records: Iterable[Record]) -> None:
    """Raise unless `records` are all that were stored, in their order."""
    count = 0
    for number, (key, value) in enumerate(records):
        if key != key_of(number) or not value.startswith(key) or len(value) != VALUE_SIZE:
            raise WrongDataError((number, key, value))
        count += 1
    if count != RECORDS:
        raise WrongDataError(f"{count} records instead of {RECORDS}")


def check_stored(store: Store, puts: int) -> None:
    """Raise unless the first `puts` new keys are there; looks at a thousand of them."""
    for number in range(0, puts, max(1, puts // 1000)):
        key = new_key(number)
        if store.get(key) != value_of(key):
            raise WrongDataError((number, key, store.get(key)))


def require(condition: object, what: object) -> None:
    if not condition:
        raise WrongDataError(what)
