"""What the URL of a PostgreSQL database and the options beside it may say."""

from __future__ import annotations

import pytest

from asyncstore import dbi
from asyncstore.dbi._url import database_of


def test_the_parts_of_a_url():
    made = database_of("postgresql://me:s%40crt@db.example:6543/shop?application_name=till&cached_statements=0", {})
    settings = made.settings
    assert (settings.user, settings.password, settings.host, settings.port) == ("me", "s@crt", "db.example", 6543)
    assert (settings.database, settings.application_name, settings.cached_statements) == ("shop", "till", 0)
    assert "lock_timeout" not in settings.server_settings(5.0), "PgBouncer refuses it"
    assert made.title == "PostgreSQL database 'shop' at db.example:6543"
    assert "s@crt" not in repr(settings)


def test_what_is_given_wins_over_the_url():
    settings = database_of("postgres://me@host/db?connect_timeout=2.5", {"host": "/run/postgresql", "port": 1}).settings
    assert (settings.host, settings.port, settings.connect_timeout) == ("/run/postgresql", 1, 2.5)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("postgresql+other://host/db", {}, "is 'asyncpg', not 'other'"),
        ("postgresql://host/db?sslmode=perhaps", {}, "sslmode is one of 'disable'"),
        ("postgresql://host:0/db", {}, "port is an int from 1"),
        ("postgresql://host:x/db", {}, "the port in the URL"),
        ("postgresql://host/db", {"connect_timeout": 0}, "connect_timeout is a positive"),
        ("postgresql://host/db", {"cached_statements": -1}, "cached_statements is an int"),
    ],
)
def test_what_cannot_be_is_told(url, options, message):
    with pytest.raises(ValueError, match=message):
        database_of(url, options)


def test_an_option_that_there_is_not():
    with pytest.raises(TypeError, match="no option 'speed', but application_name"):
        database_of("postgresql://host/db?speed=9", {})


async def test_what_the_session_is_opened_with(postgresql_url):
    async with dbi.connect(postgresql_url, application_name="ours", statement_timeout=0.2, lock_timeout=7) as db:
        assert await db.fetch_value("SHOW application_name") == "ours"
        assert await db.fetch_value("SHOW lock_timeout") == "7s"
        with pytest.raises(dbi.errors.QueryTimeout):
            await db.fetch_value("SELECT pg_sleep(10)")


async def test_a_unix_socket(postgresql, postgresql_url):
    url = postgresql_url.replace(f"127.0.0.1:{postgresql.port}", f"localhost:{postgresql.port}")
    async with dbi.connect(url, host=str(postgresql.folder)) as db:
        assert await db.fetch_value("SELECT inet_client_addr()") is None


async def test_mode_is_for_sqlite(postgresql_url):
    async with dbi.connect(postgresql_url) as db:
        with pytest.raises(dbi.errors.NotSupportedError, match="mode is for SQLite"):
            db.transaction(mode="immediate")
