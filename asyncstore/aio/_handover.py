"""Handing an open file over to `io`, for code that wants a plain file object."""

# ruff: noqa: SLF001  # a file is taken apart here

from __future__ import annotations

import io
import os
from typing import IO, Any

from asyncstore.aio._binary import RawFile
from asyncstore.aio._buffer import Buffer
from asyncstore.aio._file import File
from asyncstore.aio._replacement import write_fully
from asyncstore.aio._text import TextFile
from asyncstore.aio.errors import FileClosed
from asyncstore.errors import Busy

__all__ = ("to_io",)


def to_io(file: File) -> IO[Any]:
    """Return a file object of `io` that stands where `file` does, and close `file` for its callers.

    It has the mode, the encoding and the position (of a text file the state of the decoder too) and a descriptor of its
    own. What is buffered is written first, on this thread: `flush` before, to spare the loop that.

    Raises FileClosed; `Busy` while an operation is under way; io.UnsupportedOperation when bytes of a pipe have been
    read ahead, which the new object could not return; OSError when what is buffered cannot be written: then nothing has
    changed.
    """
    buffer = file._buffer
    if buffer.closed:
        raise FileClosed
    if buffer.turn.taken:
        raise Busy("an operation on this file is under way")
    if isinstance(file, TextFile):
        file._core.settle()
    buffer.settle()
    position = _written_out(buffer)
    if position is None and (buffer.at < len(buffer.data) or (isinstance(file, TextFile) and file._core.chars)):
        raise io.UnsupportedOperation("what was read ahead of a stream cannot be given back")
    if position is not None and isinstance(file, TextFile):
        position = file._core.cookie(position)
    opened = _reopen(file, buffer)
    try:
        if position is not None:
            opened.seek(position)
    except BaseException:
        opened.close()
        raise
    buffer.closed = True
    file._forget()
    buffer.cursor.descriptor.abandon()
    return opened


def _written_out(buffer: Buffer) -> int | None:
    """Write what is pending; return the caller's position, None for what has none."""
    cursor = buffer.cursor
    fd = cursor.descriptor.fd
    if cursor.positional and not cursor.append:
        while buffer.pending_size:
            done = os.pwrite(fd, buffer._joined(), cursor.position)
            cursor.position += done
            buffer._written(done)
        return cursor.position - (len(buffer.data) - buffer.at)
    if buffer.pending_size:
        write_fully(fd, memoryview(buffer._joined()))
        buffer._written(buffer.pending_size)
        if cursor.positional:
            cursor.position = os.lseek(fd, 0, os.SEEK_CUR)
    if cursor.positional:
        return cursor.position - (len(buffer.data) - buffer.at)
    return os.lseek(fd, 0, os.SEEK_CUR) - (len(buffer.data) - buffer.at) if cursor.seekable else None


def _reopen(file: File, buffer: Buffer) -> IO[Any]:
    """Open a duplicate of the descriptor as `file` was opened; the mode truncates and creates nothing any more."""
    fd = os.dup(buffer.cursor.descriptor.fd)
    mode = file.mode.replace("x", "w")
    try:
        if isinstance(file, TextFile):
            core = file._core
            return open(fd, mode, 1 if file.line_buffering else -1, core.encoding, core.errors, core.newline)
        return open(fd, mode, 0 if isinstance(file, RawFile) else -1)
    except BaseException:
        os.close(fd)
        raise
