"""Berkeley DB for asyncio: a transactional key-value store, with group commit and batched reads.

Needs the ``bdb`` extra (the berkeleydb package on libdb 5.3); importing this package without it raises ImportError.
"""

from __future__ import annotations

from asyncstore.bdb import errors as errors
from asyncstore.bdb._database import Database as Database
from asyncstore.bdb._environment import (
    Environment as Environment,
    Statistics as Statistics,
    open as open,  # noqa: A004 - `bdb.open` is the public name that users expect
)
from asyncstore.bdb._range import Range as Range

__all__ = ("Database", "Environment", "Range", "Statistics", "errors", "open")
