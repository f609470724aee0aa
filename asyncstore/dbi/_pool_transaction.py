"""A transaction on a connection that a pool lends for its length."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any

from asyncstore.dbi import errors
from asyncstore.dbi._lent import caller
from asyncstore.dbi._session import Options
from asyncstore.dbi._transaction import Transaction
from asyncstore.dbi._url import Lanes

if TYPE_CHECKING:
    from asyncstore.dbi._connection import Connection
    from asyncstore.dbi._pool_keeper import Keeper, Lendable

__all__ = ("PoolTransaction",)


class PoolTransaction:
    """An ``async with`` whose block's statements are one transaction of the pool; made by `Pool.transaction`."""

    def __init__(
        self,
        keeper: Keeper,
        lanes: Lanes | None,
        bound: dict[asyncio.Task[Any], Connection],
        options: Options,
    ) -> None:
        self._keeper = keeper
        self._lanes = lanes
        self._bound = bound
        self._options = options
        self._where = caller()
        self._task: asyncio.Task[Any] | None = None  # bound by this one, to be freed at its end
        self._slot: Lendable | None = None
        self._inner: Transaction | None = None

    async def __aenter__(self) -> Transaction:
        task = asyncio.current_task()
        if task is None or self._inner is not None:
            raise errors.Misuse("a transaction is entered once, in a task", doing="begin", of=self._keeper.title)
        bound = self._bound.get(task)
        connection = bound or await self._connection()
        inner = Transaction(connection, self._options)
        self._inner = inner
        try:
            await inner.__aenter__()
        except BaseException:
            self._give_back()
            raise
        if bound is None:
            self._task = task
            self._bound[task] = connection
        return inner

    async def _connection(self) -> Connection:
        if self._lanes is not None:
            self._keeper.check_open("begin")
            return self._lanes.for_transaction(self._options) or await self._lanes.another()
        self._slot = self._keeper.take_nowait() or await self._keeper.take()
        self._slot.where = self._where
        return self._slot.connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._inner is not None, "entered before"
        try:
            await self._inner.__aexit__(kind, error, trace)
        finally:
            if self._task is not None:
                self._bound.pop(self._task, None)
            self._give_back()

    def _give_back(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            self._keeper.give_back(slot, slot.connection)
