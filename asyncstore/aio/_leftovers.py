"""Clearing away what killed writers left: the temporary files of atomic writes, copies and moves."""

from __future__ import annotations

import os
import time
from collections.abc import Generator

from asyncstore.aio._arguments import StrOrBytesPath, check_path
from asyncstore.aio._remove import remove_tree
from asyncstore.aio._replacement import is_leftover
from asyncstore.aio._slices import run_slices

__all__ = ("remove_leftovers",)

AN_HOUR = 3600.0  # seconds: a writer that has not touched its file for so long is taken for dead


async def remove_leftovers(directory: StrOrBytesPath, *, older_than: float = AN_HOUR) -> list[str]:
    """Remove the temporary files that writers killed in mid-write left in `directory`; return their names.

    They are called ``.asyncstore-<16 hex digits>.tmp``, be it a file or (of a directory that was being copied) a
    directory. `older_than`: seconds since their last change; smaller values may hit a writer that is still at work,
    whose call then fails with FileNotFoundError.

    Raises OSError when the directory cannot be read or a file cannot be removed. Cancelled, some may be removed.
    """
    if older_than < 0:
        raise ValueError(f"older_than should not be negative, got {older_than}")
    return await run_slices(_remove(check_path(directory, "directory"), time.time() - older_than))


def _remove(directory: str | bytes, before: float) -> Generator[None, None, list[str]]:
    removed: list[str] = []
    with os.scandir(os.fsdecode(directory)) as entries:
        found = [entry for entry in entries if is_leftover(entry.name)]
    for entry in found:
        try:
            if entry.stat(follow_symlinks=False).st_mtime > before:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from (None for _ in remove_tree(entry.path))
            else:
                os.unlink(entry.path)
        except FileNotFoundError:
            continue  # its writer finished, or somebody else cleans up as well
        removed.append(entry.name)
        yield
    return removed
