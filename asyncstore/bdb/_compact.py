"""Compaction in steps: each is a short piece of libdb's work, so that progress is told and a cancel is heard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from asyncstore.bdb import errors
from asyncstore.bdb._library import db
from asyncstore.bdb._translate import NOT_GRANTED, translated

if TYPE_CHECKING:
    from asyncstore.bdb._database import Database

__all__ = ("CompactProgress", "compact")

STEP_PAGES = 64  # pages freed in one step: a few milliseconds of locks


@dataclass(frozen=True, slots=True)
class CompactProgress:
    """What compaction has done so far, in pages."""

    steps: int = 0
    examined: int = 0
    freed: int = 0
    returned: int = 0  # to the file system
    deadlocks: int = 0


async def compact(
    database: Database[Any],
    start: Any,
    stop: Any,
    fill_percent: int,
    *,
    free: bool,
    progress: Callable[[CompactProgress], object] | None,
) -> CompactProgress:
    """Compact a database; see `Database.compact`."""
    if database.type not in ("btree", "recno", "hash"):
        raise errors.Misuse(doing="compact", of=database.title, detail=f"a {database.type} cannot be compacted")
    if isinstance(fill_percent, bool) or not isinstance(fill_percent, int) or not 0 <= fill_percent <= 100:
        raise ValueError(f"fill_percent is an int of 0 to 100, not {fill_percent!r}")
    for key in (start, stop):
        if key is not None:
            database.check_key(key)
    done = CompactProgress()
    place = start
    while True:
        flags = db.DB_FREE_SPACE if free else 0
        found = await database.environment.run_patiently("compact", _step, database, place, stop, flags, fill_percent)
        done = replace(
            done,
            steps=done.steps + 1,
            examined=done.examined + found["pages_examine"],
            freed=done.freed + found["pages_free"],
            returned=done.returned + found["pages_truncated"],
            deadlocks=done.deadlocks + found["deadlock"],
        )
        if progress is not None:
            progress(done)
        before, place = place, _resume(database, found.get("end"))
        if place is None or place == before or found["pages_examine"] == 0:
            return done


def _resume(database: Database[Any], end: Any) -> Any:
    """Return where the next step begins; None: all is done. Only a btree says so by a key."""
    if not end:
        return None
    if database.type == "btree":
        return end
    if database.type == "recno":
        return end if isinstance(end, int) else int.from_bytes(end, "little") or None
    return None


@contextmanager
def _as_timeout() -> Iterator[None]:
    """Call by its name what libdb reports of a compaction that met a lock: there was no deadlock."""
    try:
        yield
    except errors.Deadlock as exc:
        raise errors.LockTimeout(doing=exc.doing, of=exc.of, code=NOT_GRANTED, detail=exc.detail) from exc


def _step(database: Database[Any], start: Any, stop: Any, flags: int, fill_percent: int) -> dict[str, Any]:
    handle = database.handle
    options: dict[str, Any] = {"flags": flags}
    if start is not None:
        options["start"] = start
    if stop is not None:
        options["stop"] = stop
    if fill_percent:
        options["compact_fillpercent"] = fill_percent
    if handle.get_type() != db.DB_HASH:  # a hash is told no place to go on from: it is done in one step
        options["compact_pages"] = STEP_PAGES
    # Left to itself libdb waits for locks without end. In a transaction of ours that waits for none, it says so.
    with _as_timeout(), translated("compact", database.title):
        txn = database.environment.handle.txn_begin(None, db.DB_TXN_NOWAIT)
        try:
            found: dict[str, Any] = handle.compact(txn=txn, **options)
        except BaseException:
            txn.abort()
            raise
        txn.commit(db.DB_TXN_NOSYNC)  # what is lost of it was not asked for: a crash leaves the pages as they were
    return found
