"""The body of a request on its way from the socket to the application, with back-pressure in both directions.

The connection feeds it; the application iterates over it. It asks the connection to stop reading the socket when more
than `Limits.body_buffer` bytes wait, and to go on when all of them were taken. States: open, ended, failed; only open
leads on.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from .errors import HTTPError

__all__ = ("EMPTY_BODY", "IncomingBody", "Tap")


class Tap(Protocol):
    """What a body asks of the connection that feeds it."""

    def body_wanted(self) -> None:
        """The application asks for the body for the first time: let the client send it."""

    def body_full(self) -> None:
        """Enough waits: stop reading the socket."""

    def body_taken(self) -> None:
        """All that waited was taken: go on reading."""


class IncomingBody:
    """An asynchronous iterator over what has arrived; see `RequestBody` for the contract."""

    __slots__ = (
        "_chunks",
        "_error",
        "_size",
        "_tap",
        "_waiter",
        "buffer_limit",
        "complete",
        "discarding",
        "length",
        "unread",
    )

    def __init__(self, length: int | None, buffer_limit: int, tap: Tap | None) -> None:
        self.length = length
        self.buffer_limit = buffer_limit
        self.complete = length == 0  # all of it has arrived
        self.discarding = False  # nobody will read it: what arrives is dropped
        self.unread = True  # the application has not asked for any of it
        self._tap = tap
        self._chunks: list[bytes] = []
        self._size = 0
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    # What the connection calls

    def feed(self, data: bytes) -> None:
        """Take a piece in; asks for a stop when too much waits."""
        if self.discarding or self._error is not None:
            return
        self._chunks.append(data)
        before = self._size
        self._size += len(data)
        if before <= self.buffer_limit < self._size and self._tap is not None:
            self._tap.body_full()
        self._wake()

    def end(self) -> None:
        """Note that the body is whole."""
        self.complete = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Make every read from here on raise `error`; what arrived before it is dropped."""
        if self._error is None and not self.complete:
            self._error = error
            self._chunks.clear()
            self._size = 0
            self._wake()

    def discard(self) -> None:
        """Drop what has arrived and what will."""
        self.discarding = True
        self._chunks.clear()
        self._size = 0

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # What the application calls

    def __aiter__(self) -> IncomingBody:
        return self

    async def __anext__(self) -> bytes:
        if self.unread:
            self.unread = False
            if self._tap is not None:
                self._tap.body_wanted()
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self.complete:
                raise StopAsyncIteration
            if self._waiter is not None:
                message = "two tasks read the same body"
                raise RuntimeError(message)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        chunks, self._chunks = self._chunks, []
        full = self._size > self.buffer_limit
        self._size = 0
        if full and self._tap is not None:
            self._tap.body_taken()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def read(self, limit: int) -> bytes:
        """Return the rest of the body; `HTTPError` 413 when it is longer than `limit` bytes."""
        if self.length is not None and self.length > limit:
            raise HTTPError(413, f"the body exceeds {limit} bytes")
        parts: list[bytes] = []
        size = 0
        async for data in self:
            size += len(data)
            if size > limit:
                raise HTTPError(413, f"the body exceeds {limit} bytes")
            parts.append(data)
        return b"".join(parts)


EMPTY_BODY = IncomingBody(0, 0, None)  # shared by all requests without one: it never changes
EMPTY_BODY.unread = False
