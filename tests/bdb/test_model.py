"""Any sequence of operations does what a sorted list would do, and what the blocking berkeleydb API does (Hypothesis).

Three stores are driven side by side: ours, the binding itself on an environment of its own (`Oracle`), and a sorted
list of pairs (`Model`). They have the same methods, and every call must have the same outcome in all of them.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from asyncstore.bdb import _range
from asyncstore.bdb._library import db as libdb
from tests.bdb.binding import bdb
from tests.bdb.model import PAGE_SIZE, Model, ModelCursor, Oracle, OracleCursor

ERRORS = {
    libdb.DBKeyExistError: bdb.errors.KeyExists,
    libdb.DBKeyEmptyError: bdb.errors.KeyEmpty,
    libdb.DBInvalidArgError: bdb.errors.InvalidArgument,
}
MOVES = ("first", "last", "next", "previous", "next_key", "previous_key")
LONG = b"long" * 150
BYTES_KEYS = st.sampled_from([b"", b"\0", b"a", b"aa", b"ab", b"b" * 90, b"b\xff", b"c", b"\xff", b"\xff\xff", b"d"])
SHORT_VALUES = st.sampled_from([b"", b"1", b"2", b"3", b"v" * 60, b"w" * 60])
VALUES = SHORT_VALUES | st.just(LONG)  # on overflow pages, where no sorted duplicate can be


def outcome(call: Callable[[], Any]) -> Any:
    """Return what `call` returns, or the class of ours for what it raises."""
    try:
        return call()
    except (bdb.errors.Error, libdb.DBError) as exc:
        return ERRORS.get(type(exc), type(exc))


class Stores(RuleBasedStateMachine):
    """Ours, the oracle and the model, and the rules that all kinds of databases have."""

    kind = "btree"
    keys: Any = BYTES_KEYS
    values: Any = VALUES

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="bdb-model-"))
        self.loop = asyncio.new_event_loop()
        self.run = self.loop.run_until_complete
        self.model = Model(self.kind)
        (self.folder / "oracle").mkdir()
        self.oracle = Oracle(self.folder / "oracle", self.kind)
        self.txns: list[Any] = []
        self.cursors: list[tuple[int, Any, OracleCursor, ModelCursor]] = []  # with the depth of their transaction

    @initialize()
    def open(self) -> None:
        async def opened() -> Any:
            # No cache to speak of: pages are written and read again.
            self.env = await bdb.open(self.folder / "ours", durability="none", cache_size=1 << 18)
            kind = "btree" if self.kind == "sorted" else self.kind
            options = {"duplicates": "sorted"} if self.kind == "sorted" else {}
            return await self.env.database("main", type=kind, page_size=PAGE_SIZE, **options)

        self.db = self.run(opened())

    def on_loop(self, make: Callable[[], Any]) -> Any:
        """Call what is no coroutine but has to know the loop that it is called on."""

        async def call() -> Any:
            return make()

        return self.run(call())

    def teardown(self) -> None:
        try:
            while self.txns:
                self.abort()
            self.check_all()
        finally:
            if hasattr(self, "env"):
                self.run(self.env.aclose())
            self.loop.close()
            self.oracle.close()
            shutil.rmtree(self.folder)

    def same(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call the method `name` of all three, in the innermost transaction, and return the common outcome."""
        txn = self.txns[-1] if self.txns else None
        ours = outcome(lambda: self.run(getattr(self.db, name)(*arguments, **options, txn=txn)))
        theirs = outcome(lambda: getattr(self.oracle, name)(*arguments, **options))
        expected = outcome(lambda: getattr(self.model, name)(*arguments, **options))
        assert ours == theirs == expected
        return ours

    async def fetched(self, *arguments: Any, **options: Any) -> list[tuple[Any, bytes]]:
        txn = self.txns[-1] if self.txns else None
        async with self.db.range(*arguments, **options, txn=txn) as records:
            return [record async for record in records]

    def check_all(self) -> None:
        ours, theirs = self.run(self.fetched()), self.oracle.range()
        assert ours == theirs
        assert sorted(ours) == self.model.pairs

    # Single operations

    @rule(data=st.data(), overwrite=st.booleans())
    def put(self, data: Any, overwrite: bool) -> None:
        self.same("put", data.draw(self.keys), data.draw(self.values), overwrite=overwrite)

    @rule(data=st.data())
    def put_many(self, data: Any) -> None:
        self.same("put_many", data.draw(st.lists(st.tuples(self.keys, self.values), max_size=20)))

    @rule(data=st.data())
    def delete(self, data: Any) -> None:
        self.same("delete", data.draw(self.keys))

    @rule(data=st.data())
    def read(self, data: Any) -> None:
        for name in ("get", "exists", "count", "get_all"):
            if name in ("get", "exists") or self.kind != "recno":
                self.same(name, data.draw(self.keys))
        self.same("get_many", data.draw(st.lists(self.keys, max_size=8)))

    @rule(data=st.data(), how=st.sampled_from([b"", b"x", LONG, None]))
    def update(self, data: Any, how: bytes | None) -> None:
        if self.kind != "sorted":
            self.same("update", data.draw(self.keys), lambda old: None if how is None else (old or b"")[:90] + how)

    @rule()
    def truncate_sometimes(self) -> None:
        if not self.cursors and len(self.model.pairs) > 15:  # libdb refuses it while a cursor is open
            self.same("truncate")

    # Transactions

    @precondition(lambda self: len(self.txns) < 3)
    @rule()
    def begin(self) -> None:
        outer = self.txns[-1] if self.txns else self.env
        self.txns.append(self.on_loop(outer.transaction))
        self.oracle.begin()
        self.model.begin()

    def forget_cursors(self) -> None:
        """Close those of the innermost transaction: ours by its end, the binding's because it wants that before."""
        for place in [place for place in self.cursors if place[0] == len(self.txns)]:
            self.cursors.remove(place)
            place[2].close()

    @precondition(lambda self: self.txns)
    @rule()
    def commit(self) -> None:
        self.forget_cursors()
        self.run(self.txns.pop().commit())
        self.oracle.commit()
        self.model.commit()
        self.check_all()

    @precondition(lambda self: self.txns)
    @rule()
    def abort(self) -> None:
        self.forget_cursors()
        self.run(self.txns.pop().abort())
        self.oracle.abort()
        self.model.abort()
        self.check_all()

    @precondition(lambda self: self.txns)
    @rule()
    def abort_with_all_that_is_nested(self) -> None:
        self.run(self.txns[0].abort())
        while self.txns:
            self.forget_cursors()
            self.txns.pop()
            self.oracle.abort()
            self.model.abort()
        self.check_all()

    @precondition(lambda self: not self.txns)
    @rule()
    def reopen(self) -> None:
        self.run(self.env.aclose())
        self.open()
        self.check_all()

    # Cursors

    @precondition(lambda self: self.txns and len(self.cursors) < 3)
    @rule(rmw=st.booleans())
    def open_cursor(self, rmw: bool) -> None:
        ours = self.on_loop(lambda: self.db.cursor(rmw=rmw, txn=self.txns[-1]))
        self.cursors.append((len(self.txns), ours, self.oracle.cursor(), self.model.cursor()))

    def at(self, data: Any) -> tuple[int, Any, OracleCursor, ModelCursor] | None:
        usable = [place for place in self.cursors if place[0] == len(self.txns)]
        return data.draw(st.sampled_from(usable)) if usable else None

    def move(self, cursors: tuple[int, Any, OracleCursor, ModelCursor], name: str, *arguments: Any, **options) -> None:
        _, ours, theirs, model = cursors
        found = outcome(lambda: self.run(getattr(ours, name)(*arguments, **options)))
        asked = outcome(lambda: getattr(theirs, name)(*arguments, **options))
        assert found == asked
        if self.kind == "hash" and name in (*MOVES, "fetch"):  # the order is libdb's
            last = ([None, *found] if name == "fetch" else [found])[-1]
            assert last is None or model.seek_pair(*last) == last
            return
        assert found == outcome(lambda: getattr(model, name)(*arguments, **options))

    def a_move(self, data: Any) -> tuple[Any, ...]:
        name = data.draw(st.sampled_from([*MOVES, *self.seeks, "current", "fetch"]))
        if name == "fetch":
            return name, data.draw(st.integers(1, 5))
        if name in ("seek", "seek_from"):
            return name, data.draw(self.keys)
        return (name, data.draw(self.keys), data.draw(self.values)) if name.startswith("seek") else (name,)

    @precondition(lambda self: self.cursors)
    @rule(data=st.data(), times=st.integers(1, 4))
    def move_cursor(self, data: Any, times: int) -> None:
        cursors = self.at(data)
        for _ in range(times if cursors else 0):
            self.move(cursors, *self.a_move(data))

    @precondition(lambda self: self.cursors)
    @rule(data=st.data(), how=st.sampled_from(["put", "new", "replace", "delete"]))
    def write_by_cursor(self, data: Any, how: str) -> None:
        cursors = self.at(data)
        if cursors is None:
            return
        if how in ("replace", "delete"):
            if cursors[3].place is not None:
                self.move(cursors, how, *([data.draw(self.values)] if how == "replace" else []))
        elif self.kind != "recno" and (how == "put" or self.kind == "sorted"):
            place = "last" if how == "put" else "new"
            self.move(cursors, "put", data.draw(self.keys), data.draw(self.values), place=place)

    @precondition(lambda self: self.cursors)
    @rule(data=st.data())
    def close_cursor(self, data: Any) -> None:
        cursors = self.at(data)
        if cursors is not None:
            self.cursors.remove(cursors)
            self.run(cursors[1].aclose())
            cursors[2].close()

    @precondition(lambda self: not self.txns)
    @rule(data=st.data(), times=st.integers(1, 6))
    def read_by_a_cursor_without_transaction(self, data: Any, times: int) -> None:
        cursors = (0, self.on_loop(self.db.cursor), self.oracle.cursor(), self.model.cursor())
        try:
            for _ in range(times):
                self.move(cursors, *self.a_move(data))
        finally:
            self.run(cursors[1].aclose())
            cursors[2].close()


