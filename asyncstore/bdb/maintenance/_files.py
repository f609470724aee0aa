"""Which files of a home are what, and how they are copied. Blocking calls, made on worker threads."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from asyncstore.bdb import errors

__all__ = (
    "EXTENT",
    "copy_file",
    "database_files",
    "is_database",
    "is_log",
    "log_files",
    "open_failures",
    "sync_directory",
)

EXTENT = "__dbq."  # a queue's extents, which go with its file
CHUNK = 1 << 20  # bytes copied at a time: between two a cancel is heard
MAGIC_AT = 12  # byte of the first page; db_page.h
MAGICS = frozenset({0x053162, 0x061561, 0x042253, 0x074582})  # btree and recno, hash, queue, heap; db.h

_LOG_NAME = "log."


def is_log(name: str) -> bool:
    """Tell whether this is the name of a log file."""
    return name.startswith(_LOG_NAME) and name[len(_LOG_NAME) :].isdigit()


def log_files(directory: str | os.PathLike[str]) -> list[str]:
    """Return the names of the log files in `directory`, in their order."""
    return sorted(name for name in os.listdir(directory) if is_log(name))


def is_database(path: Path) -> bool:
    """Tell whether this is a database's file, by its magic number; extents of queues have none."""
    try:
        with open(path, "rb") as file:
            head = file.read(MAGIC_AT + 4)
    except (OSError, ValueError):
        return False
    if len(head) < MAGIC_AT + 4:
        return False
    return any(struct.unpack_from(f"{order}I", head, MAGIC_AT)[0] in MAGICS for order in "<>")


def database_files(home: Path) -> list[str]:
    """Return the names of the database files in `home`."""
    return sorted(path.name for path in home.iterdir() if path.is_file() and is_database(path))


def copy_file(source: Path, target: Path, copied: Callable[[int], None]) -> None:
    """Copy a file that nobody shortens, and have it on the disk; `copied` is told of each piece, and may raise."""
    with open(source, "rb") as one, open(target, "xb") as other:
        while chunk := one.read(CHUNK):
            other.write(chunk)
            copied(len(chunk))
        other.flush()
        os.fsync(other.fileno())


def sync_directory(path: Path) -> None:
    """Have the names in a directory on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def open_failures(doing: str, of: str) -> Iterator[None]:
    """Raise our error for what the system raises inside the block."""
    try:
        yield
    except OSError as exc:
        if isinstance(exc, errors.Error):
            raise
        kind = errors.Error.by_code.get(exc.errno or 0, errors.IOFailure)
        raise kind(doing=doing, of=of, code=exc.errno or 0, detail=str(exc)) from exc
