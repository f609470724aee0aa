"""The listening side: connections taken in, counted, timed out and brought to an end."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from enum import Enum
from types import TracebackType
from typing import NamedTuple, Self

from ._codec import Malformed
from ._connection import Connection
from ._dates import format_date
from ._limits import Limits
from ._messages import App, Request, Response
from .errors import HTTPError

__all__ = ("Exchange", "Server", "ServerStatistics", "plain_response", "raise_descriptor_limit")

_LOG = logging.getLogger("asyncstore.http")
_ACCESS = logging.getLogger("asyncstore.http.access")
_BACKLOG = 1024  # connections that the kernel holds while the loop is busy; it caps the number itself (somaxconn)
_ABORT_GRACE = 1.0  # seconds: how long aborted handlers get to clean up before they are left behind


class Exchange(NamedTuple):
    """One answer, for metrics. `request` is None when what came was no request; `sent` counts the answer's bytes."""

    request: Request | None
    status: int
    seconds: float
    sent: int


class ServerStatistics(NamedTuple):
    """Counts since the start, and the connections open now."""

    connections: int
    accepted: int
    refused: int
    timeouts: int
    bytes_received: int
    bytes_sent: int


class _State(Enum):
    NEW = "not started"
    SERVING = "serving"
    CLOSED = "closed"


