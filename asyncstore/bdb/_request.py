"""What can be asked of a database, and one such operation on its way to a worker and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from asyncstore import pool
from asyncstore.bdb import errors
from asyncstore.errors import Closed, Internal

__all__ = ("Operation", "Owner", "Request")


class Owner(Protocol):
    """What a request is made of: a database, a transaction."""

    title: str  # what an error message calls it; never a key or a value, which may be secret
    usage: pool.Usage
    handle: Any  # the binding's
    guarded: bool  # whether libdb calls functions of the caller's while it works on it


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """What can be asked for: the name that error messages use, and how it is done.

    `apply` is called with the owner's handle, the transaction it happens in and the request, on a worker; it returns
    the result or raises.
    """

    name: str
    apply: Callable[[Any, Any, Request], Any]
    writes: bool = False


class Request(pool.Request):
    """An operation with its arguments."""

    session: Any = None  # the transaction that it is part of, if that was opened by a caller

    # Any: keys differ by access method; the argument and the result belong to the operation.
    def __init__(
        self, owner: Owner, operation: Operation, key: Any = None, argument: Any = None, size: int = 0
    ) -> None:
        self.owner = owner
        self.usage = owner.usage
        self.operation = operation
        self.key = key
        self.argument = argument
        self.size = size  # of key and value together

    def failed(self, failure: BaseException) -> errors.Error | Internal:
        """Return what the caller is told of a batch that met `failure` as a whole."""
        doing, of = self.operation.name, self.owner.title
        if isinstance(failure, errors.Error):
            return type(failure)(doing=doing, of=of, detail=failure.detail)
        if isinstance(failure, Closed):
            return errors.Closed(doing=doing, of=of, detail=f"its worker pool is gone: {failure}")
        return Internal(f"{doing} {of}: {failure!r}; please report it")
