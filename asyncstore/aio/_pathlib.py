"""`aio.Path`: a pure path whose file system methods are coroutines.

It is a subclass of `pathlib.PurePosixPath`: joining, matching, comparing, hashing and pickling are pathlib's own,
whatever the Python version. The methods that need the file system have pathlib's names and parameters (those of Python
3.13, on every version); where pathlib returns an iterator they return an asynchronous one, fed in batches.
"""

from __future__ import annotations

import errno
import os
import pathlib
import stat as modes
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Generator
from functools import partial
from typing import Any, Self, TypeVar

from asyncstore.aio import _attributes, _directories, _names, _open, _stat, _whole
from asyncstore.aio._priority import run
from asyncstore.aio._slices import Slices
from asyncstore.aio._walk import walk_links_as_files

__all__ = ("Path",)

_T = TypeVar("_T")

# A path that leads nowhere, as pathlib understands it: every other error is raised.
_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP})


class Path(pathlib.PurePosixPath):
    """A file system path with awaitable methods: `pathlib.Path` for asyncio.

    Compares equal to a pure path or a `pathlib.Path` of the same parts. Unless a method says otherwise, it raises
    OSError as pathlib's does; cancelled before its job began, nothing has happened, and later the job ends in the
    background.
    """

    __slots__ = ()

    def _make(self, *segments: str | os.PathLike[str]) -> Self:
        """Return a path of this type: by `with_segments` where Python has it (3.12), which subclasses may override."""
        make: Callable[..., Self] = getattr(self, "with_segments", type(self))
        return make(*segments)

    def _plain(self) -> pathlib.Path:
        """Return the blocking twin, for a worker thread."""
        return pathlib.Path(self)

    # What it is

    async def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the status of the path, as `aio.stat`."""
        return await _stat.stat(self, follow_symlinks=follow_symlinks)

    async def lstat(self) -> os.stat_result:
        """Return the status of the path itself, also when it is a link."""
        return await _stat.stat(self, follow_symlinks=False)

    async def _mode(self, *, follow_symlinks: bool = True) -> int:
        try:
            return (await _stat.stat(self, follow_symlinks=follow_symlinks)).st_mode
        except OSError as exc:
            if exc.errno not in _NOWHERE:
                raise
            return 0
        except ValueError:  # a NUL in the path: there can be no such file
            return 0

    async def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether the path leads to something. Raises OSError when that cannot be found out (PermissionError)."""
        return await self._mode(follow_symlinks=follow_symlinks) != 0

    async def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether the path leads to a regular file."""
        return modes.S_ISREG(await self._mode(follow_symlinks=follow_symlinks))

    async def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether the path leads to a directory."""
        return modes.S_ISDIR(await self._mode(follow_symlinks=follow_symlinks))

    async def is_symlink(self) -> bool:
        """Tell whether the path is a symbolic link."""
        return modes.S_ISLNK(await self._mode(follow_symlinks=False))

    async def is_block_device(self) -> bool:
        """Tell whether the path leads to a block device."""
        return modes.S_ISBLK(await self._mode())

    async def is_char_device(self) -> bool:
        """Tell whether the path leads to a character device."""
        return modes.S_ISCHR(await self._mode())

    async def is_fifo(self) -> bool:
        """Tell whether the path leads to a FIFO."""
        return modes.S_ISFIFO(await self._mode())

    async def is_socket(self) -> bool:
        """Tell whether the path leads to a unix socket."""
        return modes.S_ISSOCK(await self._mode())

    async def is_mount(self) -> bool:
        """Tell whether a file system is mounted at the path."""
        return await run(self._plain().is_mount)

    async def is_junction(self) -> bool:
        """Tell whether the path is a junction: False, as only Windows has them."""
        return False

    async def samefile(self, other_path: str | os.PathLike[str]) -> bool:
        """Tell whether `other_path` leads to the same file."""
        return os.path.samestat(await self.stat(), await _stat.stat(other_path))

    async def owner(self, *, follow_symlinks: bool = True) -> str:
        """Return the name of the file's owner. Raises KeyError when the user database does not know the number."""
        return await run(_owner, str(self), follow_symlinks)

    async def group(self, *, follow_symlinks: bool = True) -> str:
        """Return the name of the file's group. Raises KeyError when the group database does not know the number."""
        return await run(_group, str(self), follow_symlinks)

    # Where it is

    @classmethod
    async def cwd(cls) -> Self:
        """Return the working directory."""
        return cls(os.getcwd())

    @classmethod
    async def home(cls) -> Self:
        """Return the user's home directory. Raises RuntimeError when it is not to be found out."""
        return cls(await run(pathlib.Path.home))

    async def expanduser(self) -> Self:
        """Return the path with a leading ``~`` or ``~user`` replaced. Raises RuntimeError for an unknown user."""
        return self._make(await run(self._plain().expanduser))

    async def absolute(self) -> Self:
        """Return the path from the root, with links and ``..`` as they are."""
        return self._make(self._plain().absolute())

    async def resolve(self, strict: bool = False) -> Self:  # noqa: FBT001, FBT002  # pathlib takes it by position
        """Return the path from the root without links and ``..``; when `strict` it must exist (OSError)."""
        return self._make(await run(self._plain().resolve, strict))

    async def readlink(self) -> Self:
        """Return what the symbolic link says."""
        return self._make(await _names.readlink(self))

    # What is in it

    async def read_bytes(self, *, max_bytes: int | None = None) -> bytes:
        """Return the content, as `aio.read`."""
        return await _whole.read(self, max_bytes=max_bytes)

    async def read_text(
        self, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> str:
        """Return the text, as `aio.read_text`."""
        return await _whole.read_text(self, encoding=encoding, errors=errors, newline=newline)

    async def write_bytes(
        self, data: bytes | bytearray | memoryview, *, atomic: bool = False, durable: bool = False
    ) -> int:
        """Make `data` the content and return its size, as `aio.write`."""
        return await _whole.write(self, data, atomic=atomic, durable=durable)

    async def write_text(
        self,
        data: str,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        atomic: bool = False,
        durable: bool = False,
    ) -> int:
        """Make the text `data` the content and return its length, as `aio.write_text`."""
        return await _whole.write_text(
            self, data, encoding=encoding, errors=errors, newline=newline, atomic=atomic, durable=durable
        )

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> _open.Opening[Any]:  # Any: the file class that `mode` asks for
        """Open the file, as `aio.open`: ``async with path.open() as file`` or ``file = await path.open()``."""
        return _open.open(self, mode, buffering, encoding, errors, newline)

    def iterdir(self) -> AsyncIterator[Self]:
        """Yield the paths in the directory, in its own order."""
        return _in_batches(_names_in(str(self)), self.__truediv__)

    def glob(
        self, pattern: str, *, case_sensitive: bool | None = None, recurse_symlinks: bool = False
    ) -> AsyncIterator[Self]:
        """Yield the paths below this one that match `pattern`, by the rules of the running Python's pathlib.

        Raises TypeError for `case_sensitive` before Python 3.12 and for `recurse_symlinks` before 3.13.
        """
        options = _glob_options(case_sensitive=case_sensitive, recurse_symlinks=recurse_symlinks)
        return _in_batches(_found(partial(self._plain().glob, pattern, **options)), self._make)

    def rglob(
        self, pattern: str, *, case_sensitive: bool | None = None, recurse_symlinks: bool = False
    ) -> AsyncIterator[Self]:
        """Yield the paths at any depth that match `pattern`; otherwise as `glob`."""
        options = _glob_options(case_sensitive=case_sensitive, recurse_symlinks=recurse_symlinks)
        return _in_batches(_found(partial(self._plain().rglob, pattern, **options)), self._make)

    async def walk(
        self,
        top_down: bool = True,  # noqa: FBT001, FBT002  # pathlib takes it by position
        on_error: Callable[[OSError], object] | None = None,
        follow_symlinks: bool = False,  # noqa: FBT001, FBT002  # pathlib takes it by position
    ) -> AsyncIterator[tuple[Self, list[str], list[str]]]:
        """Yield (directory, names of directories, names of the rest) for this directory and all below it.

        As `aio.walk`, but links to directories that are not followed count among the rest, as with pathlib.
        """
        walk = walk_links_as_files(str(self), topdown=top_down, onerror=on_error, followlinks=follow_symlinks)
        async for directory, directories, files in walk:
            yield self._make(directory), directories, files

    # Changing it

    async def chmod(self, mode: int, *, follow_symlinks: bool = True) -> None:
        """Set the permission bits, as `aio.chmod`."""
        await _attributes.chmod(self, mode, follow_symlinks=follow_symlinks)

    async def lchmod(self, mode: int) -> None:
        """Set the permission bits of a link itself, as `aio.lchmod`."""
        await _attributes.lchmod(self, mode)

    async def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:  # noqa: FBT001, FBT002  # as in pathlib
        """Make an empty file, or set the times of one that is there; FileExistsError unless `exist_ok`."""
        await run(self._plain().touch, mode, exist_ok)

    async def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002  # as in pathlib
        """Make the directory, its `parents` too if asked; FileExistsError unless `exist_ok`."""
        await run(self._plain().mkdir, mode, parents, exist_ok)

    async def rmdir(self) -> None:
        """Remove the empty directory."""
        await _directories.rmdir(self)

    async def unlink(self, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002  # pathlib takes it by position
        """Remove the file or link; FileNotFoundError unless `missing_ok`."""
        try:
            await _names.unlink(self)
        except FileNotFoundError:
            if not missing_ok:
                raise

    async def rename(self, target: str | os.PathLike[str]) -> Self:
        """Rename to `target`, replacing a file there, and return the new path."""
        await _names.rename(self, target)
        return self._make(target)

    async def replace(self, target: str | os.PathLike[str]) -> Self:
        """Rename to `target`, replacing what is there, and return the new path."""
        await _names.replace(self, target)
        return self._make(target)

    async def symlink_to(
        self,
        target: str | os.PathLike[str],
        target_is_directory: bool = False,  # noqa: FBT001, FBT002  # as in pathlib
    ) -> None:
        """Make this path a symbolic link that says `target`."""
        await _names.symlink(target, self, target_is_directory)

    async def hardlink_to(self, target: str | os.PathLike[str]) -> None:
        """Make this path a hard link to `target`."""
        await _names.link(target, self)

    if sys.version_info < (3, 12):

        async def link_to(self, target: str | os.PathLike[str]) -> None:
            """Make `target` a hard link to this path: gone from pathlib since Python 3.12, use `hardlink_to`."""
            warnings.warn("Path.link_to is gone in Python 3.12: use hardlink_to", DeprecationWarning, stacklevel=2)
            await _names.link(self, target)

    if sys.version_info >= (3, 13):

        @classmethod
        def from_uri(cls, uri: str) -> Self:
            """Return the path of a ``file:`` URI, as `pathlib.Path.from_uri`. Raises ValueError."""
            return cls(pathlib.Path.from_uri(uri))


def _owner(path: str, follow_symlinks: bool) -> str:  # noqa: FBT001  # a job's argument
    import pwd  # not on every system

    return pwd.getpwuid(os.stat(path, follow_symlinks=follow_symlinks).st_uid).pw_name


def _group(path: str, follow_symlinks: bool) -> str:  # noqa: FBT001  # a job's argument
    import grp  # not on every system

    return grp.getgrgid(os.stat(path, follow_symlinks=follow_symlinks).st_gid).gr_name


def _glob_options(*, case_sensitive: bool | None, recurse_symlinks: bool) -> dict[str, Any]:  # Any: keywords of glob
    """Return what differs from the defaults: older Pythons refuse by TypeError what they do not have."""
    options: dict[str, Any] = {}  # Any: as above
    if case_sensitive is not None:
        options["case_sensitive"] = case_sensitive
    if recurse_symlinks:
        options["recurse_symlinks"] = True
    return options


def _names_in(directory: str) -> Generator[str, None, None]:
    with os.scandir(directory) as entries:
        for entry in entries:
            yield entry.name


def _found(search: Callable[[], Generator[pathlib.Path, None, None]]) -> Generator[str, None, None]:
    for path in search():
        yield str(path)


async def _in_batches(source: Generator[str, None, None], make: Callable[[str], _T]) -> AsyncIterator[_T]:
    """Yield what `make` makes of what `source` yields on a worker; other tasks get a turn after every batch."""
    slices = Slices(source, count=256)
    try:
        while batch := await slices.next():
            for item in batch:
                yield make(item)
    finally:
        await slices.aclose()
