"""Test doubles and checks that our own tests use, for the tests of programs on asyncstore.

Nothing here needs pytest; the fixtures are in `asyncstore.testing.pytest_plugin`.
"""

from __future__ import annotations

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
from asyncstore.testing._leaks import leak_check as leak_check
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
    "Leaked",
    "Reset",
    "ServerFailed",
    "Split",
    "Stall",
    "Throttle",
    "Truncate",
    "Unavailable",
    "cancel_everywhere",
    "leak_check",
)
