"""`os.path` for asyncio: what asks the file system is awaitable, what only works on strings is `os.path`'s own.

Awaitable: abspath, exists, expanduser, getatime, getctime, getmtime, getsize, isdevdrive, isdir, isfile, isjunction,
islink, ismount, lexists, realpath, relpath, samefile, sameopenfile, samestat. Plain functions and constants: all the
others. The answers, the errors and the parameters' names are those of `os.path`.

What `aio.stat` can have out of the kernel's caches is answered without leaving the loop thread.
"""

from __future__ import annotations

import os
import stat as _modes
from os.path import (
    altsep,
    basename,
    commonpath,
    commonprefix,
    curdir,
    defpath,
    devnull,
    dirname,
    expandvars,
    extsep,
    isabs,
    join,
    normcase,
    normpath,
    pardir,
    pathsep,
    sep,
    split,
    splitdrive,
    splitext,
    supports_unicode_filenames,
)
from typing import AnyStr

from asyncstore.aio._arguments import StrOrBytesPath, check_fd, check_path
from asyncstore.aio._names import realpath
from asyncstore.aio._priority import run
from asyncstore.aio._stat import stat

__all__ = (
    "abspath",
    "altsep",
    "basename",
    "commonpath",
    "commonprefix",
    "curdir",
    "defpath",
    "devnull",
    "dirname",
    "exists",
    "expanduser",
    "expandvars",
    "extsep",
    "getatime",
    "getctime",
    "getmtime",
    "getsize",
    "isabs",
    "isdevdrive",
    "isdir",
    "isfile",
    "isjunction",
    "islink",
    "ismount",
    "join",
    "lexists",
    "normcase",
    "normpath",
    "pardir",
    "pathsep",
    "realpath",
    "relpath",
    "samefile",
    "sameopenfile",
    "samestat",
    "sep",
    "split",
    "splitdrive",
    "splitext",
    "splitroot",
    "supports_unicode_filenames",
)


async def _mode(path: StrOrBytesPath | int, *, follow: bool = True) -> int:
    """Return the type and permission bits of `path`, 0 when it cannot be looked at, as os.path takes it."""
    try:
        return (await stat(path, follow_symlinks=follow)).st_mode
    except (OSError, ValueError):
        return 0


async def exists(path: StrOrBytesPath | int) -> bool:
    """Tell whether `path` leads to something, or is an open descriptor; False when that cannot be found out."""
    return await _mode(path) != 0


async def lexists(path: StrOrBytesPath) -> bool:
    """Tell whether there is something at `path`, also a link that leads nowhere."""
    return await _mode(path, follow=False) != 0


async def isfile(path: StrOrBytesPath | int) -> bool:
    """Tell whether `path` leads to a regular file."""
    return _modes.S_ISREG(await _mode(path))


async def isdir(s: StrOrBytesPath | int) -> bool:
    """Tell whether `s` leads to a directory."""
    return _modes.S_ISDIR(await _mode(s))


async def islink(path: StrOrBytesPath) -> bool:
    """Tell whether `path` is a symbolic link."""
    return _modes.S_ISLNK(await _mode(path, follow=False))


async def ismount(path: StrOrBytesPath) -> bool:
    """Tell whether `path` is where a file system is mounted."""
    return await run(os.path.ismount, check_path(path))


async def isjunction(path: StrOrBytesPath) -> bool:
    """Tell whether `path` is a junction: False, as only Windows has them."""
    check_path(path)
    return False


async def isdevdrive(path: StrOrBytesPath) -> bool:
    """Tell whether `path` lies on a Windows Dev Drive: False everywhere else."""
    check_path(path)
    return False


async def getsize(filename: StrOrBytesPath | int) -> int:
    """Return the size of a file in bytes. Raises OSError when it cannot be looked at."""
    return (await stat(filename)).st_size


async def getatime(filename: StrOrBytesPath | int) -> float:
    """Return the time of last access, in seconds since the epoch. Raises OSError."""
    return (await stat(filename)).st_atime


async def getmtime(filename: StrOrBytesPath | int) -> float:
    """Return the time of last modification, in seconds since the epoch. Raises OSError."""
    return (await stat(filename)).st_mtime


async def getctime(filename: StrOrBytesPath | int) -> float:
    """Return the time of the last change of the inode, in seconds since the epoch. Raises OSError."""
    return (await stat(filename)).st_ctime


async def samefile(f1: StrOrBytesPath | int, f2: StrOrBytesPath | int) -> bool:
    """Tell whether the two paths or open descriptors lead to one file. Raises OSError when one cannot be looked at."""
    return os.path.samestat(await stat(f1), await stat(f2))


async def sameopenfile(fp1: int, fp2: int) -> bool:
    """Tell whether two open descriptors refer to one file. Raises OSError (EBADF)."""
    return await run(os.path.sameopenfile, check_fd(fp1, "fp1"), check_fd(fp2, "fp2"))


async def samestat(s1: os.stat_result, s2: os.stat_result) -> bool:
    """Tell whether two results of stat speak of one file; awaitable to stand beside samefile, it asks nobody."""
    return os.path.samestat(s1, s2)


async def abspath(path: AnyStr | os.PathLike[AnyStr]) -> AnyStr:
    """Return `path` from the root and without ``.`` and ``..``; asks for the working directory only (no disk)."""
    check_path(path)
    return os.path.abspath(os.fspath(path))


async def relpath(path: AnyStr | os.PathLike[AnyStr], start: AnyStr | os.PathLike[AnyStr] | None = None) -> AnyStr:
    """Return `path` as seen from the directory `start` (default: the working directory), by its name alone."""
    check_path(path)
    if start is None:
        return os.path.relpath(os.fspath(path))
    check_path(start, "start")
    return os.path.relpath(os.fspath(path), os.fspath(start))


async def expanduser(path: AnyStr | os.PathLike[AnyStr]) -> AnyStr:
    """Return `path` with a leading ``~`` or ``~user`` replaced; the user database is asked on a worker."""
    plain = os.fspath(path)
    check_path(plain)
    if plain[:1] not in ("~", b"~"):
        return plain
    return await run(_expanduser, plain)


def _expanduser(path: AnyStr) -> AnyStr:
    return os.path.expanduser(path)


def splitroot(p: AnyStr | os.PathLike[AnyStr], /) -> tuple[AnyStr, AnyStr, AnyStr]:
    """Split `p` into drive (empty), root and the rest, as `os.path.splitroot` does from Python 3.12 on."""
    plain = os.fspath(p)
    slash = plain[:0] + (b"/" if isinstance(plain, bytes) else "/")
    slashes = len(plain) - len(plain.lstrip(slash))
    root = 2 if slashes == 2 else min(slashes, 1)  # POSIX lets exactly two slashes mean something else
    return plain[:0], plain[:root], plain[root:]
