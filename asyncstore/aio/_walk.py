"""Walking a tree.

One hop per directory would make the hop the price of the walk; the whole tree in one job could be neither pruned nor
cancelled. So a worker walks ahead for up to 2 ms, in the order of `os.walk`, and brings home what it listed. The
caller's side keeps the stack of directories to visit and looks each up among the listings; a directory that the caller
has pruned is never looked up, one that was added or reordered is found all the same or starts the next job. Jobs are
independent: none holds anything open.

With `followlinks` a link that leads to a directory above itself would make the walk endless (until the kernel refuses
paths of 40 links): such a directory is reported to `onerror` with ELOOP and not entered.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Generator
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias, overload

from asyncstore.aio._arguments import StrOrBytesPath, check_path
from asyncstore.aio._budget import spend
from asyncstore.aio._priority import run
from asyncstore.aio._slices import COUNT, SECONDS, Slices

__all__ = ("walk", "walk_links_as_files")

_AHEAD = 1024  # directories of the caller's stack that a job is given: more than it gets through

Name: TypeAlias = Any  # str or bytes: one of them in one walk, which `walk` promises by its overloads
OnError: TypeAlias = Callable[[OSError], object]
Above: TypeAlias = tuple["Above | None", int, int]  # the directories above one: (those above it, st_dev, st_ino)


class _Rules(NamedTuple):
    """How a walk goes: enter links to directories; list them among the files (pathlib) or the directories (os)."""

    follow: bool
    links_are_files: bool


class _Visit(NamedTuple):
    """A directory to visit. `doubtful`: a name that the caller put in, maybe a link; `above` is kept when following."""

    path: Name
    doubtful: bool
    above: Above | None


class _Listing(NamedTuple):
    """What a directory holds, or why that cannot be said. `links`: those among the directories that are links."""

    directories: list[Name]
    files: list[Name]
    links: frozenset[Name]
    above: Above | None
    error: OSError | None


@overload
def walk(
    top: str | os.PathLike[str],
    topdown: bool = ...,  # noqa: FBT001  # os.walk takes it by position
    onerror: OnError | None = ...,
    followlinks: bool = ...,  # noqa: FBT001  # os.walk takes it by position
) -> AsyncIterator[tuple[str, list[str], list[str]]]: ...
@overload
def walk(
    top: bytes | os.PathLike[bytes],
    topdown: bool = ...,  # noqa: FBT001  # os.walk takes it by position
    onerror: OnError | None = ...,
    followlinks: bool = ...,  # noqa: FBT001  # os.walk takes it by position
) -> AsyncIterator[tuple[bytes, list[bytes], list[bytes]]]: ...
def walk(
    top: StrOrBytesPath,
    topdown: bool = True,  # noqa: FBT001, FBT002  # os.walk takes it by position
    onerror: OnError | None = None,
    followlinks: bool = False,  # noqa: FBT001, FBT002  # os.walk takes it by position
) -> AsyncIterator[tuple[Name, list[Name], list[Name]]]:
    """Yield (directory, names of directories, names of the rest) for `top` and all below it, as `os.walk` does.

    With `topdown` the list of directories may be changed in place to prune, order or extend the walk. `onerror` is
    called on the loop thread with the OSError of a directory that cannot be listed, and may raise to end the walk;
    without it such directories are passed over. Directories are listed up to 2 ms before they are yielded.
    `followlinks`: enter links to directories, except those that lead to a directory above themselves (`onerror` gets
    ELOOP).

    Cancelled, or left before its end, nothing stays open.
    """
    rules = _Rules(follow=followlinks, links_are_files=False)
    return (_top_down if topdown else _bottom_up)(check_path(top, "top"), onerror, rules)


def walk_links_as_files(
    top: str, *, topdown: bool, onerror: OnError | None, followlinks: bool
) -> AsyncIterator[tuple[Name, list[Name], list[Name]]]:
    """Walk as `pathlib.Path.walk` does: links to directories count as files unless they are followed."""
    rules = _Rules(follow=followlinks, links_are_files=not followlinks)
    return (_top_down if topdown else _bottom_up)(top, onerror, rules)


async def _top_down(
    top: Name, onerror: OnError | None, rules: _Rules
) -> AsyncIterator[tuple[Name, list[Name], list[Name]]]:
    stack = [_Visit(top, doubtful=False, above=None)]
    listings: dict[Name, _Listing | None] = {}
    while stack:
        visit = stack.pop()
        if visit.path not in listings:
            listings = await run(_list_ahead, [*stack[-_AHEAD:], visit], rules)
        elif spend():
            await asyncio.sleep(0)
        listing = listings.pop(visit.path)
        if listing is None:
            continue
        if listing.error is not None:
            if onerror is not None:
                onerror(listing.error)
            continue
        listed = frozenset(listing.directories)
        names = listing.directories
        yield visit.path, names, listing.files
        stack.extend(_below(visit.path, names, listed, listing, rules))


def _below(
    path: Name, names: list[Name], listed: frozenset[Name], listing: _Listing, rules: _Rules
) -> Generator[_Visit, None, None]:
    """Yield the visits that `names` ask for, the last one first: the stack is popped from its end."""
    join = os.path.join
    for name in reversed(names):
        if rules.follow or name not in listing.links:
            yield _Visit(join(path, name), name not in listed, listing.above)


def _list_ahead(stack: list[_Visit], rules: _Rules) -> dict[Name, _Listing | None]:
    """Walk on from the end of `stack` until enough entries are listed or time is up; at least one directory. Blocks."""
    listings: dict[Name, _Listing | None] = {}
    deadline = perf_counter() + SECONDS
    entries = 0
    while stack:
        visit = stack.pop()
        listing = listings[visit.path] = _list(visit, rules)
        if listing is not None:
            entries += 1 + len(listing.directories) + len(listing.files)
            stack.extend(_below(visit.path, listing.directories, frozenset(listing.directories), listing, rules))
        if entries >= COUNT or perf_counter() >= deadline:
            break
    return listings


def _list(visit: _Visit, rules: _Rules) -> _Listing | None:
    """List one directory; None when it is a link that is not followed. Blocks."""
    if visit.doubtful and not rules.follow and os.path.islink(visit.path):
        return None
    directories: list[Name] = []
    files: list[Name] = []
    links: list[Name] = []
    links_are_files = rules.links_are_files
    above = None
    try:
        if rules.follow:
            above = _descend(visit)
        with os.scandir(visit.path) as listing:
            for entry in listing:
                try:
                    directory = entry.is_dir(follow_symlinks=False) if links_are_files else entry.is_dir()
                except OSError:
                    directory = False  # as os.walk has it: what cannot be looked at is not entered
                if not directory:
                    files.append(entry.name)
                else:
                    directories.append(entry.name)
                    if not rules.follow and entry.is_symlink():
                        links.append(entry.name)
    except OSError as exc:
        return _Listing([], [], frozenset(), None, exc)
    return _Listing(directories, files, frozenset(links), above, None)


def _descend(visit: _Visit) -> Above:
    """Return the chain of directories down to this one; raises OSError (ELOOP) when it is among those above already."""
    status = os.stat(visit.path)
    above = visit.above
    while above is not None:
        if above[1:] == (status.st_dev, status.st_ino):
            raise OSError(errno.ELOOP, "a symbolic link leads back to a directory above it", visit.path)
        above = above[0]
    return visit.above, status.st_dev, status.st_ino


async def _bottom_up(
    top: Name, onerror: OnError | None, rules: _Rules
) -> AsyncIterator[tuple[Name, list[Name], list[Name]]]:
    slices = Slices(_climb(top, rules))
    try:
        while batch := await slices.next():
            for path, listing in batch:
                if listing.error is None:
                    if spend():
                        await asyncio.sleep(0)
                    yield path, listing.directories, listing.files
                elif onerror is not None:
                    onerror(listing.error)
    finally:
        await slices.aclose()


def _climb(top: Name, rules: _Rules) -> Generator[tuple[Name, _Listing], None, None]:
    """Yield every directory after those below it."""
    stack: list[_Visit | tuple[Name, _Listing]] = [_Visit(top, doubtful=False, above=None)]
    while stack:
        step = stack.pop()
        if not isinstance(step, _Visit):
            yield step
            continue
        listing = _list(step, rules)
        if listing is None:
            continue
        stack.append((step.path, listing))
        if listing.error is None:
            stack.extend(_below(step.path, listing.directories, frozenset(listing.directories), listing, rules))
