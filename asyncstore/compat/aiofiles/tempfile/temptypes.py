"""Asynchronous spooled files and temporary directories."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from functools import partial
from typing import Any

from asyncstore.compat.aiofiles.base import AsyncBase, Loop, call
from asyncstore.compat.aiofiles.threadpool.utils import (
    cond_delegate_to_executor,
    delegate_to_executor,
    proxy_property_directly,
)

__all__ = ("AsyncSpooledTemporaryFile", "AsyncTemporaryDirectory")


@delegate_to_executor("fileno", "rollover")
@cond_delegate_to_executor("flush", "isatty", "read", "readline", "readlines", "seek", "tell", "truncate")
@proxy_property_directly("closed", "encoding", "mode", "name", "newlines")
class AsyncSpooledTemporaryFile(AsyncBase):
    """A `tempfile.SpooledTemporaryFile`: at once while it is in memory, on a thread once it is on disk."""

    async def close(self) -> None:
        """Close and remove it."""
        await self._call("close")

    async def write(self, s: Any) -> int:
        """Write `s`; a write that moves the file to disk does so on a thread."""
        written: int
        if self._fits(len(s)):
            written = self._file.write(s)
        else:
            written = await self._call("write", s)
        return written

    async def writelines(self, iterable: Iterable[Any]) -> None:
        """Write every one of `iterable`."""
        lines = list(iterable)
        if self._fits(sum(map(len, lines))):
            self._file.writelines(lines)
        else:
            await self._call("writelines", lines)

    def _fits(self, size: int) -> bool:
        """Whether `size` more leave it in memory; `max_size` 0 means that nothing but `rollover` moves it."""
        file = self._file
        if file._rolled:  # noqa: SLF001  # tempfile offers no other way to ask
            return False
        return not file._max_size or file._file.tell() + size <= file._max_size  # noqa: SLF001  # as above

    async def _check(self) -> None:
        """Move the file to disk if it has outgrown `max_size`."""
        if not self._fits(0):
            await self._call("rollover")


class AsyncTemporaryDirectory:
    """A `tempfile.TemporaryDirectory` whose removal happens on a thread."""

    def __init__(self, file: Any, loop: Loop | None, executor: Executor | None) -> None:
        self._file = file
        self._loop = loop
        self._executor = executor

    @property
    def name(self) -> Any:  # str or bytes, as the arguments were
        """The path of the directory."""
        return self._file.name

    async def cleanup(self) -> None:
        """Remove the directory with everything in it. Raises OSError."""
        await call(partial(self._file.cleanup), self._loop, self._executor)

    async def close(self) -> None:
        """Remove the directory: another name of `cleanup`."""
        await self.cleanup()
