"""Berkeley DB for asyncio: a transactional key-value store, with group commit and batched reads.

Needs the ``bdb`` extra (the berkeleydb package on libdb 5.3); importing this package without it raises ImportError.
"""

from __future__ import annotations

from asyncstore.bdb import errors as errors
from asyncstore.bdb._atomic import View as View
from asyncstore.bdb._compact import CompactProgress as CompactProgress
from asyncstore.bdb._cursor import Cursor as Cursor
from asyncstore.bdb._database import Database as Database
from asyncstore.bdb._environment import (
    Environment as Environment,
    open as open,  # noqa: A004 - `bdb.open` is the public name that users expect
)
from asyncstore.bdb._index import Index as Index, IndexCursor as IndexCursor
from asyncstore.bdb._member import Member as Member
from asyncstore.bdb._numbered import Heap as Heap, Queue as Queue, RecordDatabase as RecordDatabase
from asyncstore.bdb._prepared import Prepared as Prepared
from asyncstore.bdb._range import Range as Range
from asyncstore.bdb._rep_events import Event as Event, RepEvent as RepEvent
from asyncstore.bdb._rep_settings import Replication as Replication
from asyncstore.bdb._replication import Role as Role, Site as Site, Status as Status
from asyncstore.bdb._sequence import Sequence as Sequence, SequenceState as SequenceState
from asyncstore.bdb._stat import (
    CacheStat as CacheStat,
    DatabaseStat as DatabaseStat,
    EnvironmentStat as EnvironmentStat,
    LockStat as LockStat,
    LogStat as LogStat,
    Statistics as Statistics,
    TransactionStat as TransactionStat,
)
from asyncstore.bdb._transaction import Transaction as Transaction
from asyncstore.bdb.maintenance import (
    BackupResult as BackupResult,
    Loaded as Loaded,
    Progress as Progress,
    Salvaged as Salvaged,
    Verdict as Verdict,
    recover as recover,
    restore as restore,
    salvage as salvage,
    upgrade as upgrade,
    verify as verify,
)
from asyncstore.pool import priority as priority

__all__ = (
    "BackupResult", "CacheStat", "CompactProgress", "Cursor", "Database", "DatabaseStat", "Environment",
    "EnvironmentStat", "Event", "Heap", "Index", "IndexCursor", "Loaded", "LockStat", "LogStat", "Member", "Prepared",
    "Progress", "Queue", "Range", "RecordDatabase", "RepEvent", "Replication", "Role", "Salvaged", "Sequence",
    "SequenceState", "Site", "Statistics", "Status", "Transaction", "TransactionStat", "Verdict", "View", "errors",
    "open", "priority", "recover", "restore", "salvage", "upgrade", "verify",
)  # fmt: skip
