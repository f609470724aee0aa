"""What is done to environments and database files as a whole while nobody has them open.

Long work runs on a worker and may be cancelled: it then stops at the next step and leaves no half result behind that
could be taken for a whole one.
"""

from __future__ import annotations

import datetime as dt
import os
from functools import partial

from asyncstore.bdb._settings import path_of
from asyncstore.bdb.maintenance._backup import BackupResult as BackupResult, copy_backup
from asyncstore.bdb.maintenance._files import database_files as database_files
from asyncstore.bdb.maintenance._load import Loaded as Loaded
from asyncstore.bdb.maintenance._offline import alone, recover_home
from asyncstore.bdb.maintenance._progress import Progress as Progress, ProgressCallback, Step, stepwise
from asyncstore.bdb.maintenance._verify import (
    Salvaged as Salvaged,
    Verdict as Verdict,
    salvage_file,
    upgrade_file,
    verify_file,
    verify_home,
)
from asyncstore.pool import Pool, default_pool

__all__ = (
    "BackupResult",
    "Loaded",
    "Progress",
    "Salvaged",
    "Verdict",
    "database_files",
    "recover",
    "restore",
    "salvage",
    "upgrade",
    "verify",
)


async def verify(
    path: str | os.PathLike[str],
    *,
    order: bool = True,
    password: str | None = None,
    log_dir: str | None = None,
    progress: ProgressCallback | None = None,
    pool: Pool | None = None,
) -> list[Verdict]:
    """Check every page of a database file, or of all database files of an environment's home; return what was found.

    Nobody may have them open: an environment is recovered first, so that its files are whole. `order` false leaves out
    the order of the keys, which cannot be judged where a comparison of the program's own made it. `password` and
    `log_dir` as in `bdb.open`. `progress` is called on the loop before each file. Damage is returned, not raised.

    Raises `InUse` and `AlreadyOpen` while the environment is open somewhere, `NoSuchFile`, `AccessDenied`.
    """
    given = path_of("the path", path)
    pool = pool or default_pool()

    def work(step: Step) -> list[Verdict]:
        if os.path.isdir(given):
            return verify_home(given, order=order, password=password, log_dir=log_dir, step=step)
        step(given, 0, 1)
        verdict = verify_file(given, order=order, password=password)
        step(given, 1, 1)
        return [verdict]

    return await stepwise(pool.run, work, unit="files", progress=progress)


async def salvage(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    aggressive: bool = False,
    printable: bool = False,
    password: str | None = None,
    pool: Pool | None = None,
) -> Salvaged:
    """Write what can be read of a damaged database file to `target`, as a dump; return how much that was.

    `aggressive` takes whatever looks like a record, deleted ones and nonsense too. `printable` as in `Database.dump`.
    `target` gets its file when all is written. Nobody may have the database open. Raises `NoSuchFile`, `DiskFull`.
    """
    pool = pool or default_pool()
    work = partial(
        salvage_file, path_of("the path", path), path_of("the target", target), aggressive=aggressive,
        printable=printable, password=password,
    )  # fmt: skip
    return await pool.run(work)


async def upgrade(path: str | os.PathLike[str], *, password: str | None = None, pool: Pool | None = None) -> None:
    """Bring a database file of an older libdb to this one's format, in place: make a copy before.

    Nobody may have it open. Raises `NoSuchFile`, `Corrupt`, `WrongVersion` for one that is too old or too new.
    """
    await (pool or default_pool()).run(partial(upgrade_file, path_of("the path", path), password=password))


async def recover(
    home: str | os.PathLike[str],
    *,
    catastrophic: bool = False,
    until: dt.datetime | None = None,
    password: str | None = None,
    log_dir: str | None = None,
    pool: Pool | None = None,
) -> None:
    """Recover the environment in `home`, which nobody may have open.

    Opening does this by itself when a process died. `catastrophic` replays all log files that are there, for databases
    that were copied from a backup or lost; `until` brings them to that moment instead of the log's end. Raises `InUse`,
    `AlreadyOpen`, `NoSuchFile`, `Corrupt` when a log file is damaged or missing. A cancel leaves it to end by itself.
    """
    where = path_of("the home directory", home)

    def work() -> None:
        with alone(where, "recover"):
            recover_home(
                where, catastrophic=catastrophic or until is not None, until=until, password=password, log_dir=log_dir
            )

    await (pool or default_pool()).run(work)


async def restore(
    backup: str | os.PathLike[str],
    home: str | os.PathLike[str],
    *,
    until: dt.datetime | None = None,
    password: str | None = None,
    log_dir: str | None = None,
    progress: ProgressCallback | None = None,
    pool: Pool | None = None,
) -> BackupResult:
    """Make the environment `home` out of a backup that `Environment.backup` made: copy it and recover the copy.

    `home` is missing or empty. `until`: the moment to which it is brought, at or after the backup's end; default: as
    late as its log goes. Raises `FileExists`, `InvalidArgument` for what is no backup, `DiskFull`, `Corrupt`.
    A cancel or an error in the middle leaves a `home` that must be emptied.
    """
    source, where = path_of("the backup", backup), path_of("the home directory", home)

    def work(step: Step) -> BackupResult:
        result = copy_backup(source, where, log_dir, step)
        with alone(where, "restore"):
            recover_home(where, catastrophic=True, until=until, password=password, log_dir=log_dir)
        return result

    return await stepwise((pool or default_pool()).run, work, unit="bytes", progress=progress)
