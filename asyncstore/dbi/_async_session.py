"""A connection whose driver is asynchronous: one statement at a time, in the order in which they were asked for.

The classic fault of such connections is a statement that was cancelled while its answer was on the way: whoever comes
next reads that answer. So a cancel begins a mending, in the background and bounded in time, and nothing else is sent
before its end. A connection that cannot be mended is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any, Literal

from asyncstore.dbi import errors
from asyncstore.dbi._request import Request
from asyncstore.dbi._session import Apply, Dialect, Options, Stream
from asyncstore.pool import heeded

__all__ = ("AsyncSession",)

MEND_TIMEOUT = 5.0  # seconds until a connection that does not become quiet after a cancel is closed; arbitrary

log = logging.getLogger("asyncstore.dbi")


class AsyncSession:
    """What sessions on asynchronous drivers have in common; each database derives its own.

    Invariants: `_busy` while a statement is with the driver or a mending is under way; whoever leaves hands the turn to
    the first that waits, so that no later one comes in between.
    """

    def __init__(self, dialect: Dialect, title: str, connection: Any) -> None:  # Any: the driver's own class
        self.dialect = dialect
        self.title = title
        self.connection = connection
        self._loop = asyncio.get_running_loop()
        self._busy = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._mending: asyncio.Task[None] | None = None
        self._lost: BaseException | None = None  # why nothing can be done any more

    # What each database says for itself

    @property
    def ended(self) -> str:
        raise NotImplementedError

    def begin(self, options: Options) -> Apply:
        raise NotImplementedError

    def end(self, word: Literal["COMMIT", "ROLLBACK"]) -> Apply:
        raise NotImplementedError

    def stream(self, sql: str, parameters: Any) -> Stream:  # Any: as the driver takes them
        raise NotImplementedError

    def reset(self) -> Apply | None:
        raise NotImplementedError

    def translate(self, exc: Exception, request: Request) -> BaseException:
        """Return what the caller of `request` is told of what the driver raised; `exc` when it is no error of its."""
        raise NotImplementedError

    async def mend(self, request: Request) -> None:
        """Make the server stop what it does for `request`, whose caller has gone; return when nothing more comes.

        Raises anything when that cannot be had.
        """
        raise NotImplementedError

    def lost(self) -> bool:
        """Whether the driver knows that the connection is gone."""
        raise NotImplementedError

    async def leave(self) -> None:
        """Take leave of the server and close; may take its time."""
        raise NotImplementedError

    def cut(self) -> None:
        """Close without a word. Idempotent."""
        raise NotImplementedError

    # What they have in common

    @property
    def broken(self) -> bool:
        return self._lost is not None or self.lost()

    @property
    def busy(self) -> bool:
        return self._busy

    async def submit(self, request: Request) -> Any:  # Any: the operation's outcome
        request.usage.enter()
        try:
            if self._busy:
                await self._turn()
            else:
                self._busy = True
            return await self._carry_out(request)
        finally:
            request.usage.leave()

    async def _turn(self) -> None:
        """Wait until those before have been carried out; then the turn is ours."""
        turn = self._loop.create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # it was given just now
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False

    async def _carry_out(self, request: Request) -> Any:
        if self.broken:
            self._pass_on()
            raise errors.ConnectionLost(
                "the connection was lost before", doing=request.doing, of=request.title
            ) from self._lost
        request.handed_over = True
        try:
            outcome = await request.apply(self.connection)
        except asyncio.CancelledError:
            self._begin_to_mend(request)
            raise
        except Exception as exc:
            error = self.translate(exc, request)
            if self.lost() and self._lost is None:
                self._lost = exc
            self._pass_on()
            if error is exc:
                raise
            raise error from exc
        except BaseException:
            self._pass_on()
            raise
        self._pass_on()
        return outcome

    def _begin_to_mend(self, request: Request) -> None:
        self._mending = self._loop.create_task(self._mend(request))
        self._mending.add_done_callback(heeded)

    async def _mend(self, request: Request) -> None:
        try:
            async with asyncio.timeout(MEND_TIMEOUT):
                await self.mend(request)
        except Exception as exc:  # noqa: BLE001 - whatever it is: what the connection says next belongs to nobody
            log.warning("%s is closed: it was not quiet after %s was cancelled: %r", self.title, request.doing, exc)
            self._lost = exc
            self.cut()
        except BaseException:
            self.cut()
            raise
        finally:
            self._mending = None
            self._pass_on()

    def stop(self, request: Request) -> None:
        """Nothing to do: the cancel itself has reached the driver."""

    async def aclose(self) -> None:
        if self._mending is not None:
            await asyncio.wait([self._mending])
        if not self.broken:
            await self._bounded(self.leave())
        self.cut()

    async def _bounded(self, leaving: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(MEND_TIMEOUT):
                await leaving
        except Exception as exc:  # noqa: BLE001 - of a server that does not answer: it is left without a word
            log.debug("%s did not take leave: %r", self.title, exc)

    def abort(self) -> None:
        if self._lost is None:
            self._lost = errors.ConnectionLost("it was given up", of=self.title)
        self.cut()
