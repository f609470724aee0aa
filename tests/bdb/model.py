"""What the stores of `test_model` are compared with: a sorted list, and the blocking binding under our names."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from asyncstore.bdb._library import db as libdb
from tests.bdb.binding import bdb

__all__ = ("PAGE_SIZE", "Model", "ModelCursor", "Oracle", "OracleCursor")

PAGE_SIZE = 512  # bytes: the smallest, so that a few records split pages and long values overflow
TYPES = {"btree": libdb.DB_BTREE, "sorted": libdb.DB_BTREE, "hash": libdb.DB_HASH, "recno": libdb.DB_RECNO}
NAMES = {
    "previous": "prev", "next_duplicate": "next_dup", "previous_duplicate": "prev_dup", "next_key": "next_nodup",
    "previous_key": "prev_nodup", "seek": "set", "seek_from": "set_range", "seek_pair": "get_both",
}  # fmt: skip
PLACES = {"last": libdb.DB_KEYLAST, "new": libdb.DB_NODUPDATA}


class Model:
    """A sorted list of (key, value), and copies of it for the transactions that are open."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.pairs: list[tuple[Any, bytes]] = []
        self.last = 0  # the highest record number that was ever used
        self.before: list[tuple[list[tuple[Any, bytes]], int]] = []

    def begin(self) -> None:
        self.before.append((self.pairs[:], self.last))

    def commit(self) -> None:
        self.before.pop()

    def abort(self) -> None:
        self.pairs, self.last = self.before.pop()

    def get_all(self, key: Any) -> list[bytes]:
        return [value for other, value in self.pairs if other == key]

    def get(self, key: Any) -> bytes | None:
        return next(iter(self.get_all(key)), None)

    def get_many(self, keys: list[Any]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def exists(self, key: Any) -> bool:
        return bool(self.get_all(key))

    def has(self, key: Any, value: bytes) -> bool:
        return (key, value) in self.pairs

    def count(self, key: Any) -> int:
        return len(self.get_all(key))

    def put(self, key: Any, value: bytes, *, overwrite: bool = True) -> None:
        if not overwrite and self.exists(key):
            raise bdb.errors.KeyExists(doing="put", of="model")
        if self.kind != "sorted":
            self.delete(key)
        self.pairs = sorted({*self.pairs, (key, value)})
        if self.kind == "recno":
            self.last = max(self.last, key)

    def put_many(self, records: list[tuple[Any, bytes]]) -> int:
        for key, value in records:
            self.put(key, value)
        return len(records)

    def append(self, value: bytes) -> int:
        self.put(self.last + 1, value)
        return self.last

    def update(self, key: Any, function: Callable[[bytes | None], bytes | None]) -> bytes | None:
        new = function(self.get(key))
        if new is None:
            self.delete(key)
        else:
            self.put(key, new)
        return new

    def delete(self, key: Any, value: bytes | None = None) -> bool:
        kept = [pair for pair in self.pairs if pair[0] != key or value not in (None, pair[1])]
        removed, self.pairs = len(kept) != len(self.pairs), kept
        return removed

    def truncate(self) -> int:
        count, self.pairs, self.last = len(self.pairs), [], 0
        return count

    def range(self, start=None, stop=None, *, prefix=None, reverse=False, limit=None) -> list[tuple[Any, bytes]]:
        found = [
            pair
            for pair in self.pairs
            if (start is None or pair[0] >= start)
            and (stop is None or pair[0] < stop)
            and (prefix is None or pair[0].startswith(prefix))
        ]
        return (found[::-1] if reverse else found)[:limit]

    def cursor(self) -> ModelCursor:
        return ModelCursor(self)


class ModelCursor:
    """A place in the list: a pair, which may have been deleted since; without duplicates only its key counts."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.place: tuple[Any, ...] | None = None

    def _own(self, pair: tuple[Any, bytes]) -> tuple[Any, ...]:
        return pair if self.model.kind == "sorted" else pair[:1]

    def _go(self, found: list[tuple[Any, bytes]], which: int = 0) -> tuple[Any, bytes] | None:
        if not found:
            return None
        self.place = self._own(found[which])
        return found[which]

    def first(self) -> Any:
        return self._go(self.model.pairs)

    def last(self) -> Any:
        return self._go(self.model.pairs, -1)

    def next(self) -> Any:
        place = self.place
        return self._go([pair for pair in self.model.pairs if place is None or self._own(pair) > place])

    def previous(self) -> Any:
        place = self.place
        return self._go([pair for pair in self.model.pairs if place is None or self._own(pair) < place], -1)

    def next_key(self) -> Any:
        place = self.place
        return self._go([pair for pair in self.model.pairs if place is None or pair[0] > place[0]])

    def previous_key(self) -> Any:
        place = self.place
        return self._go([pair for pair in self.model.pairs if place is None or pair[0] < place[0]], -1)

    def next_duplicate(self) -> Any:
        place = self._placed()
        return self._go([pair for pair in self.model.pairs if pair[0] == place[0] and self._own(pair) > place])

    def previous_duplicate(self) -> Any:
        place = self._placed()
        return self._go([pair for pair in self.model.pairs if pair[0] == place[0] and self._own(pair) < place], -1)

    def current(self) -> Any:
        place = self._placed()
        return self._go([pair for pair in self.model.pairs if self._own(pair) == place])

    def seek(self, key: Any) -> Any:
        return self._go([pair for pair in self.model.pairs if pair[0] == key])

    def seek_from(self, key: Any) -> Any:
        return self._go([pair for pair in self.model.pairs if pair[0] >= key])

    def seek_pair(self, key: Any, value: bytes) -> Any:
        return self._go([pair for pair in self.model.pairs if pair == (key, value)])

    def seek_pair_from(self, key: Any, value: bytes) -> Any:
        return self._go([pair for pair in self.model.pairs if pair[0] == key and pair[1] >= value])

    def fetch(self, count: int) -> list[Any]:
        return [pair for pair in (self.next() for _ in range(count)) if pair is not None]

    def put(self, key: Any, value: bytes, *, place: str = "last") -> None:
        if self.model.kind == "sorted" and self.model.has(key, value):
            raise bdb.errors.KeyExists(doing="put", of="model")
        self.model.put(key, value)
        self.place = self._own((key, value))

    def replace(self, value: bytes) -> None:
        found = self._alive("replace")
        if self.model.kind == "sorted" and found[1] != value:
            raise bdb.errors.InvalidArgument(doing="replace", of="model")
        self.model.put(found[0], value)

    def delete(self) -> None:
        self.model.delete(*self._alive("delete"))

    def _placed(self) -> tuple[Any, ...]:
        if self.place is None:
            raise bdb.errors.InvalidArgument(doing="use", of="model")
        return self.place

    def _alive(self, doing: str) -> tuple[Any, bytes]:
        found: tuple[Any, bytes] | None = self.current()
        if found is None:
            raise bdb.errors.KeyEmpty(doing=doing, of="model")
        return found


class Oracle:
    """The binding itself, called as its documentation says."""

    def __init__(self, home: Path, kind: str) -> None:
        self.kind = kind
        self.env = libdb.DBEnv()
        parts = libdb.DB_INIT_MPOOL | libdb.DB_INIT_TXN | libdb.DB_INIT_LOG | libdb.DB_INIT_LOCK
        self.env.open(str(home), parts | libdb.DB_CREATE | libdb.DB_PRIVATE)
        self.db = libdb.DB(self.env)
        self.db.set_pagesize(PAGE_SIZE)
        if kind == "sorted":
            self.db.set_flags(libdb.DB_DUPSORT)
        self.db.open("main.db", None, TYPES[kind], libdb.DB_CREATE | libdb.DB_AUTO_COMMIT)
        self.txns: list[Any] = []

    @property
    def txn(self) -> Any:
        return self.txns[-1] if self.txns else None

    def begin(self) -> None:
        self.txns.append(self.env.txn_begin(self.txn, libdb.DB_TXN_NOSYNC))

    def commit(self) -> None:
        self.txns.pop().commit(libdb.DB_TXN_NOSYNC)

    def abort(self) -> None:
        self.txns.pop().abort()

    def get(self, key: Any) -> bytes | None:
        return self.db.get(key, None, self.txn)

    def get_all(self, key: Any) -> list[bytes]:
        return [value for other, value in self.range() if other == key]

    def get_many(self, keys: list[Any]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def exists(self, key: Any) -> bool:
        return bool(self.db.exists(key, self.txn))

    def has(self, key: Any, value: bytes) -> bool:
        return self.db.get_both(key, value, self.txn) is not None

    def count(self, key: Any) -> int:
        return len(self.get_all(key))

    def put(self, key: Any, value: bytes, *, overwrite: bool = True) -> None:
        if not overwrite:
            self.db.put(key, value, self.txn, libdb.DB_NOOVERWRITE)
        else:
            with suppress(libdb.DBKeyExistError):  # sorted duplicates: the pair is there
                self.db.put(key, value, self.txn)

    def put_many(self, records: list[tuple[Any, bytes]]) -> int:
        for key, value in records:
            self.put(key, value)
        return len(records)

    def append(self, value: bytes) -> int:
        return self.db.append(value, self.txn)

    def update(self, key: Any, function: Callable[[bytes | None], bytes | None]) -> bytes | None:
        new = function(self.get(key))
        if new is None:
            self.delete(key)
        else:
            self.put(key, new)
        return new

    def delete(self, key: Any, value: bytes | None = None) -> bool:
        if value is not None:
            txn = self.env.txn_begin(self.txn, libdb.DB_TXN_NOSYNC)
            cursor = self.db.cursor(txn)
            found = cursor.get_both(key, value)
            if found is not None:
                cursor.delete()
            cursor.close()
            txn.commit(libdb.DB_TXN_NOSYNC)
            return found is not None
        with suppress(libdb.DBNotFoundError, libdb.DBKeyEmptyError):
            self.db.delete(key, self.txn)
            return True
        return False

    def truncate(self) -> int:
        return self.db.truncate(self.txn)

    def range(self, start=None, stop=None, *, prefix=None, reverse=False, limit=None) -> list[tuple[Any, bytes]]:
        cursor = self.db.cursor(self.txn)
        walk = iter(cursor.prev if reverse else cursor.next, None)
        found = [
            (key, value)
            for key, value in walk
            if (start is None or key >= start)
            and (stop is None or key < stop)
            and (prefix is None or key.startswith(prefix))
        ]
        cursor.close()
        return found[:limit]

    def cursor(self) -> OracleCursor:
        return OracleCursor(self.db.cursor(self.txn), 1 if self.kind == "recno" else b"")

    def close(self) -> None:
        while self.txns:
            self.abort()
        self.db.close()
        self.env.close()


class OracleCursor:
    """The binding's cursor under our names."""

    def __init__(self, cursor: Any, any_key: Any) -> None:
        self.cursor = cursor
        self.any_key = any_key

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cursor, NAMES.get(name, name))

    def seek_pair_from(self, key: Any, value: bytes) -> Any:
        return self.cursor.get(key, value, flags=libdb.DB_GET_BOTH_RANGE)

    def fetch(self, count: int) -> list[Any]:
        return [pair for pair in (self.cursor.next() for _ in range(count)) if pair is not None]

    def put(self, key: Any, value: bytes, *, place: str = "last") -> None:
        self.cursor.put(key, value, PLACES[place])

    def replace(self, value: bytes) -> None:
        self.cursor.put(self.any_key, value, libdb.DB_CURRENT)
