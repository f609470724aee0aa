"""Asynchronous text files."""

from __future__ import annotations

from typing import Any

from asyncstore.compat.aiofiles.base import AsyncBase, AsyncIndirectBase
from asyncstore.compat.aiofiles.threadpool.utils import (
    delegate_to_executor,
    proxy_method_directly,
    proxy_property_directly,
)

__all__ = ("AsyncTextIOWrapper", "AsyncTextIndirectIOWrapper")

_CALLS = ("close", "flush", "isatty", "read", "readable", "readline", "readlines", "seek", "seekable", "tell",
          "truncate", "writable", "write", "writelines")  # fmt: skip
_PROPERTIES = ("closed", "encoding", "errors", "line_buffering", "mode", "name", "newlines")


class _Text(AsyncBase):
    """What text files have besides: the blocking objects below."""

    @property
    def buffer(self) -> Any:
        """The buffered binary file below; from now on each call of this file runs on a thread."""
        return self._blocking().buffer

    def detach(self, *args: Any, **kwargs: Any) -> Any:
        """Return the buffered binary file below; this file is of no use any more."""
        return self._blocking().detach(*args, **kwargs)


@delegate_to_executor(*_CALLS)
@proxy_method_directly("fileno")
@proxy_property_directly(*_PROPERTIES)
class AsyncTextIOWrapper(_Text):
    """A text file, over `io.TextIOWrapper`."""


@delegate_to_executor(*_CALLS)
@proxy_method_directly("fileno")
@proxy_property_directly(*_PROPERTIES)
class AsyncTextIndirectIOWrapper(AsyncIndirectBase, _Text):
    """A text file that may be replaced at any time."""
