"""Reads outside of transactions, carried out in batches on a worker thread.

A batch reads in one transaction that waits for no lock (DB_TXN_NOWAIT) and keeps none (DB_READ_COMMITTED): it sees only
what is committed. What is locked at that moment by a writer is read again a little later, so that a transaction left
open stalls only those who ask for what it has locked, and blocks no worker. (A transaction for a batch costs nothing
measurable: 1.0 us a get with it and without.)
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from asyncstore.bdb._callbacks import check_callbacks
from asyncstore.bdb._library import LIBDB_ERRORS, db
from asyncstore.bdb._operations import UserError
from asyncstore.bdb._request import Request
from asyncstore.bdb._translate import DEADLOCK, LATER, code_of, translate

__all__ = ("Reader",)


class Reader:
    """Carries out batches of reads; `handle` is the binding's environment. Any number of threads may be inside."""

    # Any: the handle is the binding's.
    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def __call__(self, requests: list[Request]) -> None:
        """Carry out every request and store its outcome in it."""
        try:
            transaction = self._begin()
        except LIBDB_ERRORS as exc:
            for request in requests:
                request.error = translate(exc, doing=request.operation.name, of=request.owner.title)
                request.again = code_of(exc) in LATER
            return
        try:
            for request in requests:
                try:
                    request.result = request.operation.apply(request.owner.handle, transaction, request)
                    if request.owner.guarded:
                        check_callbacks(request)
                except UserError as exc:
                    request.error = exc.error
                except LIBDB_ERRORS as exc:
                    code = code_of(exc)
                    request.error = translate(exc, doing=request.operation.name, of=request.owner.title)
                    if code in LATER:
                        request.again = True
                    elif code == DEADLOCK:  # a transaction that waits for nothing is hardly ever chosen
                        request.again = True
                        transaction.abort()
                        transaction = self._begin()
        finally:
            with suppress(*LIBDB_ERRORS):  # of an environment that libdb has just declared unusable
                transaction.abort()  # nothing was changed, and an abort writes no log

    def _begin(self) -> Any:
        return self._handle.txn_begin(None, db.DB_TXN_NOWAIT | db.DB_READ_COMMITTED)
