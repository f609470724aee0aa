"""What libdb counts, as typed objects (db_stat)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asyncstore.bdb._layout import type_name
from asyncstore.bdb._library import db
from asyncstore.bdb._request import Operation, Request

__all__ = (
    "CacheStat", "DatabaseStat", "EnvironmentStat", "LockStat", "LogStat", "Statistics", "TransactionStat", "STAT",
    "environment_stat",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts of an `Environment` object since it was opened."""

    state: str
    databases: int  # open now
    transactions: int  # open now, nested ones and cursors without a transaction included
    reads: int  # gets, exists and batches of ranges handed to workers
    writes: int  # writes outside of transactions handed to workers
    commits: int  # transactions committed for them; writes / commits is what group commit gains
    pending: int  # operations that wait to be handed over
    checkpoints: int


@dataclass(frozen=True, slots=True)
class CacheStat:
    """libdb's page cache, of all processes; sizes in bytes, the rest in pages."""

    size: int
    hits: int  # cache_hit: pages found
    misses: int  # cache_miss
    created: int  # page_create
    read: int  # page_in: from the files
    written: int  # page_out
    clean: int  # page_clean: now
    dirty: int  # page_dirty: now
    trickled: int  # page_trickle
    frozen: int  # mvcc_frozen: old versions written out for snapshots


@dataclass(frozen=True, slots=True)
class LogStat:
    """The log, of all processes; sizes in bytes."""

    records: int
    written: int  # since the log was opened
    since_checkpoint: int
    writes: int
    flushes: int  # scount: to the disk
    file: int  # number of the current file
    offset: int  # in it
    buffer_size: int
    file_size: int


@dataclass(frozen=True, slots=True)
class LockStat:
    """The lock table, of all processes."""

    locks: int  # held now
    lockers: int
    objects: int
    most_locks: int  # at a time
    requests: int
    waits: int  # had to wait
    refusals: int  # not to wait, and not had
    deadlocks: int
    timeouts: int


@dataclass(frozen=True, slots=True)
class TransactionStat:
    """The transactions of all processes, nested ones included."""

    active: int
    most_active: int
    begun: int
    committed: int
    aborted: int
    snapshots: int  # active now
    last_checkpoint: tuple[int, int]  # its place in the log: file and offset
    last_checkpoint_time: int  # seconds since the epoch, 0: none


@dataclass(frozen=True, slots=True)
class EnvironmentStat:
    """What libdb counts of an environment, in all processes that have it open."""

    cache: CacheStat
    log: LogStat
    locks: LockStat
    transactions: TransactionStat
    files: dict[str, dict[str, int]]  # of the cache, by database file


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseStat:
    """What libdb counts of a database; what its access method does not have is None. Sizes in bytes."""

    type: str
    page_size: int
    keys: int | None = None  # different ones
    records: int | None = None
    pages: int | None = None
    free_pages: int | None = None
    free_bytes: int | None = None  # in pages in use
    levels: int | None = None  # btree, recno
    internal_pages: int | None = None
    leaf_pages: int | None = None
    duplicate_pages: int | None = None
    overflow_pages: int | None = None
    empty_pages: int | None = None
    buckets: int | None = None  # hash
    big_pages: int | None = None  # hash
    record_length: int | None = None  # recno, queue
    pad: int | None = None
    extent_pages: int | None = None  # queue
    first_number: int | None = None  # queue: of the next record to be consumed
    next_number: int | None = None  # queue: of the next record to be appended
    regions: int | None = None  # heap


def _database_stat(handle: Any, txn: Any, request: Request) -> DatabaseStat:
    found: dict[str, int] = handle.stat(db.DB_FAST_STAT if request.argument else 0, txn)
    kind = type_name(handle.get_type())
    size = found["pagesize"]
    if kind in ("btree", "recno"):
        free = sum(found[part] for part in ("int_pgfree", "leaf_pgfree", "dup_pgfree", "over_pgfree"))
        return DatabaseStat(
            type=kind, page_size=size, keys=found["nkeys"], records=found["ndata"], pages=found["pagecnt"],
            free_pages=found["free"], free_bytes=free, levels=found["levels"], internal_pages=found["int_pg"],
            leaf_pages=found["leaf_pg"], duplicate_pages=found["dup_pg"], overflow_pages=found["over_pg"],
            empty_pages=found["empty_pg"], record_length=found["re_len"] or None, pad=found["re_pad"],
        )  # fmt: skip
    if kind == "hash":
        free = sum(found[part] for part in ("bfree", "big_bfree", "ovfl_free", "dup_free"))
        return DatabaseStat(
            type=kind, page_size=size, keys=found["nkeys"], records=found["ndata"], pages=found["pagecnt"],
            free_pages=found["free"], free_bytes=free, buckets=found["buckets"], big_pages=found["bigpages"],
            duplicate_pages=found["dup"], overflow_pages=found["overflows"],
        )  # fmt: skip
    if kind == "queue":
        return DatabaseStat(
            type=kind, page_size=size, keys=found["nkeys"], records=found["ndata"], pages=found["pages"],
            free_bytes=found["pgfree"], record_length=found["re_len"], pad=found["re_pad"],
            extent_pages=found["extentsize"] or None, first_number=found["first_recno"],
            next_number=found["cur_recno"],
        )  # fmt: skip
    return DatabaseStat(
        type=kind, page_size=size, records=found["nrecs"], pages=found["pagecnt"], regions=found["nregions"]
    )


STAT = Operation("stat", _database_stat)


# Any: the handle is the binding's.
def environment_stat(handle: Any) -> EnvironmentStat:
    """Ask libdb for its counts. Blocks."""
    cache, files = handle.memp_stat()
    log, locks, txn = handle.log_stat(), handle.lock_stat(), handle.txn_stat()
    return EnvironmentStat(
        CacheStat(
            size=(cache["gbytes"] << 30) + cache["bytes"], hits=cache["cache_hit"], misses=cache["cache_miss"],
            created=cache["page_create"], read=cache["page_in"], written=cache["page_out"], clean=cache["page_clean"],
            dirty=cache["page_dirty"], trickled=cache["page_trickle"], frozen=cache["mvcc_frozen"],
        ),
        LogStat(
            records=log["record"], written=(log["w_mbytes"] << 20) + log["w_bytes"],
            since_checkpoint=(log["wc_mbytes"] << 20) + log["wc_bytes"], writes=log["wcount"], flushes=log["scount"],
            file=log["cur_file"], offset=log["cur_offset"], buffer_size=log["lg_bsize"], file_size=log["lg_size"],
        ),
        LockStat(
            locks=locks["nlocks"], lockers=locks["nlockers"], objects=locks["nobjects"], most_locks=locks["maxnlocks"],
            requests=locks["nrequests"], waits=locks["lock_wait"], refusals=locks["lock_nowait"],
            deadlocks=locks["ndeadlocks"], timeouts=locks["nlocktimeouts"] + locks["ntxntimeouts"],
        ),
        TransactionStat(
            active=txn["nactive"], most_active=txn["maxnactive"], begun=txn["nbegins"], committed=txn["ncommits"],
            aborted=txn["naborts"], snapshots=txn["nsnapshot"], last_checkpoint=tuple(txn["last_ckp"]),
            last_checkpoint_time=txn["time_ckp"] if txn["last_ckp"] != (0, 0) else 0,
        ),
        files,
    )  # fmt: skip
