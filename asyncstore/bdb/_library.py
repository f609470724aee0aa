"""The binding to libdb, imported in one place so that its absence is explained in one place."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ("LIBDB_ERRORS", "db")

try:
    # Any: the binding is a C extension without type information.
    db: Any = import_module("berkeleydb.db")
except ImportError as exc:
    raise ImportError(
        "asyncstore.bdb needs the berkeleydb package: pip install 'asyncstore[bdb]' "
        "(it compiles against the headers of libdb 5.3; on Debian and Ubuntu: apt install libdb5.3-dev)",
        name="berkeleydb",
    ) from exc

# The binding reports ENOMEM as a plain MemoryError whose arguments are (errno, message), all else as DBError.
LIBDB_ERRORS: tuple[type[Exception], ...] = (db.DBError, MemoryError)
