"""What can go wrong with SQL: the tree of PEP 249, with a driver's own exception as the cause.

A class says who is at fault; `sqlstate` (SQL standard, where the server gives one) and `code` (the driver's own number)
say what happened. A message says what was being done and never holds a parameter, which may be secret.
"""

from __future__ import annotations

from asyncstore import errors as root

__all__ = (
    "Closed", "ConnectionLost", "DataError", "DatabaseError", "Deadlock", "Error", "IntegrityError", "InterfaceError",
    "InternalError", "Locked", "Misuse", "NotSupportedError", "NotificationsLost", "OperationalError", "PoolFull",
    "PoolTimeout", "ProgrammingError", "QueryTimeout", "SerializationFailure", "Warning",
)  # fmt: skip


class Warning(Exception):  # noqa: A001 - PEP 249's name
    """Something noteworthy, such as a value that was truncated. No driver of ours raises it; PEP 249 asks for it."""


class Error(root.Error):
    """Base of all that this service raises (PEP 249). `doing` and `of` say what failed."""

    def __init__(
        self, detail: str = "", *, doing: str = "", of: str = "", sqlstate: str | None = None, code: int | None = None
    ) -> None:
        self.detail = detail
        self.doing = doing
        self.of = of
        self.sqlstate = sqlstate
        self.code = code
        super().__init__(detail)

    def __str__(self) -> str:
        where = " ".join(part for part in (self.doing, self.of) if part)
        numbers = ", ".join(str(number) for number in (self.sqlstate, self.code) if number is not None)
        return ": ".join(part for part in (where, self.detail or type(self).__doc__ or "") if part) + (
            f" [{numbers}]" if numbers else ""
        )


class InterfaceError(Error):
    """The interface was used wrongly, or the driver cannot do what was asked."""


class DatabaseError(Error):
    """The database reported an error."""


class DataError(DatabaseError):
    """A value cannot be processed: out of range, divided by zero, too long."""


class OperationalError(DatabaseError):
    """Something went wrong that is not the statement's fault: a lost connection, a full disk, no memory."""


class IntegrityError(DatabaseError):
    """A constraint refuses the change."""


class InternalError(DatabaseError):
    """The database is in a state that it should not be in."""


class ProgrammingError(DatabaseError):
    """The statement is wrong: a syntax error, an unknown table, a wrong number of parameters."""


class NotSupportedError(DatabaseError):
    """The database or the driver has no such thing."""


class Closed(InterfaceError, root.Closed):
    """The connection, transaction or pool was used after it had been closed."""


class Misuse(InterfaceError):
    """The call cannot be made in this state, by this task or on this loop."""


class ConnectionLost(OperationalError, root.Broken):
    """The server or the network has gone away; a statement that was under way may have been carried out."""


class QueryTimeout(OperationalError, TimeoutError):
    """The statement took longer than it was given, and was stopped."""

    retryable = True


class Locked(OperationalError, root.Busy):
    """Somebody else held a lock for longer than `lock_timeout`."""


class NotificationsLost(OperationalError):
    """More notifications came than `max_pending`: what has changed meanwhile has to be looked up."""


class PoolTimeout(OperationalError, TimeoutError, root.Busy):
    """All connections of the pool were in use for the whole of `acquire_timeout`."""


class PoolFull(OperationalError, root.Busy):
    """So many wait for a connection already that another is refused."""


class Deadlock(OperationalError):
    """Two transactions waited for each other, and this one gave way; it has been undone."""

    retryable = True


class SerializationFailure(OperationalError):
    """A concurrent transaction has changed what this one read; it has been undone."""

    retryable = True
