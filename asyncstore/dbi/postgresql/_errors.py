"""PostgreSQL's error codes (its manual, appendix A) and asyncpg's own errors as exceptions of PEP 249."""

from __future__ import annotations

import re

import asyncpg

from asyncstore.dbi import errors

__all__ = ("is_stale", "translate")

# A code of five characters, or its class of two.
_KINDS: dict[str, type[errors.Error]] = {
    "08": errors.ConnectionLost,
    "0A": errors.NotSupportedError,
    "20": errors.ProgrammingError,
    "21": errors.ProgrammingError,
    "22": errors.DataError,
    "23": errors.IntegrityError,
    "24": errors.InternalError,
    "26": errors.ProgrammingError,
    "27": errors.OperationalError,
    "2B": errors.IntegrityError,
    "34": errors.ProgrammingError,
    "3D": errors.OperationalError,
    "3F": errors.ProgrammingError,
    "40001": errors.SerializationFailure,
    "40P01": errors.Deadlock,
    "42": errors.ProgrammingError,
    "42501": errors.OperationalError,  # not permitted
    "44": errors.IntegrityError,  # a view's WITH CHECK OPTION
    "55P03": errors.Locked,
    "57014": errors.QueryTimeout,  # stopped: statement_timeout, or somebody's pg_cancel_backend
    "57P01": errors.ConnectionLost,
    "57P02": errors.ConnectionLost,
    "57P03": errors.ConnectionLost,
    "57P04": errors.ConnectionLost,
    "57P05": errors.ConnectionLost,
    "P0": errors.DatabaseError,
    "XX": errors.InternalError,
}
# asyncpg shows the value that it could not encode, which may be secret: only the place and the reason are passed on,
# without what the reason quotes.
_ARGUMENT = re.compile(r"invalid input .*?argument (?P<place>\$\d+).*\((?P<reason>.*)\)\Z", re.DOTALL)
_QUOTED = re.compile(r"'.*'(?! object)", re.DOTALL)


def is_stale(exc: Exception) -> bool:
    """Whether a prepared statement is of a time before somebody changed the tables, or dropped it."""
    return isinstance(
        exc,
        asyncpg.InvalidCachedStatementError
        | asyncpg.InvalidSQLStatementNameError
        | asyncpg.exceptions.OutdatedSchemaCacheError,
    )


def translate(exc: Exception, *, doing: str, of: str) -> Exception:
    """Return our error for what asyncpg raised; `exc` itself when it is no error of a database."""
    argument = _ARGUMENT.match(str(exc)) if isinstance(exc, asyncpg.DataError | asyncpg.InterfaceError) else None
    if argument is not None:
        return errors.DataError(
            f"parameter {argument['place']}: {_QUOTED.sub('...', argument['reason'])}", doing=doing, of=of
        )
    if isinstance(exc, asyncpg.PostgresError):
        code = exc.sqlstate or ""
        kind = _KINDS.get(code) or _KINDS.get(code[:2], errors.OperationalError)
        return kind(_text(exc), doing=doing, of=of, sqlstate=code or None)
    if isinstance(exc, OSError | EOFError):
        return errors.ConnectionLost(str(exc) or type(exc).__name__, doing=doing, of=of)
    if isinstance(exc, asyncpg.InterfaceError):
        text = str(exc)
        if "closed" in text:
            return errors.ConnectionLost(text, doing=doing, of=of)
        kind = errors.ProgrammingError if "argument" in text else errors.InterfaceError
        return kind(text, doing=doing, of=of)
    if isinstance(exc, asyncpg.InternalClientError):
        return errors.InternalError(str(exc), doing=doing, of=of)
    return exc


def _text(exc: asyncpg.PostgresError) -> str:
    """Return the server's message without its details, which quote the values of rows."""
    return str(getattr(exc, "message", None) or exc)
