"""multipart/form-data as browsers send it (RFC 7578), sans IO: bytes to the events of parts.

The body is looked at as it comes, so an upload of any size passes through without being held. What is kept is at most
one delimiter's length of data and one part's head.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from .errors import HTTPError

__all__ = ("MultipartDecoder", "PartBegin", "PartData", "PartEnd", "PartEvent", "form_boundary")

_MAX_PART_HEAD = 8192  # bytes of one part's head: a name and a file name
_MAX_PARTS = 1000  # of one form: arbitrary, far above any form made by hand
_BOUNDARY = re.compile(r"""boundary=(?:"([^"\\]{1,70})"|([0-9A-Za-z'()+_,./:=?-]{1,70}))""", re.IGNORECASE)
# The HTML standard has browsers write %22, %0D and %0A for the three characters that would end the value.
_PARAMETER = re.compile(r';[ \t]*(name|filename)="([^"]*)"', re.IGNORECASE)


class PartBegin(NamedTuple):
    """A field of the form begins; `filename` is None for one that is no file."""

    name: str
    filename: str | None


class PartData(NamedTuple):
    """A piece of the field's content."""

    data: bytes


class PartEnd(NamedTuple):
    """The field is complete."""


PartEvent = PartBegin | PartData | PartEnd


class _State(Enum):
    PREAMBLE = "before the first delimiter"
    DELIMITER = "behind a delimiter"
    HEAD = "in a part's head"
    DATA = "in a part's content"
    EPILOGUE = "behind the last delimiter"


def form_boundary(content_type: str | None) -> bytes:
    """Return the boundary that a Content-Type announces; `HTTPError` 415 when it is no multipart/form-data."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    match = _BOUNDARY.search(content_type or "")
    if kind != "multipart/form-data" or match is None:
        raise HTTPError(415, "what is uploaded must be multipart/form-data with a boundary")
    return (match[1] or match[2]).encode("latin-1")


class MultipartDecoder:
    """Feed it the body with `receive`, then `finish` it. Both raise `HTTPError` 400 for what is no form."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._buffer = b"\r\n"  # the first delimiter has no line end before it when nothing comes first
        self._state = _State.PREAMBLE
        self._parts = 0

    def receive(self, data: bytes) -> list[PartEvent]:
        """Return what `data` completes."""
        self._buffer += data
        events: list[PartEvent] = []
        while self._step(events):
            pass
        return events

    def finish(self) -> None:
        """Note that the body has ended."""
        if self._state is not _State.EPILOGUE:
            raise HTTPError(400, "the form ends before its last delimiter")

    def _step(self, events: list[PartEvent]) -> bool:
        """Take one step; returns whether another one may follow."""
        if self._state in (_State.PREAMBLE, _State.DATA):
            return self._until_delimiter(events)
        if self._state is _State.DELIMITER:
            return self._behind_delimiter()
        if self._state is _State.HEAD:
            return self._part_head(events)
        self._buffer = b""
        return False

    def _until_delimiter(self, events: list[PartEvent]) -> bool:
        in_part = self._state is _State.DATA
        found = self._buffer.find(self._delimiter)
        # What could be the beginning of a delimiter has to wait.
        end = found if found >= 0 else max(len(self._buffer) - len(self._delimiter) + 1, 0)
        if in_part and end:
            events.append(PartData(self._buffer[:end]))
        if found < 0:
            self._buffer = self._buffer[end:]
            return False
        self._buffer = self._buffer[found + len(self._delimiter) :]
        if in_part:
            events.append(PartEnd())
        self._state = _State.DELIMITER
        return True

    def _behind_delimiter(self) -> bool:
        if len(self._buffer) < 2:
            return False
        if self._buffer.startswith(b"--"):
            self._state = _State.EPILOGUE
            return True
        line, end, rest = self._buffer.partition(b"\r\n")
        if line.strip(b" \t") or (not end and len(line) > _MAX_PART_HEAD):
            raise HTTPError(400, "something follows a delimiter of the form")
        if not end:
            return False
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise HTTPError(400, f"the form has more than {_MAX_PARTS} fields")
        self._buffer = b"\r\n" + rest  # so that a head without fields ends in an empty line as well
        self._state = _State.HEAD
        return True

    def _part_head(self, events: list[PartEvent]) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if len(head) > _MAX_PART_HEAD:
            raise HTTPError(400, "the head of a form field is too long")
        if not end:
            return False
        events.append(_parse_part_head(head))
        self._buffer = rest
        self._state = _State.DATA
        return True


def _parse_part_head(head: bytes) -> PartBegin:
    for line in head.split(b"\r\n"):
        field, _, value = line.partition(b":")
        if field.strip().lower() != b"content-disposition":
            continue
        parameters = {key.lower(): text for key, text in _PARAMETER.findall(value.decode("utf-8", "surrogateescape"))}
        if value.strip().lower().startswith(b"form-data") and "name" in parameters:
            return PartBegin(parameters["name"], parameters.get("filename"))
    raise HTTPError(400, "a form field without a name")
