"""An environment's handle: opening, closing and what is done to it as a whole. Blocking calls, made on worker threads.

Guarantees
- an environment that a process died in is recovered while it is opened (DB_REGISTER notices, DB_RECOVER mends);
- the disk has room for the regions of an open environment: filling it up does not end the process (see `_regions`);
- whatever fails half-way leaves no handle open.

Assumes
- an open environment is not used across os.fork().
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asyncstore.bdb import _detector, _replication, errors
from asyncstore.bdb._claim import Claim, claim
from asyncstore.bdb._layout import Layout, Place, open_handle
from asyncstore.bdb._library import LIBDB_ERRORS, db
from asyncstore.bdb._regions import check_room, reserve
from asyncstore.bdb._registry import Registry, strike_out, wants_recovery
from asyncstore.bdb._rep_events import Events
from asyncstore.bdb._settings import LOG_BUFFER, MEMORY_LOG_BUFFER, Settings
from asyncstore.bdb._translate import recovery_failed, translated

__all__ = ("Home",)

# The lock that a handle keeps on its file was broken, by a change of masters: it is given up either way.
_HARMLESS_AT_CLOSE = (db.DBLockDeadlockError, db.DBLockNotGrantedError, db.DBRepHandleDeadError)
_REFUSALS = (db.DBPermissionsError, db.DBAccessError, db.DBInvalidArgError)  # a wrong password, a missing one
LOCK_QUANTUM = 0.1  # seconds that libdb waits for a lock before the caller's patience is looked at


class Home:
    """An open environment's handle and its place in `_homes`. Every method runs on a worker thread."""

    __slots__ = ("_claim", "_registry", "events", "handle", "settings")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._claim: Claim | None = None
        self._registry: Registry | None = None
        self.events = Events()
        with translated("open", settings.title):
            if settings.home is not None:
                _make(settings, settings.home)
                self._claim = claim(settings.home, "open", settings.title)
            try:
                self.handle = _open_environment(settings, self.events)
                self._watch_home()
            except BaseException:
                self.release()
                raise

    def _watch_home(self) -> None:
        settings = self.settings
        if settings.home is None or settings.private:
            return
        try:
            self._registry = Registry(settings.home)
            reserve(settings.home, settings.cache_size)
        except OSError as exc:
            self.abandon()
            kind = errors.Error.by_code.get(exc.errno or 0, errors.IOFailure)
            raise kind(doing="open", of=settings.title, code=exc.errno or 0, detail=str(exc)) from exc

    def release(self) -> None:
        """Let this process open the home again."""
        if self._claim is not None:
            self._claim.release()

    def close(self) -> None:
        """Write a checkpoint, so that the next open has nothing to recover, and close the environment."""
        with translated("close", self.settings.title):
            try:
                if self.settings.home is not None:
                    self.handle.txn_checkpoint(0, 0, db.DB_FORCE)
            finally:
                self.abandon()

    def abandon(self) -> None:
        """Close without a checkpoint. The handle is gone also when this raises: it says that recovery is due."""
        try:
            with translated("close", self.settings.title):
                # libdb tells of its panic again while the binding has an exception at hand: nothing may be called then.
                self.handle.set_event_notify(_nothing)
                self.handle.close()
        finally:
            if self._registry is not None:
                self._registry.close()
            self.release()

    def checkpoint(self) -> None:
        """Write all that committed into the database files, and drop the log files that recovery does not need."""
        with translated("checkpoint", self.settings.title):
            self.handle.txn_checkpoint(0, 0, 0)

    def break_lock_waits(self) -> int:
        """End the waits for locks that have lasted for `LOCK_QUANTUM`, for libdb has no clock; return how many."""
        with translated("detect", self.settings.title):
            return _detector.look(self.handle)

    def provoke_detector(self) -> int:
        """End also those waits that libdb has lost sight of; see `_detector`. Return how many."""
        with translated("detect", self.settings.title):
            return _detector.provoke(self.handle)

    def verdict(self) -> str | None:
        """Say why the environment cannot be used any more, None if it can; see `Registry`."""
        if self._registry is None or self.settings.home is None:
            return None
        with contextlib.suppress(OSError):  # no room: they stay as they are, and the next look tries again
            reserve(self.settings.home, self.settings.cache_size)  # they grow
        return self._registry.verdict()

    # Any: the handle is the binding's.
    def open_database(self, place: Place, layout: Layout, create: bool, title: str) -> Any:  # noqa: FBT001 - a job's
        """Open a database and return its handle."""
        settings = self.settings
        with translated("open", title):
            return open_handle(
                self.handle,
                place,
                layout,
                create=create and not self.read_only(),
                encrypted=settings.password is not None,
                read_only=False,
                title=title,
            )

    def database_names(self, place: Place) -> list[str]:
        """Return the names of the databases in a file that has several."""
        title = f"file {place.file!r} in {self.settings.home!r}"
        try:
            # Only a file that is one database can be opened for writing as a whole.
            with translated("list", title):
                self._file_handle(place, title, read_only=False).close(db.DB_NOSYNC)
        except errors.InvalidArgument:
            with translated("list", title):
                handle = self._file_handle(place, title, read_only=True)
                try:
                    return [name.decode() for name in handle.keys()]  # noqa: SIM118 - the binding's, no dict
                finally:
                    handle.close(db.DB_NOSYNC)
        raise errors.InvalidArgument(doing="list", of=title, detail="it is a single database")

    # Any: the handle is the binding's.
    def _file_handle(self, place: Place, title: str, *, read_only: bool) -> Any:
        encrypted = self.settings.password is not None
        layout = Layout(type=None)
        return open_handle(
            self.handle, place, layout, create=False, encrypted=encrypted, read_only=read_only, title=title
        )

    def remove_database(self, place: Place) -> None:
        """Delete a database, waiting for no lock."""
        self._in_transaction("remove", place, lambda txn: self.handle.dbremove(place.file, place.name, txn))

    def rename_database(self, place: Place, target: str) -> None:
        """Rename a database, waiting for no lock."""
        self._in_transaction("rename", place, lambda txn: self.handle.dbrename(place.file, place.name, target, txn))

    # Any: what a transaction of the binding is.
    def _in_transaction(self, doing: str, place: Place, work: Callable[[Any], object]) -> None:
        # libdb waits without end for a lock on the file that an open handle holds, also one of this process.
        title = f"database {place.name or place.file!r} in {self.settings.home!r}"
        try:
            with translated(doing, title):
                txn = self.handle.txn_begin(None, db.DB_TXN_NOWAIT)
                try:
                    work(txn)
                except BaseException:
                    txn.abort()
                    raise
                txn.commit(db.DB_TXN_SYNC)
        except errors.LockTimeout as exc:
            raise errors.InUse(doing=doing, of=title, detail="somebody has it open") from exc

    def flush_log(self) -> None:
        """Write the log to the disk."""
        with translated("flush", self.settings.title):
            self.handle.log_flush()

    def archive_logs(self, remove: bool) -> list[str]:  # noqa: FBT001 - a job takes no keywords
        """Return the paths of log files that recovery no longer needs."""
        with translated("archive", self.settings.title):
            found = [os.fsdecode(name) for name in self.handle.log_archive(db.DB_ARCH_ABS)]
        for name in found if remove else ():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        return found

    def trickle(self, percent: int) -> int:
        """Write pages until `percent` of the cache is clean; return how many."""
        with translated("trickle", self.settings.title):
            return int(self.handle.memp_trickle(percent))

    def join_group(self) -> None:
        """Begin to take part in replication; the first time this asks another site to let it in."""
        settings = self.settings
        assert settings.replication is not None, "only called with it"
        try:
            with translated("join the group of", settings.title):
                _replication.start(self.handle, settings.replication)
        except errors.Error as exc:
            # A second process in one environment: the first one's threads do the work, for this one too.
            if exc.code != db.DB_REP_IGNORE:
                raise

    def read_only(self) -> bool:
        """Whether this is a client of replication, which changes nothing by itself."""
        if self.settings.replication is None:
            return False
        return bool(self.handle.rep_stat()["status"] != db.DB_REP_MASTER)

    def close_database(self, handle: Any, title: str) -> None:
        """Close a database's handle; libdb gives it up even when this raises."""
        with translated("close", title), contextlib.suppress(*_HARMLESS_AT_CLOSE):
            # Without NOSYNC every close would write the database's pages; the log has them, the checkpoint writes them.
            handle.close(db.DB_NOSYNC)


