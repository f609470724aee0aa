"""The programs that come with Berkeley DB, from Debian's db5.3-util."""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ("tool",)


def tool(name: str) -> str:
    """Return the path of a program of Berkeley DB's; skip the test where it is missing, fail it on CI."""
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is not installed (Debian: db5.3-util)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and on CI it must be")
        pytest.skip(reason)
    return path
