"""Responses before they are sent: what may be in them, and how they are framed."""

from __future__ import annotations

import pickle
from email.utils import formatdate

import pytest

from asyncstore.http import HTTPError, InvalidMessage, Limits, Response, format_date, parse_date, parse_query
from asyncstore.http._codec import RequestHead
from asyncstore.http._encoding import encode_chunk
from asyncstore.http._framing import BodyMode, frame_response
from asyncstore.http._messages import split_target

DATE = b"date: now\r\n"


def head(method: str = "GET", version: str = "1.1", *, keep_alive: bool = True) -> RequestHead:
    return RequestHead(method, "/", version, [], 0, keep_alive=keep_alive, expects_continue=False)


class Endless:
    def __aiter__(self):
        raise AssertionError

    async def aclose(self):
        raise AssertionError


@pytest.mark.parametrize(
    "headers",
    [
        [("x", "a\r\nset-cookie: b")],
        [("x", "a\nb")],
        [("x", "a\0b")],
        [("x", "\u20ac")],
        [("x y", "a")],
        [("x:", "a")],
        [("", "a")],
        [("x\r\n", "a")],
        [("Content-Length", "5")],
        [("transfer-encoding", "chunked")],
        [("Connection", "close")],
        [("Date", "now")],
    ],
)
def test_a_field_that_would_break_the_message_is_refused(headers):
    with pytest.raises(InvalidMessage):
        Response(200, headers)


@pytest.mark.parametrize("status", [0, 100, 199, 600, -1])
def test_a_status_that_is_no_final_one_is_refused(status):
    with pytest.raises(InvalidMessage):
        Response(status)


@pytest.mark.parametrize(
    ("request_head", "response", "expected", "mode", "keep"),
    [
        (head(), Response(200, (), b"hi"), b"content-length: 2\r\n", BodyMode.LENGTH, True),
        (head(), Response(200), b"content-length: 0\r\n", BodyMode.NONE, True),
        (head("HEAD"), Response(200, (), b"hi"), b"content-length: 2\r\n", BodyMode.NONE, True),
        (head(), Response(204), b"", BodyMode.NONE, True),
        (head(), Response(304), b"", BodyMode.NONE, True),
        (head(), Response(200, (), Endless()), b"transfer-encoding: chunked\r\n", BodyMode.CHUNKED, True),
        (head(), Response(200, (), Endless(), length=9), b"content-length: 9\r\n", BodyMode.LENGTH, True),
        (head("HEAD"), Response(200, (), Endless()), b"transfer-encoding: chunked\r\n", BodyMode.NONE, True),
        (head(version="1.0"), Response(200, (), Endless()), b"connection: close\r\n", BodyMode.CLOSE, False),
        (
            head(version="1.0"),
            Response(200, (), b"hi"),
            b"content-length: 2\r\nconnection: keep-alive\r\n",
            BodyMode.LENGTH,
            True,
        ),
        (
            head(keep_alive=False),
            Response(200, (), b"hi"),
            b"content-length: 2\r\nconnection: close\r\n",
            BodyMode.LENGTH,
            False,
        ),
    ],
)
def test_the_framing_fits_request_and_response(request_head, response, expected, mode, keep):
    framing = frame_response(request_head, response, DATE, keep_alive=True)
    reason = {200: b"OK", 204: b"No Content", 304: b"Not Modified"}[response.status]
    line = b"HTTP/1.1 %d %b\r\n" % (response.status, reason)
    assert framing == (line + expected + DATE + b"\r\n", mode, keep)


def test_a_server_that_wants_to_close_says_so():
    framing = frame_response(head(), Response(204), DATE, keep_alive=False)
    assert b"\r\nconnection: close\r\n" in framing.head
    assert not framing.keep_alive


def test_a_chunk_tells_its_length_in_hexadecimal():
    assert encode_chunk(b"x" * 255) == b"ff\r\n" + b"x" * 255 + b"\r\n"


@pytest.mark.parametrize("seconds", [0, 784111777, 1900000000])
def test_dates_go_there_and_back(seconds):
    assert format_date(seconds) == formatdate(seconds, usegmt=True)
    assert parse_date(format_date(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "Sun, 06 Nov 99999999999 08:49:37 GMT", "Sun, 32 Foo 1994 GMT"])
def test_a_date_that_is_none_is_no_error(text):
    assert parse_date(text) is None or isinstance(parse_date(text), int)


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("/", ("/", "")),
        ("/a%20b?c=d?e", ("/a%20b", "c=d?e")),
        ("http://host:80/a?b", ("/a", "b")),
        ("HTTPS://host/", ("/", "")),
        ("http://host", ("/", "")),
        ("*", ("*", "")),
        ("//host/a", ("//host/a", "")),
    ],
)
def test_a_target_is_taken_apart(target, parts):
    assert split_target(target) == parts


@pytest.mark.parametrize("target", ["a", "ftp://host/", "/a#b", "", "javascript://x/"])
def test_a_target_that_is_no_path_is_refused(target):
    with pytest.raises(HTTPError) as caught:
        split_target(target)
    assert caught.value.status == 400


def test_a_query_is_decoded_once():
    assert parse_query("a=%2541&b=c+d&e&=f&") == {b"a": b"%41", b"b": b"c d", b"e": b"", b"": b"f"}
    with pytest.raises(HTTPError):
        parse_query("a=1&a=2")


def test_errors_pickle():
    error = HTTPError(405, "no", (("allow", "GET"),))
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.status, copy.detail, copy.headers, str(copy)) == (405, "no", (("allow", "GET"),), "405: no")


@pytest.mark.parametrize("name", Limits.__slots__)
def test_a_limit_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})
