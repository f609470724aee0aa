"""SQLite on the standard library's sqlite3."""

from __future__ import annotations

from asyncstore.dbi.sqlite._database import database as database

__all__ = ("database",)
