"""The real servers that our tests run against, as fixtures; conftest files import those that they need.

A server that is not installed skips the tests that need it, with what to install; with CI set in the environment it
fails them, because a suite that skips there proves less than it says.
"""

from __future__ import annotations

import os

import pytest

from asyncstore.testing import MARIADB, MEMCACHED, POSTGRESQL, ServerProgram, TemporaryServer, Unavailable

__all__ = ("mariadb", "memcached", "postgresql", "require", "require_server", "served")


def require(program: str, package: str) -> str:
    """Return the path of `program`; skip the running test, or fail it on CI, when `package` is not installed."""
    return require_server(ServerProgram(program, package, lambda path, _port, _folder: [path]))


def require_server(program: ServerProgram) -> str:
    """Return the path of a server's program; see `require`."""
    try:
        return program.find()
    except Unavailable as missing:
        if os.environ.get("CI"):
            pytest.fail(f"{missing} (on CI it must be)")
        pytest.skip(str(missing))


def served(program: ServerProgram):
    """Yield a running server."""
    require_server(program)
    with TemporaryServer(program) as server:
        yield server


@pytest.fixture(scope="session")
def memcached():
    """A memcached for the whole session, on `memcached.port`."""
    yield from served(MEMCACHED)


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL for the whole session, at `postgresql.url`; tests make schemas of their own in it."""
    yield from served(POSTGRESQL)


@pytest.fixture(scope="session")
def mariadb():
    """A MariaDB for the whole session, at `mariadb.url`; tests make databases of their own in it."""
    yield from served(MARIADB)
