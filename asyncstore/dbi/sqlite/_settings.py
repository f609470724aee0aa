"""How a SQLite database is opened."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, get_args
from urllib.parse import quote

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
    def title(self) -> str:
        """What messages call it."""
        return "a SQLite database in memory" if self.in_memory else f"SQLite database {self.path!r}"

    def connect(self) -> sqlite3.Connection:
        """Open it. Blocks. Raises sqlite3.Error."""
        uri = MEMORY if self.in_memory else f"file:{quote(PurePath(self.path).as_posix())}?mode={self.mode}"
        # One worker at a time is inside, which is what SQLite's serialized mode asks for and sqlite3 cannot know.
        connection = sqlite3.connect(
            uri,
            timeout=0,  # whoever meets a lock asks again from the loop
            isolation_level=None,
            check_same_thread=False,
            cached_statements=self.cached_statements,
            uri=not self.in_memory,
        )
        try:
            if self.mode != "ro":
                connection.execute(f"PRAGMA journal_mode={self.journal_mode}")
            connection.execute(f"PRAGMA synchronous={self.synchronous}")
            connection.execute(f"PRAGMA foreign_keys={'on' if self.foreign_keys else 'off'}")
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")  # of a file that is no database this tells now
        except BaseException:
            connection.close()
            raise
        return connection
