"""One operation on its way to a worker and back.

Lock rule: none is needed. A request belongs to the loop thread until its batch is handed over, to one worker thread
until the batch's future is done, then to the loop thread again; the pool's hand-over and hand-back order the
accesses.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncstore.bdb._database import Database

__all__ = ("Operation", "Request")


class Operation(Enum):
    """What is asked of a database."""

    GET = "get"
    EXISTS = "exists"
    PUT = "put"
    DELETE = "delete"
    SCAN = "range"


class Request:
    """An operation with its arguments, its outcome and the future that its caller waits for."""

    __slots__ = ("argument", "database", "error", "future", "handed_over", "key", "operation", "result", "size")

    def __init__(
        self, database: Database, operation: Operation, key: bytes, argument: Any = None, size: int = 0
    ) -> None:
        self.database = database
        self.operation = operation
        self.key = key
        self.argument = argument  # Any: the value of a put, the plan of a scan
        self.size = size  # bytes of key and value together, by which groups are cut
        self.future: asyncio.Future[Any] | None = None
        self.handed_over = False
        self.result: Any = None
        self.error: BaseException | None = None

    @property
    def subject(self) -> str:
        """What an error message calls the thing acted on. Never a key or a value: they may be secret."""
        return self.database.title
