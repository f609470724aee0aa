"""The codec alone: every case whole, byte by byte, cut at every place, and truncated."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings, strategies as st

from asyncstore.http._codec import BodyData, EndOfBody, Event, Malformed, RequestCodec, RequestHead, State
from asyncstore.http._limits import Limits

HOST = b"Host: a\r\n"


def head(method: str = "GET", target: str = "/", *fields: tuple[bytes, bytes], **changes: object) -> RequestHead:
    usual = RequestHead(method, target, "1.1", [(b"host", b"a"), *fields], 0, keep_alive=True, expects_continue=False)
    return usual._replace(**changes)


def normal(events: list[Event]) -> list[Event]:
    """Join pieces of a body: how they are cut is not part of the meaning."""
    joined: list[Event] = []
    for event in events:
        if isinstance(event, BodyData) and joined and isinstance(joined[-1], BodyData):
            joined[-1] = BodyData(joined[-1].data + event.data)
        else:
            joined.append(event)
    return joined


def decode(pieces: list[bytes], limits: Limits | None = None) -> tuple[list[Event], State]:
    codec = RequestCodec(limits or Limits())
    events: list[Event] = []
    for piece in pieces:
        events += codec.receive(piece)
        while codec.held:
            events += codec.receive()
    return normal(events), codec.state


CHUNKED = (b"transfer-encoding", b"chunked")
GOOD: dict[str, tuple[bytes, list[Event]]] = {
    "plain": (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", [head()]),
    "empty lines before": (b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n", [head()]),
    "query and fields": (
        b"GET /a?b=c HTTP/1.1\r\n" + HOST + b"X-Y:  z \t\r\nEmpty:\r\n\r\n",
        [head("GET", "/a?b=c", (b"x-y", b"z"), (b"empty", b""))],
    ),
    "body": (
        b"PUT /x HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
        [head("PUT", "/x", (b"content-length", b"5"), length=5), BodyData(b"hello"), EndOfBody()],
    ),
    "empty body": (
        b"PUT /x HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
        [head("PUT", "/x", (b"content-length", b"0"))],
    ),
    "chunks": (
        b"PUT /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\n"
        b"Trailer: x\r\n\r\n",
        [head("PUT", "/x", CHUNKED, length=None), BodyData(b"abc0123456789"), EndOfBody()],
    ),
    "chunks in capitals": (
        b"PUT /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
        [head("PUT", "/x", (b"transfer-encoding", b"Chunked"), length=None), EndOfBody()],
    ),
    "pipeline": (
        b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\nPUT /2 HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\nhi"
        b"GET /3 HTTP/1.1\r\n" + HOST + b"\r\n",
        [head("GET", "/1"), head("PUT", "/2", (b"content-length", b"2"), length=2), BodyData(b"hi"), EndOfBody(),
         head("GET", "/3")],
    ),
    "expectation": (
        b"PUT /x HTTP/1.1\r\n" + HOST + b"Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
        [head("PUT", "/x", (b"expect", b"100-Continue"), (b"content-length", b"1"), length=1, expects_continue=True),
         BodyData(b"x"), EndOfBody()],
    ),
    "offered upgrade": (
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        b"GET /2 HTTP/1.1\r\n" + HOST + b"\r\n",
        [head("GET", "/", (b"connection", b"Upgrade"), (b"upgrade", b"h2c")), head("GET", "/2")],
    ),
    "offered upgrade with a body that looks like a request": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 18\r\n\r\n"
        b"GET / HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n" + HOST + b"\r\n",
        [head("PUT", "/", (b"connection", b"Upgrade"), (b"upgrade", b"h2c"), (b"content-length", b"18"), length=18),
         BodyData(b"GET / HTTP/1.1\r\n\r\n"), EndOfBody(), head("GET", "/2")],
    ),
    "offered upgrade with chunks": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nhi\r\n0\r\n\r\nGET /2 HTTP/1.1\r\n" + HOST + b"\r\n",
        [head("PUT", "/", (b"connection", b"Upgrade"), (b"upgrade", b"h2c"), CHUNKED, length=None),
         BodyData(b"hi"), EndOfBody(), head("GET", "/2")],
    ),
    "absolute form": (b"GET http://b/x HTTP/1.1\r\n" + HOST + b"\r\n", [head("GET", "http://b/x")]),
    "address as host": (
        b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        [RequestHead("GET", "/", "1.1", [(b"host", b"[::1]:80")], 0, keep_alive=True, expects_continue=False)],
    ),
}  # fmt: skip

LAST: dict[str, tuple[bytes, list[Event]]] = {
    "asked to close": (
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
        [head("GET", "/", (b"connection", b"close"), keep_alive=False)],
    ),
    "old version": (
        b"GET / HTTP/1.0\r\n\r\n",
        [RequestHead("GET", "/", "1.0", [], 0, keep_alive=False, expects_continue=False)],
    ),
    "old version kept alive and closed": (
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
        [RequestHead("GET", "/", "1.0", [(b"connection", b"keep-alive")], 0, keep_alive=True, expects_continue=False),
         RequestHead("GET", "/", "1.0", [], 0, keep_alive=False, expects_continue=False)],
    ),
}  # fmt: skip

START = b"PUT / HTTP/1.1\r\n" + HOST
TE = START + b"Transfer-Encoding: chunked\r\n\r\n"
BAD: dict[str, tuple[bytes, int]] = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    "host with a path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "host with a comma and space": (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    "length and chunks": (START + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "chunks and length": (START + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
    "two lengths": (START + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "two different lengths": (START + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    "list of lengths": (START + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    "signed length": (START + b"Content-Length: +3\r\n\r\nabc", 400),
    "negative length": (START + b"Content-Length: -3\r\n\r\nabc", 400),
    "hexadecimal length": (START + b"Content-Length: 0x3\r\n\r\nabc", 400),
    "empty length": (START + b"Content-Length:\r\n\r\nabc", 400),
    "endless length": (START + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    "length with a space inside": (START + b"Content-Length: 1 2\r\n\r\n", 400),
    "other coding first": (START + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "other coding": (START + b"Transfer-Encoding: identity\r\n\r\n", 501),
    "coding that only ends so": (START + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
    "coding twice": (START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "chunks are not the last coding": (START + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 400),
    "coding with a control character": (START + b"Transfer-Encoding: \x0bchunked\r\n\r\n", 400),
    "chunks in the old version": (b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "chunk without a size": (TE + b"zz\r\n", 400),
    "chunk with a prefix": (TE + b"0x3\r\nabc\r\n", 400),
    "chunk with a sign": (TE + b"-3\r\nabc\r\n", 400),
    "chunk with a space": (TE + b"3 \r\nabc\r\n", 400),
    "chunk that is too long": (TE + b"3\r\nabcd\r\n", 400),
    "chunk that ends in LF": (TE + b"3\nabc\r\n", 400),
    "extension that ends in LF": (TE + b"3;a\nabc\r\n", 400),
    "endless chunk": (TE + b"fffffffffffffffff\r\n", 400),
    "folded field": (b"GET / HTTP/1.1\r\n" + HOST + b"X: 1\r\n 2\r\n\r\n", 400),
    "folded first field": (b"GET / HTTP/1.1\r\n X: 1\r\n" + HOST + b"\r\n", 400),
    "NUL in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n", 400),
    "control character in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x01b\r\n\r\n", 400),
    "bare CR in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n", 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "space before the colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "no name": (b"GET / HTTP/1.1\r\n: a\r\n\r\n", 400),
    "no colon": (b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
    "umlaut in a name": (b"GET / HTTP/1.1\r\nH\xf6st: a\r\n\r\n", 400),
    "NUL in the target": (b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "umlaut in the target": (b"GET /\xf6 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "space in the target": (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "unknown method": (b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "method in small letters": (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "space before the method": (b" GET / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "proxy": (b"CONNECT a:443 HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    "other version": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    "version that is none": (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "other expectation": (START + b"Expect: the-unexpected\r\n\r\n", 417),
    "something behind a request": (b"GET / HTTP/1.1\r\n" + HOST + b"\r\nnonsense\r\n\r\n", 400),
}


def cuts(data: bytes) -> list[list[bytes]]:
    single = [bytes((byte,)) for byte in data]
    return [[data], single, *([data[:place], data[place:]] for place in range(1, len(data)))]


@pytest.mark.parametrize("name", GOOD)
def test_a_request_means_the_same_however_it_is_cut(name):
    data, expected = GOOD[name]
    for pieces in cuts(data):
        assert decode(pieces) == (expected, State.IDLE)


@pytest.mark.parametrize("name", LAST)
def test_nothing_is_looked_at_behind_the_last_request(name):
    data, expected = LAST[name]
    for pieces in cuts(data):
        for behind in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\0nonsense"):
            assert decode([*pieces, behind]) == (expected, State.CLOSED)
            assert decode([*pieces[:-1], pieces[-1] + behind]) == (expected, State.CLOSED)


@pytest.mark.parametrize("name", BAD)
def test_what_is_malformed_is_refused_however_it_is_cut(name):
    data, status = BAD[name]
    for pieces in cuts(data):
        events, state = decode(pieces)
        assert state is State.FAILED
        last = events.pop()
        assert isinstance(last, Malformed)
        assert last.status == status
        assert last.detail
        assert not any(isinstance(event, (Malformed, EndOfBody)) for event in events)


@pytest.mark.parametrize("name", GOOD)
def test_a_truncated_request_is_never_whole(name):
    data, expected = GOOD[name]
    for end in range(len(data)):
        codec = RequestCodec(Limits())
        events = codec.receive(data[:end])
        assert len(normal(events)) <= len(expected)
        assert normal(events) != expected
        inside = codec.state in (State.HEAD, State.BODY, State.CHUNKED)
        at_end = codec.receive_eof()
        assert [type(event) for event in at_end] == ([Malformed] if inside else [])
        assert codec.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == []


def test_a_failed_codec_says_nothing_more():
    codec = RequestCodec(Limits())
    assert isinstance(codec.receive(b"nonsense")[0], Malformed)
    assert codec.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == []
    assert codec.receive_eof() == []


LIMITS = Limits(max_target=100, max_head=1000, max_headers=10, max_body=1000)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"x" * 100 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /" + b"x" * 100_000, 414),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: 1\r\n" * 10 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 1000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 100_000, 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x" * 100_000, 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b" " * 100_000, 431),
        (START + b"Content-Length: 1001\r\n\r\n", 413),
        (TE + b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n0\r\n\r\n", 413),
        (TE + b"1;" + b"x" * 100_000, 400),
        (TE + b"0\r\n" + b"T: x\r\n" * 11 + b"\r\n", 431),
        (TE + b"0\r\nT: " + b"x" * 100_000, 400),
    ],
)
def test_each_limit_holds_however_the_input_is_cut(data, status):
    for size in (1, 7, 1000, len(data)):
        events, state = decode([data[at : at + size] for at in range(0, len(data), size)], LIMITS)
        assert state is State.FAILED
        last = events[-1]
        assert isinstance(last, Malformed)
        assert EndOfBody() not in events  # who reads the body must learn of it too, not take it for whole
        assert last.status in (status, 431 if status == 400 else status)  # which of two counts comes first may vary


def test_what_fits_the_limits_exactly_is_taken():
    data = b"GET /" + b"x" * 99 + b" HTTP/1.1\r\n" + HOST + b"X: 1\r\n" * 9 + b"\r\n"
    assert decode([data], LIMITS)[1] is State.IDLE
    assert decode([START + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000], LIMITS)[1] is State.IDLE


def test_one_byte_chunks_are_no_attack():
    data = TE + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n"
    assert decode([data], LIMITS)[1] is State.IDLE


def test_only_a_slice_of_a_flood_of_requests_is_looked_at_at_once():
    codec = RequestCodec(Limits())
    flood = (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 10_000
    count = len(codec.receive(flood))
    assert 0 < count < 120
    assert codec.held
    while codec.held:
        count += len(codec.receive())
    assert count == 10_000


def test_the_codec_knows_neither_loop_nor_socket_nor_clock():
    import asyncstore.http._codec as module

    assert not {"asyncio", "socket", "threading", "time"} & set(vars(module))


tokens = st.text("abcXYZ-_1", min_size=1, max_size=10).filter(
    lambda name: name.lower() not in ("host", "connection", "upgrade", "expect")
)
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
bodies = st.one_of(st.none(), st.binary(max_size=50), st.lists(st.binary(min_size=1, max_size=20), max_size=4))
requests = st.tuples(
    st.sampled_from(("GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS")),
    st.text("abc/%20?=", max_size=20).map(lambda text: "/" + text),
    st.lists(st.tuples(tokens, values), max_size=5),
    bodies,
)


def encode(request) -> bytes:
    method, target, fields, body = request
    lines = [f"{method} {target} HTTP/1.1", "Host: a", *(f"{name}: {value}" for name, value in fields)]
    if isinstance(body, list):
        lines.append("Transfer-Encoding: chunked")
    elif body is not None:
        lines.append(f"Content-Length: {len(body)}")
    data = "\r\n".join(lines).encode() + b"\r\n\r\n"
    if isinstance(body, list):
        return data + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in body) + b"0\r\n\r\n"
    return data + (body or b"")


def expect(request) -> list[Event]:
    method, target, fields, body = request
    events: list[Event] = []
    named = [(b"host", b"a"), *((name.lower().encode(), value.encode()) for name, value in fields)]
    content = b"".join(body) if isinstance(body, list) else body or b""
    length: int | None = len(content)
    if isinstance(body, list):
        named.append((b"transfer-encoding", b"chunked"))
        length = None
    elif body is not None:
        named.append((b"content-length", str(length).encode()))
    events.append(RequestHead(method, target, "1.1", named, length, keep_alive=True, expects_continue=False))
    if content:
        events.append(BodyData(content))
    if length != 0:
        events.append(EndOfBody())
    return events


@settings(max_examples=200, deadline=None)
@given(st.lists(requests, min_size=1, max_size=4), st.data())
def test_what_a_client_encodes_is_decoded_however_it_is_cut(sent, draw):
    data = b"".join(map(encode, sent))
    places = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    pieces = [data[start:end] for start, end in itertools.pairwise([0, *places, len(data)])]
    expected = list(itertools.chain.from_iterable(map(expect, sent)))
    assert decode(pieces) == (expected, State.IDLE)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 200))
def test_no_bytes_make_the_codec_raise(noise, place):
    data = GOOD["pipeline"][0] + GOOD["chunks"][0]
    events, _ = decode([data[:place] + noise, data[place:]])
    assert sum(isinstance(event, Malformed) for event in events) <= 1
