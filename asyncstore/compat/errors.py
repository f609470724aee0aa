"""What `install` raises."""

from __future__ import annotations

from asyncstore.errors import Error

__all__ = ("AlreadyImported",)


class AlreadyImported(Error, ImportError):
    """The real package was imported before `install`: whoever has it keeps it."""
