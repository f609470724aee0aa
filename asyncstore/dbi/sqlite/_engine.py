"""One connection to SQLite, and how batches of statements are carried out on it. Blocking calls, made on workers.

Group commit: waiting for the disk is nearly all that a durable insert costs, and one commit makes durable all that is
in its transaction. So of the statements that come in one batch outside of a transaction of the caller's, those that
change something share one transaction, and are acknowledged after its commit. Each stays atomic and fails alone: SQLite
undoes a statement that fails and leaves the transaction as it was before it. Where it undoes the whole transaction
instead (a full disk, ON CONFLICT ROLLBACK, an interruption), or the commit fails, each statement is carried out once
more by itself.

A statement whose caller has gone, or whose time is up, is stopped from SQLite's progress handler, which looks at the
very request that is being carried out; `sqlite3.Connection.interrupt` may hit the one behind it.

Nothing waits for a lock in here: what meets one comes back undone and is asked for again by the gatherer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Literal

from asyncstore.dbi import errors
from asyncstore.dbi._request import Request, Sort
from asyncstore.dbi._session import Options, Parameters
from asyncstore.dbi.sqlite._errors import is_locked, primary, translate
from asyncstore.dbi.sqlite._operations import Stream
from asyncstore.dbi.sqlite._settings import Settings

__all__ = ("Engine",)

STEPS = 5000  # instructions of SQLite's machine between two looks at the request: well below a millisecond
GROUP = 2  # statements that change something, from which on a transaction of their own pays


class Engine:
    """Carries out batches of requests; called on worker threads, one batch at a time (it is given to a lane)."""

    broken = False  # a file does not go away

    def __init__(self, settings: Settings, *, read_only: bool = False) -> None:
        self.title = settings.title
        self.settings = settings
        self.inside = False  # a transaction of the caller's is open
        self.ended = ""  # why SQLite has undone that transaction by itself
        self.commits = 0  # of groups
        self.streams = 0  # results that are being read: undoing a transaction would end them
        self.reader = read_only
        self.read_only = False  # the caller's transaction is, until its end
        self._current: Request | None = None
        self._interrupted: Request | None = None
        self._progress: Callable[[], object] | None = None
        try:
            self.connection = settings.connect(read_only=read_only)
        except sqlite3.Error as exc:
            raise translate(exc, doing="open", of=settings.title) from exc
        self.connection.set_progress_handler(self._look, STEPS)

    def _look(self) -> bool:
        """Tell SQLite whether to stop what it does; called by it every few thousand steps."""
        request = self._current
        if request is None:
            return False
        return request.stopped or request is self._interrupted or bool(self._progress is not None and self._progress())

    def check(self) -> None:
        """Raise when what is being carried out is to be stopped; called on the worker."""
        if self._current is not None and self._look():
            raise self._current.timed_out()

    def set_progress(self, called: Callable[[], object] | None) -> None:
        """Have `called` every few thousand steps."""
        self._progress = called

    def interrupt(self) -> None:
        """Stop what is being carried out; called on the loop's thread."""
        self._interrupted = self._current

    def stop(self, request: Request) -> None:
        """Nothing to do: `_look` sees that it was abandoned."""

    def begin(self, options: Options) -> None:
        """Begin a transaction of the caller's."""
        if options.read_only and not self.reader:
            self.connection.execute("PRAGMA query_only=on")
            self.read_only = True
        mode = options.mode or ("deferred" if options.read_only else "immediate")
        self.connection.execute(f"BEGIN {mode}")
        self.inside, self.ended = True, ""

    def end(self, word: Literal["COMMIT", "ROLLBACK"]) -> None:
        """End it. It has ended even when this raises, unless somebody holds a lock."""
        if self.read_only:
            self.connection.execute("PRAGMA query_only=off")
            self.read_only = False
        try:
            if self.connection.in_transaction:
                self.connection.execute(word)
        except sqlite3.Error as exc:
            if is_locked(exc):
                raise
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            self.inside = False
            raise
        self.inside = False

    def stream(self, sql: str, parameters: Parameters) -> Stream:
        """Return a result to be read in batches."""
        return Stream(self, sql, parameters)

    def close(self) -> None:
        """Undo what was not committed and close. Idempotent."""
        self.connection.close()

    def __call__(self, requests: list[Request]) -> None:
        """Carry out `requests` and store each one's outcome in it."""
        if not self.inside and not self.streams and sum(request.sort is Sort.WRITE for request in requests) >= GROUP:
            group = [request for request in requests if request.sort is Sort.WRITE]
            requests = [request for request in requests if request.sort is not Sort.WRITE]
            if not self._together(group):
                requests = group + requests
        for request in requests:
            self._one(request)
            if self.connection.in_transaction and not self.inside:  # a script began one
                self.connection.execute("ROLLBACK")
                request.error = errors.ProgrammingError(
                    "it left a transaction open, which has been undone", doing=request.doing, of=request.title
                )

    def _together(self, requests: list[Request]) -> bool:
        """Carry out `requests` in one transaction; False: it was undone, and nothing has happened."""
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as exc:
            for request in requests:
                self._refused(request, exc)
            return True
        for request in requests:
            self._one(request)
            if not connection.in_transaction:
                return False
        try:
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return False
        self.commits += 1
        return True

    def _one(self, request: Request) -> None:
        request.error, request.again = None, False
        if request.stopped:
            request.error = request.timed_out()
            return
        self._current = request
        try:
            request.result = request.apply(self.connection)
        except sqlite3.Error as exc:
            self._refused(request, exc)
        except (OverflowError, UnicodeError) as exc:  # of a parameter that SQLite cannot hold
            request.error = errors.DataError(str(exc), doing=request.doing, of=request.title)
            request.error.__cause__ = exc
        except Exception as exc:  # noqa: BLE001 - of whatever the caller has passed: it is the caller's to see
            request.error = exc
        finally:
            self._current = None
        if self.inside and not self.connection.in_transaction:
            self.ended = "an error before made the database undo the whole transaction"

    def _refused(self, request: Request, exc: sqlite3.Error) -> None:
        if primary(exc) == sqlite3.SQLITE_INTERRUPT and request.stopped:
            request.error = request.timed_out()
            request.error.__cause__ = exc
            return
        request.again = is_locked(exc)
        request.error = translate(exc, doing=request.doing, of=request.title)
