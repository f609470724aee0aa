"""Opening and closing of libdb's handles: blocking calls, made on worker threads.

Guarantees
- an environment that a process died in is recovered while it is opened (DB_REGISTER notices, DB_RECOVER mends);
- whatever fails half-way leaves no handle open.

Assumes
- one handle per environment and process: libdb's registry is a file lock, which POSIX gives up when any descriptor of
  the file is closed. `_homes` refuses a second one before libdb is reached.
- an open environment is not used across os.fork().
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asyncstore.bdb import errors
from asyncstore.bdb._library import db
from asyncstore.bdb._translate import translated

__all__ = ("Durability", "Home", "Settings", "commit_flags")

Durability = Literal["full", "write", "none"]

LOG_BUFFER = 1024 * 1024  # bytes: a group of a thousand records of 1 KiB reaches the log file in one write
MAX_TRANSACTIONS = 1024  # at the same time, in all processes of the environment

_homes: set[tuple[int, int]] = set()  # (device, inode) of each home that this process has open
_homes_lock = threading.RLock()  # re-entrant: Environment.__del__ may run in the middle of any allocation


def commit_flags(durability: Durability) -> int:
    """Return what a commit does at `durability`."""
    flags = {
        "full": db.DB_TXN_SYNC,  # the log is on the disk
        "write": db.DB_TXN_WRITE_NOSYNC,  # the log is with the operating system: survives the process, not the machine
        "none": db.DB_TXN_NOSYNC,  # the log is in this process's memory
    }
    return int(flags[durability])


@dataclass(frozen=True, slots=True)
class Settings:
    """How an environment is opened."""

    path: str
    cache_size: int
    create: bool


class Home:
    """An open environment's handle and its place in `_homes`. Every method runs on a worker thread."""

    __slots__ = ("_identity", "_path", "handle")

    def __init__(self, settings: Settings) -> None:
        self._path = settings.path
        with translated("open", f"environment {settings.path!r}"):
            self._identity = _claim(settings)
            try:
                self.handle = _open_handle(settings)
            except BaseException:
                self.release()
                raise

    def release(self) -> None:
        """Let this process open the home again."""
        with _homes_lock:
            _homes.discard(self._identity)

    def close(self) -> None:
        """Write a checkpoint, so that the next open has nothing to recover, and close the environment."""
        with translated("close", f"environment {self._path!r}"):
            try:
                self.handle.txn_checkpoint(0, 0, db.DB_FORCE)
            finally:
                self.abandon()

    def abandon(self) -> None:
        """Close without a checkpoint."""
        try:
            self.handle.close()
        finally:
            self.release()

    def checkpoint(self) -> None:
        """Write all that committed into the database files and drop the log files that are no longer needed."""
        with translated("checkpoint", f"environment {self._path!r}"):
            self.handle.txn_checkpoint(0, 0, 0)

    # Any: the handle is the binding's.
    def open_database(self, name: str, title: str, create: bool) -> Any:  # noqa: FBT001 - a job takes no keywords
        """Open the btree `name` and return its handle."""
        flags = db.DB_AUTO_COMMIT | db.DB_THREAD | (db.DB_CREATE if create else 0)
        handle = db.DB(self.handle)
        try:
            with translated("open", title):
                handle.open(f"{name}.db", dbtype=db.DB_BTREE, flags=flags)
        except BaseException:
            handle.close()
            raise
        return handle

    # Any: the handle is the binding's.
    def close_database(self, handle: Any, title: str) -> None:
        """Close a database's handle; libdb gives it up even when this raises."""
        with translated("close", title):
            # Without NOSYNC every close would write the database's pages; the log has them, the checkpoint writes them.
            handle.close(db.DB_NOSYNC)


def _claim(settings: Settings) -> tuple[int, int]:
    """Make the home when that is wanted, and enter it in `_homes`."""
    try:
        if settings.create:
            Path(settings.path).mkdir(parents=True, exist_ok=True)
        info = os.stat(settings.path)
    except OSError as exc:
        kind = errors.Error.by_code.get(exc.errno or 0, errors.IOFailure)
        raise kind(doing="open", of=f"environment {settings.path!r}", code=exc.errno or 0) from exc
    identity = (info.st_dev, info.st_ino)
    with _homes_lock:
        if identity in _homes:
            raise errors.AlreadyOpen(doing="open", of=f"environment {settings.path!r}")
        _homes.add(identity)
    return identity


def _open_handle(settings: Settings) -> Any:
    handle = db.DBEnv()
    try:
        handle.set_cachesize(settings.cache_size >> 30, settings.cache_size & ((1 << 30) - 1))
        handle.set_lg_bsize(LOG_BUFFER)
        handle.set_tx_max(MAX_TRANSACTIONS)
        # A detector pass whenever a lock is not had at once; who has done the least gives way.
        handle.set_lk_detect(db.DB_LOCK_MINWRITE)
        # The checkpoint drops the log files that recovery no longer needs; without this the log grows for ever.
        handle.log_set_config(db.DB_LOG_AUTO_REMOVE, 1)
        parts = db.DB_INIT_MPOOL | db.DB_INIT_TXN | db.DB_INIT_LOG | db.DB_INIT_LOCK
        handle.open(settings.path, parts | db.DB_CREATE | db.DB_THREAD | db.DB_REGISTER | db.DB_RECOVER)
    except BaseException:
        handle.close()
        raise
    return handle
