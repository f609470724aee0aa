"""Random programs give with asyncstore what they give with sqlite3: rows, counts, errors, what a rollback leaves."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncstore import dbi

IDS = st.integers(1, 8)
TEXTS = st.sampled_from(["a", "b", "c", "", "it's", "ü"])
SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE NOT NULL)"
STATEMENTS = st.one_of(
    st.tuples(st.just("INSERT INTO t VALUES (?, ?)"), st.tuples(IDS, TEXTS)),
    st.tuples(st.just("INSERT OR REPLACE INTO t VALUES (?, ?)"), st.tuples(IDS, TEXTS)),
    st.tuples(st.just("INSERT OR IGNORE INTO t VALUES (?, ?) RETURNING id"), st.tuples(IDS, TEXTS)),
    st.tuples(st.just("UPDATE t SET v = v || ? WHERE id <= ?"), st.tuples(TEXTS, IDS)),
    st.tuples(st.just("UPDATE t SET v = ?"), st.tuples(TEXTS)),
    st.tuples(st.just("DELETE FROM t WHERE id = ?"), st.tuples(IDS)),
    st.tuples(st.just("SELECT id, v FROM t WHERE id > ? ORDER BY id"), st.tuples(IDS)),
    st.tuples(st.just("SELECT nothing FROM t"), st.just(())),
)


def outcome(call: Callable[[], Any]) -> Any:
    """Return what `call` returns, or the class of sqlite3's for what it raises."""
    try:
        return call()
    except sqlite3.Error as exc:
        return type(exc)
    except dbi.errors.Error as exc:
        return type(exc.__cause__)


class Programs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        url = f"sqlite:///{Path(self.folder.name, 'ours.db')}?synchronous=off"
        self.ours = self.runner.run(self.connect(url))
        self.theirs = sqlite3.connect(":memory:", isolation_level=None)
        self.theirs.execute(SCHEMA)
        self.open: list[dbi.Transaction] = []

    async def connect(self, url: str) -> dbi.Connection:
        self.task = asyncio.current_task()
        db = await dbi.connect(url)
        await db.execute(SCHEMA)
        return db

    def run(self, coroutine: Any) -> Any:
        """Run a step; a transaction belongs to a task, and every step is one of its own: they are made the same."""

        async def step() -> Any:
            for transaction in self.open:
                transaction.owner = asyncio.current_task()
            return await coroutine

        return self.runner.run(step())

    def both(self, ours: Any, theirs: Any) -> None:
        """Compare what both give, or that both refuse with the same kind of error."""
        expected = outcome(theirs)
        assert outcome(lambda: self.run(ours)) == expected

    @rule(statement=STATEMENTS)
    def execute(self, statement):
        sql, parameters = statement

        async def ours():
            result = await self.ours.execute(sql, parameters)
            return result.rows, result.rowcount if result.columns == () else None

        def theirs():
            cursor = self.theirs.execute(sql, parameters)
            return cursor.fetchall(), cursor.rowcount if cursor.description is None else None

        self.both(ours(), theirs)

    @rule(sets=st.lists(st.tuples(IDS, TEXTS), max_size=4))
    def execute_many(self, sets):
        sql = "INSERT INTO t VALUES (?, ?)"

        def theirs():
            self.theirs.execute("SAVEPOINT many")
            try:
                return self.theirs.executemany(sql, sets).rowcount
            except sqlite3.Error:
                self.theirs.execute("ROLLBACK TO many")
                raise
            finally:
                self.theirs.execute("RELEASE many")

        async def ours():
            return (await self.ours.executemany(sql, sets)).rowcount

        self.both(ours(), theirs)

    @precondition(lambda self: not self.open)
    @rule(statements=st.lists(STATEMENTS, min_size=2, max_size=6))
    def at_once(self, statements):
        """Statements of one tick: what changes something comes first, each by itself."""
        order = sorted(statements, key=lambda statement: statement[0].startswith("SELECT"))

        async def ours():
            found = await asyncio.gather(*(self.ours.execute(*one) for one in order), return_exceptions=True)
            return [type(one.__cause__) if isinstance(one, Exception) else one.rows for one in found]

        def theirs():
            found = []
            for one in order:
                try:
                    found.append(self.theirs.execute(*one).fetchall())
                except sqlite3.Error as exc:
                    found.append(type(exc))
            return found

        self.both(ours(), theirs)

    @precondition(lambda self: len(self.open) < 3)
    @rule()
    def begin(self):
        self.theirs.execute(f"SAVEPOINT s{len(self.open)}" if self.open else "BEGIN")
        transaction = self.ours.transaction()
        self.run(transaction.__aenter__())
        self.open.append(transaction)

    @precondition(lambda self: self.open)
    @rule(keep=st.booleans())
    def end(self, keep):
        transaction = self.open[-1]
        if len(self.open) == 1:
            self.theirs.execute("COMMIT" if keep else "ROLLBACK")
        else:
            name = f"s{len(self.open) - 1}"
            if not keep:
                self.theirs.execute(f"ROLLBACK TO {name}")
            self.theirs.execute(f"RELEASE {name}")
        error = None if keep else KeyError()
        self.run(transaction.__aexit__(None if keep else KeyError, error, None))
        self.open.pop()

    @invariant()
    def same_rows(self):
        async def ours():
            return [row async for row in self.ours.iterate("SELECT * FROM t ORDER BY id")]

        assert self.run(ours()) == self.theirs.execute("SELECT * FROM t ORDER BY id").fetchall()

    def teardown(self):
        while self.open:
            self.end(keep=False)
        self.runner.run(self.ours.aclose())
        self.runner.close()
        self.theirs.close()
        self.folder.cleanup()


TestPrograms = Programs.TestCase
TestPrograms.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
