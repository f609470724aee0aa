"""Hot backups: copies of an environment that is being written to, and homes made from them again.

A backup is a directory with the database files, each copied while it changed, and the log files, copied after them:
catastrophic recovery then brings the files to where the log ends. So what was committed before `backup` began to copy
the log is in it. It is made under another name and renamed when it is whole.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncstore.bdb import errors
from asyncstore.bdb._library import db
from asyncstore.bdb._translate import translated
from asyncstore.bdb.maintenance._files import (
    EXTENT,
    copy_file,
    is_database,
    is_log,
    log_files,
    open_failures,
    sync_directory,
)
from asyncstore.bdb.maintenance._progress import Step

__all__ = ("BackupResult", "back_up", "copy_backup", "update_backup")

PARTIAL = ".partial"  # added to the name of a backup until it is whole


@dataclass(frozen=True, slots=True)
class BackupResult:
    """What a backup has copied: how many database and log `files`, and `bytes`."""

    databases: int
    logs: int
    bytes: int


class _Count:
    """Bytes copied so far, told to a step."""

    def __init__(self, total: int, step: Step) -> None:
        self.done, self.total, self.name = 0, total, ""
        self._step = step

    def begin(self, name: str) -> None:
        self.name = name
        self._step(name, self.done, self.total)

    def copied(self, size: int) -> None:
        self.done += size
        self._step(self.name, self.done, max(self.total, self.done))


# Any: the handle is the binding's.
def back_up(handle: Any, home: str, target: str, step: Step) -> BackupResult:
    """Copy the environment of `handle` to the directory `target`, which is missing or empty."""
    partial = Path(target + PARTIAL)
    with open_failures("back up", repr(target)):
        if os.path.lexists(target) and (not os.path.isdir(target) or os.listdir(target)):
            detail = "a backup is made into a directory that is missing or empty; see update"
            raise errors.FileExists(doing="back up", of=repr(target), detail=detail)
        shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
        partial.mkdir(parents=True)
        try:
            with _logs_kept(handle, home):
                with translated("back up", f"environment {home!r}"):
                    handle.txn_checkpoint(0, 0, db.DB_FORCE)  # a moment before the first one cannot be restored
                result = _copy_all(handle, home, partial, step)
            sync_directory(partial)
            os.replace(partial, target)
            sync_directory(Path(target).parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return result


@contextlib.contextmanager
def _logs_kept(handle: Any, home: str) -> Iterator[None]:
    """Have no checkpoint remove log files meanwhile."""
    of = f"environment {home!r}"
    with translated("back up", of):
        removing = handle.log_get_config(db.DB_LOG_AUTO_REMOVE)
        handle.log_set_config(db.DB_LOG_AUTO_REMOVE, 0)
    try:
        yield
    finally:
        with translated("back up", of):
            handle.log_set_config(db.DB_LOG_AUTO_REMOVE, 1 if removing else 0)


def _copy_all(handle: Any, home: str, partial: Path, step: Step) -> BackupResult:
    databases = _database_files(handle, home)
    logs = _log_paths(handle, home)
    count = _Count(sum(map(_size, (*(Path(home, name) for name in databases), *logs))), step)
    for name in databases:
        count.begin(name)
        with translated("back up", f"file {name!r} in {home!r}"):
            handle.dbbackup(name, str(partial), db.DB_EXCL)
        _sync(partial / name)
        count.copied(_size(partial / name))
    with translated("back up", f"environment {home!r}"):
        handle.log_flush()
    logs = _log_paths(handle, home)
    for path in logs:
        count.begin(path.name)
        copy_file(path, partial / path.name, count.copied)
    return BackupResult(len(databases), len(logs), count.done)


def _database_files(handle: Any, home: str) -> list[str]:
    """Return the names of the database files: what the log names, and what lies there from before it."""
    with translated("back up", f"environment {home!r}"):
        named = {os.fsdecode(name) for name in handle.log_archive(db.DB_ARCH_DATA)}
    lying = {path.name for path in Path(home).iterdir() if path.is_file() and is_database(path)}
    # A queue's extents go with its file. What the log names may have been removed since.
    return sorted(name for name in named | lying if not name.startswith(EXTENT) and Path(home, name).exists())


def _log_paths(handle: Any, home: str) -> list[Path]:
    with translated("back up", f"environment {home!r}"):
        return [Path(os.fsdecode(name)) for name in handle.log_archive(db.DB_ARCH_LOG | db.DB_ARCH_ABS)]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def update_backup(handle: Any, home: str, target: str, step: Step) -> BackupResult:
    """Bring a backup up to date by copying the log files that were written to since."""
    with open_failures("back up", repr(target)), _logs_kept(handle, home):
        have = log_files(target)
        if not have:
            detail = "there is no backup in it that could be brought up to date"
            raise errors.InvalidArgument(doing="back up", of=repr(target), detail=detail)
        with translated("back up", f"environment {home!r}"):
            handle.log_flush()
        logs = [path for path in _log_paths(handle, home) if path.name >= have[-1]]
        if not logs or logs[0].name != have[-1]:
            detail = f"log files behind {have[-1]} were removed meanwhile: make a new backup, and open with keep_logs"
            raise errors.InvalidArgument(doing="back up", of=repr(target), detail=detail)
        count = _Count(sum(map(_size, logs)), step)
        for path in logs:
            count.begin(path.name)
            new = Path(target, path.name + PARTIAL)
            new.unlink(missing_ok=True)
            try:
                copy_file(path, new, count.copied)
                os.replace(new, Path(target, path.name))
            finally:
                new.unlink(missing_ok=True)
        sync_directory(Path(target))
        return BackupResult(0, len(logs), count.done)


def copy_backup(backup: str, home: str, log_dir: str | None, step: Step) -> BackupResult:
    """Copy the files of a backup to the directory `home`, which is missing or empty, for recovery."""
    with open_failures("restore", repr(backup)):
        files = sorted(path for path in Path(backup).iterdir() if path.is_file())
        logs = [path for path in files if is_log(path.name)]
        if not logs:
            raise errors.InvalidArgument(doing="restore", of=repr(backup), detail="there is no backup in it")
        if os.path.lexists(home) and (not os.path.isdir(home) or os.listdir(home)):
            detail = "an environment is restored into a directory that is missing or empty"
            raise errors.FileExists(doing="restore", of=repr(home), detail=detail)
        where = Path(home) if log_dir is None else Path(home, log_dir)
        where.mkdir(parents=True, exist_ok=True)
        count = _Count(sum(map(_size, files)), step)
        for path in files:
            count.begin(path.name)
            copy_file(path, (where if is_log(path.name) else Path(home)) / path.name, count.copied)
        sync_directory(where)
        sync_directory(Path(home))
        return BackupResult(len(files) - len(logs), len(logs), count.done)
