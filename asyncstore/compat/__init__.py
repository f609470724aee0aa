"""Drop-in replacements: the API of well-known packages on the engines of this one.

`asyncstore.compat.aiofiles` is imported in the place of aiofiles, or put there with `install` for the sake of
libraries that cannot be edited.
"""

from __future__ import annotations

from asyncstore.compat._install import (
    install as install,
    installed as installed,
    uninstall as uninstall,
)
from asyncstore.compat.errors import (
    AlreadyImported as AlreadyImported,
)

__all__ = ("AlreadyImported", "install", "installed", "uninstall")
