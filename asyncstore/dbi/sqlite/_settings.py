"""How a SQLite database is opened."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal, get_args
from urllib.parse import quote
from uuid import uuid4

__all__ = ("JournalMode", "Settings", "Synchronous")

Synchronous = Literal["off", "normal", "full", "extra"]
JournalMode = Literal["wal", "delete", "truncate", "persist", "memory", "off"]
Mode = Literal["ro", "rw", "rwc"]

MEMORY = ":memory:"
CACHED_STATEMENTS = 256  # kept compiled by a connection


@dataclass(frozen=True, slots=True)
class Settings:
    """What `dbi.connect` was told of a SQLite database; see there."""

    path: str
    mode: Mode = "rwc"
    journal_mode: JournalMode = "wal"
    synchronous: Synchronous = "full"
    foreign_keys: bool = True
    cached_statements: int = CACHED_STATEMENTS
    name: str = ""  # of a database in memory that several connections share

    def __post_init__(self) -> None:
        for name, allowed in (("mode", Mode), ("journal_mode", JournalMode), ("synchronous", Synchronous)):
            value = getattr(self, name)
            if value not in get_args(allowed):
                raise ValueError(f"{name} is one of {', '.join(map(repr, get_args(allowed)))}, not {value!r}")
        if not isinstance(self.foreign_keys, bool):
            raise TypeError(f"foreign_keys is True or False, not {self.foreign_keys!r}")
        if not isinstance(self.cached_statements, int) or not 1 <= self.cached_statements <= 100_000:
            raise ValueError(f"cached_statements is an int from 1 to 100000, not {self.cached_statements!r}")

    @property
    def in_memory(self) -> bool:
        """Whether nothing is kept when it is closed."""
        return self.path == MEMORY

    @property
    def readers_help(self) -> bool:
        """Whether connections that read get on beside one that writes."""
        return not self.in_memory and (self.journal_mode == "wal" or self.mode == "ro")

    def shared(self) -> Settings:
        """Return how one database in memory is opened by several connections, for as long as one of them is open."""
        return replace(self, name=f"asyncstore-{uuid4()}")

    @property
    def title(self) -> str:
        """What messages call it."""
        return "a SQLite database in memory" if self.in_memory else f"SQLite database {self.path!r}"

    @property
    def _uri(self) -> str:
        if not self.in_memory:
            return f"file:{quote(PurePath(self.path).as_posix())}?mode={self.mode}"
        if not self.name:
            return "file::memory:"
        # In a shared cache, readers and writers would lock each other's tables; but memdb came only with SQLite 3.36.
        if sqlite3.sqlite_version_info >= (3, 36):
            return f"file:/{self.name}?vfs=memdb"
        return f"file:{self.name}?mode=memory&cache=shared"

    def connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        """Open it. Blocks. Raises sqlite3.Error. With `read_only` it may be written to by other connections alone."""
        # One worker at a time is inside, which is what SQLite's serialized mode asks for and sqlite3 cannot know.
        connection = sqlite3.connect(
            self._uri,
            timeout=0,  # whoever meets a lock asks again from the loop
            isolation_level=None,
            check_same_thread=False,
            cached_statements=self.cached_statements,
            uri=True,
        )
        try:
            if self.mode != "ro":
                connection.execute(f"PRAGMA journal_mode={self.journal_mode}")
            connection.execute(f"PRAGMA synchronous={self.synchronous}")
            connection.execute(f"PRAGMA foreign_keys={'on' if self.foreign_keys else 'off'}")
            if read_only:
                connection.execute("PRAGMA query_only=on")
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")  # of a file that is no database this tells now
        except BaseException:
            connection.close()
            raise
        return connection
