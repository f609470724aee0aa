"""The package under test, where its tests find it; `conftest` skips them when it cannot be imported."""

from __future__ import annotations

from asyncstore import bdb

__all__ = ("bdb",)
