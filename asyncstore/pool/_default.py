"""The process-wide pool, and what fork and exit do to all pools."""

from __future__ import annotations

import atexit
import os
import threading

from asyncstore.pool._pool import Pool, PoolState, pools

_default: Pool | None = None
# Reentrant: a collection may begin while a pool is being made, and a finaliser that it runs may ask for the pool.
_lock = threading.RLock()


def default_pool() -> Pool:
    """Return the process-wide pool of all services; made when first asked for, and anew once it was closed."""
    global _default  # noqa: PLW0603  # one per process is what this module is for
    pool = _default
    if pool is None or pool.state is PoolState.CLOSED:
        with _lock:
            if _default is None or _default.state is PoolState.CLOSED:
                made = Pool()
                if _default is None or _default.state is PoolState.CLOSED:  # unless such a finaliser has made it
                    _default = made
            pool = _default
    return pool


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603  # the parent's lock may be held by a thread that is not here
    _lock = threading.RLock()
    for pool in list(pools):
        pool.forget_after_fork()


def _at_exit() -> None:
    for pool in list(pools):
        pool.stop_for_exit()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
