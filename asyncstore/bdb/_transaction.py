"""Explicit transactions: ``async with env.transaction() as txn``, and the retrying of a function of one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from asyncstore.bdb import errors
from asyncstore.bdb._library import db
from asyncstore.bdb._session import Session, SessionState

if TYPE_CHECKING:
    from asyncstore.bdb._core import Core
    from asyncstore.bdb._settings import Durability

__all__ = ("GID_BYTES", "Isolation", "Transaction", "run_transaction")

Isolation = Literal["serializable", "committed", "uncommitted", "snapshot"]
ISOLATION_FLAGS = {
    "serializable": 0,
    "committed": db.DB_READ_COMMITTED,
    "uncommitted": db.DB_READ_UNCOMMITTED,
    "snapshot": db.DB_TXN_SNAPSHOT,
}

GID_BYTES = 128  # bytes of a global transaction id, db.h's DB_GID_SIZE
ATTEMPTS = 20  # times that run_transaction runs its function before it gives up
RETRY_PAUSE = 0.001  # seconds; doubled each time and jittered, so that two victims do not meet again
RETRY_PAUSE_MAX = 0.25
UNDO_DEADLINE = 5.0  # seconds that leaving a block waits for the undoing; it takes 0.1 behind a waiting operation

T = TypeVar("T")


class Transaction:
    """A transaction; made by `Environment.transaction`. Pass it as ``txn=`` to the methods of databases.

    As ``async with`` it commits when the block ends and is undone when the block raises (a cancel included). An
    operation that raises undoes itself and the transaction goes on, but after `Deadlock` it has been undone as a whole:
    nothing can be done but leave; `Environment.run_transaction` then does it again.

    It begins with its first operation. Operations that overlap are carried out in the order of the calls. It belongs to
    whom it was given: nothing gets into it that does not name it.
    """

    def __init__(
        self, environment: Core, session: Session, durability: Durability, timer: asyncio.TimerHandle | None
    ) -> None:
        self._environment = environment
        self._session = session
        self._durability: Durability = durability
        self._timer = timer

    def __repr__(self) -> str:
        return f"<Transaction of {self._environment.title} {self.state}>"

    @property
    def state(self) -> str:
        """Where it is: "open", "prepared", "ending", "committed" or "aborted"."""
        return self._session.state.value

    def session_for(self, environment: Core) -> Session:
        """Return the session, for a database of `environment`. For this package."""
        if environment is not self._environment:
            raise errors.Misuse(doing="use", of=self._session.title, detail="the database is of another environment")
        return self._session

    def transaction(self) -> Transaction:
        """Begin a transaction nested in this one, for ``async with``.

        Undone, it undoes only what was done in it; committed, its changes are this one's. While it is open, this one
        cannot be used.
        """
        self._session.check("begin a transaction in")
        return self._environment.nested(self._session, self._durability)

    async def commit(self) -> None:
        """Commit; the changes are then as durable as was promised. To a nested one: as its parent's commit makes them.

        Raises `TransactionEnded`, `Misuse` while a nested one is open, `Deadlock` when it gave way before, `DiskFull`
        when there is no room for the log: it has been undone then. A cancel may come too late to stop it: the
        CancelledError has ``maybe_applied = True`` then.
        """
        self._stop_timer()
        flags = self._environment.commit_flags(self._durability)
        if self._session.state is SessionState.PREPARED:
            await self._session.commit_prepared(flags)
        else:
            await self._session.commit(flags)

    async def abort(self) -> None:
        """Undo everything. Idempotent after an abort; raises `TransactionEnded` after a commit.

        A cancel leaves the undoing to go on in the background.
        """
        if self._session.state is SessionState.COMMITTED:
            raise errors.TransactionEnded(doing="abort", of=self._session.title, detail="it is committed")
        await self._undo()

    async def prepare(self, gid: bytes) -> None:
        """Do the first phase of a commit in two phases: what was done survives a crash, undecided.

        `gid` is the global id of the transaction, up to 128 bytes. Afterwards only `commit` or `abort` are possible;
        after a crash `Environment.recover_prepared` finds it. Raises ValueError, and what `commit` raises.
        """
        if not isinstance(gid, bytes) or not gid or len(gid) > GID_BYTES:
            raise ValueError(f"a global transaction id has 1 to {GID_BYTES} bytes")
        if self._session.parent is not None:
            raise errors.Misuse(doing="prepare", of=self._session.title, detail="it is nested in another")
        await self._session.prepare(gid.ljust(GID_BYTES, b"\0"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def _undo(self) -> None:
        self._stop_timer()
        future = self._session.abort()
        if future is not None:
            # Not the future itself: a cancel of the caller's must not take the undoing back.
            await asyncio.wait([future], timeout=UNDO_DEADLINE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._session.ended_early is not None and error is None:
                raise self._session.ended_early(doing="commit", of=self._session.title)
            if self._session.state is not SessionState.OPEN:
                if self._session.state is SessionState.PREPARED and error is not None:
                    await self._undo()
                return
            if error is None:
                await self.commit()
            else:
                await self._undo()
        finally:
            self._stop_timer()

    def __del__(self) -> None:
        if self._session.state is SessionState.OPEN:
            self._session.abandon(repr(self))


async def run_transaction(
    begin: Callable[[], Transaction], function: Callable[[Transaction], Awaitable[T]], attempts: int
) -> T:
    """Run ``await function(txn)`` in a transaction and commit; again after a deadlock. See `Environment`."""
    pause = RETRY_PAUSE
    for _ in range(attempts - 1):
        try:
            async with begin() as txn:
                return await function(txn)
        except errors.Deadlock:
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            pause = min(2 * pause, RETRY_PAUSE_MAX)
    async with begin() as txn:
        return await function(txn)
