"""A SQLite database in a file for each test, and a schema of its own on the real servers."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncstore import dbi
from tests import services

postgresql = services.postgresql  # a fixture of the session


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
async def db(url: str) -> AsyncIterator[dbi.Connection]:
    """A connection with a table `t` of an id and a unique text `v`."""
    async with dbi.connect(url) as connection:
        await connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE)")
        yield connection


@pytest.fixture
def postgresql_url(postgresql):
    """The URL of a schema for one test."""
    import psycopg

    schema = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    yield f"{postgresql.url}?search_path={schema}"
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '10s'")
        connection.execute(f"DROP SCHEMA {schema} CASCADE")
