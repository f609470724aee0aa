"""What a path says about itself: stat, lstat, statvfs, access.

A `stat` whose path the kernel has in its caches is answered on the loop thread (`_cached`), in a twentieth of what a
hop to a thread takes. All else is one job of the pool.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from asyncstore.aio._arguments import StrOrBytesPath, check_fd, check_path, check_path_or_fd
from asyncstore.aio._budget import spend
from asyncstore.aio._cached import stat_cached
from asyncstore.aio._priority import run

__all__ = ("access", "lstat", "stat", "stat_many", "statvfs")

GROUP = (
    128  # paths a job of the *_many calls: the hop is then below 1 us a path, and the groups still spread over workers
)

_T = TypeVar("_T")


async def stat(
    path: StrOrBytesPath | int, *, dir_fd: int | None = None, follow_symlinks: bool = True
) -> os.stat_result:
    """Return the status of `path`, or of the open descriptor that it is, as `os.stat` does.

    Raises OSError as `os.stat` does. Cancelled, nothing has happened.
    """
    if dir_fd is None and not isinstance(path, int):
        path = check_path(path)
        found = stat_cached(path, follow_symlinks)
        if found is not None:
            if spend():
                await asyncio.sleep(0)
            return found
    else:
        path = check_path_or_fd(path)
    return await run(partial(os.stat, path, dir_fd=dir_fd, follow_symlinks=follow_symlinks))


async def lstat(path: StrOrBytesPath, *, dir_fd: int | None = None) -> os.stat_result:
    """Return the status of `path` itself, also when it is a symbolic link, as `os.lstat` does.

    Raises OSError as `os.lstat` does. Cancelled, nothing has happened.
    """
    return await stat(check_path(path), dir_fd=dir_fd, follow_symlinks=False)


async def statvfs(path: StrOrBytesPath | int) -> os.statvfs_result:
    """Return the status of the file system that holds `path` (or the open descriptor), as `os.statvfs` does.

    Raises OSError as `os.statvfs` does. Cancelled, nothing has happened.
    """
    return await run(os.statvfs, check_path_or_fd(path))


async def access(
    path: StrOrBytesPath,
    mode: int,
    *,
    dir_fd: int | None = None,
    effective_ids: bool = False,
    follow_symlinks: bool = True,
) -> bool:
    """Tell whether the process may access `path` in the way of `mode` (os.F_OK, os.R_OK ...), as `os.access` does.

    An answer of a moment ago: opening the file and handling the refusal is safer (access(2)).
    """
    job = partial(os.access, dir_fd=dir_fd, effective_ids=effective_ids, follow_symlinks=follow_symlinks)
    return await run(job, check_path(path), mode)


async def stat_many(
    paths: Iterable[StrOrBytesPath], *, dir_fd: int | None = None, follow_symlinks: bool = True
) -> list[os.stat_result | OSError]:
    """Return the status of every path, in order; in the place of a path that failed stands its OSError.

    The paths travel in jobs of up to 128, several at a time: about 5 us a path, none of it on the loop thread.

    Raises TypeError and ValueError for a bad path before anything has begun. Cancelled, the jobs not begun never run.
    """
    if dir_fd is not None:
        check_fd(dir_fd, "dir_fd")
    return await many(partial(os.stat, dir_fd=dir_fd, follow_symlinks=follow_symlinks), paths)


async def many(fn: Callable[[str | bytes], _T], paths: Iterable[StrOrBytesPath]) -> list[_T | OSError]:
    """Call `fn` for every path in jobs of up to 128 paths; return the results or OSErrors in order."""
    checked = [check_path(path) for path in paths]
    groups = [checked[start : start + GROUP] for start in range(0, len(checked), GROUP)]
    if len(groups) == 1:
        return await run(_group, fn, groups[0])
    answers = await asyncio.gather(*(run(_group, fn, group) for group in groups))
    return [answer for answered in answers for answer in answered]


def _group(fn: Callable[[str | bytes], _T], paths: list[str | bytes]) -> list[_T | OSError]:
    """Call `fn` for each path on the worker thread."""
    answers: list[_T | OSError] = []
    for path in paths:
        try:
            answers.append(fn(path))
        except OSError as exc:
            answers.append(exc)
    return answers
