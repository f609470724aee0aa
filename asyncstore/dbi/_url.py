"""Database URLs: which kind of database, where it is, and what its connection is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from asyncstore.dbi import errors
from asyncstore.dbi._session import Dialect, Options, Session
from asyncstore.pool import Pool

if TYPE_CHECKING:
    from asyncstore.dbi._connection import Connection

__all__ = ("Database", "Lanes", "Location", "Make", "database_of")

_PACKAGES = {
    "sqlite": "asyncstore.dbi.sqlite",
    "postgresql": "asyncstore.dbi.postgresql",
    "postgres": "asyncstore.dbi.postgresql",
    "mysql": "asyncstore.dbi.mysql",
    "mariadb": "asyncstore.dbi.mysql",
    "duckdb": "asyncstore.dbi.duckdb",
}
_BOOLEANS = {"1": True, "true": True, "on": True, "yes": True, "0": False, "false": False, "off": False, "no": False}


class Database(Protocol):
    """What can be connected to, any number of times."""

    title: str  # without the password
    dialect: Dialect
    shared: bool  # statements of many tasks share connections in a pool: `lanes` opens them
    remote: bool  # there is a network, or another process, in between: connections get lost

    async def connect(self, *, lock_timeout: float, workers: Pool | None) -> Session:
        """Open a connection. Raises `OperationalError` and its like. A cancel leaves none open."""

    async def lanes(self, *, size: int, lock_timeout: float, workers: Pool | None, make: Make) -> Lanes:
        """Open what the tasks of a pool share, up to `size` connections that `make` makes. Where `shared`."""


Make = Callable[[Session], Awaitable["Connection"]]


class Lanes(Protocol):
    """Connections that statements of many tasks share."""

    @property
    def size(self) -> int:
        """How many connections are open."""

    def for_statement(self, sql: str) -> Connection | None:
        """Return the connection that a statement by itself is for; None: all are at work, and `another` opens one."""

    def for_transaction(self, options: Options) -> Connection | None:
        """Return the connection on which a transaction is begun; None: as before."""

    async def another(self) -> Connection:
        """Open one more connection that reads, or wait for the one that is being opened."""

    async def aclose(self) -> None:
        """Close them all; what is under way has its end first."""

    def abort(self) -> None:
        """Close them at once."""


@dataclass(frozen=True, slots=True)
class Location:
    """The parts of a database's URL (RFC 3986), decoded."""

    kind: str
    driver: str = ""  # what follows a plus sign in the scheme: which of several drivers
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    host: str = ""
    port: int | None = None
    path: str = ""  # without the slash that separates it
    options: dict[str, Any] = field(default_factory=dict)  # of the query; text, but for numbers and truth values

    @classmethod
    def of(cls, url: object) -> Location:
        """Take `url` apart. Raises ValueError and TypeError; a message never holds the password."""
        if not isinstance(url, str):
            raise TypeError(f"a database URL is a str, not {type(url).__name__}")
        parts = urlsplit(url)
        kind, _, driver = parts.scheme.partition("+")
        if kind not in _PACKAGES:
            known = ", ".join(f"{name}://" for name in _PACKAGES)
            raise ValueError(f"the URL of a database begins with one of {known}, not with {parts.scheme!r}")
        try:
            port = parts.port
        except ValueError:
            raise ValueError(f"the port in the URL of a {kind} database is a number from 0 to 65535") from None
        return cls(
            kind=kind,
            driver=driver,
            user=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
            host=unquote(parts.hostname or ""),
            port=port,
            path=unquote(parts.path)[1:],
            options=dict(parse_qsl(parts.query, keep_blank_values=True)),
        )

    def converted(self, numbers: frozenset[str] | set[str], booleans: frozenset[str] | set[str]) -> dict[str, Any]:
        """Return the options with those that are `numbers` and `booleans` as such, where their text says so."""
        found = dict(self.options)
        for name, text in self.options.items():
            if name in booleans:
                found[name] = _BOOLEANS.get(text.lower(), text)
            elif name in numbers:
                found[name] = _number(text)
        return found


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


# Any: options are checked by the database that they are for.
def database_of(url: str | Database, options: dict[str, Any]) -> Database:
    """Return what `url` and the keyword `options`, which win over its query, say; or the database that it is already.

    Raises ValueError and TypeError for what cannot be, `NotSupportedError` when the driver's package is not installed.
    """
    if not isinstance(url, str) and hasattr(url, "dialect"):
        if options:
            raise TypeError(f"a database that is made already takes no options such as {next(iter(options))!r}")
        return url
    location = Location.of(url)
    try:
        package = import_module(_PACKAGES[location.kind])
        database: Database = package.database(location, options)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] == "asyncstore":
            raise
        detail = f"it needs {exc.name}, which is not installed: pip install 'asyncstore[{location.kind}]'"
        raise errors.NotSupportedError(detail, doing="connect", of=f"{location.kind} database") from exc
    return database
