"""A Berkeley DB environment: a home directory with its log, cache and databases, and the lanes that work on it.

Which thread does what: every call into libdb is made on a worker thread of the pool. Writes, opening and closing
travel on one lane (libdb has one log: two writers at once would only wait for each other), reads on the pool's shared
queue, so that a read that waits for the disk or a lock holds up neither writes nor later reads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVarTuple

from asyncstore.bdb import errors
from asyncstore.bdb._commit import Committer
from asyncstore.bdb._database import Database, State
from asyncstore.bdb._gather import Gatherer
from asyncstore.bdb._handles import Durability, Home, Settings, commit_flags
from asyncstore.bdb._opening import Opening
from asyncstore.bdb._read import read_all
from asyncstore.bdb._records import check_name
from asyncstore.bdb._request import Request
from asyncstore.bdb._usage import Usage
from asyncstore.errors import Closed
from asyncstore.pool import Lane, Pool, PoolClosed, default_pool

__all__ = ("Environment", "Statistics", "open")

CACHE_SIZE = 64 * 1024 * 1024  # bytes of libdb's page cache: room for the inner pages of some 10 GB of btrees
MIN_CACHE_SIZE = 256 * 1024  # bytes: below about this libdb cannot hold the pages of one split
MAX_CACHE_SIZE = 1 << 40  # bytes: 1 TiB, far above what one region can be mapped at; refuses typing errors
GROUP_REQUESTS = (
    512  # requests of one commit: each may lock a page of its own, and libdb's default table has room for thousands
)
GROUP_BYTES = 8 * 1024 * 1024  # bytes of one commit: bounds how long a small put waits behind large ones
READ_BATCH = 256  # reads of one job: about 0.4 ms of a worker
READ_JOBS = 4  # jobs of reads at a time: cached reads want few large batches, waiting ones must not hold up the rest
CHECKPOINT_BYTES = (
    32 * 1024 * 1024
)  # bytes put since the last checkpoint: bounds the log on disk and the time of a recovery

Ts = TypeVarTuple("Ts")

logger = logging.getLogger("asyncstore.bdb")


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the environment was opened."""

    state: str
    databases: int  # open now
    reads: int  # gets, exists and batches of ranges handed to workers
    writes: int  # puts and deletes handed to workers
    commits: int  # transactions committed for them; writes / commits is what group commit gains
    pending: int  # operations that wait to be handed over
    checkpoints: int


def open(  # noqa: A001 - `bdb.open` is the public name that users expect
    home: str | os.PathLike[str],
    *,
    durability: Durability = "full",
    cache_size: int = CACHE_SIZE,
    create: bool = True,
    pool: Pool | None = None,
) -> Opening[Environment]:
    """Open the environment in `home`: ``async with bdb.open(home) as env`` or ``env = await bdb.open(home)``.

    An environment that a process died in is recovered first. `create` makes the directory and the environment when
    missing. `cache_size` is in bytes. `pool` carries the blocking calls (default: the process-wide one).

    What a write that returned survives: at `durability` "full" the power failing, at "write" the process dying, at
    "none" neither; a clean `aclose` keeps all of them at every level.

    Raises ValueError or TypeError for bad arguments at once; while opening, `AlreadyOpen` when this process has it
    open, `NoSuchFile`, `AccessDenied`, `DiskFull`, `WrongVersion`, `Corrupt`, `NeedsRecovery` or another
    `bdb.errors.Error`. A cancel while opening closes what was opened.
    """
    path = os.fspath(home)
    if not isinstance(path, str):
        raise TypeError(f"the home directory is a str or a path of str, not {type(path).__name__}")
    if "\0" in path or not path:
        raise ValueError(f"no directory can be named {path!r}")
    if durability not in ("full", "write", "none"):
        raise ValueError(f"durability is 'full', 'write' or 'none', not {durability!r}")
    if isinstance(cache_size, bool) or not isinstance(cache_size, int):
        raise TypeError(f"cache_size is an int, not {type(cache_size).__name__}")
    if not MIN_CACHE_SIZE <= cache_size <= MAX_CACHE_SIZE:
        raise ValueError(f"cache_size is {MIN_CACHE_SIZE} to {MAX_CACHE_SIZE} bytes, not {cache_size}")
    settings = Settings(os.path.abspath(path), cache_size, create)
    return Opening(lambda: _open(settings, durability, pool or default_pool()))


