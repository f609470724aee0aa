"""One key-value database of an environment."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Any

from asyncstore.bdb import errors
from asyncstore.bdb._gather import Gatherer
from asyncstore.bdb._range import Range
from asyncstore.bdb._read import Scan
from asyncstore.bdb._records import bounds, check_bytes
from asyncstore.bdb._request import Operation, Request
from asyncstore.bdb._usage import Usage

if TYPE_CHECKING:
    from asyncstore.bdb._environment import Environment

__all__ = ("Database", "State")


class State(Enum):
    """Where an environment or a database is: OPEN -> CLOSING (refuses work, ends what it has) -> CLOSED."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Database:
    """A btree of byte strings; made by `Environment.database`, closed by `aclose` or with its environment.

    Keys and values are bytes and ordered as bytes are. Calls may overlap freely; puts and deletes that overlap share
    one commit (group commit) in the order in which they were called. What a call does to its caller's data when it is
    cancelled:

    - a read changes nothing;
    - a put or delete cancelled before it was handed to a worker does not happen; afterwards it may happen, and the
      CancelledError carries ``maybe_applied = True``.

    All methods raise `Closed` after `aclose`, `TypeError` and `ValueError` for arguments that are no bytes or too
    long, `Misuse` on another event loop than the environment's, and the errors of `asyncstore.bdb.errors` that libdb
    reports.
    """

    # Any: the handle is the binding's.
    def __init__(self, environment: Environment, name: str, title: str, handle: Any) -> None:
        self._environment = environment
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Task[None] | None = None
        self.name = name
        self.title = title
        self.handle = handle
        self.state = State.OPEN
        self.usage = Usage()

    def __repr__(self) -> str:
        return f"<Database {self.title} {self.state.value} busy={self.usage.busy}>"

    async def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, None when there is none."""
        check_bytes("key", key)
        found: bytes | None = await self._ask(self._environment.reads, Request(self, Operation.GET, key))
        return found

    async def exists(self, key: bytes) -> bool:
        """Return whether there is a record of `key`."""
        check_bytes("key", key)
        return bool(await self._ask(self._environment.reads, Request(self, Operation.EXISTS, key)))

    async def put(self, key: bytes, value: bytes) -> None:
        """Store `value` under `key`, over what was there. Returns when it is as durable as the environment promises."""
        check_bytes("key", key)
        check_bytes("value", value)
        await self._write(Request(self, Operation.PUT, key, value, len(key) + len(value)))

    async def delete(self, key: bytes) -> bool:
        """Remove the record of `key`; return whether there was one. Durable on return, as `put`."""
        check_bytes("key", key)
        return bool(await self._write(Request(self, Operation.DELETE, key, None, len(key))))

    def range(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        *,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Range:
        """Return an async iterator (and context manager) over the (key, value) of a range, in the order of the keys.

        The range has the keys from `start` up to but not including `stop`, those only that begin with `prefix`;
        `reverse` gives the same records from the last to the first; `limit` stops after so many. See `Range` about
        concurrent writers.
        """
        self._check()
        low, high = bounds(start, stop, prefix)
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise ValueError(f"limit is an int of at least 0 or None, not {limit!r}")
        return Range(self._scan, self.title, low, high, reverse=reverse, limit=limit)

    async def _scan(self, plan: Scan) -> tuple[list[tuple[bytes, bytes]], bool]:
        found: tuple[list[tuple[bytes, bytes]], bool] = await self._ask(
            self._environment.scans, Request(self, Operation.SCAN, b"", plan)
        )
        return found

    def _check(self) -> None:
        if self.state is not State.OPEN:
            raise errors.Closed(doing="use", of=self.title)
        # A future of this loop set by another loop's thread would be a race; the gatherers belong to one loop.
        if asyncio.get_running_loop() is not self._loop:
            raise errors.Misuse(doing="use", of=self.title, detail="it was opened on another event loop")

    # Any: the outcome's type follows from the operation, which the public methods know.
    async def _ask(self, gatherer: Gatherer, request: Request) -> Any:
        self._check()
        return await gatherer.add(request)

    async def _write(self, request: Request) -> Any:
        self._check()
        try:
            return await self._environment.writes.add(request)
        except asyncio.CancelledError as exc:
            if request.handed_over:
                exc.maybe_applied = True  # type: ignore[attr-defined]  # the builtin class has no such field; DESIGN 11 asks for it
            raise

    async def aclose(self) -> None:
        """Finish what was asked for before, refuse what comes after, and close. Idempotent.

        A cancel leaves the closing to go on in the background.
        """
        if self._closing is None:
            self.state = State.CLOSING
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self.usage.idle()
        try:
            await self._environment.close_database(self)
        finally:
            self.state = State.CLOSED
