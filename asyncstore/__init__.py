"""The data layer of an asyncio program: files, Berkeley DB, SQL and Memcached behind one engine.

Subpackages load when they are first touched, so that ``import asyncstore`` costs no more than reading three small
files::

    import asyncstore
    from asyncstore import aio

    async def main():
        return await aio.read("/etc/hostname")

    asyncstore.run(main())
"""

from __future__ import annotations

from ._run import run as run
from .errors import Error as Error

__version__ = "0.1.0.dev0"

__all__ = ("Error", "__version__", "run")

_SUBPACKAGES = frozenset({"aio", "bdb", "compat", "dbi", "errors", "http", "pool", "testing"})

TYPE_CHECKING = False  # importing typing for it would cost more than all the rest
if TYPE_CHECKING:  # the same names for type checkers, which do not follow __getattr__
    from types import ModuleType

    from . import (
        aio as aio,
        bdb as bdb,
        compat as compat,
        dbi as dbi,
        errors as errors,
        http as http,
        pool as pool,
        testing as testing,
    )


def __getattr__(name: str) -> ModuleType:
    """Load the subpackage `name` at its first use (PEP 562)."""
    if name not in _SUBPACKAGES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBPACKAGES, "__doc__", "__file__", "__name__", "__path__"})