def plain_response(status: int, detail: str, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """Return a response that says `detail` in plain text."""
    fields = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"), *headers)
    return Response(status, fields, f"{detail}\n".encode())


class Server:
    """An HTTP/1.1 server for one application, on whatever loop runs.

    ::

        async with Server(app) as server:
            await server.start("127.0.0.1", 8080)
            ...

    `limits` bounds its clients. `observer` is called with an `Exchange` after each answer, on the loop; it must not
    block. `access_log` writes a line an answer to the logger ``asyncstore.http.access``. `clock` replaces the loop's
    clock.
    """

    def __init__(
        self,
        app: App,
        *,
        limits: Limits | None = None,
        observer: Callable[[Exchange], None] | None = None,
        access_log: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.app = app
        self.limits = limits or Limits()
        self.loop = asyncio.get_running_loop()
        self.accepted = self.refused = self.timeouts = 0
        self.bytes_received = self.bytes_sent = 0
        self._observer = observer
        self._access_log = access_log
        self._clock = clock or self.loop.time
        self._now = self._clock()
        bounds = self.limits
        shortest = min(bounds.idle_timeout, bounds.head_timeout, bounds.body_timeout, bounds.send_timeout)
        self._granularity = min(1.0, shortest / 4)  # seconds between two looks at the deadlines
        self._state = _State.NEW
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._empty: asyncio.Future[None] | None = None  # resolved when the last connection has gone
        self._sweeper: asyncio.TimerHandle | None = None
        self._date_second = 0
        self._date_field = b""

    def __repr__(self) -> str:
        return f"<Server {self._state.value}, {len(self._connections)} connections>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def start(self, host: str | Sequence[str] | None = "127.0.0.1", port: int = 0) -> None:
        """Listen on `host` and `port` (0: any free one, see `addresses`); may be called for several.

        `host` None listens on all interfaces. Raises `OSError` when the address cannot be had. A cancel leaves nothing
        listening that was not before.
        """
        if self._state is _State.CLOSED:
            message = "the server has been closed"
            raise RuntimeError(message)
        listener = await self.loop.create_server(lambda: Connection(self), host, port, backlog=_BACKLOG)
        self._servers.append(listener)
        if self._state is _State.NEW:
            self._state = _State.SERVING
            self._schedule_sweep()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each socket that is listened on."""
        names = [sock.getsockname() for server in self._servers for sock in server.sockets]
        return [(name[0], name[1]) for name in names]

    @property
    def statistics(self) -> ServerStatistics:
        """The counters as they stand."""
        return ServerStatistics(
            len(self._connections), self.accepted, self.refused, self.timeouts, self.bytes_received, self.bytes_sent
        )

    async def aclose(self, timeout: float = 10.0) -> None:
        """Stop listening, answer what has been taken in, for at most `timeout` seconds, then drop what is left.

        A cancel drops everything at once. May be called again.
        """
        self._state = _State.CLOSED
        for listener in self._servers:
            listener.close()
        for connection in list(self._connections):
            connection.shutdown()
        try:
            await self._wait_empty(timeout)
        finally:
            if self._sweeper is not None:
                self._sweeper.cancel()
                self._sweeper = None
            left = list(self._connections)
            if left:
                _LOG.warning("%d connections were still busy at the end of the grace time and are dropped", len(left))
            for connection in left:
                connection.abort()
        await self._wait_empty(_ABORT_GRACE)

    async def _wait_empty(self, timeout: float) -> None:
        if not self._connections:
            return
        self._empty = self.loop.create_future()
        try:
            await asyncio.wait((self._empty,), timeout=timeout)
        finally:
            self._empty.cancel()
            self._empty = None

    # What connections call

    def admit(self, connection: Connection) -> Malformed | None:
        """Register a connection. Returns what it is to be refused with; a status of 0 asks for silence."""
        count = len(self._connections)
        self._connections.add(connection)
        self.accepted += 1
        if self._state is _State.CLOSED:
            return Malformed(0, "")
        if count < self.limits.max_connections:
            return None
        self.refused += 1
        # Telling somebody costs a connection as well, for a moment: there is a bound to politeness.
        return Malformed(503 if count < 2 * self.limits.max_connections else 0, "too many connections, try again later")

    def forget(self, connection: Connection) -> None:
        """Unregister a connection that is closed."""
        self._connections.discard(connection)
        if not self._connections and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def deadline(self, seconds: float) -> float:
        """Return the time, as `Connection.check` gets it, that lies `seconds` ahead; never too early."""
        return self._now + seconds + self._granularity

    def date_field(self) -> bytes:
        """Return the Date field of this second."""
        second = int(time.time())
        if second != self._date_second:
            self._date_second = second
            self._date_field = f"date: {format_date(second)}\r\n".encode()
        return self._date_field

    def observe(self, request: Request | None, status: int, seconds: float, sent: int) -> None:
        """Tell the observer and the access log of an answer."""
        if self._access_log:
            client = request.client if request is not None else None
            line = f"{request.method} {request.target}" if request is not None else "-"
            peer = client[0] if isinstance(client, tuple) else client or "-"
            _ACCESS.info('%s "%s" %d %d %.3f', peer, line, status, sent, seconds)
        if self._observer is not None:
            try:
                self._observer(Exchange(request, status, seconds, sent))
            except Exception:  # noqa: BLE001  # the border to foreign code: the answer is out already
                _LOG.exception("the observer of the server failed")

    def error_response(self, request: Request, exc: BaseException) -> Response:
        """Return the answer for what the application raised.

        What is no `HTTPError` is logged under an id, and the id is all that the client gets to see of it.
        """
        if isinstance(exc, HTTPError):
            return plain_response(exc.status, exc.detail, exc.headers)
        incident = secrets.token_hex(6)
        _LOG.error("request failed, id %s: %s %s", incident, request.method, request.target, exc_info=exc)
        return plain_response(
            500, f"the server failed to answer this request; its log tells more under the id {incident}"
        )

    def malformed_response(self, event: Malformed) -> Response:
        """Return the answer for what is no request."""
        headers = (("retry-after", "1"),) if event.status == 503 else ()
        return plain_response(event.status, event.detail, headers)

    def _schedule_sweep(self) -> None:
        self._sweeper = self.loop.call_later(self._granularity, self._sweep_and_reschedule)

    def _sweep_and_reschedule(self) -> None:
        self._schedule_sweep()
        self.sweep()

    def sweep(self) -> None:
        """Act on the deadlines that have passed. Called by a timer; public for clocks that are not real."""
        self._now = now = self._clock()
        for connection in list(self._connections):
            connection.check(now)


def raise_descriptor_limit(wanted: int) -> int:
    """Raise this process' soft limit of open files towards `wanted`; return what it is then."""
    try:
        import resource
    except ImportError:  # no Unix: the socket module has its own bound there
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft if soft != resource.RLIM_INFINITY else wanted
