"""A proxy on loopback that does to a connection what networks do.

`ChaosProxy` listens on a free port (or on a unix socket), connects each client to the real server and passes bytes
both ways through the faults of each direction (`plan` in `_chaos_plan` says what they do; here it is done). Faults and
the door can be changed at any time, also for connections that are open.

It works on plain non-blocking sockets and the loop's ``sock_*`` methods, because a transport cannot be told to leave
data unread or to reset. RST is ``SO_LINGER`` with 0 seconds (socket(7)); a unix socket knows no RST and is closed.
"""

from __future__ import annotations

import asyncio
import enum
import os
import socket
import struct
import warnings
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from asyncstore.testing._chaos_plan import Ending, Fault, Hold, Send, Wait, plan

CHUNK = 65536  # bytes: what one read takes; the default size of a socket buffer's worth
BACKLOG = 128  # connections that the kernel holds for us while the loop is busy
_FILLERS = 3  # connections that fill a queue of length 0, which Linux lets grow to 1
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Door(enum.Enum):
    """What a new connection meets; those that are open are not touched."""

    OPEN = "open"
    REFUSES = "refuses"
    """Nobody listens: connect fails with ECONNREFUSED. The port stays ours."""

    DEAF = "deaf"
    """Somebody listens and never answers: connect neither succeeds nor fails (on Linux, where a full queue drops)."""


