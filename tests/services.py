"""The real servers that our tests run against, as fixtures; conftest files import those that they need.

A server that is not installed skips the tests that need it, with what to install; with CI set in the environment it
fails them, because a suite that skips there proves less than it says.
"""

from __future__ import annotations

import os

import pytest

from asyncstore.testing import MEMCACHED, ServerProgram, TemporaryServer, Unavailable

__all__ = ("memcached", "require")


def require(program: str, package: str) -> str:
    """Return the path of `program`; skip the running test, or fail it on CI, when `package` is not installed."""
    try:
        return ServerProgram(program, package, lambda path, _port, _folder: [path]).find()
    except Unavailable as missing:
        if os.environ.get("CI"):
            pytest.fail(f"{missing} (on CI it must be)")
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def memcached():
    """A memcached for the whole session, on `memcached.port`."""
    require(MEMCACHED.program, MEMCACHED.package)
    with TemporaryServer(MEMCACHED) as server:
        yield server
