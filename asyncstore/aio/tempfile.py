"""`tempfile` for asyncio: files and directories that are gone when their block ends, however it ends.

The classes and functions have the names and parameters of `tempfile` in Python 3.13, on every version. Each can be
awaited, or used with ``async with``; the files are those of `aio.open`.

Nothing is left behind by a cancel: what a worker has made for a caller who has gone is removed there, and the removal
at the end of a block runs to its end although its task is cancelled once more. An object that is dropped without being
closed warns ResourceWarning, and what it stands for is removed by then or when the interpreter exits.
"""

from __future__ import annotations

from asyncstore.aio._spooled import SpooledTemporaryFile
from asyncstore.aio._temporary import (
    NamedTemporaryFile,
    TemporaryDirectory,
    TemporaryFile,
    gettempdir,
    mkdtemp,
    mkstemp,
)

__all__ = (
    "NamedTemporaryFile",
    "SpooledTemporaryFile",
    "TemporaryDirectory",
    "TemporaryFile",
    "gettempdir",
    "mkdtemp",
    "mkstemp",
)
