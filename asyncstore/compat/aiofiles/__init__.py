"""The API of aiofiles 25.1 on the engines of `asyncstore.aio`.

Names, signatures, exceptions and return types are those of aiofiles; what differs is listed in
``docs/how-to/migrate-from-aiofiles.md``. `asyncstore.compat.install` puts this package in the place of ``aiofiles`` for
libraries that cannot be edited.
"""

from __future__ import annotations

from asyncstore.compat.aiofiles import tempfile
from asyncstore.compat.aiofiles.threadpool import (
    open,  # noqa: A004  # the namesake's name
    stderr,
    stderr_bytes,
    stdin,
    stdin_bytes,
    stdout,
    stdout_bytes,
)

__all__ = [
    "open",
    "tempfile",
    "stdin",
    "stdout",
    "stderr",
    "stdin_bytes",
    "stdout_bytes",
    "stderr_bytes",
]  # the namesake's order
