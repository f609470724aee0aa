"""``asyncstore bdb``: the care of Berkeley DB environments, from the command line."""

from __future__ import annotations

from asyncstore.apps.bdb._main import main as main

__all__ = ("main",)
