"""Positional I/O on binary files: beside the position, in parallel, and as lean as it gets.

These calls do not take the file's turn: two of them touch the file at places of their own choosing. Only what the
buffers hold is respected: pending writes are written out first, so that a read sees them, and what is read ahead is
given up when the file changes under it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from asyncstore.aio import _transfer
from asyncstore.aio._budget import spend
from asyncstore.aio._file import File

__all__ = ("PositionalFile",)

_Data = bytes | bytearray | memoryview


class PositionalFile(File):
    """A binary file. Positional calls may run in parallel, also with others; what overlaps is not ordered."""

    __slots__ = ()

    async def pread(self, n: int, offset: int) -> bytes:
        """Return `n` bytes from `offset`, fewer only at the end of the file; the position stays.

        Raises FileClosed, ValueError for a negative `n`, OSError (ESPIPE for a pipe). Cancelled, the data is dropped.
        """
        buffer = self._buffer
        if buffer.pending_size:
            await self._settle_writes()
            return await buffer.cursor.descriptor.pread(n, offset)
        descriptor = buffer.cursor.descriptor
        data = descriptor.read_cached(n, offset)
        if data is not None:
            if spend():
                await asyncio.sleep(0)
            return data
        return await descriptor.fetch(n, offset)

    async def preadv(self, buffers: Sequence[bytearray | memoryview], offset: int) -> int:
        """Fill the writable `buffers` one after the other from `offset`; return the count, short only at the end.

        Raises as `pread`. Cancelled, the buffers may be written to until the read has ended.
        """
        await self._settle_writes()
        return await self._buffer.cursor.descriptor.preadv(buffers, offset)

    async def pwrite(self, data: _Data, offset: int) -> int:
        """Write all of `data` at `offset`, unbuffered; return its length. The position stays.

        Raises FileClosed, and OSError: PartialWrite tells how much was written before. Cancelled, it may be applied,
        wholly or in part. `data` must not change meanwhile. With O_APPEND Linux appends, whatever `offset` says.
        """
        self._check_writable()
        buffer = self._buffer
        if buffer.pending_size:
            await self.flush()
        try:
            return await buffer.cursor.descriptor.pwrite(data, offset)
        finally:
            if buffer.data or self._turn.taken:
                self._turn.when_free(buffer.drop_ahead)

    async def pwritev(self, buffers: Sequence[_Data], offset: int) -> int:
        """Write all of `buffers` one after the other at `offset`; otherwise as `pwrite`."""
        self._check_writable()
        await self._settle_writes()
        try:
            return await self._buffer.cursor.descriptor.pwritev(buffers, offset)
        finally:
            self._turn.when_free(self._buffer.drop_ahead)

    async def sendfile(self, out: int | socket.socket, offset: int, count: int | None = None) -> int:
        """Send `count` bytes (None: all) from `offset` to a socket or descriptor, sendfile(2); return the count sent.

        The data does not pass through Python. `out` may be non-blocking; waiting for it holds no thread. Fewer are sent
        only at the end of the file. Raises FileClosed, ValueError for a negative argument, and OSError: attribute
        `written` then tells how much was sent. Cancelled, an unknown part is sent.
        """
        await self._settle_writes()
        return await _transfer.send(self._buffer.cursor.descriptor, out, offset, count)

    async def copy_range(self, dst: PositionalFile, count: int, src_offset: int, dst_offset: int) -> int:
        """Copy `count` bytes from `src_offset` to `dst_offset` of `dst`, in the kernel where it can; return the count.

        copy_file_range(2), which shares the blocks on btrfs and xfs; elsewhere a loop of reads and writes. Fewer only
        at the end of the file. Raises FileClosed, ValueError for a negative argument, and OSError. Cancelled, a part
        may be copied.
        """
        await self._settle_writes()
        dst._check_writable()
        await dst._settle_writes()
        try:
            return await _transfer.copy(
                self._buffer.cursor.descriptor, dst._buffer.cursor.descriptor, count, src_offset, dst_offset
            )
        finally:
            dst._turn.when_free(dst._buffer.drop_ahead)

    async def _settle_writes(self) -> None:
        self._check_open()
        if self._buffer.pending_size:
            await self.flush()
