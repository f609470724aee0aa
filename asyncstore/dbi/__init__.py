"""SQL, through one door: statements of many tasks in batches, transactions that belong to a task, typed errors."""

from __future__ import annotations

from asyncstore.dbi import errors as errors
from asyncstore.dbi._connection import Connection as Connection, connect as connect
from asyncstore.dbi._iteration import Rows as Rows
from asyncstore.dbi._listen import Listener as Listener, Notification as Notification
from asyncstore.dbi._pool import Pool as Pool, PoolStatistics as PoolStatistics
from asyncstore.dbi._rows import Result as Result, Row as Row
from asyncstore.dbi._transaction import Transaction as Transaction

__all__ = (
    "Connection",
    "Listener",
    "Notification",
    "Pool",
    "PoolStatistics",
    "Result",
    "Row",
    "Rows",
    "Transaction",
    "connect",
    "errors",
)
