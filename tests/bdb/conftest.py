"""An environment with one database, opened for each test and closed after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from asyncstore.bdb import Database, Environment


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[Environment]:
    from asyncstore import bdb

    async with bdb.open(tmp_path / "home", cache_size=1 << 20) as environment:
        yield environment


@pytest.fixture
async def db(env: Environment) -> Database:
    return await env.database("main")
