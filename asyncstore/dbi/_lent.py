"""A pool's connection in the hands of a caller."""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from asyncstore.dbi._connection import Connection

if TYPE_CHECKING:
    from asyncstore.dbi._pool_keeper import Keeper, Lendable

__all__ = ("Lent", "caller")

_OURS = str(Path(__file__).parents[1])


def caller() -> str:
    """Return which line of which file, not one of ours, is calling."""
    frame = sys._getframe(1)  # noqa: SLF001 - CPython's documented way to it
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return f"at {frame.f_code.co_filename}:{frame.f_lineno}"


class Lent(Connection):
    """One connection for one caller, until `aclose` gives it back to its pool; afterwards it refuses everything."""

    def __init__(self, keeper: Keeper, slot: Lendable) -> None:
        super().__init__(slot.connection.session, slot.connection.lock_timeout)
        self._keeper = keeper
        self._slot = slot

    async def aclose(self) -> None:
        """Give the connection back. Idempotent. What is left in it is taken back before somebody else gets it."""
        if self._closing is None:
            self._end()
            self._keeper.give_back(self._slot, self)

    def abort(self) -> None:
        """Close the connection, instead of giving it back. Idempotent."""
        if self._closing is None:
            self._end()
            self._slot.connection.abort()
            self._keeper.give_back(self._slot, self)

    def _end(self) -> None:
        self._closing = self._loop.create_future()
        self._closing.set_result(None)

    def __del__(self) -> None:
        if self._closing is not None:
            return
        text = f"a connection of {self._keeper.title}, taken {self._slot.where}, was dropped and not given back"
        warnings.warn(text, ResourceWarning, source=self, stacklevel=2)
        with contextlib.suppress(RuntimeError):  # of a loop that is closed
            self._loop.call_soon_threadsafe(self._keeper.leak, self._slot)
