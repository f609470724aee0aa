"""SQLite's result codes (sqlite.org/rescode.html) as exceptions of PEP 249."""

from __future__ import annotations

import sqlite3

from asyncstore.dbi import errors

__all__ = ("is_locked", "primary", "translate")

# The lowest byte of a code is its kind; the rest, where there is one, says more.
_KINDS: dict[int, type[errors.Error]] = {
    sqlite3.SQLITE_BUSY: errors.Locked,
    sqlite3.SQLITE_LOCKED: errors.Locked,
    sqlite3.SQLITE_CONSTRAINT: errors.IntegrityError,
    sqlite3.SQLITE_MISMATCH: errors.IntegrityError,
    sqlite3.SQLITE_TOOBIG: errors.DataError,
    sqlite3.SQLITE_RANGE: errors.ProgrammingError,
    sqlite3.SQLITE_INTERNAL: errors.InternalError,
    sqlite3.SQLITE_CORRUPT: errors.DatabaseError,
    sqlite3.SQLITE_NOTADB: errors.DatabaseError,
    sqlite3.SQLITE_NOLFS: errors.NotSupportedError,
}
# What sqlite3 raises by itself, without a code of SQLite's.
_CLASSES: tuple[tuple[type[sqlite3.Error], type[errors.Error]], ...] = (
    (sqlite3.ProgrammingError, errors.ProgrammingError),
    (sqlite3.NotSupportedError, errors.NotSupportedError),
    (sqlite3.IntegrityError, errors.IntegrityError),
    (sqlite3.DataError, errors.DataError),
    (sqlite3.InternalError, errors.InternalError),
    (sqlite3.OperationalError, errors.OperationalError),
    (sqlite3.DatabaseError, errors.DatabaseError),
    (sqlite3.InterfaceError, errors.InterfaceError),
)


def primary(exc: sqlite3.Error) -> int:
    """Return the kind of error that SQLite gave, 0 when it was sqlite3's own."""
    return int(getattr(exc, "sqlite_errorcode", 0)) & 0xFF


def is_locked(exc: sqlite3.Error) -> bool:
    """Whether somebody else holds a lock, so that the statement can succeed a little later as it stands."""
    code = getattr(exc, "sqlite_errorcode", 0)
    return primary(exc) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and code != sqlite3.SQLITE_BUSY_SNAPSHOT


def translate(exc: sqlite3.Error, *, doing: str, of: str) -> errors.Error:
    """Return our error for what sqlite3 raised, with that as its cause."""
    code = getattr(exc, "sqlite_errorcode", None)
    kind: type[errors.Error] | None
    if code == sqlite3.SQLITE_BUSY_SNAPSHOT:
        kind = errors.SerializationFailure
    elif code == sqlite3.SQLITE_ERROR:
        kind = errors.ProgrammingError  # a syntax error, a table that is not there
    else:
        kind = _KINDS.get(primary(exc))
    if kind is None:
        kind = next((ours for theirs, ours in _CLASSES if isinstance(exc, theirs)), errors.Error)
    error = kind(str(exc), doing=doing, of=of, code=code)
    error.__cause__ = exc
    return error
