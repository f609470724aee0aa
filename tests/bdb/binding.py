"""The package under test, or the reason why it cannot be: berkeleydb needs libdb, which not every machine has."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

if find_spec("berkeleydb") is None:
    if os.environ.get("CI"):
        raise RuntimeError("the bdb tests need berkeleydb, which is not installed (on CI it must be)")
    pytest.skip("the bdb tests need berkeleydb, which is not installed", allow_module_level=True)

from asyncstore import bdb

__all__ = ("bdb",)
