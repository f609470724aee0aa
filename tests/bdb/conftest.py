"""An environment with one database for each test; and no test at all where libdb is missing."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from asyncstore.bdb import Database, Environment


class Missing(pytest.Module):
    """A module of tests that cannot even be imported."""

    def collect(self):
        reason = "the bdb tests need berkeleydb, which is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason + " (on CI it must be)")
        pytest.skip(reason, allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    return None if find_spec("berkeleydb") else Missing.from_parent(parent, path=module_path)


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[Environment]:
    from asyncstore import bdb

    async with bdb.open(tmp_path / "home", cache_size=1 << 20) as environment:
        yield environment


@pytest.fixture
async def db(env: Environment) -> Database:
    return await env.database("main")


@pytest.fixture
def rng() -> random.Random:
    """Chance that can be had again: a test that fails shows its seed."""
    seed = random.randrange(1 << 32)
    print("seed", seed)  # noqa: T201 - shown when the test fails
    return random.Random(seed)
