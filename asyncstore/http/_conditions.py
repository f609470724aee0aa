"""Conditional requests (RFC 9110 section 13): whether the client's idea of a resource still holds.

Pure functions over the validators of a resource and the fields of a request.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from ._dates import parse_date
from ._messages import Request

__all__ = ("Validators", "Verdict", "evaluate", "range_holds")

# RFC 9110 section 8.8.3: an opaque tag may hold anything but a double quote and control characters.
_TAG = re.compile(r'[ \t]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|$)')


class Validators(NamedTuple):
    """What tells two states of a resource apart: an entity tag, quotes included, and seconds since the epoch."""

    etag: str
    modified: int | None = None


class Verdict(Enum):
    """What the conditions ask for."""

    PROCEED = "carry the request out"
    NOT_MODIFIED = "304: the client has it"
    FAILED = "412: a precondition does not hold"


def _tags(value: str) -> list[str]:
    """Return the entity tags of a list; what is none, and everything behind it, is left out."""
    found = []
    position = 0
    while match := _TAG.match(value, position):
        found.append(match[1])
        position = match.end()
    return found


def _matches(value: str, etag: str, *, strong: bool) -> bool:
    """Compare `etag` with a list of tags. The strong comparison knows no weak tags, the weak one ignores the mark."""
    if strong:
        return not etag.startswith("W/") and etag in _tags(value)
    return etag.removeprefix("W/") in [tag.removeprefix("W/") for tag in _tags(value)]


def evaluate(request: Request, current: Validators | None) -> Verdict:
    """Return what the conditions of `request` say about the resource's `current` state, None when it does not exist.

    The order is that of RFC 9110 section 13.2.2; dates that are none are ignored, as are those beside a tag.
    """
    reads = request.method in ("GET", "HEAD")
    if (if_match := request.text_header(b"if-match")) is not None:
        if current is None or (if_match.strip() != "*" and not _matches(if_match, current.etag, strong=True)):
            return Verdict.FAILED
    elif (since := _date(request, b"if-unmodified-since")) is not None and (
        current is None or (current.modified is not None and current.modified > since)
    ):
        return Verdict.FAILED
    if (if_none_match := request.text_header(b"if-none-match")) is not None:
        if current is not None and (
            if_none_match.strip() == "*" or _matches(if_none_match, current.etag, strong=False)
        ):
            return Verdict.NOT_MODIFIED if reads else Verdict.FAILED
    elif reads and current is not None and current.modified is not None:
        since = _date(request, b"if-modified-since")
        if since is not None and current.modified <= since:
            return Verdict.NOT_MODIFIED
    return Verdict.PROCEED


def _date(request: Request, name: bytes) -> int | None:
    value = request.text_header(name)
    return None if value is None else parse_date(value)


def range_holds(request: Request, current: Validators) -> bool:
    """Tell whether If-Range, if there is one, lets the Range of `request` be used (RFC 9110 section 13.1.5)."""
    value = request.text_header(b"if-range")
    if value is None:
        return True
    value = value.strip()
    if value.endswith('"'):
        return not value.startswith("W/") and value == current.etag
    # A date is a strong validator here: it has to be equal, and the tag beside it must be strong too.
    return parse_date(value) == current.modified is not None and not current.etag.startswith("W/")
