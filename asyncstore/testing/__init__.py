"""Test doubles and checks that our own tests use, for the tests of programs on asyncstore.

Nothing here needs pytest; the fixtures are in `asyncstore.testing.pytest_plugin`. Because pytest loads that plugin, and
with it this package, in every project of whoever has asyncstore installed, each name loads its module at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers, which do not follow __getattr__
    from asyncstore.testing._cancel import (
        CancelMoment as CancelMoment,
        CancelPoint as CancelPoint,
        CancelReport as CancelReport,
        cancel_everywhere as cancel_everywhere,
    )
    from asyncstore.testing._chaos import ChaosProxy as ChaosProxy, Door as Door
    from asyncstore.testing._chaos_plan import (
        Corrupt as Corrupt,
        Delay as Delay,
        Drop as Drop,
        Fault as Fault,
        Reset as Reset,
        Split as Split,
        Stall as Stall,
        Throttle as Throttle,
        Truncate as Truncate,
    )
    from asyncstore.testing._disk import (
        file_size_limit as file_size_limit,
        full_disk as full_disk,
        small_tmpfs as small_tmpfs,
    )
    from asyncstore.testing._faults import FaultCounter as FaultCounter, fail_nth as fail_nth, fault_loop as fault_loop
    from asyncstore.testing._leaks import leak_check as leak_check
    from asyncstore.testing._server_programs import (
        MARIADB as MARIADB,
        MEMCACHED as MEMCACHED,
        POSTGRESQL as POSTGRESQL,
    )
    from asyncstore.testing._servers import ServerProgram as ServerProgram, TemporaryServer as TemporaryServer
    from asyncstore.testing.errors import (
        CancelHang as CancelHang,
        CancelSwallowed as CancelSwallowed,
        Leaked as Leaked,
        ServerFailed as ServerFailed,
        Unavailable as Unavailable,
    )

__all__ = (
    "CancelHang",
    "CancelMoment",
    "CancelPoint",
    "CancelReport",
    "CancelSwallowed",
    "ChaosProxy",
    "Corrupt",
    "Delay",
    "Door",
    "Drop",
    "Fault",
    "FaultCounter",
    "Leaked",
    "MARIADB",
    "MEMCACHED",
    "POSTGRESQL",
    "Reset",
    "ServerFailed",
    "ServerProgram",
    "Split",
    "Stall",
    "TemporaryServer",
    "Throttle",
    "Truncate",
    "Unavailable",
    "cancel_everywhere",
    "fail_nth",
    "fault_loop",
    "file_size_limit",
    "full_disk",
    "leak_check",
    "small_tmpfs",
)

_HOMES = {
    "_cancel": ("CancelMoment", "CancelPoint", "CancelReport", "cancel_everywhere"),
    "_chaos": ("ChaosProxy", "Door"),
    "_chaos_plan": ("Corrupt", "Delay", "Drop", "Fault", "Reset", "Split", "Stall", "Throttle", "Truncate"),
    "_disk": ("file_size_limit", "full_disk", "small_tmpfs"),
    "_faults": ("FaultCounter", "fail_nth", "fault_loop"),
    "_leaks": ("leak_check",),
    "_server_programs": ("MARIADB", "MEMCACHED", "POSTGRESQL"),
    "_servers": ("ServerProgram", "TemporaryServer"),
    "errors": ("CancelHang", "CancelSwallowed", "Leaked", "ServerFailed", "Unavailable"),
}


def __getattr__(name: str) -> Any:  # Any: whatever the module holds
    """Load the module that holds `name` at its first use (PEP 562)."""
    for module, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"{__name__}.{module}"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*__all__, "__doc__", "__file__", "__name__", "__path__"})
