"""These tests need libdb, as those of the package do."""

from __future__ import annotations

from tests.bdb.conftest import pytest_pycollect_makemodule

__all__ = ("pytest_pycollect_makemodule",)
