"""Verification of database files page by page, and the saving of what can be read of a damaged one.

Both read the files themselves, past any cache, so nobody may be writing to them.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncstore.bdb import errors
from asyncstore.bdb._library import LIBDB_ERRORS, db
from asyncstore.bdb._translate import code_of, translate, translated
from asyncstore.bdb.maintenance._files import is_database, open_failures, sync_directory
from asyncstore.bdb.maintenance._format import Decoder, End, Record, encode_end
from asyncstore.bdb.maintenance._offline import alone, recover_home
from asyncstore.bdb.maintenance._progress import Step

__all__ = ("Salvaged", "Verdict", "salvage_file", "upgrade_file", "verify_file", "verify_home")

DAMAGED = frozenset({-30970, -30973})  # DB_VERIFY_BAD, DB_RUNRECOVERY: what libdb says of pages that are no pages


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification found of a file: `error` None means that it is sound."""

    path: str
    error: errors.Error | None

    @property
    def sound(self) -> bool:
        """Whether every page is as it should be."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What salvage saved: how many `records`; `sound` tells that nothing was damaged, so that they are all."""

    records: int
    sound: bool


def verify_home(home: str, *, order: bool, password: str | None, log_dir: str | None, step: Step) -> list[Verdict]:
    """Recover `home`, so that its files are whole, and verify each database file; `step` is told before each."""
    with alone(home, "verify"):
        recover_home(home, catastrophic=False, until=None, password=password, log_dir=log_dir)
        files = sorted(path for path in Path(home).iterdir() if path.is_file() and is_database(path))
        verdicts = []
        for place, path in enumerate(files):
            step(path.name, place, len(files))
            verdicts.append(verify_file(str(path), order=order, password=password))
        step("", len(files), len(files))
        return verdicts


def verify_file(path: str, *, order: bool, password: str | None) -> Verdict:
    """Verify one file, in which all changes are and nobody writes."""
    try:
        with open_failures("verify", repr(path)):
            os.close(os.open(path, os.O_RDONLY))
        with translated("verify", repr(path)):
            _handle(password).verify(path, None, None, 0 if order else db.DB_NOORDERCHK)
    except errors.Error as exc:
        # Anything that libdb says of the pages of a file that is there is damage.
        if isinstance(exc, (errors.NoSuchFile, errors.AccessDenied)):
            raise
        return Verdict(path, exc if isinstance(exc, errors.Corrupt) else _corrupt(exc, path))
    return Verdict(path, None)


def _corrupt(exc: errors.Error, path: str) -> errors.Corrupt:
    found = errors.Corrupt(doing="verify", of=repr(path), code=exc.code, detail=exc.detail)
    found.__cause__ = exc
    return found


def _handle(password: str | None) -> Any:
    handle = db.DB()
    if password is not None:
        handle.set_encrypt(password, db.DB_ENCRYPT_AES)
    return handle


def salvage_file(path: str, target: str, *, aggressive: bool, printable: bool, password: str | None) -> Salvaged:
    """Write what can be read of the databases in `path` to `target`, as a dump."""
    flags = db.DB_SALVAGE | (db.DB_AGGRESSIVE if aggressive else 0) | (db.DB_PRINTABLE if printable else 0)
    sound = verify_file(path, order=False, password=password).sound
    with open_failures("salvage", repr(path)):
        directory = os.path.dirname(os.path.abspath(target))
        # libdb says nothing when it cannot open the file that it is to write: it gets one that is there.
        fd, temporary = tempfile.mkstemp(dir=directory, prefix=".salvage-")
        os.close(fd)
        try:
            _salvage(path, temporary, flags, password)
            records = _make_whole(temporary)
            os.replace(temporary, target)
            sync_directory(Path(directory))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    return Salvaged(records, sound)


def _salvage(path: str, temporary: str, flags: int, password: str | None) -> None:
    # A page whose checksum is wrong makes libdb declare the environment unusable. In one that goes on after that
    # (DB_NOPANIC) the pages behind it are read too, and the error comes at the end.
    environment: Any = db.DBEnv()
    try:
        environment.set_flags(db.DB_NOPANIC, 1)
        if password is not None:
            environment.set_encrypt(password, db.DB_ENCRYPT_AES)
        environment.open(None, db.DB_INIT_MPOOL | db.DB_PRIVATE | db.DB_CREATE)
        handle = db.DB(environment)
        if password is not None:
            handle.set_flags(db.DB_ENCRYPT)
        handle.verify(path, None, temporary, flags)
    except LIBDB_ERRORS as exc:
        if code_of(exc) not in DAMAGED:
            raise translate(exc, doing="salvage", of=repr(path)) from exc
    finally:
        with contextlib.suppress(*LIBDB_ERRORS):
            environment.close()


def _make_whole(temporary: str) -> int:
    """Cut off what stands half written at the end of a dump, end it, and have it on the disk; return its records."""
    decoder, offset, whole, records, inside = Decoder(), 0, 0, 0, False
    with open(temporary, "r+b") as file:
        for line in file:
            try:
                events = list(decoder.feed(line))
            except errors.BadDump:
                break
            offset += len(line)
            for event in events:
                whole = offset
                inside = not isinstance(event, End)
                records += isinstance(event, Record)
        file.truncate(whole)
        file.seek(whole)
        file.write(encode_end() if inside else b"")
        file.flush()
        os.fsync(file.fileno())
    return records


def upgrade_file(path: str, *, password: str | None) -> None:
    """Bring a file that an older libdb wrote to this one's format, in place. Back it up before: it cannot be undone."""
    with open_failures("upgrade", repr(path)):
        os.close(os.open(path, os.O_RDWR))
    with translated("upgrade", repr(path)):
        _handle(password).upgrade(path)
