"""One statement on its way to a database and back."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from typing import Any

from asyncstore import pool
from asyncstore.dbi import errors
from asyncstore.errors import Closed, Error, Internal

__all__ = ("Request", "Sort")


class Sort(Enum):
    """How a request may travel with others."""

    READ = "read"  # changes nothing
    WRITE = "write"  # may share a transaction with others
    ALONE = "alone"  # has to be carried out by itself


# Any, in all that follows: the connection is the driver's, the outcome the operation's.
class Request(pool.Request):
    """What is done with the driver's connection, and how it may travel.

    `apply` is called with the connection. `stop_at`: when it is to be stopped, of `time.monotonic`; `abandoned`: nobody
    waits any more, so that it is stopped where it is.
    """

    stop_at: float | None = None
    abandoned = False

    def __init__(  # noqa: PLR0917  # on the hot path, where keywords cost
        self, usage: pool.Usage, title: str, doing: str, sort: Sort, apply: Callable[[Any], Any], size: int = 64
    ) -> None:
        self.usage = usage
        self.title = title
        self.doing = doing
        self.sort = sort
        self.apply = apply
        self.size = size

    @property
    def stopped(self) -> bool:
        """Whether nothing more is to be done for it."""
        return self.abandoned or (self.stop_at is not None and time.monotonic() >= self.stop_at)

    def timed_out(self) -> errors.QueryTimeout:
        """Return what the caller of a request that was stopped is told."""
        return errors.QueryTimeout("its time was up, and it was stopped", doing=self.doing, of=self.title)

    def failed(self, failure: BaseException) -> Error:
        """Return what the caller is told of a batch that met `failure` as a whole."""
        if isinstance(failure, Closed):
            return errors.Closed(f"its worker pool is gone: {failure}", doing=self.doing, of=self.title)
        if isinstance(failure, errors.Error):
            return failure
        return Internal(f"{self.doing} {self.title}: {failure!r}; please report it")
