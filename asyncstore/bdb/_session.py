"""A libdb transaction on a lane of its own: what an explicit transaction, and a cursor without one, work through.

States (on the loop's thread):

    OPEN --[commit]--> ENDING --[done]--> ENDED
      +----[abort, time-out, deadlock]------^

Invariants, each of which libdb answers with a crash or a panic of the environment when it is broken
1. One call at a time is inside libdb for a transaction, its nested transactions and all their cursors: they share the
   root's gatherer, whose batches travel on one lane.
2. A nested transaction is ended before its parent, a cursor before its transaction.
3. No handle is used once its transaction has ended: the binding would quietly run the call outside of any.

Every write happens in a child transaction of its own, so that one that fails (a duplicate key, a full disk, a lock that
is not had in time) undoes itself and the transaction goes on. A child costs 0.7 us, a hop fifty times that.

A snapshot only reads. libdb 5.3 lets it write, and ends the process (in __bam_get_root) when what it writes has changed
at that very moment.

A worker waits for a lock for a tenth of a second at a time. After that it gives way to other transactions, looks
whether the caller still wants the operation, and waits again, until the caller's patience is at its end. So a cancelled
transaction is undone after that tenth at most, and transactions that wait never keep out, for want of a worker, the one
that they wait for.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from asyncstore.bdb import errors
from asyncstore.bdb._callbacks import check_callbacks, forget_failure
from asyncstore.bdb._library import LIBDB_ERRORS, db
from asyncstore.bdb._operations import UserError
from asyncstore.bdb._request import Operation, Request
from asyncstore.bdb._translate import NOT_GRANTED, code_of, translate
from asyncstore.pool import Gatherer, Usage, heeded

if TYPE_CHECKING:
    from asyncstore.bdb._core import Core
    from asyncstore.bdb._store import Store
    from asyncstore.pool import Lane

__all__ = ("Lease", "Positioned", "Session", "SessionState")

DEFAULT_PRIORITY = 100  # libdb's DB_LOCK_DEFPRIORITY, of transactions that were given none
BATCH = 256  # operations that a task set off together: about a millisecond of a worker


class Positioned(Protocol):
    """What has cursors of libdb's open inside a session."""

    def close_here(self) -> None:
        """Close them, on the worker that is inside. Idempotent."""


class SessionState(Enum):
    """See the module's docstring."""

    OPEN = "open"
    ENDING = "ending"
    COMMITTED = "committed"
    ABORTED = "aborted"
    PREPARED = "prepared"


def _commit(_handle: Any, _txn: Any, request: Request) -> None:
    request.session.commit_here(request.argument)


def _abort(_handle: Any, _txn: Any, request: Request) -> None:
    request.session.abort_here()


def _prepare(_handle: Any, _txn: Any, request: Request) -> None:
    request.session.prepare_here(request.argument)


def _discard(_handle: Any, _txn: Any, request: Request) -> None:
    request.session.discard_here()


DISCARD = Operation("close", _discard)
COMMIT = Operation("commit", _commit)
ABORT = Operation("abort", _abort)
PREPARE = Operation("prepare", _prepare)


