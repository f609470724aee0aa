"""The server on real sockets: order, limits, times (by a clock of the test's own), back-pressure and the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from asyncstore.http import ClientDisconnected, Exchange, HTTPError, Limits, Request, Response, Server
from tests.http_wire import PATIENCE, Wire, ask

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PUT = b"PUT / HTTP/1.1\r\nHost: a\r\n"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pieces:
    """A response body; counts how often it is closed."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self.pieces = pieces
        self.error = error
        self.closed = 0
        self.given = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.given += 1
            yield piece
        if self.error is not None:
            raise self.error

    async def aclose(self) -> None:
        self.closed += 1


@asynccontextmanager
async def serving(app: Callable[[Request], Response | Awaitable[Response]], **options) -> AsyncIterator[Server]:
    async with Server(app, **options) as server:
        await server.start()
        yield server


def address(server: Server) -> tuple[str, int]:
    return server.addresses[0]


async def settle(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


def hello(_: Request) -> Response:
    return Response(200, (("content-type", "text/plain"),), b"hello")


async def echo(request: Request) -> Response:
    return Response(200, (), await request.body.read(1 << 20))


def fail(_: Request) -> Response:
    raise ValueError("a secret")


async def fail_later(_: Request) -> Response:
    await asyncio.sleep(0)
    raise ValueError("a secret")


async def test_requests_on_one_connection_are_answered_one_after_the_other():
    async with serving(hello) as server, Wire(address(server)) as wire:
        for _ in range(3):
            answer = await wire.ask("GET", "/")
            assert (answer.status, answer.body) == (200, b"hello")
            assert "date" in answer.headers
        assert server.statistics.accepted == 1


async def test_a_pipeline_is_answered_in_order_whatever_takes_longer():
    gate = asyncio.Event()

    async def slow(request: Request) -> Response:
        if request.path == "/0":
            await gate.wait()
        return Response(200, (), request.path.encode())

    def app(request: Request) -> Response | Awaitable[Response]:
        return slow(request) if request.path in ("/0", "/3") else Response(200, (), request.path.encode())

    async with serving(app) as server, Wire(address(server)) as wire:
        await wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(6)))
        gate.set()
        assert [(await wire.answer()).body for _ in range(6)] == [b"/%d" % number for number in range(6)]


async def test_a_pipeline_without_end_is_read_no_further_than_the_queue_holds():
    gate = asyncio.Event()
    begun = []

    async def app(request: Request) -> Response:
        begun.append(request.path)
        await gate.wait()
        return Response(204)

    async with serving(app, limits=Limits(max_pipeline=4)) as server, Wire(address(server)) as wire:
        count = 30_000
        sending = asyncio.ensure_future(wire.send(GET * count))
        await settle(lambda: server.statistics.bytes_received > 0)
        for _ in range(50):
            await asyncio.sleep(0)
        assert server.statistics.bytes_received <= 2**19 < count * len(GET)
        assert len(begun) == 1
        gate.set()
        for _ in range(count):
            assert (await wire.answer()).status == 204
        await sending


async def test_answers_given_at_once_leave_in_one_write(monkeypatch):
    async with serving(hello) as server, Wire(address(server)) as wire:
        writes = []
        await wire.ask("GET", "/")
        (connection,) = server._connections
        transport = connection._transport

        class Spy:
            def write(self, data):
                writes.append(data)
                transport.write(data)

            def __getattr__(self, name):
                return getattr(transport, name)

        connection._transport = Spy()
        await wire.send(GET * 10)
        for _ in range(10):
            assert (await wire.answer()).body == b"hello"
        assert len(writes) == 1


@pytest.mark.parametrize("app", [fail, fail_later])
async def test_a_failing_application_costs_an_answer_and_not_the_server(app, caplog):
    caplog.set_level(logging.ERROR, "asyncstore.http")
    async with serving(app) as server, Wire(address(server)) as wire:
        for _ in range(2):
            answer = await wire.ask("GET", "/")
            assert answer.status == 500
            assert b"secret" not in answer.body
            assert b"Traceback" not in answer.body
            incident = answer.body.split()[-1].decode()
            assert any(incident in record.getMessage() and record.exc_info for record in caplog.records)


