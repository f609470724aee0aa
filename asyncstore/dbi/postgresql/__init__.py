"""PostgreSQL on asyncpg."""

from __future__ import annotations

from asyncstore.dbi.postgresql._database import database as database

__all__ = ("database",)