async def _open(settings: Settings, durability: Durability, pool: Pool) -> Environment:
    lane = pool.lane(name=f"bdb {settings.path}")
    home = await lane.run(Home, settings, on_discard=Home.abandon)
    return Environment(settings.path, home, lane, pool, durability)


class Environment:
    """An open environment; made by `open`. It belongs to the event loop on which it was opened.

    Raises `Closed` after `aclose` and `Misuse` on another event loop. Dropped without `aclose` it is closed and
    warns with ResourceWarning; nothing acknowledged is lost by that, but the next open has to recover.
    """

    def __init__(self, path: str, home: Home, lane: Lane, pool: Pool, durability: Durability) -> None:
        self.path = path
        self.durability: Durability = durability
        self.state = State.OPEN
        self._loop = asyncio.get_running_loop()
        self._home = home
        self._lane = lane
        self._pool = pool
        self._databases: dict[int, Database] = {}  # by id: the same name may be open twice
        self._usage = Usage()  # jobs on the environment itself: databases being opened, checkpoints
        self._closing: asyncio.Task[None] | None = None
        self._since_checkpoint = 0  # bytes
        self._checkpointing = False
        self._checkpoints = 0
        self._committer = Committer(home.handle, commit_flags(durability))
        self.writes = Gatherer(
            lane,
            self._committer,
            width=1,
            max_requests=GROUP_REQUESTS,
            max_bytes=GROUP_BYTES,
            returned=self._wrote,
        )
        # Reads carry no bytes to a worker, so only their number cuts a batch.
        self.reads = Gatherer(pool, read_all, width=READ_JOBS, max_requests=READ_BATCH, max_bytes=1)
        # A batch of a range takes 1 ms: alone in its job, it holds up no get.
        self.scans = Gatherer(pool, read_all, width=READ_JOBS, max_requests=1, max_bytes=1)

    def __repr__(self) -> str:
        pending = len(self.writes) + len(self.reads) + len(self.scans)
        return f"<Environment {self.path!r} {self.state.value} databases={len(self._databases)} pending={pending}>"

    def __del__(self) -> None:
        # Also when closing was cut short, by a loop that ended or a pool that was closed first.
        if self.state is not State.CLOSED:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            if sys.is_finalizing():
                return  # the binding's own memory may be gone; the next open recovers
            # Nothing is in flight: every request refers to its database, and that to this object. Closing blocks the
            # thread that collects, but without a checkpoint it is short, and a handle left open keeps the home taken.
            for database in self._databases.values():
                database.state = State.CLOSED
                self._home.close_database(database.handle, database.title)
            self._home.abandon()

    def statistics(self) -> Statistics:
        """Return the counts of this moment. Calls nothing that could block."""
        return Statistics(
            state=self.state.value,
            databases=len(self._databases),
            reads=self.reads.requests + self.scans.requests,
            writes=self.writes.requests,
            commits=self._committer.commits,
            pending=len(self.writes) + len(self.reads) + len(self.scans),
            checkpoints=self._checkpoints,
        )

    def database(self, name: str, *, type: str = "btree", create: bool = True) -> Opening[Database]:  # noqa: A002 - the design's name
        """Open the database `name`: ``async with env.database("users") as db`` or ``db = await env.database("users")``.

        It lives in the file NAME.db of the home. `type` is "btree". Without `create` a missing one raises `NoSuchFile`.
        Raises TypeError or ValueError at once for a name that is no plain file name or belongs to libdb, or for another
        type. A cancel while opening closes what was opened.
        """
        check_name(name)
        if type != "btree":
            raise ValueError(f"the type of a database is 'btree', not {type!r}")
        return Opening(lambda: self._open_database(name, create=create))

    async def _open_database(self, name: str, *, create: bool) -> Database:
        title = f"database {name!r} in {self.path!r}"
        self._check("open", title)
        self._usage.enter()
        # The job of its own task, so that closing the environment waits for it even when the caller is cancelled.
        discard = partial(self._home.close_database, title=title)
        job = self._lane.submit_nowait(self._home.open_database, name, title, create, on_discard=discard)
        job.add_done_callback(lambda _: self._usage.leave())
        handle = await job
        database = Database(self, name, title, handle)
        self._databases[id(database)] = database
        return database

    async def close_database(self, database: Database) -> None:
        """Close the handle of `database`, in which nothing runs any more. For `Database.aclose`."""
        try:
            await self._on_worker(self._home.close_database, database.handle, database.title)
        finally:
            self._databases.pop(id(database), None)

    def _check(self, doing: str, of: str) -> None:
        if self.state is not State.OPEN:
            raise errors.Closed(doing=doing, of=of, detail=f"environment {self.path!r} is {self.state.value}")
        if asyncio.get_running_loop() is not self._loop:
            raise errors.Misuse(doing=doing, of=of, detail="the environment was opened on another event loop")

    def _wrote(self, batch: list[Request]) -> None:
        self._since_checkpoint += sum(request.size for request in batch)
        if self._since_checkpoint < CHECKPOINT_BYTES or self._checkpointing or self.state is not State.OPEN:
            return
        self._since_checkpoint = 0
        try:
            job = self._pool.submit_nowait(self._home.checkpoint)
        except Closed:
            return  # the pool is going away; the log has everything
        self._checkpointing = True
        self._usage.enter()
        job.add_done_callback(self._checkpointed)

    def _checkpointed(self, job: asyncio.Future[None]) -> None:
        self._checkpointing = False
        self._usage.leave()
        if job.cancelled():
            return
        error = job.exception()
        if error is None:
            self._checkpoints += 1
        else:
            # Not a caller's error: what was acknowledged is in the log. The next CHECKPOINT_BYTES try again.
            logger.warning("checkpoint failed, the log grows until one succeeds: %s", error)

    async def aclose(self) -> None:
        """Finish what was asked for, close the databases, write a checkpoint, close the environment. Idempotent.

        A cancel leaves the closing to go on in the background. Raises what the checkpoint raised (a full disk, say);
        the environment is closed all the same, and the next open recovers. Raises `PoolClosed` and stays open when
        the pool was closed without waiting for a call that is inside libdb.
        """
        if self._closing is None:
            self._check_loop()
            self.state = State.CLOSING
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _on_worker(self, close: Callable[[*Ts], None], *args: *Ts) -> None:
        """Run a closing step on the lane, or, when the pool was closed before us, on a worker made for it."""
        try:
            return await self._lane.run(close, *args)
        except PoolClosed as exc:
            # A job that the pool left behind may be inside libdb, and closing under it would crash the process.
            if exc.maybe_applied or any(g.left_behind for g in (self.writes, self.reads, self.scans)):
                raise
        rescue = Pool(max_workers=1)
        try:
            return await rescue.run(close, *args)
        finally:
            await rescue.aclose()

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise errors.Misuse(doing="close", of=f"environment {self.path!r}", detail="opened on another event loop")

    async def _close(self) -> None:
        await self._usage.idle()  # databases that are being opened come first: they are to be closed too
        # One by one, each after its own work has ended; libdb wants every database closed before its environment.
        failures: list[Exception] = []
        for database in list(self._databases.values()):
            try:
                await database.aclose()
            except errors.Error as exc:
                failures.append(exc)  # libdb has given the handle up: the rest can and must be closed
        try:
            await self._on_worker(self._home.close)
        finally:
            self.state = State.CLOSED
            await self._lane.aclose()
        if failures:
            raise failures[0]
