"""Worker threads, serial lanes, and batches both ways: how blocking calls are made from an event loop."""

from __future__ import annotations

from asyncstore.pool._default import default_pool as default_pool
from asyncstore.pool._gather import Gatherer as Gatherer, heeded as heeded
from asyncstore.pool._job import Recipient as Recipient
from asyncstore.pool._lane import Lane as Lane
from asyncstore.pool._pool import Pool as Pool, PoolState as PoolState
from asyncstore.pool._priority import (
    HIGHEST as HIGHEST,
    LOWEST as LOWEST,
    current_priority as current_priority,
    priority as priority,
)
from asyncstore.pool._request import Request as Request
from asyncstore.pool._stats import Histogram as Histogram, JobRecord as JobRecord, PoolStats as PoolStats
from asyncstore.pool._usage import Usage as Usage
from asyncstore.pool.errors import (
    LaneClosed as LaneClosed,
    PoolClosed as PoolClosed,
    PoolFull as PoolFull,
    WorkerStartError as WorkerStartError,
)

__all__ = (
    "Gatherer",
    "HIGHEST",
    "Histogram",
    "JobRecord",
    "LOWEST",
    "Lane",
    "LaneClosed",
    "Pool",
    "PoolClosed",
    "PoolFull",
    "PoolState",
    "PoolStats",
    "Recipient",
    "Request",
    "Usage",
    "WorkerStartError",
    "current_priority",
    "default_pool",
    "heeded",
    "priority",
)