class ChaosProxy:
    """A proxy to ``host:port``, or to the unix socket `path`, that misbehaves on demand.

    `to_server` and `to_client` are the faults of the two directions: one, several in order, or none. `door` is what new
    connections meet. `listen_path` makes it listen on a unix socket instead of a free port of `listen_host`. Offsets
    in faults (``after``, ``at``) count from the start of each connection.

    Use with ``async with``, or `start` and `aclose`; it belongs to the loop that started it. After the start, `port`
    (or `listen_path`) is where to connect. `connections`, `open_connections`, `bytes_to_server` and `bytes_to_client`
    count what was accepted and forwarded. A cancelled `start` leaves nothing open.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        path: str | os.PathLike[str] | None = None,
        listen_host: str = "127.0.0.1",
        listen_path: str | os.PathLike[str] | None = None,
        to_server: Fault | Iterable[Fault] = (),
        to_client: Fault | Iterable[Fault] = (),
        door: Door = Door.OPEN,
    ) -> None:
        if path is None and not port:
            raise ValueError("ChaosProxy needs the server's port, or path= for a unix socket")
        self._target = (host, port) if path is None else os.fspath(path)
        self.listen_path = None if listen_path is None else os.fspath(listen_path)
        self._address: str | tuple[str, int] = self.listen_path or (listen_host, 0)
        self._to_server = _as_tuple(to_server)
        self._to_client = _as_tuple(to_client)
        self._door = door
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: socket.socket | None = None
        self._fillers: list[socket.socket] = []
        self._links: set[_Link] = set()
        self._changed = asyncio.Event()
        self.connections = 0
        self.bytes_to_server = 0
        self.bytes_to_client = 0

    def __repr__(self) -> str:
        state = "not started" if self._listener is None else f"{self._door.value} at {self._address!r}"
        return f"<ChaosProxy to {self._target!r}, {state}, {len(self._links)} connections>"

    @property
    def port(self) -> int:
        """The port to connect to; `RuntimeError` before the start and on a unix socket."""
        if self._listener is None or isinstance(self._address, str):
            raise RuntimeError(f"{self!r} has no port")
        return self._address[1]

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._links)

    @property
    def to_server(self) -> tuple[Fault, ...]:
        """The faults of what clients send. Setting them takes one fault or several, and counts for open connections."""
        return self._to_server

    @to_server.setter
    def to_server(self, faults: Fault | Iterable[Fault]) -> None:
        self._to_server = _as_tuple(faults)
        self._notify()

    @property
    def to_client(self) -> tuple[Fault, ...]:
        """The faults of what the server sends. Setting them takes one fault or several, as for `to_server`."""
        return self._to_client

    @to_client.setter
    def to_client(self, faults: Fault | Iterable[Fault]) -> None:
        self._to_client = _as_tuple(faults)
        self._notify()

    def set_faults(self, *faults: Fault) -> None:
        """Set the faults of both directions; none heals them, and what a `Stall` or a `Delay` held back flows on."""
        self._to_server = self._to_client = faults
        self._notify()

    @property
    def door(self) -> Door:
        """What new connections meet. Setting it takes effect at once."""
        return self._door

    @door.setter
    def door(self, door: Door) -> None:
        was, self._door = self._door, door
        if self._listener is not None and door is not was:
            self._hang_door()

    async def start(self) -> None:
        """Begin to listen. Raises `OSError` when that is not possible, `RuntimeError` when it was started already."""
        if self._loop is not None:
            raise RuntimeError(f"{self!r} was started already")
        self._loop = asyncio.get_running_loop()
        self._hang_door()

    async def aclose(self) -> None:
        """Stop listening and close what is open; further calls do nothing. Cancelled, it has closed all sockets."""
        self._take_door_down()
        links = list(self._links)
        for link in links:
            link.end(Ending.CLOSE)
        if links:
            await asyncio.wait([link.task for link in links])

    def reset_connections(self) -> None:
        """Reset all open connections now (RST to both sides)."""
        for link in list(self._links):
            link.end(Ending.RESET)

    def close_connections(self) -> None:
        """Close all open connections now."""
        for link in list(self._links):
            link.end(Ending.CLOSE)

    async def wait_until(self, predicate: Callable[[Self], bool]) -> None:
        """Return once ``predicate(proxy)`` is true; it is asked again after every accept, forwarded piece and close."""
        while not predicate(self):
            await self._changed.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if getattr(self, "_listener", None) is not None:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=1)

    # The door

    def _hang_door(self) -> None:
        self._take_door_down()
        assert self._loop is not None
        listener = _bound(self._address)
        self._listener = listener
        if not isinstance(self._address, str):
            self._address = listener.getsockname()[:2]
        if self._door is Door.OPEN:
            listener.listen(BACKLOG)
            self._loop.add_reader(listener.fileno(), self._accept, listener)
        elif self._door is Door.DEAF:
            listener.listen(0)
            for _ in range(_FILLERS):
                filler = socket.socket(listener.family)
                filler.settimeout(0)
                filler.connect_ex(listener.getsockname())
                self._fillers.append(filler)

    def _take_door_down(self) -> None:
        if self._listener is None:
            return
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.remove_reader(self._listener.fileno())
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self._listener.close()
        self._listener = None
        if isinstance(self._address, str):
            os.unlink(self._address)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # it was gone before we came
        _prepare(client)
        self.connections += 1
        link = _Link(self, client)
        self._links.add(link)
        link.task.add_done_callback(lambda _: self._forget(link))
        self._notify()

    # What a link asks for

    def _forget(self, link: _Link) -> None:
        self._links.discard(link)
        link.client.close()  # a task that was cancelled before its first step has closed nothing
        self._notify()

    def _notify(self) -> None:
        # a new event for those who wait from now on: the old one wakes those who wait already, and nobody twice
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def connect(self) -> socket.socket:
        """Open a connection to the server behind the proxy. Cancelled or failed, it leaves no socket."""
        loop = asyncio.get_running_loop()
        target = self._target
        upstream = socket.socket(_family(target))
        try:
            _prepare(upstream)
            await loop.sock_connect(upstream, target)
        except BaseException:
            upstream.close()
            raise
        return upstream

    def faults(self, *, to_server: bool) -> tuple[Fault, ...]:
        """Return the faults of a direction."""
        return self._to_server if to_server else self._to_client

    def count(self, sent: int, *, to_server: bool) -> None:
        """Note that so many bytes were forwarded."""
        if to_server:
            self.bytes_to_server += sent
        else:
            self.bytes_to_client += sent
        self._notify()

    async def change(self, timeout: float | None) -> bool:
        """Wait until the faults are set anew, `timeout` seconds at most; tell whether they were."""
        faults = (self._to_server, self._to_client)
        try:
            async with asyncio.timeout(timeout):
                await self.wait_until(lambda proxy: (proxy.to_server, proxy.to_client) != faults)
        except TimeoutError:
            return False
        return True


class _Link:
    """One client's connection: two sockets and a pump for each direction."""

    def __init__(self, proxy: ChaosProxy, client: socket.socket) -> None:
        self._proxy = proxy
        self.client = client
        self._ending: Ending | None = None
        self.task = asyncio.get_running_loop().create_task(self._serve(), name="ChaosProxy connection")

    def end(self, ending: Ending) -> None:
        """Close both sockets, in the manner of `ending`."""
        self._ending = ending
        self.task.cancel()

    async def _serve(self) -> None:
        sockets = [self.client]
        ending = Ending.RESET
        try:
            sockets.append(await self._proxy.connect())
            ending = await self._pump_both(sockets[0], sockets[1])
        except OSError:
            ending = Ending.RESET  # the server could not be reached; the client learns of it in the hardest way
        except asyncio.CancelledError:
            if self._ending is None:
                raise  # the loop is being torn down
            ending = self._ending
        finally:
            for end in sockets:
                _close(end, reset=ending is Ending.RESET)

    async def _pump_both(self, client: socket.socket, server: socket.socket) -> Ending:
        """Run both pumps until both streams are at their end or a fault ends the connection."""
        up = asyncio.create_task(self._pump(client, server, to_server=True), name="ChaosProxy to server")
        down = asyncio.create_task(self._pump(server, client, to_server=False), name="ChaosProxy to client")
        running = {up, down}
        try:
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for pump in done:
                    ending = pump.result()
                    if ending is Ending.CLOSE:
                        await _stop(running)
                        server.close() if pump is down else client.close()
                        await _finish_stream(client if pump is down else server)
                    if ending is not Ending.END_OF_STREAM:
                        return ending
            return Ending.END_OF_STREAM
        finally:
            await _stop(running)

    async def _pump(self, source: socket.socket, sink: socket.socket, *, to_server: bool) -> Ending:
        loop = asyncio.get_running_loop()
        seen = 0
        try:
            while data := await loop.sock_recv(source, CHUNK):
                hurry = False  # the faults have changed: what is planned goes out without waiting
                for action in plan(self._proxy.faults(to_server=to_server), seen, data):
                    if isinstance(action, Send):
                        await loop.sock_sendall(sink, action.data)
                        self._proxy.count(len(action.data), to_server=to_server)
                    elif isinstance(action, Ending):
                        return action
                    elif not hurry:
                        hurry = await self._pause(action)
                seen += len(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return Ending.RESET  # one side is gone: the other shall learn of it
        return Ending.END_OF_STREAM

    async def _pause(self, action: Wait | Hold) -> bool:
        if isinstance(action, Wait) and not action.seconds:
            await asyncio.sleep(0)  # lets a reader on this loop see the pieces apart
            return False
        return await self._proxy.change(None if isinstance(action, Hold) else action.seconds)


def _as_tuple(faults: Fault | Iterable[Fault]) -> tuple[Fault, ...]:
    return tuple(faults) if isinstance(faults, Iterable) else (faults,)


def _family(address: str | tuple[str, int]) -> socket.AddressFamily:
    if isinstance(address, str):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def _prepare(connection: socket.socket) -> None:
    connection.settimeout(0)
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each write of a Split is a segment


def _bound(address: str | tuple[str, int]) -> socket.socket:
    """Return a socket that is bound and does not listen yet: connecting to it is refused."""
    bound = socket.socket(_family(address))
    try:
        bound.settimeout(0)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


def _close(end: socket.socket, *, reset: bool) -> None:
    if reset and end.fileno() >= 0 and end.family != socket.AF_UNIX:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    end.close()


async def _finish_stream(end: socket.socket) -> None:
    """Send FIN and read until the peer closes: closing with data unread would send RST in its place (RFC 2525 2.17)."""
    end.shutdown(socket.SHUT_WR)
    while await asyncio.get_running_loop().sock_recv(end, CHUNK):
        pass


async def _stop(tasks: set[asyncio.Task[Ending]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
