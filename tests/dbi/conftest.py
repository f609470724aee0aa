"""A SQLite database in a file for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncstore import dbi


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
