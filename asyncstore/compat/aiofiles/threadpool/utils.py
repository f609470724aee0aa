"""Class decorators that give a class over ``self._file`` the methods of that file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ("cond_delegate_to_executor", "delegate_to_executor", "proxy_method_directly", "proxy_property_directly")

_C = TypeVar("_C", bound=type)


def delegate_to_executor(*attrs: str) -> Callable[[_C], _C]:
    """Add a coroutine method for each of `attrs`, which calls that method of the file without blocking.

    A class that derives from `base.AsyncBase` and has the method already keeps its own.
    """

    def decorate(cls: _C) -> _C:
        for name in attrs:
            if not hasattr(cls, name) or getattr(cls, name) is getattr(object, name, None):
                setattr(cls, name, _named(_delegating(name), name, cls))
            else:
                setattr(cls, name, getattr(cls, name))  # where introspection looks for it
        return cls

    return decorate


def proxy_method_directly(*attrs: str) -> Callable[[_C], _C]:
    """Add a plain method for each of `attrs`, which calls that method of the file at once."""

    def decorate(cls: _C) -> _C:
        for name in attrs:
            setattr(cls, name, _named(_direct(name), name, cls))
        return cls

    return decorate


def proxy_property_directly(*attrs: str) -> Callable[[_C], _C]:
    """Add a read-only property for each of `attrs` with the value that the file has."""

    def decorate(cls: _C) -> _C:
        for name in attrs:
            setattr(cls, name, _property(name))
        return cls

    return decorate


def cond_delegate_to_executor(*attrs: str) -> Callable[[_C], _C]:
    """Add a coroutine method for each of `attrs` to a class over a spooled file.

    While the file is in memory the method is called at once, after that without blocking.
    """

    def decorate(cls: _C) -> _C:
        for name in attrs:
            setattr(cls, name, _named(_conditional(name), name, cls))
        return cls

    return decorate


def _named(method: Callable[..., Any], name: str, cls: type) -> Callable[..., Any]:
    method.__name__ = name
    method.__qualname__ = f"{cls.__qualname__}.{name}"
    return method


def _delegating(name: str) -> Callable[..., Any]:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await self._call(name, *args, **kwargs)

    return method


def _conditional(name: str) -> Callable[..., Any]:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._file._rolled:  # noqa: SLF001  # tempfile offers no other way to ask
            return await self._call(name, *args, **kwargs)
        return getattr(self._file, name)(*args, **kwargs)

    return method


def _direct(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._file, name)(*args, **kwargs)

    return method


def _property(name: str) -> property:
    def get(self: Any) -> Any:
        return getattr(self._file, name)

    return property(get)