class Btree(Stores):
    """Sorted keys: ranges have bounds and directions."""

    seeks = ("seek", "seek_from", "seek_pair")

    @rule(data=st.data(), reverse=st.booleans(), limit=st.sampled_from([None, 0, 1, 3, 40]))
    def range(self, data: Any, reverse: bool, limit: int | None) -> None:
        start, stop, prefix = (data.draw(st.none() | self.keys) for _ in range(3))
        options = {"prefix": prefix, "reverse": reverse, "limit": limit}
        ours = self.run(self.fetched(start, stop, **options))
        assert ours == self.oracle.range(start, stop, **options) == self.model.range(start, stop, **options)


class Sorted(Btree):
    """Sorted duplicates: each pair is a record."""

    kind = "sorted"
    values = SHORT_VALUES
    seeks = (*Btree.seeks, "seek_pair_from", "next_duplicate", "previous_duplicate")

    @rule(data=st.data())
    def one_pair(self, data: Any) -> None:
        key, value = data.draw(self.keys), data.draw(self.values)
        self.same("has", key, value)
        self.same("delete", key, value)


class Hash(Stores):
    """No order of keys but the one that libdb's hash function gives both of its users."""

    kind = "hash"
    seeks = ("seek", "seek_pair")


class Recno(Stores):
    """Numbers for keys, with holes."""

    kind = "recno"
    keys = st.integers(1, 30)
    seeks = ("seek",)

    @rule(data=st.data())
    def append(self, data: Any) -> None:
        self.same("append", data.draw(self.values))

    @rule(data=st.data(), reverse=st.booleans(), limit=st.sampled_from([None, 1, 3]))
    def range(self, data: Any, reverse: bool, limit: int | None) -> None:
        start, stop = (data.draw(st.none() | self.keys) for _ in range(2))
        options = {"reverse": reverse, "limit": limit}
        ours = self.run(self.fetched(start, stop, **options))
        assert ours == self.oracle.range(start, stop, **options) == self.model.range(start, stop, **options)


