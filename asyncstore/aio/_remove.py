"""Removing a tree, safe against symbolic links that are put in the way.

Every directory is opened relative to the descriptor of its parent and with O_NOFOLLOW, and names are removed relative
to the descriptor of the directory that was listed: a directory that somebody swaps for a link to /etc is not entered
(CVE-2012-4559 and its kin). The descent is a loop over a list, so a tree of any depth works, and no more than
`OPEN_LEVELS` directories are open at once: coming back to a level whose descriptor was given up goes through ``..``,
which must lead to the directory that was left.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from asyncstore.aio._arguments import StrOrBytesPath, check_path
from asyncstore.aio._slices import Slices

__all__ = ("remove_tree", "rmtree")

OPEN_LEVELS = 64  # descriptors: deeper than nearly all trees, and far below the usual limit of 1024 a process
_LISTED = 1024  # names listed between two chances to stop
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Failure(NamedTuple):
    """What could not be removed: the function that failed, the path it was called for, and its error."""

    function: Callable[..., Any]  # Any: os.open, os.scandir, os.unlink or os.rmdir, as the handlers of shutil get it
    path: str | bytes
    error: OSError


async def rmtree(
    path: StrOrBytesPath,
    ignore_errors: bool = False,  # noqa: FBT001, FBT002  # shutil.rmtree takes it by position
    *,
    onexc: Callable[[Callable[..., Any], str | bytes, OSError], object] | None = None,  # Any: as in Failure
    dir_fd: int | None = None,
) -> None:
    """Remove the directory `path` with all that is in it, as `shutil.rmtree` does; names that vanish are no errors.

    `onexc` is called on the loop thread with (function, path, error) for everything that could not be removed, and may
    raise to stop; `ignore_errors` goes on silently. With neither, the first error is raised: NotADirectoryError for a
    file or a link.

    The work is done in slices of 2 ms. Cancelled, what has been removed is removed and the rest stays.
    """
    keep_going = ignore_errors or onexc is not None
    slices = Slices(_removal(check_path(path), dir_fd, keep_going=keep_going))
    try:
        while batch := await slices.next():
            for failure in batch:
                if failure is not None and onexc is not None and not ignore_errors:
                    onexc(*failure)
    finally:
        await slices.aclose()


def remove_tree(path: str | bytes) -> Generator[None, None, None]:
    """Remove the tree `path`, yielding as it gets on; raises the first OSError."""
    for _ in _removal(path, None, keep_going=False):
        yield


class _Level:
    """A directory on the way down: its name in its parent, its descriptor or identity, and what is left to do in it."""

    __slots__ = ("fd", "identity", "name", "subdirectories")

    def __init__(self, name: str | bytes, dir_fd: int | None) -> None:
        self.name = name
        self.subdirectories: list[str] | None = None  # None: not listed yet
        self.identity: tuple[int, int] | None = None
        self.fd = os.open(name, _DIRECTORY, dir_fd=dir_fd)

    def give_up(self) -> None:
        """Close the descriptor and remember which directory it was."""
        status = os.fstat(self.fd)
        self.identity = (status.st_dev, status.st_ino)
        self.close()

    def come_back(self, below: int) -> None:
        """Open this directory again as the parent of `below`; raises OSError when that was moved elsewhere."""
        fd = os.open("..", _DIRECTORY, dir_fd=below)
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != self.identity:
            os.close(fd)
            raise OSError(errno.EXDEV, "a directory was moved while its tree was being removed")
        self.fd = fd

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class _Removal:
    """The state of one removal: the levels from the top to where it is now."""

    def __init__(self, top: str | bytes, dir_fd: int | None, *, keep_going: bool) -> None:
        self.top = top
        self.dir_fd = dir_fd
        self.keep_going = keep_going
        self.levels: list[_Level] = []

    def failed(self, function: Callable[..., Any], name: str | bytes | None, error: OSError) -> Failure | None:
        """Turn an error into what the generator yields; None when what was to be removed is gone already."""
        if isinstance(error, FileNotFoundError) and self.levels:
            return None
        path = self.path(name)
        error.filename = path
        if not self.keep_going:
            raise error
        return Failure(function, path, error)

    def path(self, name: str | bytes | None) -> str | bytes:
        """Return the path of `name` in the present directory, in the kind of the top."""
        names = [os.fsdecode(level.name) for level in self.levels]
        path = os.path.join(*names, *([] if name is None else [os.fsdecode(name)]))
        return os.fsencode(path) if isinstance(self.top, bytes) else path

    def enter(self, name: str | bytes) -> Failure | None:
        """Go down into the directory `name`."""
        above = self.levels[-1].fd if self.levels else self.dir_fd
        try:
            level = _Level(name, above)
        except OSError as exc:
            return self.failed(os.open, name, exc)
        if len(self.levels) >= OPEN_LEVELS:
            self.levels[-OPEN_LEVELS].give_up()
        self.levels.append(level)
        return None

    def leave(self) -> Failure | None:
        """Go up from the present directory and remove it."""
        level = self.levels[-1]
        try:
            if len(self.levels) > 1 and self.levels[-2].fd < 0:
                self.levels[-2].come_back(level.fd)
        except OSError as exc:
            exc.filename = self.path(None)
            raise  # the way back is lost: nothing above can be removed safely
        self.levels.pop()
        level.close()
        try:
            os.rmdir(level.name, dir_fd=self.levels[-1].fd if self.levels else self.dir_fd)
        except OSError as exc:
            return self.failed(os.rmdir, level.name, exc)
        return None

    def empty(self, level: _Level) -> Generator[Failure | None, None, None]:
        """List `level`, remove everything in it but its subdirectories, and note those."""
        subdirectories: list[str] = []
        level.subdirectories = subdirectories
        others: list[str] = []
        try:
            with os.scandir(level.fd) as entries:
                for count, entry in enumerate(entries, 1):
                    (subdirectories if entry.is_dir(follow_symlinks=False) else others).append(entry.name)
                    if not count % _LISTED:
                        yield None
        except OSError as exc:
            yield self.failed(os.scandir, None, exc)
        for name in others:
            failure = None
            try:
                os.unlink(name, dir_fd=level.fd)
            except OSError as exc:
                failure = self.failed(os.unlink, name, exc)
            yield failure


def _removal(top: str | bytes, dir_fd: int | None, *, keep_going: bool) -> Generator[Failure | None, None, None]:
    """Remove `top` depth first; yield a Failure, or None for progress."""
    removal = _Removal(top, dir_fd, keep_going=keep_going)
    levels = removal.levels
    try:
        failure = removal.enter(top)
        if failure is not None:
            yield failure
        while levels:
            level = levels[-1]
            if level.subdirectories is None:
                yield from removal.empty(level)
            elif level.subdirectories:
                yield removal.enter(level.subdirectories.pop())
            else:
                yield removal.leave()
    finally:
        for level in levels:
            level.close()
