"""Transactions that were prepared and then left undecided by a crash: the second phase of a commit in two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncstore.bdb import errors
from asyncstore.bdb._library import db
from asyncstore.bdb._translate import translated

if TYPE_CHECKING:
    from asyncstore.bdb._core import Core

__all__ = ("Prepared", "recover_prepared")


class Prepared:
    """A prepared transaction whose process died; given by `Environment.recover_prepared`. It holds its locks."""

    # Any: the handle is the binding's.
    def __init__(self, environment: Core, gid: bytes, handle: Any) -> None:
        self._environment = environment
        self._handle = handle
        self.gid = gid
        self._title = f"prepared transaction of {environment.title}"

    def __repr__(self) -> str:
        return f"<Prepared {self.gid!r}>"

    async def commit(self) -> None:
        """Make what it did durable. Raises `TransactionEnded` when it was decided before."""
        await self._decide("commit")

    async def abort(self) -> None:
        """Undo what it did. As `commit`."""
        await self._decide("abort")

    async def _decide(self, how: str) -> None:
        handle, self._handle = self._handle, None
        if handle is None:
            raise errors.TransactionEnded(doing=how, of=self._title)
        await self._environment.run(how, _decide, handle, how, self._title)


def _decide(handle: Any, how: str, title: str) -> None:
    with translated(how, title):
        if how == "commit":
            handle.commit(db.DB_TXN_SYNC)
        else:
            handle.abort()


async def recover_prepared(environment: Core) -> list[Prepared]:
    """Return the prepared transactions that nobody has decided; see `Environment.recover_prepared`."""
    found = await environment.run("recover", _recover, environment.handle, environment.title)
    return [Prepared(environment, gid.rstrip(b"\0"), handle) for gid, handle in found]


def _recover(handle: Any, title: str) -> list[tuple[bytes, Any]]:
    with translated("recover", title):
        found: list[tuple[bytes, Any]] = handle.txn_recover()
    return found