def _nothing(*_: object) -> None:
    """Take an event and do nothing."""


def _make(settings: Settings, home: str) -> None:
    """Make the home when that is wanted; otherwise there must be an environment in it."""
    try:
        if settings.create:
            Path(home).mkdir(parents=True, exist_ok=True)
            if settings.log_dir is not None:
                Path(home, settings.log_dir).mkdir(parents=True, exist_ok=True)
        elif not any(name.startswith("log.") for name in os.listdir(os.path.join(home, settings.log_dir or ""))):
            raise errors.NoSuchFile(doing="open", of=settings.title, detail="there is no environment in it")
    except OSError as exc:
        if isinstance(exc, errors.Error):
            raise
        kind = errors.Error.by_code.get(exc.errno or 0, errors.IOFailure)
        raise kind(doing="open", of=settings.title, code=exc.errno or 0) from exc


def _open_environment(settings: Settings, events: Events) -> Any:
    recovering = settings.home is not None and (settings.private or wants_recovery(settings.home))
    handle = db.DBEnv()
    try:
        _configure(handle, settings)
        events.attach(handle)
        if settings.replication is not None:
            _replication.configure(handle, settings.replication)
        parts = db.DB_INIT_MPOOL | db.DB_INIT_TXN | db.DB_INIT_LOG | db.DB_INIT_LOCK | db.DB_THREAD | db.DB_CREATE
        if settings.home is None:
            handle.open(None, parts | db.DB_PRIVATE)
        elif settings.private:
            handle.open(settings.home, parts | db.DB_PRIVATE | db.DB_RECOVER)
        else:
            check_room(settings, settings.home)
            replicated = 0 if settings.replication is None else _replication.open_flags()
            handle.open(settings.home, parts | replicated | db.DB_REGISTER | db.DB_RECOVER)
    except BaseException as exc:
        with contextlib.suppress(*LIBDB_ERRORS):  # the first error is the one to tell
            handle.set_event_notify(_nothing)
            handle.close()
        if settings.home is not None and not settings.private:
            strike_out(settings.home, recover=not isinstance(exc, _REFUSALS))
        if recovering and isinstance(exc, db.DBRunRecoveryError):
            raise recovery_failed(exc, doing="open", of=settings.title) from exc
        raise
    return handle


