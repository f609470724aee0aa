"""One request on its way to a worker and back, in a batch with others.

Lock rule: none is needed. A request belongs to the loop's thread until its batch is handed over, to one worker's until
the batch has come home, then to the loop's again; the pool's hand-over and hand-back order the accesses.
"""

from __future__ import annotations

import asyncio
from typing import Any

from asyncstore.errors import Error, Internal
from asyncstore.pool._usage import Usage

__all__ = ("Request",)


class Request:
    """What a `Gatherer` gathers; services derive their own, with what is asked for.

    What is hardly ever set is set on the class, which makes a third of the cost of making one go away.
    """

    usage: Usage  # of what is asked, so that its closing waits for this; set by whoever makes the request
    size = 0  # bytes that it carries, by which batches are cut
    priority = 0  # of the caller's context; set by the gatherer
    future: asyncio.Future[Any] | None = None  # that the caller waits for
    handed_over = False
    deadline: float | None = None  # of the loop's clock; set when a lock was not had the first time
    again = False  # a lock was not had: nothing has happened, and it is to be done again
    result: Any = None
    error: BaseException | None = None

    def failed(self, failure: BaseException) -> Error:
        """Return what the caller is told when the batch as a whole met `failure`; an error of the service's own."""
        return Internal(f"{self!r}: {failure!r}; please report it")
