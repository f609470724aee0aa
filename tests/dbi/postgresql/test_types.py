"""What PostgreSQL takes and what comes back: the table of docs/reference/dbi-postgresql.md, row by row."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address
from uuid import UUID

import pytest

from asyncstore import dbi


@pytest.fixture
async def db(postgresql_url):
    async with dbi.connect(postgresql_url) as connection:
        yield connection


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("int", None),
        ("bool", True),
        ("int", 7),
        ("bigint", -(2**63)),
        ("double precision", 1.5),
        ("numeric", Decimal("1.10")),
        ("text", "täxt"),
        ("bytea", b"\x00\xff"),
        ("date", date(2026, 1, 2)),
        ("time", time(3, 4, 5, 6)),
        ("timestamp", datetime(2026, 1, 2, 3, 4, 5, 6)),  # noqa: DTZ001 - without a zone it stays so
        ("timestamptz", datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("interval", timedelta(days=1, microseconds=1)),
        ("uuid", UUID(int=1)),
        ("json", {"a": [1, None, "x"]}),
        ("jsonb", [1, {"b": 2.5}]),
        ("int[]", [1, 2, None]),
        ("inet", IPv4Address("127.0.0.1")),
    ],
)
async def test_a_value_comes_back_as_it_was(db, column, value):
    found = await db.fetch_value(f"SELECT CAST(? AS {column})", (value,))
    assert found == value
    assert isinstance(found, type(value))


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [
        ("bytea", bytearray(b"a"), b"a"),
        ("bytea", memoryview(b"a"), b"a"),
        ("jsonb", '{"text": 1}', {"text": 1}),
        ("numeric", 3, Decimal(3)),
        (
            "timestamptz",
            datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))),
            datetime(2026, 1, 2, 1, tzinfo=UTC),
        ),
    ],
)
async def test_a_value_comes_back_as_its_column_has_it(db, column, value, found):
    assert await db.fetch_value(f"SELECT CAST(? AS {column})", (value,)) == found


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("int", "secret"),
        ("int", 2**40),
        ("text", 1),
        ("timestamp", datetime(2026, 1, 2, tzinfo=UTC)),
        ("uuid", "secret"),
    ],
)
async def test_a_value_that_does_not_fit_is_told_by_its_place_and_without_it(db, column, value):
    with pytest.raises(dbi.errors.DataError, match=r"\$2") as caught:
        await db.fetch_value(f"SELECT CAST(? AS int), CAST(? AS {column})", (1, value))
    assert "secret" not in str(caught.value)
    assert await db.fetch_value("SELECT 1") == 1


async def test_operators_and_casts_that_look_like_parameters(db):
    assert await db.fetch_value("SELECT ?::int + '1'::int", (1,)) == 2
    assert await db.fetch_value("SELECT :a::jsonb ? 'x'", {"a": {"x": 1}}) is True
    assert await db.fetch_value("SELECT ?::jsonb ?? ?", ({"x": 1}, "x")) is True
    assert await db.fetch_value("SELECT (ARRAY[1, 2, 3])[1:2]") == [1, 2]
    assert await db.fetch_value("SELECT (ARRAY[1, 2, 3])[:a]", {"a": 2}) == 2
    assert await db.fetch_value("SELECT $$ ? :a $$ || ?", ("x",)) == " ? :a x"
