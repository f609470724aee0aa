"""One client's connection: the driver of the codec, on any loop.

Requests are answered in the order they came, one at a time; those that came behind wait in a bounded queue. An
application that answers at once costs neither a task nor a turn of the loop, and all that is answered during one
`data_received` leaves in one write.

Phases (`_phase`), in this order only:

- SERVING: requests are taken;
- DRAINING: no new request is taken; what was taken is still answered;
- LINGERING: the last answer is out and our side of the connection shut; input is swallowed so that the client gets to
  read the answer (closing with unread input makes the kernel send a reset, which destroys it; RFC 9112 section 9.6);
- CLOSING: the transport flushes and closes;
- CLOSED.

Invariants:

1. `_head` is set while a request is answered; at most one is. `_queue` moves only while it is None.
2. `_incoming` is the body that the codec is inside of; it belongs to the newest request.
3. Reading is paused exactly while `_choked` has a bit set.
4. Each phase but CLOSED has a deadline, or waits for the application.

Deadlines are plain attributes that the server looks at now and then (`check`): a timer a request would cost more than
parsing it.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable
from enum import IntEnum, IntFlag
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from ._body import EMPTY_BODY, IncomingBody
from ._codec import BodyData, EndOfBody, Event, Malformed, RequestCodec, RequestHead, State
from ._encoding import CONTINUE, LAST_CHUNK, encode_chunk
from ._framing import BodyMode, Framing, frame_response
from ._messages import Request, Response, ResponseBody
from .errors import ClientDisconnected, InvalidMessage, ProtocolError

if TYPE_CHECKING:
    from ._server import Server

__all__ = ("Connection",)

_FOREVER = float("inf")


class _Phase(IntEnum):
    SERVING = 0
    DRAINING = 1
    LINGERING = 2
    CLOSING = 3
    CLOSED = 4


# A global name is found in a tenth of the time that an attribute of an enumeration takes (on 3.11, 95 ns).
_SERVING, _DRAINING, _LINGERING, _CLOSING, _CLOSED = _Phase
_NO_BODY = BodyMode.NONE
_IN_HEAD = State.HEAD


class _Choke(IntFlag):
    NONE = 0
    QUEUE = 1  # too many requests wait
    BODY = 2  # too much of a body waits


class Connection(asyncio.Protocol):
    """See the module. Made by `Server` for each client that connects."""

    __slots__ = (
        "_app", "_began", "_body_deadline", "_choked", "_client", "_codec", "_corked", "_corked_size", "_deadline",
        "_eof", "_head", "_head_timed", "_incoming", "_limits", "_loop", "_phase", "_queue", "_request", "_sent",
        "_server", "_starting", "_task", "_transport", "_write_paused", "_write_waiter",
    )  # fmt: skip

    def __init__(self, server: Server) -> None:
        self._server = server
        self._app = server.app
        self._limits = server.limits
        self._loop = server.loop
        self._codec = RequestCodec(server.limits)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else is called
        self._client: Any = None  # an address
        self._phase = _SERVING
        self._choked = _Choke.NONE
        self._queue: deque[tuple[RequestHead, Request] | Malformed] = deque()
        self._head: RequestHead | None = None  # of the request being answered
        self._request: Request | None = None
        self._incoming: IncomingBody | None = None
        self._task: asyncio.Task[None] | None = None
        self._starting = False  # _start is running: what ends inside it need not advance the queue
        self._eof = False  # the client has shut its side
        self._corked: list[bytes] | None = None  # what is written while input is looked at
        self._corked_size = 0
        self._write_paused = False
        self._write_waiter: asyncio.Future[None] | None = None
        self._deadline = _FOREVER
        self._body_deadline = _FOREVER
        self._head_timed = False  # the deadline is that of a head
        self._began = 0.0  # when the answer at hand was begun
        self._sent = 0  # bytes of the answer at hand

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving, or refuse when the house is full."""
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its bases
        transport.set_write_buffer_limits(high=self._limits.write_buffer)
        self._client = transport.get_extra_info("peername")
        verdict = self._server.admit(self)
        if verdict is None:
            self._rearm()
        elif verdict.status:
            self._answer_malformed(verdict)
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take input in, answer what can be answered at once, and write all of it together."""
        if self._phase >= _LINGERING:
            return
        self._server.bytes_received += len(data)
        self._corked = []
        self._corked_size = 0
        try:
            codec = self._codec
            self._handle(codec.receive(data))
            while codec.held and not self._choked:
                self._handle(codec.receive())
        finally:
            self._uncork()
        self._rearm()

    def eof_received(self) -> bool:
        """Note that the client sends nothing more; returns whether it still has answers to get."""
        self._eof = True
        if self._phase < _LINGERING:
            self._handle(self._codec.receive_eof())
        if self._phase < _LINGERING:
            self.shutdown()
        return self._phase < _LINGERING

    def pause_writing(self) -> None:
        """The client takes less than is written: answers wait."""
        self._write_paused = True
        if self._phase < _LINGERING:
            self._deadline = self._server.deadline(self._limits.send_timeout)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._write_paused = False
        waiter = self._write_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self._phase < _LINGERING:
            self._rearm()
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop everything that was done for this client."""
        self._phase = _CLOSED
        self._deadline = _FOREVER
        self._server.forget(self)
        self._codec.close()
        self._queue.clear()
        gone = ClientDisconnected("the client went away")
        gone.__cause__ = exc
        if self._incoming is not None:
            self._incoming.fail(gone)
            self._incoming = None
        if self._task is not None:
            self._task.cancel()

    # What the server calls

    def check(self, now: float) -> None:
        """Act on a deadline that lies before `now`."""
        if now >= self._deadline:
            self._expire()

    def shutdown(self) -> None:
        """Take no new request; close as soon as the ones taken are answered."""
        if self._phase is not _SERVING:
            return
        self._phase = _DRAINING
        if self._head is None and not self._queue:
            self._close()

    def abort(self) -> None:
        """Drop the connection and what is done for it."""
        if self._phase is not _CLOSED:
            if self._task is not None:
                self._task.cancel()
            self._transport.abort()

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task of the request being answered, if it has one."""
        return self._task

    # Input

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            kind = type(event)
            if kind is RequestHead:
                # mypy does not narrow by `type() is`, which is twice as fast
                self._take(event)  # type: ignore[arg-type]
            elif kind is BodyData:
                if self._incoming is not None:
                    self._feed_body(self._incoming, event.data)  # type: ignore[union-attr]  # as above
            elif kind is EndOfBody:
                if self._incoming is not None:
                    self._incoming.end()
                    self._incoming = None
            else:
                self._take_malformed(event)  # type: ignore[arg-type]  # as above

    def _take(self, head: RequestHead) -> None:
        """Answer a request now or queue it."""
        if self._phase is not _SERVING:
            return
        if head.length == 0:
            body = EMPTY_BODY
        else:
            body = self._incoming = IncomingBody(head.length, self._limits.body_buffer, self)
        request = Request(head.method, head.target, head.headers, body, version=head.version, client=self._client)
        if self._head is None and not self._queue and not self._write_paused:
            self._start(head, request)
        else:
            self._queue.append((head, request))
            if len(self._queue) >= self._limits.max_pipeline:
                self._choke(_Choke.QUEUE)

    def _take_malformed(self, event: Malformed) -> None:
        """Answer what is no request once everything before it is answered; inside a body it is the reader's answer."""
        if self._phase > _DRAINING:
            return
        self._phase = _DRAINING
        body = self._incoming
        if body is None:
            self._queue.append(event)
        else:
            self._incoming = None
            body.fail(ProtocolError(event.status, event.detail))
        self._advance()

    def _feed_body(self, body: IncomingBody, data: bytes) -> None:
        limits = self._limits
        # A body may come slowly but not crawl: what arrives buys time at min_body_rate, never more than body_timeout
        # ahead.
        bought = self._body_deadline + len(data) / limits.min_body_rate
        self._body_deadline = min(bought, self._server.deadline(limits.body_timeout))
        body.feed(data)

    def body_wanted(self) -> None:
        """Let the client send the body: see `Tap`."""
        self._body_deadline = self._server.deadline(self._limits.body_timeout)
        head = self._head
        if head is not None and head.expects_continue and self._incoming is not None and self._phase < _LINGERING:
            sent = self._sent
            self._write(CONTINUE)
            self._sent = sent  # no part of the answer
        self._rearm()

    def body_full(self) -> None:
        """Stop reading the socket: see `Tap`."""
        self._choke(_Choke.BODY)

    def body_taken(self) -> None:
        """Go on reading the socket: see `Tap`."""
        self._body_deadline = self._server.deadline(self._limits.body_timeout)
        self._unchoke(_Choke.BODY)

    def _choke(self, reason: _Choke) -> None:
        if not self._choked and self._phase < _CLOSING:
            self._transport.pause_reading()
        self._choked |= reason

    def _unchoke(self, reason: _Choke) -> None:
        """Lift one reason; with the last of them, look at what was held back and read on."""
        if not self._choked & reason:
            return
        self._choked &= ~reason
        if self._choked or self._phase >= _CLOSING:
            return
        if self._codec.held and self._corked is None:  # corked: data_received is running and goes on by itself
            self.data_received(b"")
        if not self._choked and self._phase < _CLOSING:
            self._transport.resume_reading()
            self._rearm()

    # Answers

    def _advance(self) -> None:
        """Start what waits, as long as nothing is being answered."""
        while self._head is None and not self._write_paused and self._phase < _LINGERING:
            if not self._queue:
                if self._phase is _DRAINING:
                    self._close()
                break
            item = self._queue.popleft()
            if isinstance(item, Malformed):
                self._answer_malformed(item)
            else:
                self._start(*item)
        if self._choked & _Choke.QUEUE and len(self._queue) <= self._limits.max_pipeline // 2:
            self._unchoke(_Choke.QUEUE)

    def _start(self, head: RequestHead, request: Request) -> None:
        """Call the application; send what it returns now, or run what it returns in a task."""
        self._head = head
        self._request = request
        self._began = perf_counter()
        try:
            answer = self._app(request)
        except Exception as exc:  # noqa: BLE001  # the border to the application: whatever it raises is answered
            answer = self._server.error_response(request, exc)
        if type(answer) is Response and type(answer.body) is bytes:
            self._send_whole(head, answer, answer.body)
            return
        coro = self._answer(head, request, answer)
        if sys.version_info >= (3, 12):  # begun at once: a handler that never waits is done without a turn of the loop
            self._starting = True
            task = asyncio.Task(coro, loop=self._loop, eager_start=True)
            self._starting = False
        else:
            task = self._loop.create_task(coro)
        self._task = None if task.done() else task

    async def _answer(self, head: RequestHead, request: Request, answer: Response | Awaitable[Response]) -> None:
        """Await the application and send its response; a task of its own. A cancel drops the connection."""
        answered = False
        try:
            try:
                response = answer if isinstance(answer, Response) else await answer
                if isinstance(response.body, bytes):
                    whole = response.body
                else:
                    await self._send_stream(head, response, response.body)
                    whole = None
            except ClientDisconnected:
                return
            except Exception as exc:  # noqa: BLE001  # as in _start
                if self._sent or self._phase >= _LINGERING:  # too late for another answer: cut this one short
                    self._server.error_response(request, exc)
                    return
                response = self._server.error_response(request, exc)
                whole = response.body if isinstance(response.body, bytes) else b""
            self._task = None
            answered = True
            if whole is not None:
                self._send_whole(head, response, whole)
            if not self._starting:
                self._advance()
        finally:
            if not answered and self._phase is not _CLOSED:
                self._transport.abort()

    def _send_whole(self, head: RequestHead, response: Response, body: bytes) -> None:
        framing = self._frame(head, response)
        data = framing.head + body if framing.mode is not _NO_BODY else framing.head
        self._write(data)
        self._finish(response, framing.keep_alive)

    async def _send_stream(self, head: RequestHead, response: Response, body: ResponseBody) -> None:
        """Send a body at the client's pace. The head leaves with the first piece: until then 500 is possible."""
        try:
            framing = self._frame(head, response)
            pending = framing.head
            if framing.mode is not _NO_BODY:
                left = _FOREVER if response.length is None else response.length
                async for piece in body:
                    left -= len(piece)
                    if left < 0:
                        raise InvalidMessage("the body is longer than its announced length")
                    data = encode_chunk(piece) if framing.mode is BodyMode.CHUNKED else piece
                    if pending:
                        self._write(pending)
                        pending = b""
                    self._write(data)
                    if self._write_paused:
                        await self._drained()
                if response.length is not None and left:
                    raise InvalidMessage("the body is shorter than its announced length")
                if framing.mode is BodyMode.CHUNKED:
                    pending += LAST_CHUNK
            if pending:
                self._write(pending)
        finally:
            await body.aclose()
        self._finish(response, framing.keep_alive)

    async def _drained(self) -> None:
        """Wait until the client has caught up; raises `ClientDisconnected` when it goes away instead."""
        if self._phase is _CLOSED:
            raise ClientDisconnected("the client went away")
        self._write_waiter = self._loop.create_future()
        try:
            await self._write_waiter
        finally:
            self._write_waiter = None

    def _frame(self, head: RequestHead, response: Response) -> Framing:
        """Decide how to send `response`, and what becomes of the part of the request's body that nobody has read."""
        keep_alive = self._phase is _SERVING or bool(self._queue)
        request = self._request
        body = request.body if request is not None else EMPTY_BODY
        if isinstance(body, IncomingBody) and not body.complete:
            remaining = self._codec.remaining if body is self._incoming else None
            awaits = head.expects_continue and body.unread
            if remaining is None or remaining > self._limits.drain or awaits:
                keep_alive = False
        return frame_response(head, response, self._server.date_field(), keep_alive=keep_alive)

    def _finish(self, response: Response, keep_alive: bool) -> None:  # noqa: FBT001  # private, one caller kind
        """Note that the request at hand is answered and decide how the connection goes on."""
        request = self._request
        assert request is not None  # invariant 1
        server = self._server
        server.observe(request, response.status, perf_counter() - self._began, self._sent)
        self._head = self._request = None
        self._sent = 0
        body = request.body
        if isinstance(body, IncomingBody) and not body.complete:
            body.discard()
            if not keep_alive:
                self._linger()
            else:
                self._unchoke(_Choke.BODY)
        elif not keep_alive:
            self._close()
        elif self._corked is None:
            self._rearm()

    def _answer_malformed(self, event: Malformed) -> None:
        """Answer what is no request, then close."""
        response = self._server.malformed_response(event)
        head = RequestHead("", "", "1.1", [], 0, keep_alive=False, expects_continue=False)
        framing = frame_response(head, response, self._server.date_field(), keep_alive=False)
        body = response.body
        self._write(framing.head + body if isinstance(body, bytes) else framing.head)
        self._server.observe(None, event.status, 0.0, self._sent)
        self._sent = 0
        self._linger()

    def _write(self, data: bytes) -> None:
        self._sent += len(data)
        corked = self._corked
        if corked is None:
            if self._phase < _LINGERING:
                self._server.bytes_sent += len(data)
                self._transport.write(data)
            return
        corked.append(data)
        self._corked_size += len(data)
        if self._corked_size > self._limits.write_buffer:
            self._uncork()
            self._corked = []

    def _uncork(self) -> None:
        corked = self._corked
        self._corked = None
        if corked:
            self._corked_size = 0
            if self._phase < _LINGERING:
                data = corked[0] if len(corked) == 1 else b"".join(corked)
                self._server.bytes_sent += len(data)
                self._transport.write(data)

    # The end, and deadlines

    def _linger(self) -> None:
        """Shut our side and swallow what the client still sends, for a while."""
        self._uncork()
        if self._phase >= _LINGERING:
            return
        if self._eof:
            self._close()
            return
        self._phase = _LINGERING
        self._stop_input()
        limits = self._limits
        unsent = self._transport.get_write_buffer_size()
        self._deadline = self._server.deadline(limits.send_timeout if unsent else limits.linger_timeout)
        if self._transport.is_closing():
            return
        self._transport.write_eof()
        if self._choked:
            self._choked = _Choke.NONE
            self._transport.resume_reading()

    def _close(self) -> None:
        """Close once everything written has left."""
        self._uncork()
        if self._phase >= _CLOSING:
            return
        self._phase = _CLOSING
        self._stop_input()
        self._deadline = self._server.deadline(self._limits.send_timeout)
        self._transport.close()

    def _stop_input(self) -> None:
        self._codec.close()
        self._queue.clear()
        self._incoming = None

    def _rearm(self) -> None:
        """Set the deadline that fits what the connection waits for."""
        if self._phase >= _LINGERING or self._write_paused:
            return  # both have set theirs
        timed = False
        if self._incoming is not None and not self._choked and not self._incoming.unread:
            self._deadline = self._body_deadline
        elif self._head is not None or self._queue:
            self._deadline = _FOREVER
        elif self._codec.state is _IN_HEAD:
            timed = True
            if not self._head_timed:
                self._deadline = self._server.deadline(self._limits.head_timeout)
        else:
            self._deadline = self._server.deadline(self._limits.idle_timeout)
        self._head_timed = timed

    def _expire(self) -> None:
        """What was waited for has not come."""
        self._deadline = _FOREVER
        self._server.timeouts += 1
        if self._phase >= _LINGERING or self._write_paused:
            self._transport.abort()
        elif self._incoming is not None:
            self._codec.close()
            self._take_malformed(Malformed(408, "the body of the request did not arrive in time"))
        elif self._head_timed:
            self._codec.close()
            self._take_malformed(Malformed(408, "the head of the request did not arrive in time"))
        else:
            self._close()
