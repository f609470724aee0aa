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

from typing import TYPE_CHECKING

from ._run import run as run
from .errors import Error as Error

if TYPE_CHECKING:  # what __getattr__ loads at run time, for type checkers and editors
    from types import ModuleType

    from . import errors as errors

__version__ = "0.1.0.dev0"

__all__ = ("Error", "__version__", "errors", "run")

_LAZY = frozenset({"errors"})


def __getattr__(name: str) -> ModuleType:
    """Load the subpackage `name` at its first use (PEP 562)."""
    if name not in _LAZY:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