class Session:
    """One libdb transaction, begun by its first operation; `parent` is the one that it is nested in.

    `flags` are those of txn_begin, `patience` the seconds that an operation waits for a lock.
    """

    def __init__(
        self, environment: Core, parent: Session | None, *, title: str, flags: int, patience: float, priority: int
    ) -> None:
        self.environment = environment
        self.parent = parent
        self.title = title
        self.state = SessionState.OPEN
        self.child: Session | None = None
        self.usage = Usage()
        self.guarded = False
        self.ended_early: type[errors.Error] | None = None  # what did it, when it was not the caller
        self.flags = flags
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.snapshot: bool = bool(flags & db.DB_TXN_SNAPSHOT) or (parent is not None and parent.snapshot)
        self._loop = asyncio.get_running_loop()
        self.touched: set[Store[Any]] = set()
        # Of the worker that is inside:
        self.handle: Any = None  # the binding's
        self.cursors: set[Positioned] = set()
        self.doomed: errors.Error | None = None  # why the whole transaction was undone under its caller
        self._unwanted = False  # an abort was asked for: what comes before it in the lane need not be done
        self.priority = priority
        if parent is None:
            self.root = self
            self._lane: Lane = environment.transaction_pool().lane(name=title, priority=environment.settings.priority)
            self.gatherer = Gatherer(
                self._lane, self._work, width=1, max_requests=BATCH, max_bytes=1 << 40, patience=patience,
                ordered=True, eager=True, waits=True, priority=environment.settings.priority,
            )  # fmt: skip
        else:
            self.root, self.gatherer = parent.root, parent.gatherer
            parent.child = self
        environment.sessions.add(self)

    # On the loop's thread

    def check(self, doing: str) -> None:
        """Raise unless the transaction can be used now, by this loop."""
        if asyncio.get_running_loop() is not self._loop:
            raise errors.Misuse(doing=doing, of=self.title, detail="it was opened on another event loop")
        if self.ended_early is not None:
            raise self.ended_early(doing=doing, of=self.title)
        if self.state is not SessionState.OPEN:
            raise errors.TransactionEnded(doing=doing, of=self.title, detail=f"it is {self.state.value}")
        if self.child is not None:
            raise errors.Misuse(doing=doing, of=self.title, detail="a transaction nested in it is open")

    def check_writable(self, doing: str) -> None:
        """Raise `Misuse` in a snapshot."""
        if self.snapshot:
            raise errors.Misuse(doing=doing, of=self.title, detail="a snapshot only reads")

    def end_early(self, why: type[errors.Error]) -> None:
        """Undo the transaction under its caller, who is told by an error of the class `why`."""
        if self.state is SessionState.OPEN:
            self.ended_early = why
            _ = self.abort()  # nobody waits for it

    def leave_prepared(self) -> asyncio.Future[None]:
        """Give the handle of a prepared transaction up, undecided."""
        self.state = SessionState.ENDING
        request = Request(self, DISCARD)
        request.session = self
        future = self.gatherer.add(request)
        future.add_done_callback(lambda _: self._ended(SessionState.PREPARED))
        return future

    @property
    def usable(self) -> bool:
        """Whether `check` would pass, on the right loop."""
        return self.state is SessionState.OPEN and self.child is None

    def abandon(self, title: str) -> None:
        """Undo what a caller dropped without ending it; called by finalisers, on any thread."""
        warnings.warn(f"{title} was dropped without being closed", ResourceWarning, source=self, stacklevel=3)
        if not sys.is_finalizing() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.abort)

    # Any: the outcome's type follows from the operation, which the public methods know.
    def ask(self, request: Request, database: Store[Any] | None = None) -> asyncio.Future[Any]:
        """Have `request` carried out in this transaction; `database` is one that stays open until this has ended."""
        self.check(request.operation.name)
        if request.operation.writes:
            self.check_writable(request.operation.name)
        if database is not None and database not in self.touched:
            self.touched.add(database)
            database.holders.enter()
        request.session = self
        self.environment.watch_locks()
        return self.gatherer.add(request)

    async def commit(self, flags: int) -> None:
        """Commit. Raises what libdb says; the transaction has then been undone."""
        self.check("commit")
        self.state = SessionState.ENDING
        request = Request(self, COMMIT, argument=flags)
        request.session = self
        future = self.gatherer.add(request)
        future.add_done_callback(self._committed)
        try:
            await future
        except asyncio.CancelledError as exc:
            if request.handed_over:
                exc.maybe_applied = True  # type: ignore[attr-defined]  # the builtin class has no such field; DESIGN 11 asks for it
            raise

    def _committed(self, future: asyncio.Future[None]) -> None:
        if future.cancelled():
            # Withdrawn before it was handed over, or still inside: an abort behind it undoes it if it did not happen.
            _ = self._end()
            return
        error = future.exception()
        self._ended(SessionState.COMMITTED if error is None or error_applied(error) else SessionState.ABORTED)

    def abort(self) -> asyncio.Future[None] | None:
        """Begin to undo the transaction and those nested in it; return the future of the end, None if it has ended."""
        if self.state not in (SessionState.OPEN, SessionState.PREPARED):
            return None
        if self.child is not None:
            _ = self.child.abort()  # its end comes before ours in the lane
        return self._end()

    def _end(self) -> asyncio.Future[None]:
        self.state = SessionState.ENDING
        self._unwanted = True
        request = Request(self, ABORT)
        request.session = self
        future = self.gatherer.add(request)
        future.add_done_callback(self._aborted)
        return future

    def _aborted(self, future: asyncio.Future[None]) -> None:
        heeded(future)
        self._ended(SessionState.ABORTED)

    async def prepare(self, gid: bytes) -> None:
        """Prepare for a commit in two phases; only a commit or an abort can follow."""
        self.check("prepare")
        request = Request(self, PREPARE, argument=gid)
        request.session = self
        await self.gatherer.add(request)
        self.state = SessionState.PREPARED

    async def commit_prepared(self, flags: int) -> None:
        """Commit after `prepare`."""
        self.state = SessionState.OPEN
        await self.commit(flags)

    def _ended(self, state: SessionState) -> None:
        if self.state is not SessionState.ENDING:
            return
        self.state = state
        if self.parent is not None and self.parent.child is self:
            self.parent.child = None
        for database in self.touched:
            if self.parent is None or state is SessionState.ABORTED or database in self.parent.touched:
                database.holders.leave()
            else:
                self.parent.touched.add(database)  # the parent has its changes now
        self.touched.clear()
        self.environment.sessions.discard(self)
        if self.parent is None:
            self.environment.session_ended(self)

    # On a worker

    def _work(self, requests: list[Request]) -> None:
        for place, request in enumerate(requests):
            if request.future is not None and request.future.cancelled():
                continue
            request.error, request.again = None, False
            session: Session = request.session
            try:
                request.result = session.carry_out(request)
            except UserError as exc:
                request.error = exc.error
            except errors.Error as exc:
                request.error = exc
            except LIBDB_ERRORS as exc:
                request.error = translate(exc, doing=request.operation.name, of=request.owner.title)
                if isinstance(request.error, errors.Deadlock):
                    session.root.doom(request.error)
                elif code_of(exc) == NOT_GRANTED and not session.flags & db.DB_TXN_NOWAIT:
                    request.again = True
                    for behind in requests[place + 1 :]:
                        behind.again = True
                    return

    def carry_out(self, request: Request) -> Any:
        """Do what is asked for, with the guards of the invariants. Raises errors of ours, libdb's and UserError."""
        operation = request.operation
        if operation in (COMMIT, ABORT, DISCARD):
            return operation.apply(None, None, request)
        if self.root.doomed is not None:
            doomed = self.root.doomed
            raise type(doomed)(doing=operation.name, of=request.owner.title, detail=doomed.detail) from doomed
        if self._unwanted:
            kind = self.ended_early or errors.TransactionEnded
            raise kind(doing=operation.name, of=self.title, detail="it was aborted meanwhile")
        txn = self.begun()
        target = request.owner
        if not operation.writes:
            result = operation.apply(target.handle, txn, request)
            if target.guarded:
                check_callbacks(request)
            return result
        child = self.environment.handle.txn_begin(txn)
        if self.root.priority:
            child.set_priority(DEFAULT_PRIORITY + self.root.priority)  # it is the child that waits
        try:
            result = operation.apply(target.handle, child, request)
            if target.guarded:
                check_callbacks(request)
        except BaseException:
            child.abort()
            forget_failure()
            raise
        child.commit()
        return result

    def begun(self) -> Any:
        """Return the binding's transaction, begun now if it was not."""
        if self.handle is None:
            parent = None if self.parent is None else self.parent.begun()
            self.handle = self.environment.handle.txn_begin(parent, self.flags)
            if self.priority:
                self.handle.set_priority(DEFAULT_PRIORITY + self.priority)
        return self.handle

    def doom(self, error: errors.Error) -> None:
        """Undo everything at once: libdb lets nothing else be done after a deadlock, and others wait for the locks."""
        self.doomed = error
        for session in reversed(self._family()):
            session.abort_here()

    def _family(self) -> list[Session]:
        found: list[Session] = []
        session: Session | None = self
        while session is not None:
            found.append(session)
            session = session.child
        return found

    def commit_here(self, flags: int) -> None:
        """Close the cursors and commit, on a worker."""
        if self.root.doomed is not None:
            doomed = self.root.doomed
            raise type(doomed)(doing="commit", of=self.title, detail=doomed.detail) from doomed
        self._close_cursors()
        handle, self.handle = self.handle, None
        if handle is not None:
            self.environment.events.begin_commit()
            handle.commit(0 if self.parent is not None else flags)
            if self.parent is None and self.environment.events.take_unacknowledged():
                raise errors.NotReplicated(doing="commit", of=self.title)

    def abort_here(self) -> None:
        """Close the cursors and undo, on a worker. Idempotent."""
        self._close_cursors()
        handle, self.handle = self.handle, None
        if handle is not None:
            handle.abort()

    def discard_here(self) -> None:
        """Give the handle up, on a worker."""
        handle, self.handle = self.handle, None
        if handle is not None:
            handle.discard()

    def prepare_here(self, gid: bytes) -> None:
        """Close the cursors and prepare, on a worker."""
        self._close_cursors()
        self.begun().prepare(gid)

    def _close_cursors(self) -> None:
        for cursor in list(self.cursors):
            cursor.close_here()
        self.cursors.clear()


class Lease:
    """A session that was begun for whoever holds this: dropped without `release`, it is undone, with a warning."""

    __slots__ = ("_session", "_title")

    def __init__(self, session: Session, title: str) -> None:
        self._session: Session | None = session
        self._title = title

    def release(self) -> None:
        """Leave the end of the session to the caller."""
        self._session = None

    def __del__(self) -> None:
        session, self._session = self._session, None
        if session is not None and session.state is SessionState.OPEN:
            session.abandon(self._title)


def error_applied(error: BaseException) -> bool:
    """Tell whether a commit that raised `error` has happened all the same."""
    return bool(getattr(error, "maybe_applied", False))
