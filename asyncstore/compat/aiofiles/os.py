"""The functions of `os` that wait for a disk, as coroutines, with the arguments of the originals.

Each takes `loop` and `executor` too (see `base.call`). Without an executor `stat` is answered on the loop thread where
the kernel has the path in its caches.
"""

from __future__ import annotations

import os
from functools import wraps
from typing import Any

from asyncstore import aio
from asyncstore.compat.aiofiles import ospath as path
from asyncstore.compat.aiofiles.base import Loop, wrap

_CALLS = (
    "rename", "renames", "replace", "remove", "unlink", "mkdir", "makedirs", "rmdir", "removedirs", "symlink",
    "readlink", "listdir", "scandir", "access", "getcwd", "link", "sendfile", "statvfs",
)  # fmt: skip
__all__ = ["path", "stat", "wrap"]  # completed below
__all__ += [name for name in _CALLS if hasattr(os, name)]  # what this platform has

_on_thread = wrap(os.stat)


@wraps(os.stat)
async def stat(*args: Any, loop: Loop | None = None, executor: Any = None, **kwargs: Any) -> os.stat_result:
    """Return the status of a path, as `os.stat` does."""
    if executor is None:
        return await aio.stat(*args, **kwargs)
    found: os.stat_result = await _on_thread(*args, loop=loop, executor=executor, **kwargs)
    return found


for _name in __all__[3:]:
    globals()[_name] = wrap(getattr(os, _name))
del _name
