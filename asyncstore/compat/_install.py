"""Putting our modules in the place of their namesakes, for libraries that cannot be edited."""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType

from asyncstore.compat.errors import AlreadyImported

__all__ = ("install", "installed", "uninstall")

# The modules of each namesake. All are put in place together: an import of a submodule then finds ours.
NAMESAKES = {
    "aiofiles": (
        "", "base", "os", "ospath", "tempfile", "tempfile.temptypes", "threadpool", "threadpool.binary",
        "threadpool.text", "threadpool.utils",
    ),
}  # fmt: skip

_lock = threading.Lock()
_replaced: dict[str, dict[str, ModuleType]] = {}  # namesake -> what was in sys.modules in the place of ours


def install(*names: str, replace: bool = False) -> None:
    """Have ``import aiofiles`` (each of `names`, default all that there are) yield our module from now on.

    Call it before anything imports the real package. Where that has happened already the call raises
    `AlreadyImported`; with `replace` it goes on: later imports get ours, whoever has imported the real one keeps it.
    Calling it again changes nothing. Affects the whole process.

    Raises ValueError for a name without a replacement, before anything has changed.
    """
    with _lock:
        wanted = _checked(names)
        if not replace:
            for name in wanted:
                loaded = sys.modules.get(name)
                if name not in _replaced and loaded is not None:
                    raise AlreadyImported(
                        f"{name} was imported from {getattr(loaded, '__file__', None)} before install(): "
                        "call install() first, or with replace=True if those who have it may keep it",
                        name=name,
                    )
        for name in wanted:
            if name not in _replaced:
                _put(name)


def uninstall(*names: str) -> None:
    """Undo `install` for each of `names`, default all; whoever has imported our module keeps it.

    Raises ValueError for a name without a replacement.
    """
    with _lock:
        for name in _checked(names):
            before = _replaced.pop(name, None)
            if before is not None:
                for module in _loaded(name):
                    del sys.modules[module]
                sys.modules.update(before)


def installed() -> frozenset[str]:
    """Return the names that yield our modules."""
    return frozenset(_replaced)


def _checked(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in NAMESAKES:
            raise ValueError(f"there is no replacement for {name!r}, only for {', '.join(sorted(NAMESAKES))}")
    return names or tuple(NAMESAKES)


def _loaded(name: str) -> list[str]:
    return [module for module in sys.modules if module == name or module.startswith(f"{name}.")]


def _put(name: str) -> None:
    ours = {}
    for module in NAMESAKES[name]:
        path = f".{module}" if module else ""
        ours[name + path] = importlib.import_module(f"asyncstore.compat.{name}{path}")
    _replaced[name] = {module: sys.modules.pop(module) for module in _loaded(name)}
    sys.modules.update(ours)
