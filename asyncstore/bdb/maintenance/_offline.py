"""Work on a home that nobody has open: recovery, verification and the making of copies begin with it."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asyncstore.bdb import errors
from asyncstore.bdb._claim import claimed
from asyncstore.bdb._library import LIBDB_ERRORS, db
from asyncstore.bdb._registry import holders
from asyncstore.bdb._translate import recovery_failed, translated

__all__ = ("alone", "recover_home")

PARTS = db.DB_INIT_MPOOL | db.DB_INIT_TXN | db.DB_INIT_LOG | db.DB_INIT_LOCK | db.DB_CREATE | db.DB_PRIVATE
REGIONS = "__db."  # the files of the shared regions; a recovery makes them anew


@contextlib.contextmanager
def alone(home: str, doing: str) -> Iterator[None]:
    """Keep `home` for this thread; raises `AlreadyOpen`, `InUse`, `NoSuchFile`."""
    with claimed(home, doing):
        found = holders(home)
        if found:
            detail = f"process {', '.join(map(str, found))} has it open"
            raise errors.InUse(doing=doing, of=f"environment {home!r}", detail=detail)
        yield


def recover_home(
    home: str, *, catastrophic: bool, until: dt.datetime | None, password: str | None, log_dir: str | None
) -> None:
    """Bring the databases of `home` to where its log files end, or to a moment before. Keep it by `alone` meanwhile."""
    of = f"environment {home!r}"
    with translated("recover", of):
        handle: Any = db.DBEnv()
        try:
            if password is not None:
                handle.set_encrypt(password, db.DB_ENCRYPT_AES)
            if log_dir is not None:
                handle.set_lg_dir(log_dir)
            if until is not None:
                handle.set_tx_timestamp(int(until.timestamp()))
            handle.open(home, PARTS | (db.DB_RECOVER_FATAL if catastrophic else db.DB_RECOVER))
            handle.txn_checkpoint(0, 0, db.DB_FORCE)
        except db.DBRunRecoveryError as exc:
            raise recovery_failed(exc, doing="recover", of=of) from exc
        finally:
            with contextlib.suppress(*LIBDB_ERRORS):  # the first error is the one to tell
                handle.close()
    # What other processes would find in the shared regions is from before.
    for path in Path(home).glob(f"{REGIONS}*"):
        if path.name[len(REGIONS) :].isdigit() or path.name == "__db.register":
            path.unlink()
