"""The functions of `os.path` that ask the file system, as coroutines, with the arguments of the originals."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from os import path
from typing import Any

from asyncstore import aio
from asyncstore.compat.aiofiles.base import Loop, wrap

__all__ = [
    "abspath", "getatime", "getctime", "getmtime", "getsize", "exists", "isdir", "isfile", "islink", "ismount",
    "samefile", "sameopenfile",
]  # fmt: skip


def _cached(function: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    """Return `wrap(function)` that without an executor leaves the work to `ours`, which looks into the caches first."""
    on_thread = wrap(function)

    @wraps(function)
    async def run(*args: Any, loop: Loop | None = None, executor: Any = None, **kwargs: Any) -> Any:
        if executor is None:
            return await ours(*args, **kwargs)
        return await on_thread(*args, loop=loop, executor=executor, **kwargs)

    return run


exists = _cached(path.exists, aio.path.exists)
isfile = _cached(path.isfile, aio.path.isfile)
isdir = _cached(path.isdir, aio.path.isdir)
islink = _cached(path.islink, aio.path.islink)
getmtime = _cached(path.getmtime, aio.path.getmtime)
getatime = _cached(path.getatime, aio.path.getatime)
getctime = _cached(path.getctime, aio.path.getctime)
getsize = _cached(path.getsize, aio.path.getsize)
ismount = wrap(path.ismount)
samefile = wrap(path.samefile)
sameopenfile = wrap(path.sameopenfile)
abspath = wrap(path.abspath)
