"""The public face of a Berkeley DB environment, and how one is opened."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO, Concatenate, Literal, ParamSpec, TypeVar, overload

from asyncstore._opening import Opening
from asyncstore.bdb import errors
from asyncstore.bdb._atomic import ATOMIC, View
from asyncstore.bdb._callbacks import Comparison
from asyncstore.bdb._catalogue import open_database, title_of
from asyncstore.bdb._core import Core
from asyncstore.bdb._database import Database
from asyncstore.bdb._home import Home
from asyncstore.bdb._layout import AccessMethod, Description, Layout, Place, file_of, found_layout, place_of
from asyncstore.bdb._library import db
from asyncstore.bdb._numbered import Heap, Queue, RecordDatabase
from asyncstore.bdb._prepared import Prepared, recover_prepared
from asyncstore.bdb._records import check_file, check_name
from asyncstore.bdb._rep_settings import Replication
from asyncstore.bdb._request import Request
from asyncstore.bdb._session import Session
from asyncstore.bdb._settings import (
    CACHE_SIZE,
    CHECKPOINT_BYTES,
    CHECKPOINT_INTERVAL,
    LOCK_TIMEOUT,
    LOG_FILE_SIZE,
    MAX_LOCKS,
    MAX_TRANSACTIONS,
    Durability,
    Settings,
    path_of,
)
from asyncstore.bdb._stat import EnvironmentStat, Statistics, environment_stat
from asyncstore.bdb._transaction import ATTEMPTS, ISOLATION_FLAGS, Isolation, Transaction, run_transaction
from asyncstore.bdb.maintenance._backup import BackupResult, back_up, update_backup
from asyncstore.bdb.maintenance._load import Loaded, load
from asyncstore.bdb.maintenance._progress import ProgressCallback, stepwise
from asyncstore.pool import Pool, default_pool

__all__ = ("Environment", "open")

T = TypeVar("T")
P = ParamSpec("P")

ATOMIC_SIZE = 1024  # bytes that a function is taken to write, by which groups are cut


def open(  # noqa: A001 - `bdb.open` is the public name that users expect
    home: str | os.PathLike[str] | None,
    *,
    durability: Durability = "full",
    cache_size: int = CACHE_SIZE,
    create: bool = True,
    private: bool = False,
    password: str | None = None,
    multiversion: bool = False,
    lock_timeout: float = LOCK_TIMEOUT,
    checkpoint_bytes: int = CHECKPOINT_BYTES,
    checkpoint_interval: float = CHECKPOINT_INTERVAL,
    keep_logs: bool = False,
    log_dir: str | None = None,
    log_buffer: int | None = None,
    log_file_size: int = LOG_FILE_SIZE,
    max_transactions: int = MAX_TRANSACTIONS,
    max_locks: int = MAX_LOCKS,
    replication: Replication | None = None,
    priority: int = 0,
    pool: Pool | None = None,
) -> Opening[Environment]:
    """Open the environment in `home`: ``async with bdb.open(home) as env`` or ``env = await bdb.open(home)``.

    An environment that a process died in is recovered first. None as `home` makes one in memory.

    What a write that returned survives: at `durability` "full" the power failing, at "write" the process dying, at
    "none" neither; a clean `aclose` keeps all of them at every level.

    `create` makes the directory and the environment when missing. `private`: no other process opens it, and its shared
    regions are this process' memory. `password` encrypts databases and log (AES). `multiversion` allows snapshot
    isolation. `lock_timeout`: seconds that an operation waits for a lock. `checkpoint_bytes`, `checkpoint_interval`
    (seconds): how much is written, and how long, before a checkpoint. `keep_logs` leaves the log files that recovery no
    longer needs to `archive_logs`. `log_dir` is relative to the home. `cache_size`, `log_buffer`, `log_file_size` are
    in bytes. `max_transactions` at a time in all processes; `max_locks`: room at first. `replication`: see
    `Replication`. `priority` (-4 to 4) in the pool. `pool` carries the blocking calls (default: the process-wide one).

    Raises ValueError or TypeError for bad arguments at once; while opening, `AlreadyOpen` when this process has it
    open, `NoSuchFile`, `AccessDenied`, `DiskFull`, `WrongVersion`, `Corrupt`, `NeedsRecovery` or another
    `bdb.errors.Error`. A cancel while opening closes what was opened.
    """
    settings = Settings(
        home=None if home is None else path_of("the home directory", home),
        durability=durability,
        cache_size=cache_size,
        create=create,
        private=private,
        password=password,
        multiversion=multiversion,
        lock_timeout=lock_timeout,
        checkpoint_bytes=checkpoint_bytes,
        checkpoint_interval=checkpoint_interval,
        keep_logs=keep_logs,
        log_dir=log_dir,
        log_buffer=log_buffer,
        log_file_size=log_file_size,
        max_transactions=max_transactions,
        max_locks=max_locks,
        replication=replication,
        priority=priority,
    )
    return Opening(lambda: _open(settings, pool or default_pool()))


async def _open(settings: Settings, pool: Pool) -> Environment:
    lane = pool.lane(name=f"bdb {settings.home}", priority=settings.priority)
    home = await lane.run(Home, settings, on_discard=Home.abandon)
    environment = Environment(settings, home, lane, pool)
    if settings.replication is not None:
        await environment.join_group(settings.replication)
    return environment


class Environment(Core):
    """An open environment; made by `bdb.open`. It belongs to the event loop on which it was opened.

    Raises `Closed` after `aclose`, `Misuse` on another event loop and in a forked child, `NeedsRecovery` once a process
    has died inside it. Dropped without `aclose` it is closed and warns with ResourceWarning; nothing acknowledged is
    lost by that, but the next open has to recover.
    """

    def transaction(
        self,
        *,
        isolation: Isolation = "serializable",
        durability: Durability | None = None,
        lock_timeout: float | None = None,
        timeout: float | None = None,
        wait: bool = True,
        priority: int = 0,
    ) -> Transaction:
        """Begin a transaction: ``async with env.transaction() as txn``.

        `isolation`: "serializable" keeps a lock on all that is read; "committed" only on the page being read;
        "uncommitted" also sees what is not committed, in databases opened with `read_uncommitted`; "snapshot" reads
        what was committed when it began, keeps no lock and cannot write (`Misuse`), in an environment opened with
        `multiversion`. `durability`: of its commit (default: the environment's).
        `lock_timeout`: seconds that an operation waits for a lock (default: the environment's), then `LockTimeout`;
        with `wait` false it waits not at all. `timeout`: seconds after which the transaction is undone
        (`TransactionTimeout`). `priority`: from 0; in a deadlock the one with the lowest gives way.
        """
        self.check_open("begin a transaction in", self.title)
        if isolation not in ISOLATION_FLAGS:
            raise ValueError(f"isolation is one of {', '.join(map(repr, ISOLATION_FLAGS))}, not {isolation!r}")
        if isolation == "snapshot" and not self.settings.multiversion:
            raise ValueError("snapshot isolation needs an environment opened with multiversion=True")
        if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 1000:
            raise ValueError(f"priority is an int of 0 to 1000, not {priority!r}")
        patience = self.settings.lock_timeout if lock_timeout is None else lock_timeout
        flags = ISOLATION_FLAGS[isolation] | (0 if wait else db.DB_TXN_NOWAIT)
        session = Session(
            self, None, title=f"transaction of {self.title}", flags=flags, patience=patience, priority=priority
        )
        timer = None
        if timeout is not None:
            timer = self._loop.call_later(timeout, session.end_early, errors.TransactionTimeout)
        return Transaction(self, session, durability or self.durability, timer)

    async def run_transaction(
        self,
        function: Callable[[Transaction], Awaitable[T]],
        *,
        attempts: int = ATTEMPTS,
        isolation: Isolation = "serializable",
        durability: Durability | None = None,
        lock_timeout: float | None = None,
        timeout: float | None = None,
        priority: int = 0,
    ) -> T:
        """Run ``await function(txn)`` in a transaction, commit, and return what it returned.

        When it gives way in a deadlock everything is undone and `function` runs again, after a pause that grows and is
        jittered; after `attempts` runs `Deadlock` is raised. So `function` must be fit to run more than once. The
        options are those of `transaction`.
        """
        if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
            raise ValueError(f"attempts is an int of at least 1, not {attempts!r}")
        begin = partial(
            self.transaction, isolation=isolation, durability=durability, lock_timeout=lock_timeout, timeout=timeout,
            priority=priority,
        )  # fmt: skip
        return await run_transaction(begin, function, attempts)

    async def atomically(self, function: Callable[Concatenate[View, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function(view, *args)`` as one transaction, on a worker, and return what it returned.

        For functions that only compute: with one hop for all of it and a share in the group commit, it costs little
        more than a put. Through `view` it reads and writes any databases of the environment (see `View`). It runs on
        the worker that all writes wait for, and may run more than once: it must be quick and do nothing else. What it
        raises reaches the caller, and nothing is changed. Raises what a write raises; a cancel is as with a write.
        """
        self.check_open("atomically", self.title)
        work = partial(function, **kwargs) if kwargs else function
        request = Request(self.atomic_owner, ATOMIC, None, (self, work, args), ATOMIC_SIZE)
        try:
            result: T = await self.writes.add(request)
        except asyncio.CancelledError as exc:
            if request.handed_over:
                exc.maybe_applied = True  # type: ignore[attr-defined]  # the builtin class has no such field; DESIGN 11 asks for it
            raise
        return result

    @overload
    def database(
        self,
        name: str | None,
        *,
        type: Literal["btree", "hash"] = "btree",
        file: str | None = None,
        create: bool = True,
        duplicates: Literal["sorted", "unsorted"] | None = None,
        record_numbers: bool = False,
        page_size: int | None = None,
        checksum: bool = True,
        compare: Comparison | None = None,
        compare_duplicates: Comparison | None = None,
        read_uncommitted: bool = False,
        in_memory: bool = False,
    ) -> Opening[Database[bytes]]: ...

    @overload
    def database(
        self,
        name: str | None,
        *,
        type: Literal["recno"],
        file: str | None = None,
        create: bool = True,
        renumber: bool = False,
        record_length: int | None = None,
        pad: int | None = None,
        page_size: int | None = None,
        checksum: bool = True,
        read_uncommitted: bool = False,
        in_memory: bool = False,
    ) -> Opening[RecordDatabase]: ...

    @overload
    def database(
        self,
        name: str | None,
        *,
        type: Literal["queue"],
        record_length: int,
        file: str | None = None,
        create: bool = True,
        pad: int | None = None,
        extent_pages: int | None = None,
        page_size: int | None = None,
        checksum: bool = True,
        read_uncommitted: bool = False,
        in_memory: bool = False,
    ) -> Opening[Queue]: ...

    @overload
    def database(
        self,
        name: str | None,
        *,
        type: Literal["heap"],
        file: str | None = None,
        create: bool = True,
        page_size: int | None = None,
        checksum: bool = True,
        read_uncommitted: bool = False,
        in_memory: bool = False,
    ) -> Opening[Heap]: ...

    @overload
    def database(
        self,
        name: str | None,
        *,
        type: None,
        file: str | None = None,
        read_uncommitted: bool = False,
        in_memory: bool = False,
    ) -> Opening[Database[Any]]: ...

    # Any: what is opened follows from the type, as the overloads tell.
    def database(
        self,
        name: str | None,
        *,
        type: AccessMethod | None = "btree",  # noqa: A002 - the design's name
        file: str | None = None,
        create: bool = True,
        in_memory: bool = False,
        **options: Any,
    ) -> Opening[Any]:
        """Open the database `name`: ``async with env.database("users") as db`` or ``db = await env.database("users")``.

        It lives in the file NAME.db of the home, or as one of several in `file`; with `name` None it is the whole
        `file`. `in_memory`: it is in the cache only, and gone when the environment is closed by all.

        `type`: "btree" (sorted), "hash", "recno" (numbered lines), "queue" (numbered, of one length, taken from the
        front) or "heap"; None: an existing one, as what it is. `create`: make it when it is missing, else that raises
        `NoSuchFile`. `duplicates`: a key may have several values, "sorted" among themselves or in the order in which
        they came ("unsorted").
        `record_numbers`: records of a btree can be counted to. `renumber`: deleting a record of a recno moves those
        behind it up. `record_length`, `pad`: bytes of each record, and what shorter ones are filled with (a byte's
        number). `page_size` in bytes, `extent_pages` of each file of a queue. `checksum`: damaged pages are noticed
        when they are read. `compare`, `compare_duplicates`: functions of two bytes that order keys and values; they
        must be given at each opening. `read_uncommitted`: allow transactions of that isolation.

        Raises TypeError or ValueError at once for a name that is no plain file name or belongs to libdb, and for
        options that do not fit the type; `InvalidArgument` when the database exists and is something else. A cancel
        while opening closes what was opened.
        """
        layout = Layout(type=type, **options)
        place = place_of(name, file, in_memory=in_memory or self.path is None)
        if type == "queue" and place.name is not None and place.file is not None:
            raise ValueError("a queue has a file to itself")
        make: Callable[..., Any] = _as_found if type is None else _CLASSES.get(type, Database)
        description = Description(name or file or "", title_of(self, "database", name or file or ""), layout, place)
        return Opening(partial(open_database, self, make, description, create=create))

    async def load(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        name: str | None = None,
        *,
        file: str | None = None,
        overwrite: bool = True,
        progress: ProgressCallback | None = None,
    ) -> list[Loaded]:
        """Load what `Database.dump` or db_dump wrote, from a path or an open binary file.

        It goes into the database `name` (default: the name in the dump), in `file` if that is given; one that is
        missing is made as the dump says. `overwrite`: records of keys that are there are replaced, else they are kept.
        `progress` is called on the loop. Records are stored as by `put_many`: when it ends early, by an error or a
        cancel, those stored so far stay. A record of a heap or of numbers without keys gets a new one.

        Raises `BadDump`, which names the line, `InvalidArgument` when the database is there and of another kind.
        """
        return await load(self, source, name, file=file, overwrite=overwrite, progress=progress)

    async def backup(
        self, target: str | os.PathLike[str], *, update: bool = False, progress: ProgressCallback | None = None
    ) -> BackupResult:
        """Copy the environment into the directory `target` while it is used; `bdb.restore` makes a home of the copy.

        All that was committed before the copying of the log began is in it. `target` is missing or empty, and is there
        when the backup is whole, not before. `update` brings an earlier backup up to date by copying log files only;
        for that the environment has to be opened with `keep_logs`. `progress` is called on the loop, in bytes.

        Raises `FileExists`, `DiskFull`, `InvalidArgument` when log files are missing for an update, `Misuse` in memory.
        A cancel stops at the next file or megabyte and leaves no backup.
        """
        if self.path is None:
            raise errors.Misuse(doing="back up", of=self.title, detail="it is in memory")
        copy = update_backup if update else back_up
        work = partial(copy, self.handle, self.path, path_of("the target", target))
        return await stepwise(partial(self.run, "back up"), work, unit="bytes", progress=progress)

    async def databases(self, file: str) -> list[str]:
        """Return the names of the databases in `file`; raises `InvalidArgument` when it is a single one."""
        check_file(file)
        place = Place(None, file)
        names: list[str] = await self.run("list", self.home.database_names, place)
        return names

    async def remove_database(self, name: str | None, *, file: str | None = None) -> None:
        """Delete a database, in a transaction of its own. Raises `InUse` while anybody has it open, `NoSuchFile`."""
        place = place_of(name, file, in_memory=False)
        self._refuse_open(place, "remove")
        await self.run("remove", self.home.remove_database, place)

    async def rename_database(self, name: str | None, new_name: str, *, file: str | None = None) -> None:
        """Rename a database (with `name` None the `file`). Raises `InUse` while anybody has it open, `NoSuchFile`."""
        check_name(new_name)
        place = place_of(name, file, in_memory=False)
        self._refuse_open(place, "rename")
        target = new_name if place.name is not None else file_of(new_name) if file is None else new_name
        await self.run("rename", self.home.rename_database, place, target)

    def _refuse_open(self, place: Place, doing: str) -> None:
        for database in self.databases_open.values():
            if database.place.file == place.file and (place.name is None or database.place.name == place.name):
                raise errors.InUse(doing=doing, of=database.title, detail="it is open here; close it first")

    async def checkpoint(self) -> None:
        """Write all that committed into the database files, and drop the log files that recovery does not need."""
        await self.run("checkpoint", self.home.checkpoint)

    async def flush_log(self) -> None:
        """Make all that committed durable, also what did so at durability "write" or "none"."""
        await self.run("flush", self.home.flush_log)

    async def archive_logs(self, *, remove: bool = False) -> list[str]:
        """Return the paths of the log files that recovery no longer needs; delete them with `remove`."""
        paths: list[str] = await self.run("archive", self.home.archive_logs, remove)
        return paths

    async def trickle(self, percent: int) -> int:
        """Write pages until `percent` of the cache is clean, so that reads need not wait; return their count."""
        if isinstance(percent, bool) or not isinstance(percent, int) or not 1 <= percent <= 100:
            raise ValueError(f"percent is an int of 1 to 100, not {percent!r}")
        written: int = await self.run("trickle", self.home.trickle, percent)
        return written

    async def recover_prepared(self) -> list[Prepared]:
        """Return the transactions that were prepared and not decided when a process died; decide each."""
        return await recover_prepared(self)

    def statistics(self) -> Statistics:
        """Return the counts of this object at this moment. Calls nothing that could block."""
        return Statistics(
            state=self.state.value,
            databases=len(self.databases_open),
            transactions=len(self.sessions),
            reads=self.reads.requests + self.scans.requests,
            writes=self.writes.requests,
            commits=self.commits,
            pending=self.pending,
            checkpoints=self.upkeep.checkpoints,
        )

    async def stat(self) -> EnvironmentStat:
        """Return libdb's own counts, of all processes: cache, log, locks, transactions."""
        return await self.run("stat", environment_stat, self.handle)


def _as_found(environment: Core, description: Description, handle: Any) -> Database[Any]:
    layout = found_layout(handle)
    made: Database[Any] = _CLASSES.get(str(layout.type), Database)(
        environment, replace(description, layout=layout), handle
    )
    return made


_CLASSES: dict[str, Callable[..., Any]] = {"recno": RecordDatabase, "queue": Queue, "heap": Heap}
