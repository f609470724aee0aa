"""Group commit: puts and deletes that arrive together share one transaction and one flush of the log.

Waiting for the disk is nearly all that a durable put costs, and a flush makes every commit before it durable, not
one. So the requests of a batch are applied in one transaction, in their order, and acknowledged after its commit.
Each stays atomic and fails alone:

1. All together in one transaction. Nearly always that is all.
2. When a request fails, libdb may have applied it in part, so the transaction is undone; the batch runs again with each
   request in a child transaction, and only the child of the one that fails is undone.
3. When the commit itself fails (no room for the log), each request commits alone: what still fits is stored, and only
   those that do not fit fail. The log only grows at its end, so once a few do not fit the rest is not tried.

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
from asyncstore.bdb._library import LIBDB_ERRORS, db
from asyncstore.bdb._request import Operation, Request
from asyncstore.bdb._translate import DEADLOCK, code_of, translate

__all__ = ("Committer",)

DEADLOCK_TRIES = 20  # times a group gives way before its callers hear of it
DEADLOCK_PAUSE = 0.001  # seconds; doubled each time and jittered, so that two processes do not collide in step
DEADLOCK_PAUSE_MAX = 0.1
NO_ROOM = frozenset(code for code, kind in errors.Error.by_code.items() if kind is errors.DiskFull)
NO_ROOM_TRIES = (
    3  # full-disk errors in a row after which the rest of a group is not tried: libdb waits 4 s in each such put
)


class Committer:
    """Applies batches of requests; called on worker threads, one batch at a time (it is given to a lane).

    `handle` is the binding's environment, `flags` what commit does about durability.
    """

    # Any: the handle is the binding's.
    def __init__(self, handle: Any, flags: int) -> None:
        self._handle = handle
        self._flags = flags
        self.commits = 0  # top-level transactions committed

    def __call__(self, requests: list[Request]) -> None:
        """Carry out `requests` and store each one's outcome in it."""
        if len(requests) > 1:
            for strategy in (self._together, self._apart):
                try:
                    self._persist(strategy, requests)
                except LIBDB_ERRORS as exc:
                    if code_of(exc) in NO_ROOM:
                        break  # children would not need less room
                else:
                    return
        self._each_alone(requests)

    def _each_alone(self, requests: list[Request]) -> None:
        full: BaseException | None = None
        failed_in_a_row = 0
        for request in requests:
            request.error = None
            try:
                if full is None or failed_in_a_row < NO_ROOM_TRIES:
                    self._persist(self._together, [request])
                    failed_in_a_row = 0
                    continue
                cause = full
            except LIBDB_ERRORS as exc:
                cause = exc
                if code_of(exc) in NO_ROOM:
                    full = exc
                    failed_in_a_row += 1
            request.error = translate(cause, doing=request.operation.value, of=request.subject)

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
        transaction = self._handle.txn_begin()
        try:
            for request in requests:
                _apply(request, transaction)
        except BaseException:
            transaction.abort()
            raise
        self._commit(transaction)

    def _apart(self, requests: list[Request]) -> None:
        transaction = self._handle.txn_begin()
        try:
            for request in requests:
                self._in_child(request, transaction)
        except BaseException:
            transaction.abort()
            raise
        self._commit(transaction)

    def _in_child(self, request: Request, parent: Any) -> None:
        request.error = None
        child = self._handle.txn_begin(parent)
        try:
            _apply(request, child)
        except BaseException as exc:
            child.abort()
            # A deadlock is not the request's own: its locks are its parent's, which must give way as a whole.
            if not isinstance(exc, LIBDB_ERRORS) or code_of(exc) == DEADLOCK:
                raise
            request.error = translate(exc, doing=request.operation.value, of=request.subject)
        else:
            child.commit()

    def _commit(self, transaction: Any) -> None:
        # A commit that fails has ended the transaction all the same: there is nothing left to abort.
        transaction.commit(self._flags)
        self.commits += 1


def _apply(request: Request, transaction: Any) -> None:
    handle = request.database.handle
    if request.operation is Operation.PUT:
        handle.put(request.key, request.argument, transaction)
        return
    try:
        handle.delete(request.key, transaction)
    except db.DBNotFoundError:
        request.result = False
    else:
        request.result = True
