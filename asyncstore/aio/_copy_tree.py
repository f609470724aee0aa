"""Copying and moving whole trees.

A new tree is built under a temporary name beside its destination and renamed when it is complete: a copy that fails, or
whose caller is cancelled, leaves nothing; a move across file systems removes the source only once the copy stands.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Generator, Iterable
from typing import overload

from asyncstore.aio._arguments import StrOrBytesPath, check_path
from asyncstore.aio._copy import Preserve, check_preserve, copy_file, copy_link, inside
from asyncstore.aio._durable import fsync_path
from asyncstore.aio._remove import remove_tree
from asyncstore.aio._replacement import temporary_name
from asyncstore.aio._slices import run_slices

__all__ = ("copytree", "move")

_SLICE = 0.016  # seconds: no results travel, only the chance to be cancelled

Ignore = Callable[[str, list[str]], Iterable[str]]


async def copytree(
    src: StrOrBytesPath,
    dst: StrOrBytesPath,
    *,
    symlinks: bool = False,
    ignore: Ignore | None = None,
    dirs_exist_ok: bool = False,
    preserve: Preserve = "all",
) -> str:
    """Copy the directory `src` with everything in it to `dst`, which is made with its parents; return `dst`.

    `symlinks`: copy links as links instead of what they lead to. ``ignore(directory, names)`` returns the names to
    leave out, as `shutil.ignore_patterns` makes one; it runs on a worker thread. `dirs_exist_ok`: copy into a directory
    that is there. `preserve` as in `copy`, for files and directories.

    Raises OSError at the first thing that cannot be copied; FileExistsError when `dst` is there already. A new `dst`
    appears whole; cancelled or failed, it is not there. Into one that was there, what has been copied stays; each file
    in it is old or new.
    """
    check_preserve(preserve)
    source = os.fsdecode(check_path(src, "src"))
    target = os.fsdecode(check_path(dst, "dst"))
    plan = _Plan(links=symlinks, ignore=ignore, preserve=preserve)
    return await run_slices(_copytree(source, target, plan, dirs_exist_ok=dirs_exist_ok), seconds=_SLICE)


@overload
async def move(src: StrOrBytesPath, dst: str | os.PathLike[str], *, durable: bool = False) -> str: ...
@overload
async def move(src: StrOrBytesPath, dst: bytes | os.PathLike[bytes], *, durable: bool = False) -> bytes: ...
async def move(src: StrOrBytesPath, dst: StrOrBytesPath, *, durable: bool = False) -> str | bytes:
    """Move the file, link or directory `src` to `dst`, or into the directory `dst`; return where it is now.

    On one file system it is a rename. Across file systems it is copied with all its attributes, put in place in one
    step, and only then removed from `src`. `durable`: return once the new name is on the disk.

    Raises OSError; EINVAL for a directory moved into itself and for devices, FIFOs and sockets across file systems.
    Cancelled before it is in place, `src` is complete and `dst` as it was; after that the move ends in the background.
    """
    return await run_slices(_move(check_path(src, "src"), check_path(dst, "dst"), durable=durable), seconds=_SLICE)


def _move(src: str | bytes, dst: str | bytes, *, durable: bool) -> Generator[None, None, str | bytes]:
    dst = inside(src, dst)
    try:
        os.rename(src, dst)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        yield from _move_across(src, dst, durable=durable)
    if durable:
        for directory in {os.path.dirname(path) or os.curdir for path in (dst, src)}:
            fsync_path(directory)
    return dst


def _move_across(src: str | bytes, dst: str | bytes, *, durable: bool) -> Generator[None, None, None]:
    mode = os.lstat(src).st_mode
    if stat.S_ISDIR(mode):
        source, target = os.fsdecode(src), os.fsdecode(dst)
        if os.path.join(os.path.realpath(target), "").startswith(os.path.join(os.path.realpath(source), "")):
            raise OSError(errno.EINVAL, "a directory cannot be moved into itself", src, None, dst)
        yield from _build(source, target, _Plan(links=True, ignore=None, preserve="all", durable=durable))
        for _ in remove_tree(src):  # no yield: from here on nobody can cancel it
            pass
    elif stat.S_ISREG(mode):
        yield from copy_file(src, dst, "all", durable=durable, inherit=False)
        os.unlink(src)
    elif stat.S_ISLNK(mode):
        copy_link(src, dst, "all")
        os.unlink(src)
    else:
        raise OSError(errno.EINVAL, "only files, links and directories move to another file system", src)


class _Plan:
    """How a tree is copied."""

    __slots__ = ("durable", "ignore", "links", "preserve")

    def __init__(self, *, links: bool, ignore: Ignore | None, preserve: Preserve, durable: bool = False) -> None:
        self.links = links
        self.ignore = ignore
        self.preserve = preserve
        self.durable = durable


def _copytree(src: str, dst: str, plan: _Plan, *, dirs_exist_ok: bool) -> Generator[None, None, str]:
    if not os.path.lexists(dst):
        os.makedirs(os.path.dirname(dst.rstrip(os.sep)) or os.curdir, exist_ok=True)
        yield from _build(src, dst, plan)
    elif dirs_exist_ok:
        yield from _fill(src, dst, plan)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), dst)
    return dst


def _build(src: str, dst: str, plan: _Plan) -> Generator[None, None, None]:
    """Copy the tree under a temporary name beside `dst` and rename it; on failure and on close nothing of it stays."""
    temporary = os.path.join(os.path.dirname(dst.rstrip(os.sep)), temporary_name())
    try:
        yield from _fill(src, temporary, plan)
        os.rename(temporary, dst)
    except BaseException:
        if os.path.lexists(temporary):
            for _ in remove_tree(temporary):
                pass
        raise


def _fill(src: str, dst: str, plan: _Plan) -> Generator[None, None, None]:
    """Copy what is in `src` into `dst`; directories get their attributes last, when nothing changes them any more."""
    waiting: list[tuple[str, str, tuple[os.stat_result, ...]]] = [(src, dst, ())]
    made: list[tuple[str, str]] = []
    while waiting:
        source, target, above = waiting.pop()
        here = os.stat(source)
        if any(os.path.samestat(here, each) for each in above):
            raise OSError(errno.ELOOP, "a symbolic link leads back into the tree that is being copied", source)
        with os.scandir(source) as listing:
            entries = list(listing)
        _make_directory(target, plan)
        made.append((source, target))
        ignored = set(plan.ignore(source, [entry.name for entry in entries])) if plan.ignore else set()
        for entry in entries:
            there = os.path.join(target, entry.name)
            if entry.name in ignored:
                continue
            if plan.links and entry.is_symlink():
                copy_link(entry.path, there, plan.preserve)
            elif not entry.is_dir():
                yield from copy_file(entry.path, there, plan.preserve, durable=plan.durable)
            elif not os.path.samestat(os.stat(made[0][1]), entry.stat()):  # a tree copied into itself: not its own copy
                waiting.append((entry.path, there, (*above, here)))
            yield
    for source, target in reversed(made):
        _keep_attributes(source, target, plan)
        yield


def _make_directory(path: str, plan: _Plan) -> None:
    """Make the directory, closed to others until it has its final mode."""
    try:
        os.mkdir(path, 0o777 if plan.preserve == "nothing" else 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def _keep_attributes(source: str, target: str, plan: _Plan) -> None:
    if plan.preserve == "mode":
        shutil.copymode(source, target)
    elif plan.preserve == "all":
        status = os.stat(source)
        try:
            os.chown(target, status.st_uid, status.st_gid)
        except PermissionError:
            pass  # only root gives directories away; the copy then belongs to whoever made it, as with cp -p
        shutil.copystat(source, target)
    if plan.durable:
        fsync_path(target)