async def test_what_the_application_refuses_is_answered_with_its_reason():
    def app(_: Request) -> Response:
        raise HTTPError(405, "not like this", (("allow", "GET"),))

    async with serving(app) as server:
        answer = await ask(address(server), "GET", "/")
        assert (answer.status, answer.headers["allow"], answer.body) == (405, "GET", b"not like this\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (PUT + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n", 414),
        (PUT + b"X: " + b"x" * 100_000, 431),
        (PUT + b"Content-Length: 99999999999\r\n\r\n", 413),
        (PUT + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 400),
    ],
)
async def test_what_is_no_request_is_answered_and_the_connection_ends(data, status):
    async with serving(hello) as server, Wire(address(server)) as wire:
        await wire.send(GET + data)
        assert (await wire.answer()).status == 200
        refused = await wire.answer()
        assert refused.status == status
        assert refused.headers["connection"] == "close"
        assert refused.body
        assert await wire.rest() == b""


async def test_a_refusal_arrives_though_the_client_goes_on_sending():
    async with serving(hello, limits=Limits(max_body=1000)) as server, Wire(address(server)) as wire:
        sending = asyncio.ensure_future(wire.send(PUT + b"Content-Length: 5000000\r\n\r\n" + bytes(5_000_000)))
        answer = await wire.answer()
        assert answer.status == 413
        assert await wire.rest() == b""
        sending.cancel()
        await asyncio.wait([sending])


async def test_a_body_in_chunks_that_grows_too_large_is_refused():
    async with serving(echo, limits=Limits(max_body=1000)) as server, Wire(address(server)) as wire:
        await wire.send(PUT + b"Transfer-Encoding: chunked\r\n\r\n" + b"a\r\n0123456789\r\n" * 101)
        assert (await wire.answer()).status == 413
        assert await wire.rest() == b""


