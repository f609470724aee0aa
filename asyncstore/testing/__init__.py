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
    "Leaked",
    "ServerFailed",
    "Unavailable",
    "cancel_everywhere",
    "leak_check",
)
