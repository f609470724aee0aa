"""How an environment is opened: every option of `bdb.open`, checked before anything reaches a worker."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, get_args

from asyncstore.bdb._checks import check_int, check_time, check_word
from asyncstore.bdb._library import db
from asyncstore.pool import Pool

if TYPE_CHECKING:
    from asyncstore.bdb._rep_settings import Replication

__all__ = ("Durability", "Settings", "commit_flags")

Durability = Literal["full", "write", "none"]

CACHE_SIZE = 64 * 1024 * 1024  # bytes of libdb's page cache: room for the inner pages of some 10 GB of btrees
MIN_CACHE_SIZE = 256 * 1024  # bytes: below about this libdb cannot hold the pages of one split
MAX_CACHE_SIZE = 1 << 40  # bytes: 1 TiB, far above what one region can be mapped at; refuses typing errors
LOG_BUFFER = 1024 * 1024  # bytes: a group of a thousand records of 1 KiB reaches the log file in one write
MEMORY_LOG_BUFFER = 16 * 1024 * 1024  # bytes of log in memory: what all running transactions have changed fits in
MIN_MEMORY_LOG_BUFFER = 512 * 1024  # bytes: libdb opens none with a quarter of a megabyte, and says nothing useful
LOG_FILE_SIZE = 10 * 1024 * 1024  # bytes: libdb's own default, said here because the log buffer has to be smaller
CHECKPOINT_BYTES = 32 * 1024 * 1024  # bytes put since the last checkpoint: bounds the log and the time of a recovery
CHECKPOINT_INTERVAL = 60.0  # seconds: a store that is hardly written to is not recovered for long either
LOCK_TIMEOUT = 10.0  # seconds; longer than any transaction should take, shorter than people wait
MAX_TRANSACTIONS = 1024  # at the same time, in all processes of the environment; nested ones count
MAX_LOCKS = 10_000  # locks, locked objects and lockers that libdb has room for at first; its tables grow from there

MIN_TIME = 0.001  # seconds: refuses values that were meant in other units
MAX_TIME = 86400.0 * 365

_SIZES = {
    "cache_size": (MIN_CACHE_SIZE, MAX_CACHE_SIZE),
    "log_buffer": (64 * 1024, 1 << 30),
    "log_file_size": (256 * 1024, 1 << 31),
    "checkpoint_bytes": (4096, 1 << 40),
    "max_transactions": (1, 1 << 20),
    "max_locks": (100, 1 << 28),
}
_TIMES = ("lock_timeout", "checkpoint_interval")


def commit_flags(durability: Durability) -> int:
    """Return what a commit does at `durability`."""
    flags = {
        "full": db.DB_TXN_SYNC,  # the log is on the disk
        "write": db.DB_TXN_WRITE_NOSYNC,  # the log is with the operating system: survives the process, not the machine
        "none": db.DB_TXN_NOSYNC,  # the log is in this process's memory
    }
    return int(flags[durability])


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of an environment; see `bdb.open`. Raises TypeError and ValueError for what cannot be."""

    home: str | None
    durability: Durability = "full"
    cache_size: int = CACHE_SIZE
    create: bool = True
    private: bool = False
    password: str | None = None
    multiversion: bool = False
    lock_timeout: float = LOCK_TIMEOUT
    checkpoint_bytes: int = CHECKPOINT_BYTES
    checkpoint_interval: float = CHECKPOINT_INTERVAL
    keep_logs: bool = False
    log_dir: str | None = None
    log_buffer: int | None = None
    log_file_size: int = LOG_FILE_SIZE
    max_transactions: int = MAX_TRANSACTIONS
    max_locks: int = MAX_LOCKS
    replication: Replication | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        check_word("durability", self.durability, get_args(Durability))
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _SIZES and value is not None:
                check_int(field.name, value, *_SIZES[field.name])
            elif field.name in _TIMES:
                check_time(field.name, value, MIN_TIME, MAX_TIME)
        if self.password is not None and (not isinstance(self.password, str) or not self.password):
            raise ValueError("a password is a str that is not empty")
        if self.log_buffer is not None and self.home is not None and self.log_buffer * 4 > self.log_file_size:
            raise ValueError(f"log_buffer is at most a quarter of log_file_size, not {self.log_buffer}")
        if self.home is None and self.log_buffer is not None and self.log_buffer < MIN_MEMORY_LOG_BUFFER:
            raise ValueError(f"log_buffer is at least {MIN_MEMORY_LOG_BUFFER} in memory, not {self.log_buffer}")
        if self.home is None and (self.log_dir is not None or self.replication is not None or self.keep_logs):
            raise ValueError("an environment in memory has no log files and no replication")
        if self.replication is not None and self.private:
            raise ValueError("a replicated environment cannot be private")
        Pool.check_priority(self.priority)

    @property
    def title(self) -> str:
        """What an error message calls the environment."""
        return "environment in memory" if self.home is None else f"environment {self.home!r}"


def path_of(what: str, path: str | os.PathLike[str]) -> str:
    """Return `path` as an absolute str. Raises TypeError and ValueError for what is no path."""
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"{what} is a str or a path of str, not {type(text).__name__}")
    if "\0" in text or not text:
        raise ValueError(f"no directory can be named {text!r}")
    return os.path.abspath(text)
