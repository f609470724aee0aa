"""A Berkeley DB environment: a home directory with its log, cache and databases, and the lanes that work on it.

Which thread does what: every call into libdb is made on a worker thread. Writes, opening and closing travel on one lane
(libdb has one log: two writers at once would only wait for each other), reads on the pool's shared queue; neither waits
for a lock in there. Transactions, which do, have a lane each on workers of the environment's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import warnings
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from asyncstore._opening import Opening
from asyncstore.bdb import errors
from asyncstore.bdb._atomic import AtomicOwner
from asyncstore.bdb._catalogue import open_index_of, title_of
from asyncstore.bdb._commit import Committer
from asyncstore.bdb._home import Home
from asyncstore.bdb._layout import Description, Layout, Place
from asyncstore.bdb._library import db
from asyncstore.bdb._member import Member
from asyncstore.bdb._read import Reader
from asyncstore.bdb._rep_events import Event, RepEvent
from asyncstore.bdb._request import Request
from asyncstore.bdb._session import Session, SessionState
from asyncstore.bdb._settings import Durability, Settings, commit_flags
from asyncstore.bdb._store import State, Store
from asyncstore.bdb._transaction import Transaction
from asyncstore.bdb._upkeep import Upkeep
from asyncstore.pool import Gatherer, Lane, Pool, PoolClosed, Usage, heeded

if TYPE_CHECKING:
    from asyncstore.bdb._database import Database
    from asyncstore.bdb._index import Index, IndexTerms
    from asyncstore.bdb._rep_settings import Replication

__all__ = ("Core",)

GROUP_REQUESTS = (
    512  # requests of one commit: each may lock a page of its own, and libdb's default table has room for thousands
)
GROUP_BYTES = 8 * 1024 * 1024  # bytes of one commit: bounds how long a small put waits behind large ones
READ_BATCH = 256  # reads of one job: about 0.4 ms of a worker
READ_JOBS = 4  # jobs of reads at a time: cached reads want few large batches, those that wait for the disk several
TRANSACTION_WORKERS = 64  # transactions inside libdb at a time: most of them wait for locks or for the disk
LAST_WORDS = 0.05  # seconds for what met a fatal error to tell its callers what it was, before all others are told
JOIN_PAUSE = 0.2  # seconds until the others are asked again to let this site into their group; arbitrary
CLOSE_DEADLINE = 5.0  # seconds given to the closing of an environment in which a process died: a lock may be stuck

D = TypeVar("D", bound=Store[Any])
K = TypeVar("K", bytes, int)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
logger = logging.getLogger("asyncstore.bdb")


class Core:
    """What an open environment consists of; its public face is `Environment`.

    It belongs to the event loop on which it was opened.
    """

    def __init__(self, settings: Settings, home: Home, lane: Lane, pool: Pool) -> None:
        self.settings = settings
        self.title = settings.title
        self.state = State.OPEN
        self.home = home
        self.handle = home.handle
        self.sessions: set[Session] = set()
        self.databases_open: dict[int, Store[Any]] = {}  # by id: the same name may be open twice
        self._loop = asyncio.get_running_loop()
        self.sound = True  # no process has died in it, and this one is the one that opened it
        self._forked = False
        _opened_here.add(self)
        self._lane = lane
        self._pool = pool
        self._transaction_pool: Pool | None = None
        self._usage = Usage()  # jobs on the environment itself: databases being opened, checkpoints
        self._closing: asyncio.Task[None] | None = None
        self._failure: errors.NeedsRecovery | None = None
        self.events = home.events
        self.replication: Member | None = None  # this site in its group; None: the environment is not replicated
        self._committer = Committer(home.handle, commit_flags(settings.durability), home.events)
        patience = settings.lock_timeout
        self.writes = Gatherer(
            lane, self._committer, width=1, max_requests=GROUP_REQUESTS, max_bytes=GROUP_BYTES, patience=patience,
            ordered=True, eager=settings.durability != "full", priority=settings.priority, returned=self._wrote,
        )  # fmt: skip
        reader = Reader(home.handle)
        # Reads carry no bytes to a worker, so only their number cuts a batch.
        self.reads = Gatherer(
            pool,
            reader,
            width=READ_JOBS,
            max_requests=READ_BATCH,
            max_bytes=1 << 40,
            patience=patience,
            eager=True,
            priority=settings.priority,
        )
        # A batch of a range takes 1 ms: alone in its job, it holds up no get.
        self.scans = Gatherer(
            pool, reader, width=READ_JOBS, max_requests=1, max_bytes=1 << 40, patience=patience, eager=True,
            priority=settings.priority,
        )  # fmt: skip
        self.atomic_owner = AtomicOwner(f"function in {self.title}")
        self._unsubscribe = self.events.subscribe(_panic_relay(self))
        self.upkeep = Upkeep(self, settings.checkpoint_bytes, settings.checkpoint_interval)
        self.upkeep.start()

    @property
    def path(self) -> str | None:
        """The home directory; None: the environment is in memory."""
        return self.settings.home

    @property
    def durability(self) -> Durability:
        """What a write that returned survives; see `bdb.open`."""
        return self.settings.durability

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else repr(self.path)
        return f"<Environment {where} {self.state.value} databases={len(self.databases_open)} pending={self.pending}>"

    def __del__(self) -> None:
        # Also when closing was cut short, by a loop that ended or a pool that was closed first.
        if self.state is not State.CLOSED:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            if sys.is_finalizing() or self._forked:
                return  # the binding's own memory may be gone, or be another process'; the next open recovers
            # Nothing is in flight: every request refers to its database, and that to this object. Closing blocks the
            # thread that collects, but without a checkpoint it is short, and a handle left open keeps the home taken.
            for session in sorted(self.sessions, key=lambda session: -session.depth):
                session.abort_here()
            for database in sorted(self.databases_open.values(), key=lambda database: database.closing_rank):
                database.state = State.CLOSED
                self.home.close_database(database.handle, database.title)
            self.home.abandon()

    # Transactions

    def nested(self, parent: Session, durability: Durability) -> Transaction:
        """Begin a transaction nested in `parent`'s. For `Transaction.transaction`."""
        session = Session(self, parent, title=f"nested {parent.title}", flags=parent.flags, patience=0, priority=0)
        return Transaction(self, session, durability, None)

    def reading_session(self, title: str) -> Session:
        """Return a session for a cursor without a transaction: it reads what is committed and keeps no lock behind."""
        title = f"cursor on {title}"
        flags = db.DB_READ_COMMITTED
        return Session(self, None, title=title, flags=flags, patience=self.settings.lock_timeout, priority=0)

    def transaction_pool(self) -> Pool:
        """Return the pool of the workers that transactions wait for locks on."""
        if self._transaction_pool is None:
            self._transaction_pool = Pool(max_workers=TRANSACTION_WORKERS, name="asyncstore-bdb")
        return self._transaction_pool

    def session_ended(self, _session: Session) -> None:
        """Have those who met its locks try again at once."""
        self.reads.hurry()
        self.scans.hurry()
        self.writes.hurry()

    def commit_flags(self, durability: Durability) -> int:
        """Return what libdb's commit is told."""
        return commit_flags(durability)

    # Replication

    async def join_group(self, settings: Replication) -> None:
        """Begin to take part in the group; what fails closes the environment."""
        self.replication = Member(self, settings)
        deadline = self._loop.time() + settings.join_timeout
        try:
            while True:
                try:
                    return await self._on_worker(self.home.join_group)
                except errors.NoMaster:
                    if self._loop.time() >= deadline:
                        raise
                await asyncio.sleep(JOIN_PAUSE)
        except BaseException:
            await self.aclose()
            raise

    def reopenable(self) -> list[Store[Any]]:
        """Return what is open, an index behind what it indexes."""
        found = [store for store in self.databases_open.values() if store.state is State.OPEN]
        return sorted(found, key=lambda store: -store.closing_rank)

    async def reopen(self, store: Store[Any]) -> None:
        """Give `store` a fresh handle. The old one is kept until the store is closed: calls may be inside."""
        if store.state is not State.OPEN:
            return
        store.usage.enter()
        try:
            store.adopt(await store.open_again())
        finally:
            store.usage.leave()

    # Databases

    async def opened(self, work: Callable[[], T], discard: Callable[[T], None], title: str) -> T:
        """Open something on the lane, again while somebody has its file locked. For `_catalogue`."""

        async def attempt() -> T:
            self.check_open("open", title)
            self._usage.enter()
            # The job of its own task, so that closing the environment waits for it even when the caller is cancelled.
            job = self._lane.submit_nowait(work, on_discard=discard)
            job.add_done_callback(lambda _: self._usage.leave())
            return await job

        return await self._patiently(attempt)

    def open_index(
        self, primary: Database[K], name: str, place: Place, layout: Layout, terms: IndexTerms, *, create: bool
    ) -> Opening[Index[K]]:
        """Return the opening of an index. For `Database.associate`."""
        description = Description(name, title_of(self, "index", name), layout, place)
        return Opening(partial(open_index_of, self, primary, description, terms, create=create))

    def enter(self, opened: D) -> D:
        """Have what was opened closed with the environment, and return it."""
        self.databases_open[id(opened)] = opened
        return opened

    async def close_handle(self, handle: Any, title: str) -> None:
        """Close a handle of the binding's, in which nothing runs any more. For `Index`."""
        if self._failure is None:
            await self._on_worker(self.home.close_database, handle, title)

    async def close_database(self, database: Store[Any]) -> None:
        """Close the handle of `database`, in which nothing runs any more. For `Database.aclose`."""
        try:
            if self._failure is None:
                await self._on_worker(self.home.close_database, database.handle, database.title)
        finally:
            self.databases_open.pop(id(database), None)

    # Work on the environment as a whole

    async def run(self, doing: str, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run blocking work on the environment on a worker; closing waits for it. For this package."""
        self.check_open(doing, self.title)
        self._usage.enter()
        job = self._pool.submit_nowait(work, *args)
        job.add_done_callback(self._ran)
        # Shielded: a cancelled caller must not hide that the job is still inside.
        return await asyncio.shield(job)

    def _ran(self, job: asyncio.Future[Any]) -> None:
        self._usage.leave()
        heeded(job)

    async def run_patiently(self, doing: str, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run blocking work that waits for no lock, again until the locks are had or the time is up. As `run`."""
        return await self._patiently(lambda: self.run(doing, work, *args))

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        deadline = self._loop.time() + self.settings.lock_timeout
        pause = 0.001
        while True:
            try:
                return await attempt()
            except (errors.LockTimeout, errors.Deadlock):
                if self._loop.time() > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Hand blocking work over; closing waits for it. For this package."""
        job = self._pool.submit_nowait(work)
        self._usage.enter()
        job.add_done_callback(lambda _: self._usage.leave())
        return job

    @property
    def working(self) -> bool:
        """Whether it is open and unharmed."""
        return self.state is State.OPEN and self._failure is None

    @property
    def pending(self) -> int:
        """How many operations wait to be handed over."""
        return len(self.writes) + len(self.reads) + len(self.scans)

    @property
    def commits(self) -> int:
        """Transactions committed by group commit."""
        return self._committer.commits

    def check_open(self, doing: str, of: str) -> None:
        """Raise unless the environment can be used now, on this loop and in this process."""
        if self.state is not State.OPEN:
            raise errors.Closed(doing=doing, of=of, detail=f"{self.title} is {self.state.value}")
        if asyncio.get_running_loop() is not self._loop:
            raise errors.Misuse(doing=doing, of=of, detail="the environment was opened on another event loop")
        self.check_working(doing, of)

    def check_working(self, doing: str, of: str) -> None:
        """Raise when a process has died in the environment, or this one was forked off the one that opened it."""
        if self._failure is not None:
            raise errors.NeedsRecovery(doing=doing, of=of, detail=self._failure.detail)
        if self._forked:
            raise errors.Misuse(doing=doing, of=of, detail="it was opened before this process was forked")

    def forked(self) -> None:
        """Refuse work: this process is a child of the one that opened the environment."""
        self.sound, self._forked = False, True

    def watch_locks(self) -> None:
        """Have waits for locks end in time as long as transactions are at work."""
        self.upkeep.watch_locks()

    def give_up(self, reason: str) -> None:
        """Fail everything: a process died in the environment, and what it held is held for ever."""
        if self._failure is not None or self.state is State.CLOSED:
            return
        self.sound = False
        self._failure = errors.NeedsRecovery(doing="use", of=self.title, detail=reason)
        logger.error("%s", self._failure)
        for gatherer in (self.writes, self.reads, self.scans, *{session.gatherer for session in self.sessions}):
            gatherer.fail(self._failure)

    def _wrote(self, batch: list[Request]) -> None:
        self.reads.hurry()
        self.scans.hurry()
        self.upkeep.wrote(sum(request.size for request in batch))

    # Closing

    async def aclose(self) -> None:
        """Finish what was asked for, undo open transactions, close databases, write a checkpoint and close. Idempotent.

        A cancel leaves the closing to go on in the background. Raises what the checkpoint raised (a full disk, say);
        the environment is closed all the same, and the next open recovers. Raises `PoolClosed` and stays open when
        the pool was closed without waiting for a call that is inside libdb.
        """
        if self._closing is None:
            if asyncio.get_running_loop() is not self._loop:
                raise errors.Misuse(doing="close", of=self.title, detail="opened on another event loop")
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

    async def _close(self) -> None:
        self.upkeep.stop()
        self._unsubscribe()
        if self.replication is not None:
            await self.replication.aclose()
        if self._failure is not None:
            await self._close_broken()
            return
        await self._usage.idle()  # databases that are being opened come first: they are to be closed too
        failures: list[Exception] = []
        await self.atomic_owner.usage.idle()
        await self._end_sessions()
        # One by one, each after its own work has ended; libdb wants every database closed before its environment, and
        # an index before what it indexes.
        for database in sorted(self.databases_open.values(), key=lambda database: database.closing_rank):
            try:
                await database.closed()
            except errors.NeedsRecovery as exc:
                logger.warning("closing %s: %s", database.title, exc)
            except errors.Error as exc:
                failures.append(exc)  # libdb has given the handle up: the rest can and must be closed
        try:
            await self._on_worker(self.home.close)
        except errors.NeedsRecovery as exc:
            logger.warning("closing %s: %s", self.title, exc)  # it is closed, and the next opening recovers
        finally:
            self.state = State.CLOSED
            await self._lane.aclose()
            if self._transaction_pool is not None:
                await self._transaction_pool.aclose()
        if failures:
            raise failures[0]

    async def _end_sessions(self) -> None:
        ends: list[asyncio.Future[None]] = []
        for session in sorted(self.sessions, key=lambda session: -session.depth):
            if session.state is SessionState.PREPARED:
                ends.append(session.leave_prepared())
            else:
                end = session.abort()
                if end is not None:
                    ends.append(end)
        for end in ends:
            await asyncio.wait([end])
        while self.sessions:  # those that were ending already
            await asyncio.sleep(0.001)

    async def _close_broken(self) -> None:
        """Close without a checkpoint, for a bounded time: a thread of ours may be stuck inside libdb for ever."""
        for database in list(self.databases_open.values()):
            database.state = State.CLOSED
        rescue = Pool(max_workers=1, name="asyncstore-bdb-rescue")
        try:
            await asyncio.wait_for(rescue.run(self.home.abandon), CLOSE_DEADLINE)
        except TimeoutError:
            logger.error("%s could not be closed within %g s: this process must end", self.title, CLOSE_DEADLINE)
        except errors.Error as exc:
            logger.warning("closing %s: %s", self.title, exc)
        finally:
            rescue.close()
            if self._transaction_pool is not None:
                self._transaction_pool.close()
            self.state = State.CLOSED


_opened_here: weakref.WeakSet[Core] = weakref.WeakSet()


def _forked() -> None:
    """Have the environments know that this process is a child of the one that opened them."""
    for environment in _opened_here:
        environment.forked()


os.register_at_fork(after_in_child=_forked)


def _panic_relay(environment: Core) -> Callable[[Event], None]:
    """Return a subscriber that has `environment` given up when libdb declares it unusable; it refers to it weakly."""
    alive, loop = weakref.ref(environment), asyncio.get_running_loop()

    def give_up() -> None:
        core = alive()
        if core is not None:
            core.give_up("libdb met a fatal error and declared the environment unusable")

    def subscriber(event: Event) -> None:
        if event.kind in (RepEvent.PANIC, RepEvent.REGISTERED_PANIC):
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is left to tell
                loop.call_soon_threadsafe(loop.call_later, LAST_WORDS, give_up)

    return subscriber
