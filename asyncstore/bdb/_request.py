"""One operation on its way to a worker and back.

Lock rule: none is needed. A request belongs to the loop thread until its batch is handed over, to one worker thread
until the batch's future is done, then to the loop thread again; the pool's hand-over and hand-back order the
accesses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from asyncstore.bdb._usage import Usage

__all__ = ("Operation", "Owner", "Request")


class Owner(Protocol):
    """What a request is made of: a database, a transaction."""

    title: str  # what an error message calls it; never a key or a value, which may be secret
    usage: Usage
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


# Any: keys differ by access method; the argument and the result belong to the operation.
class Request:
    """An operation with its arguments, its outcome and the future that its caller waits for.

    What is hardly ever set is set on the class, which makes a third of the cost of making one go away.
    """

    priority = 0  # of the caller's context; set by the gatherer
    session: Any = None  # the transaction that it is part of, if that was opened by a caller
    future: asyncio.Future[Any] | None = None
    handed_over = False
    deadline: float | None = None  # of the loop's clock; set when a lock was not had the first time
    again = False  # a lock was not had: nothing has happened, and it is to be done again
    result: Any = None
    error: BaseException | None = None

    def __init__(
        self, owner: Owner, operation: Operation, key: Any = None, argument: Any = None, size: int = 0
    ) -> None:
        self.owner = owner
        self.operation = operation
        self.key = key
        self.argument = argument
        self.size = size  # bytes of key and value together, by which groups are cut
