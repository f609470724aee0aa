"""Exceptions of `asyncstore.aio` beyond the builtin ``OSError`` tree, which failed system calls raise unchanged."""

from __future__ import annotations

from asyncstore.errors import Closed, Error

__all__ = ("FileClosed", "GroupClosed", "PartialWrite", "TooLarge", "WatchLimit")


class FileClosed(Closed, ValueError):
    """The file was closed on this side. It is a ValueError because that is what the files of `io` raise."""

    def __init__(self, message: str = "I/O operation on closed file") -> None:
        super().__init__(message)


class GroupClosed(Closed):
    """A request was added to a group outside of its block, or after it had failed or been cancelled."""


class PartialWrite(Error, OSError):
    """A write failed after a part of it had been applied.

    `errno` and `strerror` are those of the failure (ENOSPC, EDQUOT, EFBIG, EIO), `written` is the number of bytes,
    counted from the first, that the file has taken before it.
    """

    maybe_applied = True
    written: int = 0


class TooLarge(Error, OSError):
    """A file holds more bytes than the caller's `max_bytes` allows; nothing of it is returned. `errno` is EFBIG."""


class WatchLimit(Error, OSError):
    """The system has no more inotify watches or instances to give; `strerror` names the setting that bounds them."""