async def test_a_malformed_body_is_refused_where_it_is_read():
    async with serving(echo) as server, Wire(address(server)) as wire:
        await wire.send(PUT + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nnonsense\r\n")
        assert (await wire.answer()).status == 400
        assert await wire.rest() == b""


async def test_a_client_that_asks_first_is_told_to_go_on_when_the_body_is_wanted():
    async with serving(echo) as server, Wire(address(server)) as wire:
        await wire.send(PUT + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert (await wire.answer()).status == 100
        await wire.send(b"hello")
        assert (await wire.answer()).body == b"hello"
        assert (await wire.ask("PUT", "/", b"again")).body == b"again"


async def test_a_client_that_asks_first_gets_the_refusal_instead():
    async with serving(hello) as server, Wire(address(server)) as wire:
        await wire.send(PUT + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await wire.rest() == b""


async def test_a_small_body_that_nobody_reads_does_not_end_the_connection():
    async with serving(hello) as server, Wire(address(server)) as wire:
        await wire.send(PUT + b"Content-Length: 10\r\n\r\n")
        assert "connection" not in (await wire.answer()).headers
        await wire.send(b"0123456789" + GET)
        assert (await wire.answer()).body == b"hello"


async def test_a_large_body_that_nobody_reads_ends_the_connection():
    async with serving(hello) as server, Wire(address(server)) as wire:
        await wire.send(PUT + b"Content-Length: 10000000\r\n\r\n")
        assert (await wire.answer()).headers["connection"] == "close"
        assert await wire.rest() == b""


@pytest.mark.parametrize(
    ("method", "version", "field"), [("GET", "1.1", "transfer-encoding"), ("GET", "1.0", ""), ("HEAD", "1.1", "")]
)
async def test_a_body_of_unknown_length_is_sent_whole_and_closed(method, version, field):
    body = Pieces(b"one", b"two", b"three")
    async with serving(lambda _: Response(200, (), body)) as server, Wire(address(server)) as wire:
        await wire.send(f"{method} / HTTP/{version}\r\nHost: a\r\n\r\n".encode())
        answer = await wire.answer(method=method)
        assert answer.body == (b"" if method == "HEAD" else b"onetwothree")
        assert not field or field in answer.headers
        await settle(lambda: body.closed == 1)


async def test_a_body_that_fails_before_its_first_byte_is_answered_with_500():
    body = Pieces(error=ValueError("x"))
    async with serving(lambda _: Response(200, (), body)) as server:
        assert (await ask(address(server), "GET", "/")).status == 500
        assert body.closed == 1


@pytest.mark.parametrize(
    "response",
    [
        lambda: Response(200, (), Pieces(b"x" * 10, error=ValueError("x"))),
        lambda: Response(200, (), Pieces(b"x" * 10, error=ValueError("x")), length=20),
        lambda: Response(200, (), Pieces(b"x" * 10), length=20),
        lambda: Response(200, (), Pieces(b"x" * 10, b"x" * 11), length=20),
    ],
)
async def test_a_body_that_fails_half_way_is_cut_off_and_never_looks_whole(response):
    async with serving(lambda _: response()) as server, Wire(address(server)) as wire:
        await wire.send(GET)
        with pytest.raises((EOFError, ConnectionError)):
            await wire.answer()


async def test_a_slow_reader_makes_the_body_wait():
    body = Pieces(*[b"x" * 65536] * 1000)
    async with serving(lambda _: Response(200, (), body)) as server, Wire(address(server), receive_buffer=4096) as wire:
        await wire.send(GET)
        await settle(lambda: body.given > 0)
        (connection,) = server._connections
        await settle(lambda: connection._write_paused)
        given = body.given
        for _ in range(20):
            await asyncio.sleep(0)
        assert body.given == given < 500  # what the kernel takes in, and ours on top
        assert connection._transport.get_write_buffer_size() < 2**20
        await wire.reader.readexactly(given * 65536)
        assert body.given > given
        wire.reset()
        await settle(lambda: body.closed == 1)


async def test_a_fast_sender_is_held_back_by_a_slow_application():
    gate = asyncio.Event()

    async def app(request: Request) -> Response:
        await gate.wait()
        size = 0
        async for data in request.body:
            size += len(data)
        return Response(200, (), str(size).encode())

    total = 50 * 2**20
    async with serving(app, limits=Limits(body_buffer=65536)) as server, Wire(address(server)) as wire:
        sending = asyncio.ensure_future(wire.send(PUT + b"Content-Length: %d\r\n\r\n" % total + bytes(total)))
        await settle(lambda: server.statistics.bytes_received > 65536)
        for _ in range(50):
            await asyncio.sleep(0)
        assert server.statistics.bytes_received < 2**20
        gate.set()
        assert (await wire.answer()).body == str(total).encode()
        await sending


async def test_a_client_that_goes_away_ends_the_work_for_it():
    begun, ended = asyncio.Event(), []

    async def app(_: Request) -> Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return Response(204)

    async with serving(app) as server:
        async with Wire(address(server)) as wire:
            await wire.send(GET)
            await begun.wait()
            wire.reset()
        await settle(lambda: ended == ["cancelled"] and not server.statistics.connections)


async def test_a_client_that_goes_away_inside_its_body_is_told_to_the_reader():
    caught = []

    async def app(request: Request) -> Response:
        try:
            return Response(200, (), await request.body.read(1000))
        except (ClientDisconnected, HTTPError, asyncio.CancelledError) as exc:
            caught.append(type(exc))
            raise

    async with serving(app) as server:
        async with Wire(address(server)) as wire:
            await wire.send(PUT + b"Content-Length: 100\r\n\r\nabc")
            await settle(lambda: bool(server.statistics.bytes_received))
            wire.reset()
        await settle(lambda: bool(caught) and not server.statistics.connections)


async def test_a_client_that_only_shuts_its_side_still_gets_its_answer():
    gate = asyncio.Event()

    async def app(_: Request) -> Response:
        await gate.wait()
        return Response(200, (), b"late")

    async with serving(app) as server, Wire(address(server)) as wire:
        await wire.send(GET)
        wire.writer.write_eof()
        await settle(lambda: bool(server.statistics.bytes_received))
        gate.set()
        assert (await wire.answer()).body == b"late"
        assert await wire.rest() == b""


# Times, by the test's own clock


async def test_an_idle_connection_is_closed():
    clock = Clock()
    async with serving(hello, clock=clock) as server, Wire(address(server)) as wire:
        await wire.ask("GET", "/")
        clock.now += 50
        server.sweep()
        assert (await wire.ask("GET", "/")).status == 200
        clock.now += 62
        server.sweep()
        assert await wire.rest() == b""
        assert server.statistics.timeouts == 1


async def test_a_head_that_drips_is_answered_with_408():
    clock = Clock()
    async with serving(hello, clock=clock) as server, Wire(address(server)) as wire:
        for byte in b"GET / HT":
            before = server.statistics.bytes_received
            await wire.send(bytes((byte,)))
            await settle(lambda before=before: server.statistics.bytes_received > before)
            clock.now += 1.5
            server.sweep()
        assert (await wire.answer()).status == 408
        assert await wire.rest() == b""


async def test_a_body_that_drips_is_answered_with_408():
    clock = Clock()
    async with serving(echo, clock=clock) as server, Wire(address(server)) as wire:
        await wire.send(PUT + b"Content-Length: 100\r\n\r\n")
        await settle(lambda: bool(server.statistics.bytes_received))
        for _ in range(4):
            before = server.statistics.bytes_received
            await wire.send(b"x")
            await settle(lambda before=before: server.statistics.bytes_received > before)
            clock.now += 6
            server.sweep()
        assert (await wire.answer()).status == 408
        assert await wire.rest() == b""


async def test_a_body_that_comes_steadily_may_take_as_long_as_it_needs():
    clock = Clock()
    async with serving(echo, clock=clock) as server, Wire(address(server)) as wire:
        await wire.send(PUT + b"Content-Length: 100000\r\n\r\n")
        for _ in range(20):
            before = server.statistics.bytes_received
            await wire.send(b"x" * 5000)
            await settle(lambda before=before: server.statistics.bytes_received >= before + 5000)
            clock.now += 15
            server.sweep()
        assert len((await wire.answer()).body) == 100_000


async def test_no_time_runs_out_while_the_application_works():
    clock, gate = Clock(), asyncio.Event()

    async def app(_: Request) -> Response:
        await gate.wait()
        return Response(204)

    async with serving(app, clock=clock) as server, Wire(address(server)) as wire:
        await wire.send(GET)
        await settle(lambda: bool(server.statistics.bytes_received))
        clock.now += 10_000
        server.sweep()
        gate.set()
        assert (await wire.answer()).status == 204


async def test_a_client_that_takes_nothing_is_cut_off():
    clock = Clock()
    body = Pieces(*[b"x" * 65536] * 400)
    async with serving(lambda _: Response(200, (), body), clock=clock) as server:
        async with Wire(address(server), receive_buffer=4096) as wire:
            await wire.send(GET)
            await settle(lambda: bool(server._connections))
            (connection,) = server._connections
            await settle(lambda: connection._write_paused)
            clock.now += 32
            server.sweep()
            await settle(lambda: not server.statistics.connections)
        await settle(lambda: body.closed == 1)


async def test_one_client_too_many_is_told_so_politely():
    async with serving(hello, limits=Limits(max_connections=2)) as server:
        async with Wire(address(server)) as first, Wire(address(server)) as second:
            for wire in (first, second):
                assert (await wire.ask("GET", "/")).status == 200
            async with Wire(address(server)) as third:
                answer = await third.answer()
                assert answer.status == 503
                assert "retry-after" in answer.headers
                assert await third.rest() == b""
            assert (await first.ask("GET", "/")).status == 200
        await settle(lambda: not server.statistics.connections)
        assert (await ask(address(server), "GET", "/")).status == 200
        assert server.statistics.refused == 1


# The end


async def test_closing_finishes_what_runs_and_takes_nothing_new():
    gate, begun = asyncio.Event(), asyncio.Event()

    async def app(_: Request) -> Response:
        begun.set()
        await gate.wait()
        return Response(200, (), b"done")

    async with serving(app) as server, Wire(address(server)) as wire, Wire(address(server)) as idle:
        await wire.send(GET)
        await begun.wait()
        await settle(lambda: server.statistics.connections == 2)
        closing = asyncio.ensure_future(server.aclose())
        assert await idle.rest() == b""
        with pytest.raises(ConnectionError):
            async with Wire(address(server) if server.addresses else wire._address):
                pass
        assert not closing.done()
        gate.set()
        answer = await wire.answer()
        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
        await closing


async def test_closing_takes_a_body_that_is_still_coming():
    begun = asyncio.Event()

    async def app(request: Request) -> Response:
        begun.set()
        return Response(200, (), await request.body.read(100))

    async with serving(app) as server, Wire(address(server)) as wire:
        await wire.send(PUT + b"Content-Length: 5\r\n\r\nhe")
        await begun.wait()
        closing = asyncio.ensure_future(server.aclose())
        await asyncio.sleep(0)
        await wire.send(b"llo")
        assert (await wire.answer()).body == b"hello"
        await closing


async def test_closing_waits_no_longer_than_it_may(caplog):
    cancelled = []

    async def app(_: Request) -> Response:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)
        return Response(204)

    async with serving(app) as server, Wire(address(server)) as wire:
        await wire.send(GET)
        await settle(lambda: bool(server.statistics.bytes_received))
        await server.aclose(timeout=0.01)
        assert cancelled == [True]
        assert not server.statistics.connections
        with pytest.raises((EOFError, ConnectionError)):
            await wire.answer()


async def test_closing_twice_and_starting_afterwards():
    server = Server(hello)
    await server.aclose()
    await server.aclose()
    with pytest.raises(RuntimeError):
        await server.start()


# What is told of it


async def test_the_observer_hears_of_every_answer():
    heard: list[Exchange] = []
    async with serving(hello, observer=heard.append) as server, Wire(address(server)) as wire:
        await wire.ask("GET", "/a")
        await wire.send(b"nonsense\r\n\r\n")
        await wire.answer()
    assert [(exchange.request and exchange.request.target, exchange.status) for exchange in heard] == [
        ("/a", 200),
        (None, 400),
    ]
    assert all(exchange.sent > 100 and exchange.seconds >= 0 for exchange in heard)


async def test_an_observer_that_fails_costs_nothing(caplog):
    def observer(_: Exchange) -> None:
        raise ValueError

    async with serving(hello, observer=observer) as server:
        assert (await ask(address(server), "GET", "/")).status == 200
    assert "observer" in caplog.text


async def test_the_access_log_has_a_line_for_each_answer(caplog):
    caplog.set_level(logging.INFO, "asyncstore.http.access")
    async with serving(hello, access_log=True) as server:
        await ask(address(server), "GET", "/x?y")
    assert '127.0.0.1 "GET /x?y" 200 ' in caplog.text


async def test_two_readers_of_one_body_are_told():
    async def app(request: Request) -> Response:
        first = asyncio.ensure_future(anext(request.body.__aiter__()))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError):
            await anext(request.body.__aiter__())
        first.cancel()
        await asyncio.wait([first])
        return Response(200, (), await request.body.read(10))

    async with serving(app) as server, Wire(address(server)) as wire:
        await wire.send(PUT + b"Content-Length: 2\r\n\r\n")
        await settle(lambda: bool(server.statistics.bytes_received))
        for _ in range(10):
            await asyncio.sleep(0)
        await wire.send(b"hi")
        assert (await wire.answer()).body == b"hi"