@pytest.mark.parametrize("machine", [Btree, Sorted, Hash, Recno])
def test_every_sequence_of_operations_agrees_with_the_model_and_with_the_binding(machine, monkeypatch):
    monkeypatch.setattr(_range, "FIRST_BATCH", 2)  # ranges of a few records go on from batch to batch
    run_state_machine_as_test(machine, settings=settings(max_examples=30, stateful_step_count=30))


KEYS_OF_A_TASK = 3
Call = tuple[str, int, bytes]
CALLS = st.lists(
    st.tuples(st.sampled_from(["put", "new", "delete", "get", "update"]), st.integers(0, KEYS_OF_A_TASK - 1), VALUES),
    max_size=12,
)


@pytest.mark.parametrize("kind", ["btree", "hash"])
@settings(max_examples=25)
@given(programs=st.lists(CALLS, min_size=2, max_size=6))
def test_concurrent_tasks_each_see_their_own_keys_change_in_their_own_order(kind, programs: list[list[Call]]):
    """Each key is written by one task: what that task sees must be what it would see if it were alone."""

    async def work(db: Any, number: int, program: list[Call]) -> dict[bytes, bytes]:
        own = Model(kind)
        for name, key_number, value in program:
            key = b"%d of %d" % (key_number, number)  # neighbours on the same pages as those of the others
            if name == "get":
                assert await db.get(key) == own.get(key)
            elif name == "delete":
                assert await db.delete(key) == own.delete(key)
            elif name == "update":
                assert await db.update(key, lambda old: (old or b"")[:50] + b"+") == own.update(
                    key, lambda old: (old or b"")[:50] + b"+"
                )
            elif name == "new" and own.exists(key):
                with pytest.raises(bdb.errors.KeyExists):
                    await db.put(key, value, overwrite=False)
            else:
                await db.put(key, value, overwrite=name == "put")
                own.put(key, value)
        return dict(own.pairs)

    async def main() -> None:
        async with bdb.open(None) as env, env.database("main", type=kind, page_size=PAGE_SIZE) as db:
            kept = await asyncio.gather(*(work(db, number, program) for number, program in enumerate(programs)))
            stored = dict([record async for record in db.range()])
        assert stored == {key: value for one in kept for key, value in one.items()}

    asyncio.run(main())
