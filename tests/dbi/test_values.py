"""Parameters that a database has no type for are stored as the text that stands for them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum
from uuid import UUID

import pytest

from asyncstore.dbi._values import as_text


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, None),
        (1, 1),
        (1.5, 1.5),
        ("text", "text"),
        (b"bytes", b"bytes"),
        (True, 1),
        (bytearray(b"bytes"), b"bytes"),
        (memoryview(b"bytes"), b"bytes"),
        (Decimal("1.10"), "1.10"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4, 5), "03:04:05"),
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02 03:04:05"),  # noqa: DTZ001 - without a zone it stays so
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02 03:04:05+00:00"),
        (timedelta(hours=1, milliseconds=1), 3600.001),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({"a": [1]}, '{"a": [1]}'),
        ([1, 2], "[1, 2]"),
        (Colour.RED, 1),
    ],
)
def test_a_value_is_stored_as(value, stored):
    (found,) = as_text([value], ["it"])
    assert found == stored
    assert type(found) in (type(stored), Colour)


def test_what_has_no_place_is_named_by_its_place_and_not_by_its_value():
    with pytest.raises(TypeError, match=r"parameter 'secret' is of type set") as caught:
        as_text([1, {"hidden"}], ["plain", "secret"])
    assert "hidden" not in str(caught.value)
