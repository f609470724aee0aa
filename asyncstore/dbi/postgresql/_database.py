"""A PostgreSQL database that can be connected to."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Literal, get_args
from uuid import UUID

import asyncpg

from asyncstore.dbi import errors
from asyncstore.dbi._marked import MarkedDialect
from asyncstore.dbi._statement import Style, Syntax
from asyncstore.dbi._url import Lanes, Location, Make
from asyncstore.dbi._values import Adapter
from asyncstore.dbi.postgresql import _operations
from asyncstore.dbi.postgresql._errors import translate
from asyncstore.dbi.postgresql._session import PostgreSQLSession
from asyncstore.pool import Pool

__all__ = ("PostgreSQLDatabase", "Settings", "database")

CACHED_STATEMENTS = 256  # kept prepared by a connection
CONNECT_TIMEOUT = 10.0  # seconds; arbitrary
PORT = 5432

SSLMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

# What asyncpg has codecs for. Which of them a parameter may be, its column says.
_PLAIN = (
    type(None), bool, int, float, str, bytes, Decimal, date, datetime, time, timedelta, UUID, dict, list, tuple,
    IPv4Address, IPv4Network, IPv6Address, IPv6Network, asyncpg.Range, asyncpg.BitString, asyncpg.Point, asyncpg.Box,
    asyncpg.Circle, asyncpg.Line, asyncpg.LineSegment, asyncpg.Path, asyncpg.Polygon,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """What `dbi.connect` was told of a PostgreSQL database beside its URL; see its page of the documentation."""

    host: str = "localhost"
    port: int = PORT
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    connect_timeout: float = CONNECT_TIMEOUT
    sslmode: SSLMode = "prefer"
    ssl_context: ssl.SSLContext | None = None
    cached_statements: int = CACHED_STATEMENTS
    application_name: str = "asyncstore"
    search_path: str | None = None
    statement_timeout: float | None = None

    def __post_init__(self) -> None:
        if self.sslmode not in get_args(SSLMode):
            raise ValueError(f"sslmode is one of {', '.join(map(repr, get_args(SSLMode)))}, not {self.sslmode!r}")
        if not isinstance(self.port, int) or not 0 < self.port < 65536:
            raise ValueError(f"port is an int from 1 to 65535, not {self.port!r}")
        if not isinstance(self.cached_statements, int) or not 0 <= self.cached_statements <= 100_000:
            raise ValueError(f"cached_statements is an int from 0 to 100000, not {self.cached_statements!r}")
        for name in ("connect_timeout", "statement_timeout"):
            value = getattr(self, name)
            if value is None and name == "statement_timeout":
                continue
            if not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"{name} is a positive number of seconds, not {value!r}")

    def server_settings(self, lock_timeout: float) -> dict[str, str]:
        """Return what the session begins with, and goes back to when a pool cleans it."""
        found = {"application_name": self.application_name}
        if self.cached_statements:  # 0 is for PgBouncer, which refuses what it does not know
            found["lock_timeout"] = str(max(1, round(lock_timeout * 1000)))
        if self.search_path is not None:
            found["search_path"] = self.search_path
        if self.statement_timeout is not None:
            found["statement_timeout"] = str(max(1, round(self.statement_timeout * 1000)))
        return found


class PostgreSQLDatabase:
    """A database on a PostgreSQL server."""

    shared = False
    remote = True

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        where = settings.host if settings.host.startswith("/") else f"{settings.host}:{settings.port}"
        self.title = f"PostgreSQL database {settings.database or settings.user or ''!r} at {where}"
        self.dialect = MarkedDialect(
            "postgresql", _operations, Syntax.POSTGRESQL, Style.DOLLAR, Adapter(_PLAIN, _CONVERT)
        )

    async def connect(self, *, lock_timeout: float, workers: Pool | None) -> PostgreSQLSession:  # noqa: ARG002 - no worker is needed
        settings = self.settings
        try:
            raw = await asyncpg.connect(
                host=settings.host,
                port=settings.port,
                user=settings.user,
                password=settings.password,
                database=settings.database,
                timeout=settings.connect_timeout,
                ssl=settings.ssl_context or settings.sslmode,
                statement_cache_size=settings.cached_statements,
                server_settings=settings.server_settings(lock_timeout),
            )
        except TimeoutError as exc:
            detail = f"no connection within {settings.connect_timeout} s"
            raise errors.ConnectionLost(detail, doing="connect", of=self.title) from exc
        except Exception as exc:
            raise _refusal(exc, self.title) from exc
        try:
            for name in ("json", "jsonb"):
                await raw.set_type_codec(name, schema="pg_catalog", encoder=_as_json, decoder=json.loads, format="text")
        except BaseException:
            raw.terminate()
            raise
        return PostgreSQLSession(self.dialect, self.title, raw, settings.cached_statements)

    async def lanes(self, *, size: int, lock_timeout: float, workers: Pool | None, make: Make) -> Lanes:
        raise NotImplementedError("its connections are not shared")


_CONVERT: dict[type, Callable[[Any], Any]] = {bytearray: bytes, memoryview: bytes}


def _as_json(value: Any) -> str:  # Any: whatever JSON has
    """Return the text of a JSON parameter: a str is taken as that already."""
    return value if isinstance(value, str) else json.dumps(value)


def _refusal(exc: Exception, title: str) -> Exception:
    error = translate(exc, doing="connect", of=title)
    if isinstance(error, errors.DatabaseError) and not isinstance(error, errors.OperationalError):
        return errors.OperationalError(error.detail, doing="connect", of=title, sqlstate=error.sqlstate)
    return error


# Any: options are checked by the settings that they become.
def database(location: Location, options: dict[str, Any]) -> PostgreSQLDatabase:
    """Return the database at `location`. Raises ValueError and TypeError for what cannot be."""
    if location.driver not in ("", "asyncpg"):
        raise ValueError(f"the driver for PostgreSQL is 'asyncpg', not {location.driver!r}")
    given = {
        **location.converted({"port", "cached_statements", "connect_timeout", "statement_timeout"}, set()),
        **options,
    }
    known = {each.name for each in fields(Settings)}
    for name in given:
        if name not in known:
            raise TypeError(f"a PostgreSQL database has no option {name!r}, but {', '.join(sorted(known))}")
    parts = {
        "host": location.host or None, "port": location.port, "user": location.user, "password": location.password,
        "database": location.path or None,
    }  # fmt: skip
    return PostgreSQLDatabase(Settings(**{**{name: part for name, part in parts.items() if part is not None}, **given}))
