"""The bytes of responses: status lines, header fields, chunks (RFC 9112)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus

from .errors import InvalidMessage

__all__ = ("CONTINUE", "LAST_CHUNK", "encode_chunk", "encode_head", "reason_phrase")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_FORBIDDEN = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f]"
)  # RFC 9110 section 5.5: a line break here would forge a second field
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_OURS = frozenset(("connection", "content-length", "date", "transfer-encoding"))  # framing belongs to the server


def reason_phrase(status: int) -> str:
    """Return the standard words for `status`, or an empty string for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def encode_head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the status line and the fields, without the empty line that ends a head.

    Raises `InvalidMessage` for a status outside 200-599, a name that is no token, a value with control characters or
    outside Latin-1, and for the fields that the server writes itself.
    """
    if not 200 <= status <= 599:
        message = f"a final status lies between 200 and 599, not {status!r}"
        raise InvalidMessage(message)
    parts = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode()]
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
            message = f"not a header field that a response may set: {name[:60]!r}"
            raise InvalidMessage(message)
        if _FORBIDDEN.search(value):
            message = f"control characters in the value of {name}: {value[:60]!r}"
            raise InvalidMessage(message)
        try:
            parts.append(f"{name}: {value}\r\n".encode("latin-1"))
        except UnicodeEncodeError as exc:
            message = f"the value of {name} is outside Latin-1: {value[:60]!r}"
            raise InvalidMessage(message) from exc
    return b"".join(parts)


def encode_chunk(data: bytes) -> bytes:
    """Return `data`, which must not be empty (an empty chunk ends a body), as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)
