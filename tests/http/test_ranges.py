"""Range fields, as a table over RFC 9110 section 14."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from asyncstore.http import Span, Unsatisfiable, multipart_layout, parse_ranges
from asyncstore.http._ranges import MAX_RANGES


@pytest.mark.parametrize(
    ("value", "size", "expected"),
    [
        ("bytes=0-0", 10, [(0, 1)]),
        ("bytes=0-9", 10, [(0, 10)]),
        ("bytes=0-99", 10, [(0, 10)]),
        ("bytes=5-", 10, [(5, 5)]),
        ("bytes=-3", 10, [(7, 3)]),
        ("bytes=-30", 10, [(0, 10)]),
        ("Bytes = 1-2", 10, [(1, 2)]),
        ("bytes=0-1,8-9", 10, [(0, 2), (8, 2)]),
        ("bytes=8-9, 0-1", 10, [(8, 2), (0, 2)]),
        ("bytes=0-4,3-6", 10, [(0, 7)]),
        ("bytes=0-4,5-6", 10, [(0, 7)]),
        ("bytes=0-1,50-60", 10, [(0, 2)]),
        ("bytes=0-0,-1", 10, [(0, 1), (9, 1)]),
    ],
)
def test_ranges_that_lie_inside_are_taken(value, size, expected):
    assert parse_ranges(value, size) == [Span(*span) for span in expected]


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99-100,200-"])
def test_ranges_that_all_lie_outside_are_an_error(value):
    with pytest.raises(Unsatisfiable):
        parse_ranges(value, 10)


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=-5", "bytes=0-0"])
def test_an_empty_file_has_no_range(value):
    with pytest.raises(Unsatisfiable):
        parse_ranges(value, 0)


@pytest.mark.parametrize(
    "value",
    [
        "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-4", "lines=0-1", "bytes=0-1;2-3", "bytes=+1-2",
        "bytes=1", "bytes=0-1,", "bytes=" + "9" * 30 + "-", "bytes=\u0661-2",
    ],
)  # fmt: skip
def test_what_is_no_range_is_ignored(value):
    assert parse_ranges(value, 10) is None


def test_more_ranges_than_anybody_needs_are_answered_with_the_whole():
    wanted = ",".join(f"{at}-{at}" for at in range(0, 2 * MAX_RANGES, 2))
    assert len(parse_ranges(f"bytes={wanted}", 1000) or ()) == MAX_RANGES
    assert parse_ranges(f"bytes={wanted},500-500", 1000) is None
    assert parse_ranges("bytes=" + ",".join(["0-"] * 1000), 1000) == [Span(0, 1000)]


@given(st.text("0123456789-,= bytes", max_size=30), st.integers(0, 100))
def test_spans_always_lie_inside_and_never_overlap(text, size):
    try:
        spans = parse_ranges("bytes=" + text, size)
    except Unsatisfiable:
        return
    if spans is None:
        return
    taken = [place for span in spans for place in range(span.offset, span.offset + span.length)]
    assert taken
    assert len(taken) == len(set(taken))
    assert min(taken) >= 0
    assert max(taken) < size


def test_the_announced_length_of_a_multipart_body_is_what_it_has():
    spans = [Span(0, 3), Span(7, 2)]
    heads, end, total = multipart_layout(spans, 10, "text/plain", "BOUNDARY")
    body = b"".join(head + b"x" * span.length for head, span in zip(heads, spans, strict=True)) + end
    assert len(body) == total
    assert body.startswith(b"--BOUNDARY\r\n")
    assert b"content-range: bytes 7-8/10\r\n" in body
    assert body.endswith(b"\r\n--BOUNDARY--\r\n")
