"""Programs that run as they are, started by the command line."""

from __future__ import annotations

__all__ = ()