def _configure(handle: Any, settings: Settings) -> None:
    handle.set_cachesize(settings.cache_size >> 30, settings.cache_size & ((1 << 30) - 1))
    in_memory = settings.home is None
    handle.set_lg_bsize(settings.log_buffer or (MEMORY_LOG_BUFFER if in_memory else LOG_BUFFER))
    if in_memory:
        handle.log_set_config(db.DB_LOG_IN_MEMORY, 1)
    else:
        handle.set_lg_max(settings.log_file_size)
        # The checkpoint drops the log files that recovery no longer needs; without this the log grows for ever.
        handle.log_set_config(db.DB_LOG_AUTO_REMOVE, 0 if settings.keep_logs or settings.replication else 1)
    if settings.log_dir is not None:
        handle.set_lg_dir(settings.log_dir)
    if settings.password is not None:
        handle.set_encrypt(settings.password, db.DB_ENCRYPT_AES)
    if settings.multiversion:
        handle.set_flags(db.DB_MULTIVERSION, 1)
    handle.set_tx_max(settings.max_transactions)
    handle.set_lk_max_locks(settings.max_locks)
    handle.set_lk_max_objects(settings.max_locks)
    # A detector pass whenever a lock is not had at once; who has done the least gives way.
    handle.set_lk_detect(db.DB_LOCK_MINWRITE)
    # A wait that has lasted too long is told from a deadlock.
    handle.set_flags(db.DB_TIME_NOTGRANTED, 1)
    handle.set_timeout(int(LOCK_QUANTUM * 1e6), db.DB_SET_LOCK_TIMEOUT)
