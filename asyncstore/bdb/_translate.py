"""From the binding's exceptions to ours: the only place that looks inside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from asyncstore.bdb import errors
from asyncstore.bdb._library import LIBDB_ERRORS

__all__ = ("DEADLOCK", "LATER", "NOT_GRANTED", "code_of", "recovery_failed", "translate", "translated")

DEADLOCK = -30993  # DB_LOCK_DEADLOCK
NOT_GRANTED = -30992  # DB_LOCK_NOTGRANTED
HANDLE_DEAD = -30984  # DB_REP_HANDLE_DEAD
LOCKOUT = -30978  # DB_REP_LOCKOUT
# Nothing has happened, and will be possible a little later: a lock given up, a client that has caught up.
LATER = frozenset({NOT_GRANTED, LOCKOUT, HANDLE_DEAD})

# libdb answers EINVAL, or worse, for these and tells them apart only by the number of the message; stable within 5.x.
_BY_MESSAGE: dict[str, type[errors.Error]] = {
    "BDB0004": errors.Corrupt,  # unexpected file type or format: too short for a metadata page, too
    "BDB0210": errors.Corrupt,  # metadata page checksum error
    "BDB1009": errors.WrongVersion,  # of a btree or recno
    "BDB1126": errors.WrongVersion,  # of a hash
    "BDB1138": errors.WrongVersion,  # of a queue
    "unsupported heap version": errors.WrongVersion,  # which has no number
    "BDB2509": errors.Corrupt,  # pages are newer than the log: log files are missing
    "BDB3016": errors.Corrupt,  # a page's checksum, or what it holds
    "BDB3037": errors.Corrupt,  # file size not a multiple of the page size
    "BDB0695": errors.KeyExists,  # two records with one key in an index that is unique
    "BDB0102": errors.Deadlock,  # an operation of a transaction that gave way in a deadlock before
    "BDB0111": errors.NotMaster,  # attempt to modify a read-only database: what a client of replication has
}


def code_of(exc: BaseException) -> int:
    """Return the number libdb or the system gave to `exc`; 0 when it carries none."""
    first = exc.args[0] if exc.args else 0
    return first if isinstance(first, int) else 0


def translate(exc: BaseException, *, doing: str, of: str) -> errors.Error:
    """Return our error for the binding's exception `exc`, which becomes its cause."""
    code = code_of(exc)
    detail = str(exc.args[1]) if len(exc.args) > 1 else str(exc)
    kind = errors.Error.by_code.get(code) or (errors.IOFailure if code > 0 else errors.Error)
    kind = next((named for number, named in _BY_MESSAGE.items() if number in detail), kind)
    if code == 0 and "has been closed" in detail:
        kind = errors.Closed
    error = kind(doing=doing, of=of, code=code, detail=detail)
    error.__cause__ = exc
    return error


def recovery_failed(exc: BaseException, *, doing: str, of: str) -> errors.Corrupt:
    """Return the error of a recovery that libdb gave up; it says no more than that it did."""
    said = str(exc.args[1]) if len(exc.args) > 1 else str(exc)
    detail = f"recovery failed: a log or database file is damaged or missing, or the password is wrong: {said}"
    return errors.Corrupt(doing=doing, of=of, code=code_of(exc), detail=detail)


@contextmanager
def translated(doing: str, of: str) -> Iterator[None]:
    """Raise our error for whatever the binding raises inside the block."""
    try:
        yield
    except LIBDB_ERRORS as exc:
        if isinstance(exc, MemoryError) and not code_of(exc):
            raise  # the interpreter's own, not libdb's ENOMEM
        raise translate(exc, doing=doing, of=of) from exc
