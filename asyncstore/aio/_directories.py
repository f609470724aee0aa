"""Directories: make, remove, list."""

from __future__ import annotations

import os
from functools import partial
from typing import overload

from asyncstore.aio._arguments import StrOrBytesPath, check_path, check_path_or_fd
from asyncstore.aio._priority import run

__all__ = ("listdir", "makedirs", "mkdir", "removedirs", "rmdir")


async def mkdir(path: StrOrBytesPath, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    """Make the directory `path`, its `mode` cut by the umask, as `os.mkdir` does.

    Raises OSError as `os.mkdir` does. Cancelled once begun, the directory may be made.
    """
    await run(partial(os.mkdir, check_path(path), mode, dir_fd=dir_fd))


async def makedirs(name: StrOrBytesPath, mode: int = 0o777, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002  # os.makedirs takes it by position
    """Make the directory `name` and all that lead to it, as `os.makedirs` does.

    Raises OSError as `os.makedirs` does: FileExistsError when it is there and `exist_ok` is false. Cancelled once
    begun, it ends in the background.
    """
    await run(os.makedirs, check_path(name, "name"), mode, exist_ok)


async def rmdir(path: StrOrBytesPath, *, dir_fd: int | None = None) -> None:
    """Remove the empty directory `path`, as `os.rmdir` does.

    Raises OSError as `os.rmdir` does. Cancelled once begun, the directory may be removed.
    """
    await run(partial(os.rmdir, check_path(path), dir_fd=dir_fd))


async def removedirs(name: StrOrBytesPath) -> None:
    """Remove the empty directory `name` and then every parent that this leaves empty, as `os.removedirs` does.

    Raises OSError when `name` itself cannot be removed. Cancelled once begun, it ends in the background.
    """
    await run(os.removedirs, check_path(name, "name"))


@overload
async def listdir(path: str | os.PathLike[str] | int | None = ".") -> list[str]: ...
@overload
async def listdir(path: bytes | os.PathLike[bytes]) -> list[bytes]: ...
async def listdir(path: StrOrBytesPath | int | None = ".") -> list[str] | list[bytes]:
    """Return the names in the directory `path` (or the open descriptor of one) in no order, as `os.listdir` does.

    bytes names for a bytes path, also those that are no UTF-8. For directories of millions of names use `scandir`.

    Raises OSError as `os.listdir` does. Cancelled, nothing has happened.
    """
    where = "." if path is None else check_path_or_fd(path)
    return await run(_listdir, where)


def _listdir(path: str | bytes | int) -> list[str] | list[bytes]:
    return os.listdir(path)
