"""Byte ranges (RFC 9110 section 14): which parts of a resource a request asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ("MAX_RANGES", "Span", "Unsatisfiable", "multipart_layout", "parse_ranges")

MAX_RANGES = 16  # of one request, after merging: more is no download but an attack (CVE-2011-3192); all is sent then
_MAX_DIGITS = 19  # of a position: those of 2**63
_RANGE = re.compile(r"[ \t]*(\d*)[ \t]*-[ \t]*(\d*)[ \t]*", re.ASCII)


class Unsatisfiable(ValueError):  # the word of RFC 9110: 416 Range Not Satisfiable
    """None of the ranges lies inside the resource."""


class Span(NamedTuple):
    """A part of a resource, in bytes."""

    offset: int
    length: int


def parse_ranges(value: str, size: int) -> list[Span] | None:
    """Return what a Range field asks for of `size` bytes, in the order asked; None when the field is to be ignored.

    Ignored are units other than bytes, malformed fields, and more than `MAX_RANGES` spans. Spans that overlap or touch
    are merged. Raises `Unsatisfiable` when the field is well-formed and no range lies inside.
    """
    unit, equals, rest = value.partition("=")
    if unit.strip().lower() != "bytes" or not equals:
        return None
    spans: list[Span] = []
    for item in rest.split(","):
        match = _RANGE.fullmatch(item)
        if match is None or max(len(match[1]), len(match[2])) > _MAX_DIGITS:
            return None
        first, last = match[1], match[2]
        if first:
            start, end = int(first), int(last) if last else size - 1
            if end < start and last:
                return None
            end = min(end, size - 1)
        elif last:
            start, end = max(size - int(last), 0), size - 1
        else:
            return None
        if start <= end:
            spans.append(Span(start, end - start + 1))
    if not spans:
        raise Unsatisfiable
    merged = _merge(spans)
    return merged if len(merged) <= MAX_RANGES else None


def _merge(spans: list[Span]) -> list[Span]:
    """Join spans that overlap or touch; the rest stay in the order asked (RFC 9110 section 15.3.7.2 allows both)."""
    if len(spans) == 1:
        return spans
    ordered = sorted(spans)
    joined = [ordered[0]]
    for span in ordered[1:]:
        previous = joined[-1]
        if span.offset <= previous.offset + previous.length:
            end = max(previous.offset + previous.length, span.offset + span.length)
            joined[-1] = Span(previous.offset, end - previous.offset)
        else:
            joined.append(span)
    return spans if len(joined) == len(spans) else joined


def multipart_layout(
    spans: Sequence[Span], size: int, content_type: str, boundary: str
) -> tuple[list[bytes], bytes, int]:
    """Return what precedes each part of a multipart/byteranges body, what ends it, and its length in bytes."""
    heads = [
        f"--{boundary}\r\ncontent-type: {content_type}\r\n"
        f"content-range: bytes {span.offset}-{span.offset + span.length - 1}/{size}\r\n\r\n".encode("latin-1")
        for span in spans
    ]
    heads[1:] = [b"\r\n" + head for head in heads[1:]]
    end = f"\r\n--{boundary}--\r\n".encode("latin-1")
    return heads, end, sum(map(len, heads)) + sum(span.length for span in spans) + len(end)
