"""The root of every exception that asyncstore raises, and the words shared by all services.

The tree is split by who is at fault, so that a caller can act on the class alone: `Closed` (you closed it), `Broken`
(the other side or the medium), `Busy` (somebody else is using it), `WouldBlock` (a ``*_nowait`` call that would have
had to wait) and `Internal` (a bug of ours). Services derive from these and from the builtin class that fits.
"""

from __future__ import annotations

__all__ = ("Broken", "Busy", "Closed", "Error", "Internal", "WouldBlock")


class Error(Exception):
    """Base of all asyncstore errors.

    `retryable` tells whether the same call can succeed when it is made again unchanged. `maybe_applied` tells whether
    a call that failed may nevertheless have taken effect.
    """

    retryable: bool = False
    maybe_applied: bool = False


class Closed(Error):
    """The object was used after it had been closed on this side."""


class Broken(Error, ConnectionError):
    """The peer or the medium failed: the object cannot be used any more."""


class Busy(Error):
    """Somebody else holds the object; trying again later can succeed."""

    retryable = True


class WouldBlock(Error):
    """A ``*_nowait`` call could not be served at once."""

    retryable = True


class Internal(Error):
    """A state that asyncstore never enters: a bug of ours, please report it."""
