"""Berkeley DB: asyncstore beside the blocking API, threads around it, and SQLite and LMDB as what else one might take.

"blocking" calls berkeleydb on the loop: the floor of what a call costs, with everybody else stopped meanwhile.
"to_thread" is one `asyncio.to_thread` for each call, or for each step of a transaction whose steps are a coroutine's.
sqlite and lmdb, and their to_thread forms, are asked for the same records with the same promise of durability.
"""

from __future__ import annotations

from pathlib import Path

from bench.bdb_participants import (
    Asyncstore,
    Bench,
    Blocking,
    LmdbBlocking,
    LmdbToThread,
    SqliteBlocking,
    SqliteToThread,
    ToThread,
)
from bench.bdb_stores import fill_stores
from bench.harness import Case, Plan, Run

__all__ = ("CASES", "PACKAGES", "PARTICIPANTS", "prepare_data", "rate_aims")

CASES = [
    Case("durable put, 1 task", 1, "put", "durable_put", {"to_thread": 1}),
    Case("durable put, 16 tasks", 16, "put", "durable_put", {"to_thread": 1}),
    Case("durable put, 64 tasks", 64, "put", "durable_put", {"to_thread": 1}),
    Case("durable put, 256 tasks", 256, "put", "durable_put", {"blocking": 1, "to_thread": 1}),
    Case("put that may be lost, 1 task", 1, "put", "loose_put", {"to_thread": 1}),
    Case("put that may be lost, 64 tasks", 64, "put", "loose_put", {"to_thread": 1}),
    Case("cached get, 1 task", 1, "get", "get", {"to_thread": 1}),
    Case("cached get, 16 tasks", 16, "get", "get", {"to_thread": 1}),
    Case("cached get, 64 tasks", 64, "get", "get", {"to_thread": 8}),
    Case("cached get, 256 tasks", 256, "get", "get", {"to_thread": 1}),
    Case("get by an index, 1 task", 1, "get", "index_get", {"to_thread": 1}),
    Case("get by an index, 64 tasks", 64, "get", "index_get", {"to_thread": 1}),
    Case("get_many of 100", 1, "record", "get_many", {"to_thread": 1}),
    Case("scan of 100,000", 1, "record", "scan", {"blocking": 0.3, "to_thread": 1}),
    Case("scan of 100,000 in batches", 1, "record", "batches", {"blocking": 0.3, "to_thread": 1}),
    Case("put_many of 10,000", 1, "record", "put_many", {"to_thread": 1}),
    Case("read and write in a transaction, 1 task", 1, "transaction", "transaction", {"to_thread": 1}),
    Case("read and write in a transaction, 16 tasks", 16, "transaction", "transaction", {"to_thread": 1}),
    Case("2 reads, 2 writes in a transaction, 1 task", 1, "transaction", "transaction_of_4", {"to_thread": 1}),
    Case("2 reads, 2 writes in a transaction, 16 tasks", 16, "transaction", "transaction_of_4", {"to_thread": 1}),
    Case("update by a function, 1 task", 1, "update", "update", {"to_thread": 1}),
    Case("update by a function, 16 tasks", 16, "update", "update", {"to_thread": 1}),
    Case("open and close", 1, "time", "open_and_close", {"to_thread": 1}),
]
RATE_AIMS = {("durable put, 256 tasks", "blocking"): 6.0, ("scan of 100,000", "blocking"): 0.3}
PACKAGES = ["asyncstore", "berkeleydb", "lmdb", "uvloop"]


def prepare_data(data: Path) -> None:
    """Fill the stores that are read, each with the same 100,000 records of 12 and 100 bytes."""
    fill_stores(data)


def rate_aims(run: Run, plan: Plan, loop: str) -> list[str]:
    """Return a line for each aim that is about time: to be no slower than threads, and where to be how much faster."""
    lines = []
    for case in plan.cases:
        aims = {"to_thread": 1.0} | {peer: aim for (name, peer), aim in RATE_AIMS.items() if name == case.name}
        ours = run.median(plan.suite, case.name, "asyncstore", loop)
        for peer, aim in aims.items():
            theirs = run.median(plan.suite, case.name, peer, loop)
            if ours is not None and theirs is not None:
                ratio = ours[0] / theirs[0]
                verdict = "met" if ratio >= aim else "MISSED"
                lines.append(f"{case.name}: our rate / rate of {peer} = {ratio:.2f}, aim {aim:g}: {verdict}")
    return lines


PARTICIPANTS: dict[str, type[Bench]] = {
    "asyncstore": Asyncstore,
    "blocking": Blocking,
    "to_thread": ToThread,
    "sqlite": SqliteBlocking,
    "sqlite to_thread": SqliteToThread,
    "lmdb": LmdbBlocking,
    "lmdb to_thread": LmdbToThread,
}
