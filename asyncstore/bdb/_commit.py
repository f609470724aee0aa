"""Group commit: writes that arrive together share one transaction and one flush of the log.

Waiting for the disk is nearly all that a durable put costs, and a flush makes every commit before it durable, not
one. So the requests of a batch are applied in one transaction, in their order, and acknowledged after its commit.
Each stays atomic and fails alone:

1. All together in one transaction. Nearly always that is all.
2. When a request fails, libdb may have applied it in part, so the transaction is undone; the batch runs again with each
   request in a child transaction, and only the child of the one that fails is undone.
3. When the commit itself fails (no room for the log), each request commits alone: what still fits is stored, and only
   those that do not fit fail. The log only grows at its end, so once a few do not fit the rest is not tried.

Nothing waits for a lock in here (DB_TXN_NOWAIT): a write whose page somebody else has locked is set aside, with all
that follow it on the same key, and comes back with a later batch. So one transaction left open stops only those who
write where it has written.

Children for all in the first place would cost every put half as much again (6.1 against 5.5 us with a flush, 5.1
against 3.1 without) for a case that hardly ever comes.

libdb turns the record of a commit whose flush fails into an abort (txn.c, __txn_force_abort), so doing the batch
again is sound.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from asyncstore.bdb import errors
from asyncstore.bdb._callbacks import check_callbacks, forget_failure
from asyncstore.bdb._library import LIBDB_ERRORS, db
from asyncstore.bdb._operations import REFUSALS, UserError
from asyncstore.bdb._rep_events import Events
from asyncstore.bdb._request import Request
from asyncstore.bdb._translate import DEADLOCK, LATER, code_of, translate

__all__ = ("Committer",)

DEADLOCK_TRIES = 20  # times a group gives way before its callers hear of it
DEADLOCK_PAUSE = 0.001  # seconds; doubled each time and jittered, so that two processes do not collide in step
DEADLOCK_PAUSE_MAX = 0.1
NO_ROOM = frozenset(code for code, kind in errors.Error.by_code.items() if kind is errors.DiskFull)
NO_ROOM_TRIES = (
    3  # full-disk errors in a row after which the rest of a group is not tried: libdb waits 4 s in each such put
)

_FAILURES: tuple[type[Exception], ...] = (*LIBDB_ERRORS, UserError)


class Committer:
    """Applies batches of requests; called on worker threads, one batch at a time (it is given to a lane).

    `handle` is the binding's environment, `flags` what commit does about durability. `events` knows whether a commit
    was confirmed by too few other sites.
    """

    # Any: the handle is the binding's.
    def __init__(self, handle: Any, flags: int, events: Events) -> None:
        self._handle = handle
        self._flags = flags
        self._events = events
        self.commits = 0  # top-level transactions committed

    def __call__(self, requests: list[Request]) -> None:
        """Carry out `requests` and store each one's outcome in it."""
        # Those that were set aside once will hardly be had now: no use trying them together with the rest.
        if len(requests) > 1:
            apart = any(request.deadline is not None for request in requests)
            for strategy in (self._apart,) if apart else (self._together, self._apart):
                try:
                    self._persist(strategy, requests)
                except _FAILURES as exc:
                    if code_of(exc) in NO_ROOM:
                        break  # children would not need less room
                else:
                    return
        self._each_alone(requests)

    def _each_alone(self, requests: list[Request]) -> None:
        full: BaseException | None = None
        failed_in_a_row = 0
        blocked: set[tuple[int, Any]] = set()
        for request in requests:
            request.error, request.again = None, False
            if blocked and _behind(request, blocked):
                request.again = True
                continue
            try:
                if full is None or failed_in_a_row < NO_ROOM_TRIES:
                    self._persist(self._together, [request])
                    failed_in_a_row = 0
                    continue
                cause: BaseException = full
            except _FAILURES as exc:
                cause = exc
                if code_of(exc) in NO_ROOM:
                    full = exc
                    failed_in_a_row += 1
                elif code_of(exc) in LATER:
                    request.again = True
                    blocked.add(_place(request))
            request.error = _error(cause, request)

    def _persist(self, strategy: Callable[[list[Request]], None], requests: list[Request]) -> None:
        pause = DEADLOCK_PAUSE
        for _ in range(DEADLOCK_TRIES - 1):
            try:
                return strategy(requests)
            except db.DBError as exc:
                if code_of(exc) != DEADLOCK:
                    raise
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            pause = min(2 * pause, DEADLOCK_PAUSE_MAX)
        return strategy(requests)

    def _together(self, requests: list[Request]) -> None:
        transaction = self._handle.txn_begin(None, db.DB_TXN_NOWAIT)
        try:
            for request in requests:
                request.error = None
                try:
                    request.result = request.operation.apply(request.owner.handle, transaction, request)
                except REFUSALS as exc:
                    if request.owner.guarded:  # an index may have been changed before it refused
                        raise
                    request.error = _error(exc, request)
                if request.owner.guarded:
                    check_callbacks(request)
        except BaseException:
            transaction.abort()
            forget_failure()
            raise
        self._commit(transaction, requests)

    def _apart(self, requests: list[Request]) -> None:
        transaction = self._handle.txn_begin(None, db.DB_TXN_NOWAIT)
        blocked: set[tuple[int, Any]] = set()
        try:
            for request in requests:
                request.error, request.again = None, False
                if blocked and _behind(request, blocked):
                    request.again = True
                    continue
                self._in_child(request, transaction)
                if request.again:
                    blocked.add(_place(request))
        except BaseException:
            transaction.abort()
            raise
        if all(request.again for request in requests):
            transaction.abort()  # nothing was done: there is nothing to flush
        else:
            self._commit(transaction, [request for request in requests if not request.again])

    def _in_child(self, request: Request, parent: Any) -> None:
        child = self._handle.txn_begin(parent, db.DB_TXN_NOWAIT)
        try:
            request.result = request.operation.apply(request.owner.handle, child, request)
            if request.owner.guarded:
                check_callbacks(request)
        except BaseException as exc:
            child.abort()
            forget_failure()
            # A deadlock is not the request's own: its locks are its parent's, which must give way as a whole.
            if not isinstance(exc, _FAILURES) or code_of(exc) == DEADLOCK:
                raise
            request.again = code_of(exc) in LATER
            request.error = _error(exc, request)
        else:
            child.commit()

    def _commit(self, transaction: Any, requests: list[Request]) -> None:
        # A commit that fails has ended the transaction all the same: there is nothing left to abort.
        self._events.begin_commit()
        transaction.commit(self._flags)
        self.commits += 1
        if self._events.take_unacknowledged():
            for request in requests:
                if request.error is None:
                    request.error = errors.NotReplicated(doing=request.operation.name, of=request.owner.title)


def _place(request: Request) -> tuple[int, Any]:
    """Return what two requests have in common that must keep their order: the record that they write."""
    return id(request.owner), request.key


def _behind(request: Request, blocked: set[tuple[int, Any]]) -> bool:
    """Tell whether `request` must wait for one that was set aside; those without a key write all over a database."""
    owner, key = _place(request)
    if key is None:
        return any(owner == other for other, _ in blocked)
    return (owner, key) in blocked or (owner, None) in blocked


def _error(exc: BaseException, request: Request) -> BaseException:
    if isinstance(exc, UserError):
        return exc.error
    return translate(exc, doing=request.operation.name, of=request.owner.title)
