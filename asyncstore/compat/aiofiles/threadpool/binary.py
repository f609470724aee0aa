"""Asynchronous binary files."""

from __future__ import annotations

from typing import Any

from asyncstore.compat.aiofiles.base import AsyncBase, AsyncIndirectBase
from asyncstore.compat.aiofiles.threadpool.utils import (
    delegate_to_executor,
    proxy_method_directly,
    proxy_property_directly,
)

__all__ = (
    "AsyncBufferedIOBase",
    "AsyncBufferedReader",
    "AsyncFileIO",
    "AsyncIndirectBufferedIOBase",
    "AsyncIndirectBufferedReader",
    "AsyncIndirectFileIO",
)

_BUFFERED = ("close", "flush", "isatty", "read", "read1", "readinto", "readline", "readlines", "seek", "seekable",
             "tell", "truncate", "writable", "write", "writelines")  # fmt: skip
_RAW = ("close", "flush", "isatty", "read", "readall", "readinto", "readline", "readlines", "seek", "seekable", "tell",
        "truncate", "writable", "write", "writelines")  # fmt: skip


class _Binary(AsyncBase):
    """What all binary files share."""

    @property
    def mode(self) -> str:
        """The mode as `io.FileIO` spells it, whatever way it was given: "rb+" for a file opened with "w+b"."""
        if not self._native:
            return str(self._file.mode)
        given = set(self._file.mode)
        first = given & {"x", "a"}
        if first:
            return f"{first.pop()}b{'+' if '+' in given else ''}"
        return "rb+" if "+" in given else "rb" if "r" in given else "wb"


class _Buffered(_Binary):
    """What the buffered files have besides: the blocking objects below."""

    @property
    def raw(self) -> Any:
        """The `io.FileIO` below; from now on each call of this file runs on a thread."""
        return self._blocking().raw

    def detach(self, *args: Any, **kwargs: Any) -> Any:
        """Return the `io.FileIO` below; this file is of no use any more."""
        return self._blocking().detach(*args, **kwargs)


@delegate_to_executor(*_BUFFERED)
@proxy_method_directly("fileno", "readable")
@proxy_property_directly("closed", "name")
class AsyncBufferedIOBase(_Buffered):
    """A buffered binary file that is only written, over `io.BufferedWriter`."""


@delegate_to_executor("peek")
class AsyncBufferedReader(AsyncBufferedIOBase):
    """A buffered binary file that can be read, over `io.BufferedReader` or `io.BufferedRandom`."""


@delegate_to_executor(*_RAW)
@proxy_method_directly("fileno", "readable")
@proxy_property_directly("closed", "name")
class AsyncFileIO(_Binary):
    """An unbuffered binary file, over `io.FileIO`."""


@delegate_to_executor(*_BUFFERED)
@proxy_method_directly("fileno", "readable")
@proxy_property_directly("closed", "name")
class AsyncIndirectBufferedIOBase(AsyncIndirectBase, _Buffered):
    """A buffered binary file that may be replaced at any time."""


@delegate_to_executor("peek")
class AsyncIndirectBufferedReader(AsyncIndirectBufferedIOBase):
    """A buffered binary file to read that may be replaced at any time."""


@delegate_to_executor(*_RAW)
@proxy_method_directly("fileno", "readable")
@proxy_property_directly("closed", "name")
class AsyncIndirectFileIO(AsyncIndirectBase, _Binary):
    """An unbuffered binary file that may be replaced at any time."""
