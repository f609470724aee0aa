"""The fixtures of `asyncstore.testing` for pytest.

pytest finds this module by itself where asyncstore is installed (entry point ``pytest11``). Nothing happens to a test
that does not ask: no fixture is autouse, no hook is implemented, and nothing of asyncstore is loaded before the first
fixture is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from asyncstore import testing

__all__ = (
    "cancel_everywhere",
    "chaos_proxy",
    "fail_nth",
    "fault_loop",
    "full_disk",
    "leak_check",
    "memcached_server",
    "small_tmpfs",
)


@pytest.fixture
def cancel_everywhere() -> Callable[..., Any]:  # Any: the signature is asyncstore.testing.cancel_everywhere's
    """`asyncstore.testing.cancel_everywhere`, without an import."""
    from asyncstore import testing

    return testing.cancel_everywhere


@pytest.fixture
def fail_nth() -> Callable[..., Any]:  # Any: as above
    """`asyncstore.testing.fail_nth`, without an import."""
    from asyncstore import testing

    return testing.fail_nth


@pytest.fixture
def fault_loop() -> Callable[..., Any]:  # Any: as above
    """`asyncstore.testing.fault_loop`, without an import."""
    from asyncstore import testing

    return testing.fault_loop


@pytest.fixture
def leak_check() -> Iterator[testing.leak_check]:
    """Fail the test when it leaves descriptors or threads open; for ``@pytest.mark.usefixtures("leak_check")`` too.

    Fixtures that are set up after this one count as part of the test, since they are taken down before it looks. Tasks
    are not watched: their loop does not run while fixtures are taken down. Use ``async with leak_check()`` for them.
    """
    from asyncstore import testing

    check = testing.leak_check(tasks=False)
    check.start()
    yield check
    check.check()


@pytest.fixture
def chaos_proxy() -> type[testing.ChaosProxy]:
    """`asyncstore.testing.ChaosProxy`, without an import: ``async with chaos_proxy("127.0.0.1", port) as proxy:``.

    The class and not a started proxy, because a proxy lives on the loop of the test, and which plugin makes that is the
    user's choice.
    """
    from asyncstore import testing

    return testing.ChaosProxy


@pytest.fixture
def small_tmpfs() -> Iterator[Path]:
    """The folder of a tmpfs of 1 MiB; the test is skipped where mounting is not allowed."""
    from asyncstore import testing

    with ExitStack() as stack:
        try:
            folder = stack.enter_context(testing.small_tmpfs())
        except testing.Unavailable as reason:
            pytest.skip(str(reason))
        yield folder


@pytest.fixture
def full_disk() -> Iterator[Path]:
    """A folder in which no more than 1 MiB fits, by whatever means the machine offers."""
    from asyncstore import testing

    with testing.full_disk() as folder:
        yield folder


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[testing.TemporaryServer]:
    """A memcached for the whole session, on ``memcached_server.port``.

    Without the program the tests that ask for it are skipped, and fail when the environment variable CI is set.
    """
    from asyncstore import testing

    with ExitStack() as stack:
        try:
            server = stack.enter_context(testing.TemporaryServer(testing.MEMCACHED))
        except testing.Unavailable as reason:
            if os.environ.get("CI"):
                pytest.fail(f"{reason} (with CI set it must be there)")
            pytest.skip(str(reason))
        yield server
