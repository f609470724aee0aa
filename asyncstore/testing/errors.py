"""What the test doubles raise.

Those that report a finding are also `AssertionError`, so that a runner shows them as a failed test and not as a broken
one.
"""

from __future__ import annotations

from asyncstore.errors import Error

__all__ = ("CancelHang", "CancelSwallowed", "Leaked", "ServerFailed", "Unavailable")


class CancelSwallowed(Error, AssertionError):
    """A coroutine was cancelled and ended in some other way than with `asyncio.CancelledError`."""


class CancelHang(Error, AssertionError):
    """A coroutine did not end within the time that it was given, or had more awaits than the limit."""


class Leaked(Error, AssertionError):
    """Something that was opened in a block was still open after it.

    `leaks` holds one sentence for each thing.
    """

    def __init__(self, leaks: tuple[str, ...]) -> None:
        super().__init__(leaks)
        self.leaks = leaks

    def __str__(self) -> str:
        return f"{len(self.leaks)} leaked: " + "; ".join(self.leaks)


class ServerFailed(Error):
    """A temporary server ended early, or did not accept connections in time; the message shows what it printed."""


class Unavailable(Error):
    """This machine does not offer what was asked for: a program is missing or a system call is forbidden."""
