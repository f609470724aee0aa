"""How a response goes onto the wire: which fields frame it, whether its body is sent, whether the connection survives.

Pure decisions over a request's head and a response (RFC 9112 sections 6 and 9), made without a socket.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ._codec import RequestHead
from ._messages import Response

__all__ = ("BodyMode", "Framing", "frame_response")


class BodyMode(Enum):
    """How the end of the body is told."""

    NONE = "there is no body"
    LENGTH = "by its length"
    CHUNKED = "by the last chunk"
    CLOSE = "by the end of the connection"


class Framing(NamedTuple):
    """The head that is sent, and what follows it."""

    head: bytes
    mode: BodyMode
    keep_alive: bool


_NONE = BodyMode.NONE  # looked up once: see the codec
_LENGTH = BodyMode.LENGTH


def frame_response(head: RequestHead, response: Response, date: bytes, *, keep_alive: bool) -> Framing:
    """Return how `response` answers `head`. `date` is a ``Date`` field, `keep_alive` what the server would like."""
    if keep_alive and head.keep_alive and response.sized_head is not None and head.version == "1.1":
        whole = _LENGTH if response.length and head.method != "HEAD" else _NONE
        return Framing(b"".join((response.sized_head, date, b"\r\n")), whole, keep_alive=True)
    status = response.status
    length = response.length
    mode = _LENGTH
    if status == 204:
        framing = b""  # RFC 9110 section 8.6: no Content-Length with 204
        mode = _NONE
    elif length is not None:
        framing = b"content-length: %d\r\n" % length if status != 304 else b""
        if length == 0 or status == 304:
            mode = _NONE
    elif head.version == "1.1":
        framing = b"transfer-encoding: chunked\r\n"
        mode = BodyMode.CHUNKED
    else:
        framing = b""
        mode = BodyMode.CLOSE
    if status == 304 or head.method == "HEAD":
        mode = _NONE
    if mode is BodyMode.CLOSE or not head.keep_alive:
        keep_alive = False
    if not keep_alive:
        framing += b"connection: close\r\n"
    elif head.version != "1.1":
        framing += b"connection: keep-alive\r\n"
    return Framing(b"".join((response.head, framing, date, b"\r\n")), mode, keep_alive)
