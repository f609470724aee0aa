"""What opening functions return: awaitable, and an asynchronous context manager that closes what it opened."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

__all__ = ("Opening",)


class Closeable(Protocol):
    """What can be opened here."""

    async def aclose(self) -> None:
        """Close it."""


T = TypeVar("T", bound=Closeable)


class Opening(Generic[T]):
    """An object about to be opened: ``x = await opening`` or ``async with opening as x``; nothing happens before."""

    __slots__ = ("_make", "_opened")

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._make = make
        self._opened: T | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        return self._make().__await__()

    async def __aenter__(self) -> T:
        self._opened = await self._make()
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.aclose()
