"""What can be changed of a file besides its content: mode, owner, times, size, extended attributes."""

from __future__ import annotations

import os
from functools import partial

from asyncstore.aio._arguments import StrOrBytesPath, as_view, check_path, check_path_or_fd
from asyncstore.aio._priority import run

__all__ = (
    "chmod",
    "chown",
    "getxattr",
    "lchmod",
    "lchown",
    "listxattr",
    "removexattr",
    "setxattr",
    "truncate",
    "utime",
)


async def chmod(
    path: StrOrBytesPath | int, mode: int, *, dir_fd: int | None = None, follow_symlinks: bool = True
) -> None:
    """Set the permission bits of `path` (or of the open descriptor) to `mode`, as `os.chmod` does.

    Raises OSError as `os.chmod` does; NotImplementedError for ``follow_symlinks=False`` where the system cannot.
    Cancelled once begun, the mode may be set.
    """
    await run(partial(os.chmod, check_path_or_fd(path), mode, dir_fd=dir_fd, follow_symlinks=follow_symlinks))


async def lchmod(path: StrOrBytesPath, mode: int) -> None:
    """Set the permission bits of a symbolic link itself, where links have some.

    Raises NotImplementedError or OSError (EOPNOTSUPP) elsewhere (Linux). Cancelled once begun, the mode may be set.
    """
    await chmod(check_path(path), mode, follow_symlinks=False)


async def chown(
    path: StrOrBytesPath | int, uid: int, gid: int, *, dir_fd: int | None = None, follow_symlinks: bool = True
) -> None:
    """Set owner and group of `path` (or of the open descriptor), -1 for unchanged, as `os.chown` does.

    Raises OSError as `os.chown` does. Cancelled once begun, the owner may be set.
    """
    await run(partial(os.chown, check_path_or_fd(path), uid, gid, dir_fd=dir_fd, follow_symlinks=follow_symlinks))


async def lchown(path: StrOrBytesPath, uid: int, gid: int) -> None:
    """Set owner and group of `path` itself, also when it is a symbolic link, as `os.lchown` does."""
    await run(os.lchown, check_path(path), uid, gid)


async def utime(
    path: StrOrBytesPath | int,
    times: tuple[int | float, int | float] | None = None,
    *,
    ns: tuple[int, int] | None = None,
    dir_fd: int | None = None,
    follow_symlinks: bool = True,
) -> None:
    """Set the times of access and of modification of `path`, as `os.utime` does.

    `times` in seconds, or `ns` in nanoseconds. Neither: both times become now.

    Raises OSError as `os.utime` does, ValueError when both are given. Cancelled once begun, the times may be set.
    """
    if times is not None and ns is not None:
        raise ValueError("utime: give times or ns, not both")
    place = check_path_or_fd(path)
    if ns is not None:
        await run(partial(os.utime, place, ns=ns, dir_fd=dir_fd, follow_symlinks=follow_symlinks))
    else:
        await run(partial(os.utime, place, times, dir_fd=dir_fd, follow_symlinks=follow_symlinks))


async def truncate(path: StrOrBytesPath | int, length: int) -> None:
    """Cut or extend (with zeros) the file `path` or the open descriptor to `length` bytes, as `os.truncate` does.

    Raises OSError as `os.truncate` does. Cancelled once begun, the size may be set.
    """
    await run(os.truncate, check_path_or_fd(path), length)


async def getxattr(path: StrOrBytesPath | int, attribute: StrOrBytesPath, *, follow_symlinks: bool = True) -> bytes:
    """Return the value of an extended attribute, as `os.getxattr` does (Linux).

    Raises OSError as `os.getxattr` does: ENODATA when there is no such attribute. Cancelled, nothing has happened.
    """
    name = check_path(attribute, "attribute")
    return await run(partial(os.getxattr, check_path_or_fd(path), name, follow_symlinks=follow_symlinks))


async def setxattr(
    path: StrOrBytesPath | int,
    attribute: StrOrBytesPath,
    value: bytes | bytearray | memoryview,
    flags: int = 0,
    *,
    follow_symlinks: bool = True,
) -> None:
    """Set an extended attribute, as `os.setxattr` does (Linux); `flags`: os.XATTR_CREATE or os.XATTR_REPLACE.

    Raises OSError as `os.setxattr` does. Cancelled once begun, the attribute may be set.
    """
    name = check_path(attribute, "attribute")
    copied = bytes(as_view(value, "value"))  # at most 64 KiB: cheaper than a rule about when it may change
    await run(partial(os.setxattr, check_path_or_fd(path), name, copied, flags, follow_symlinks=follow_symlinks))


async def listxattr(path: StrOrBytesPath | int | None = None, *, follow_symlinks: bool = True) -> list[str]:
    """Return the names of the extended attributes of `path` (None: of "."), as `os.listxattr` does (Linux).

    Raises OSError as `os.listxattr` does. Cancelled, nothing has happened.
    """
    place = None if path is None else check_path_or_fd(path)
    return await run(partial(os.listxattr, place, follow_symlinks=follow_symlinks))


async def removexattr(path: StrOrBytesPath | int, attribute: StrOrBytesPath, *, follow_symlinks: bool = True) -> None:
    """Remove an extended attribute, as `os.removexattr` does (Linux).

    Raises OSError as `os.removexattr` does. Cancelled once begun, the attribute may be removed.
    """
    name = check_path(attribute, "attribute")
    await run(partial(os.removexattr, check_path_or_fd(path), name, follow_symlinks=follow_symlinks))
