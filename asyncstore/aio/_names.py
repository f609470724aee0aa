"""Names in directories: links, renames, removals."""

from __future__ import annotations

import os
from functools import partial
from typing import Any, overload

from asyncstore.aio._arguments import StrOrBytesPath, check_path
from asyncstore.aio._priority import run
from asyncstore.aio._renameat2 import RenameFlag, renameat2

__all__ = (
    "link",
    "readlink",
    "realpath",
    "remove",
    "rename",
    "rename2",
    "renames",
    "replace",
    "symlink",
    "unlink",
)


async def link(
    src: StrOrBytesPath,
    dst: StrOrBytesPath,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    follow_symlinks: bool = True,
) -> None:
    """Make `dst` a hard link to `src`, as `os.link` does.

    Raises OSError as `os.link` does. Cancelled once begun, the link may be made.
    """
    job = partial(os.link, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
    await run(job, check_path(src, "src"), check_path(dst, "dst"))


async def symlink(
    src: StrOrBytesPath,
    dst: StrOrBytesPath,
    target_is_directory: bool = False,  # noqa: FBT001, FBT002  # os.symlink takes it by position
    *,
    dir_fd: int | None = None,
) -> None:
    """Make `dst` a symbolic link that says `src`, as `os.symlink` does; `target_is_directory` matters on Windows only.

    Raises OSError as `os.symlink` does. Cancelled once begun, the link may be made.
    """
    job = partial(os.symlink, target_is_directory=target_is_directory, dir_fd=dir_fd)
    await run(job, check_path(src, "src"), check_path(dst, "dst"))


@overload
async def readlink(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> str: ...
@overload
async def readlink(path: bytes | os.PathLike[bytes], *, dir_fd: int | None = None) -> bytes: ...
async def readlink(path: StrOrBytesPath, *, dir_fd: int | None = None) -> str | bytes:
    """Return what the symbolic link `path` says, str or bytes as `path` is, as `os.readlink` does.

    Raises OSError as `os.readlink` does (EINVAL: not a link). Cancelled, nothing has happened.
    """
    plain: Any = check_path(path)  # str or bytes; the stubs cannot say that what comes out is of the same kind
    return await run(_readlink, plain, dir_fd)


@overload
async def realpath(filename: str | os.PathLike[str], *, strict: bool = False) -> str: ...
@overload
async def realpath(filename: bytes | os.PathLike[bytes], *, strict: bool = False) -> bytes: ...
async def realpath(filename: StrOrBytesPath, *, strict: bool = False) -> str | bytes:
    """Return the path without any symbolic link in it, as `os.path.realpath` does.

    Raises OSError when `strict` and the path does not exist or runs in a loop. Cancelled, nothing has happened.
    """
    return await run(partial(os.path.realpath, check_path(filename, "filename"), strict=strict))


def _readlink(path: Any, dir_fd: int | None) -> str | bytes:  # Any: as in readlink
    found: str | bytes = os.readlink(path, dir_fd=dir_fd)
    return found


async def rename(
    src: StrOrBytesPath, dst: StrOrBytesPath, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> None:
    """Rename `src` to `dst`, as `os.rename` does: a file `dst` is replaced in one step.

    Raises OSError as `os.rename` does. Cancelled once begun, the renaming may take place.
    """
    job = partial(os.rename, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    await run(job, check_path(src, "src"), check_path(dst, "dst"))


async def replace(
    src: StrOrBytesPath, dst: StrOrBytesPath, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> None:
    """Rename `src` to `dst`, replacing `dst` in one step, as `os.replace` does.

    Raises OSError as `os.replace` does. Cancelled once begun, the renaming may take place.
    """
    job = partial(os.replace, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    await run(job, check_path(src, "src"), check_path(dst, "dst"))


async def rename2(
    src: StrOrBytesPath,
    dst: StrOrBytesPath,
    *,
    noreplace: bool = False,
    exchange: bool = False,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
) -> None:
    """Rename `src` to `dst` as renameat2(2) does.

    `noreplace`: FileExistsError instead of replacing `dst`, with no moment in between. `exchange`: the two names change
    places in one step; both must exist. Without either it is `rename`.

    Raises OSError as renameat2 does, with ENOSYS where the system has no such call and EINVAL where the file system
    cannot do it; ValueError when both are asked for. Cancelled once begun, the renaming may take place.
    """
    if noreplace and exchange:
        raise ValueError("noreplace and exchange exclude each other: one wants no dst, the other needs it")
    flags = (RenameFlag.NOREPLACE if noreplace else 0) | (RenameFlag.EXCHANGE if exchange else 0)
    await run(renameat2, check_path(src, "src"), check_path(dst, "dst"), flags, src_dir_fd, dst_dir_fd)


async def renames(old: StrOrBytesPath, new: StrOrBytesPath) -> None:
    """Rename `old` to `new`, making directories of `new` and removing those of `old` left empty, as `os.renames` does.

    Raises OSError as `os.renames` does. Cancelled once begun, it ends in the background.
    """
    await run(os.renames, check_path(old, "old"), check_path(new, "new"))


async def unlink(path: StrOrBytesPath, *, dir_fd: int | None = None) -> None:
    """Remove the file or link `path`, as `os.unlink` does.

    Raises OSError as `os.unlink` does. Cancelled once begun, the file may be removed.
    """
    await run(partial(os.unlink, check_path(path), dir_fd=dir_fd))


async def remove(path: StrOrBytesPath, *, dir_fd: int | None = None) -> None:
    """Remove the file or link `path`: another name of `unlink`, as in os."""
    await unlink(path, dir_fd=dir_fd)
