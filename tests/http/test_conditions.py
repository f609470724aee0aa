"""Conditional requests, as a table over RFC 9110 section 13."""

from __future__ import annotations

import pytest

from asyncstore.http import Request, Validators, Verdict, evaluate, range_holds
from asyncstore.http._body import EMPTY_BODY

STRONG = Validators('"abc"', 784111777)
WEAK = Validators('W/"abc"', 784111777)
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"
PROCEED, NOT_MODIFIED, FAILED = Verdict.PROCEED, Verdict.NOT_MODIFIED, Verdict.FAILED


def request(method: str, fields: dict[str, str]) -> Request:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
    return Request(method, "/", headers, EMPTY_BODY)


@pytest.mark.parametrize(
    ("method", "fields", "current", "verdict"),
    [
        ("GET", {}, STRONG, PROCEED),
        ("GET", {}, None, PROCEED),
        ("GET", {"if-none-match": '"abc"'}, STRONG, NOT_MODIFIED),
        ("HEAD", {"if-none-match": '"abc"'}, STRONG, NOT_MODIFIED),
        ("GET", {"if-none-match": '"x", "abc"'}, STRONG, NOT_MODIFIED),
        ("GET", {"if-none-match": '"x" , W/"abc"'}, STRONG, NOT_MODIFIED),
        ("GET", {"if-none-match": '"abc"'}, WEAK, NOT_MODIFIED),
        ("GET", {"if-none-match": "*"}, STRONG, NOT_MODIFIED),
        ("GET", {"if-none-match": "*"}, None, PROCEED),
        ("GET", {"if-none-match": '"ab"'}, STRONG, PROCEED),
        ("GET", {"if-none-match": "abc"}, STRONG, PROCEED),
        ("GET", {"if-none-match": '"a,b"'}, Validators('"a,b"'), NOT_MODIFIED),
        ("PUT", {"if-none-match": "*"}, STRONG, FAILED),
        ("PUT", {"if-none-match": "*"}, None, PROCEED),
        ("PUT", {"if-none-match": '"abc"'}, STRONG, FAILED),
        ("PUT", {"if-match": '"abc"'}, STRONG, PROCEED),
        ("PUT", {"if-match": '"abc"'}, WEAK, FAILED),
        ("PUT", {"if-match": 'W/"abc"'}, STRONG, FAILED),
        ("PUT", {"if-match": '"x","abc"'}, STRONG, PROCEED),
        ("PUT", {"if-match": "*"}, STRONG, PROCEED),
        ("PUT", {"if-match": "*"}, None, FAILED),
        ("DELETE", {"if-match": '"old"'}, STRONG, FAILED),
        ("GET", {"if-match": '"old"'}, STRONG, FAILED),
        ("GET", {"if-modified-since": DATE}, STRONG, NOT_MODIFIED),
        ("GET", {"if-modified-since": AFTER}, STRONG, NOT_MODIFIED),
        ("GET", {"if-modified-since": BEFORE}, STRONG, PROCEED),
        ("GET", {"if-modified-since": "yesterday"}, STRONG, PROCEED),
        ("PUT", {"if-modified-since": DATE}, STRONG, PROCEED),
        ("GET", {"if-modified-since": "Sunday, 06-Nov-94 08:49:37 GMT"}, STRONG, NOT_MODIFIED),
        ("GET", {"if-modified-since": "Sun Nov  6 08:49:37 1994"}, STRONG, NOT_MODIFIED),
        ("GET", {"if-none-match": '"new"', "if-modified-since": DATE}, STRONG, PROCEED),
        ("PUT", {"if-unmodified-since": DATE}, STRONG, PROCEED),
        ("PUT", {"if-unmodified-since": BEFORE}, STRONG, FAILED),
        ("PUT", {"if-unmodified-since": "never"}, STRONG, PROCEED),
        ("PUT", {"if-match": '"abc"', "if-unmodified-since": BEFORE}, STRONG, PROCEED),
    ],
)
def test_the_conditions_of_a_request_decide_what_becomes_of_it(method, fields, current, verdict):
    assert evaluate(request(method, fields), current) is verdict


@pytest.mark.parametrize(
    ("value", "current", "holds"),
    [
        (None, STRONG, True),
        ('"abc"', STRONG, True),
        ('"abd"', STRONG, False),
        ('W/"abc"', WEAK, False),
        ('"abc"', WEAK, False),
        (DATE, STRONG, True),
        (AFTER, STRONG, False),
        (DATE, WEAK, False),
        ("nonsense", STRONG, False),
        ("nonsense", Validators('"abc"', None), False),
    ],
)
def test_a_range_is_used_only_while_the_resource_is_the_same(value, current, holds):
    fields = {} if value is None else {"if-range": value}
    assert range_holds(request("GET", fields), current) is holds
