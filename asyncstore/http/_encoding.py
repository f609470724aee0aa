"""The bytes of responses: status lines, header fields, chunks (RFC 9112)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus

from .errors import InvalidMessage

__all__ = ("CONTINUE", "LAST_CHUNK", "encode_chunk", "encode_head", "reason_phrase")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
# RFC 9110 section 5.5: no control characters in a value, but for the tab. Line ends, which would forge a second field,
# are counted and not searched for, as there is one at each end of a line.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_checked_names: set[str] = set()  # names found good: a program uses a few dozen
_MAX_CHECKED_NAMES = 1000  # for the program that makes names up
_OURS = frozenset(("connection", "content-length", "date", "transfer-encoding"))  # framing belongs to the server


def reason_phrase(status: int) -> str:
    """Return the standard words for `status`, or an empty string for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def encode_head(status: int, headers: Sequence[tuple[str, str]]) -> bytes:
    """Return the status line and the fields, without the empty line that ends a head.

    Raises `InvalidMessage` for a status outside 200-599, a name that is no token, a value with control characters or
    outside Latin-1, and for the fields that the server writes itself.
    """
    if not 200 <= status <= 599:
        message = f"a final status lies between 200 and 599, not {status!r}"
        raise InvalidMessage(message)
    lines = []
    for name, value in headers:
        if name not in _checked_names:
            _check_name(name)
        lines.append(f"{name}: {value}\r\n")
    text = "".join(lines)
    # All values at once: one search costs a tenth of one for each. One line break more than lines is one too many.
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or _FORBIDDEN.search(text):
        raise _blame(headers)
    try:
        fields = text.encode("latin-1")
    except UnicodeEncodeError as exc:
        raise _blame(headers) from exc
    return (_STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode()) + fields


def _check_name(name: str) -> None:
    """Raise `InvalidMessage` for a name that no response may set; remember the others."""
    if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
        message = f"not a header field that a response may set: {name[:60]!r}"
        raise InvalidMessage(message)
    if len(_checked_names) < _MAX_CHECKED_NAMES:
        _checked_names.add(name)


def _blame(headers: Sequence[tuple[str, str]]) -> InvalidMessage:
    """Return the error that names the field whose value cannot be sent."""
    for name, value in headers:
        if not value.isascii() and any(ord(character) > 255 for character in value):
            return InvalidMessage(f"the value of {name} is outside Latin-1: {value[:60]!r}")
        if "\r" in value or "\n" in value or _FORBIDDEN.search(value):
            return InvalidMessage(f"control characters in the value of {name}: {value[:60]!r}")
    return InvalidMessage("control characters in a header field")


def encode_chunk(data: bytes) -> bytes:
    """Return `data`, which must not be empty (an empty chunk ends a body), as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)
