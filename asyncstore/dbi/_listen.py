"""Notifications that a server sends by itself: PostgreSQL's LISTEN and NOTIFY."""

from __future__ import annotations

import asyncio
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from asyncstore.dbi import errors
from asyncstore.dbi._request import Sort
from asyncstore.dbi._session import Apply

if TYPE_CHECKING:
    from asyncstore.dbi._connection import Connection

__all__ = ("Listener", "Listens", "Notification")


@dataclass(frozen=True, slots=True)
class Notification:
    """What somebody sent to a channel: `pid` is the server process of the sender."""

    channel: str
    payload: str
    pid: int


@runtime_checkable
class Listens(Protocol):
    """A session of a database that sends notifications."""

    def listen(self, channels: tuple[str, ...], heard: Callable[[Notification], None]) -> Apply:
        """Return what has `heard` called on the loop for each notification."""

    def unlisten(self, channels: tuple[str, ...], heard: Callable[[Notification], None]) -> Apply:
        """Return what ends that."""

    def on_loss(self, lost: Callable[[], None]) -> None:
        """Have `lost` called when the connection is gone."""


class Listener:
    """Notifications as an async iterator, inside an ``async with`` that begins and ends it; see `Connection.listen`."""

    def __init__(self, connection: Connection, channels: tuple[str, ...], max_pending: int) -> None:
        self._connection = connection
        self._channels = channels
        self._max_pending = max_pending
        self._pending: deque[Notification] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._end: errors.Error | None = None  # why no more will come
        self._listening = False

    def __repr__(self) -> str:
        return f"<Listener {', '.join(self._channels)} of {self._connection.title} pending={len(self._pending)}>"

    async def __aenter__(self) -> Self:
        session = self._listens()
        if self._listening or self._end is not None:
            raise errors.Misuse("a listener is entered once", doing="listen", of=self._connection.title)
        self._listening = True
        session.on_loss(self._lost)
        try:
            await self._connection.ask("listen", Sort.ALONE, session.listen(self._channels, self._heard))
        except BaseException:
            self._finish(errors.Closed(doing="listen", of=self._connection.title))
            raise
        return self

    def _listens(self) -> Listens:
        session = self._connection.session
        if not isinstance(session, Listens):
            raise errors.NotSupportedError("it sends no notifications", doing="listen", of=self._connection.title)
        return session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Hear no more. Idempotent. A cancel leaves what is left to the connection, which listens to no avail."""
        listening, self._listening = self._listening, False
        self._finish(errors.Closed(doing="listen", of=self._connection.title))
        if listening and self._connection.usable:
            unlisten = self._listens().unlisten(self._channels, self._heard)
            await self._connection.ask("unlisten", Sort.ALONE, unlisten)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Notification:
        """Return the next notification.

        Raises `ConnectionLost` when the connection is gone, and `NotificationsLost` when more than `max_pending` came
        that nobody took; both after what had come before. A cancel loses none. Ends when the listener is closed.
        """
        if not self._listening and self._end is None:
            raise errors.Misuse("a listener is entered by `async with`", doing="listen", of=self._connection.title)
        while not self._pending:
            if isinstance(self._end, errors.Closed):
                raise StopAsyncIteration
            if self._end is not None:
                raise self._end
            if self._waiter is not None:
                raise errors.Misuse("two tasks wait on one listener", doing="listen", of=self._connection.title)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._pending.popleft()

    def _heard(self, notification: Notification) -> None:
        if self._end is not None:
            return
        if len(self._pending) >= self._max_pending:
            detail = f"more than {self._max_pending} came that nobody took"
            self._finish(errors.NotificationsLost(detail, doing="listen", of=self._connection.title))
            return
        self._pending.append(notification)
        self._wake()

    def _lost(self) -> None:
        self._finish(errors.ConnectionLost("the connection is gone", doing="listen", of=self._connection.title))

    def _finish(self, end: errors.Error) -> None:
        if self._end is None:
            self._end = end
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __del__(self) -> None:
        if self._listening and self._connection.usable:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
