"""Whole files in one hop: read, write, append, as bytes and as text.

A read of a small file whose pages are cached is served on the loop thread (`_cached`); everything else is one job:
open, read until the end, close. The end is where a read returns nothing, never where fstat says: files under /proc say
0 and others grow while they are read.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
from collections.abc import Iterable
from functools import partial

from asyncstore.aio._arguments import StrOrBytesPath, as_view, check_mode, check_path, check_size
from asyncstore.aio._budget import spend
from asyncstore.aio._cached import read_file_cached
from asyncstore.aio._durable import fsync_path
from asyncstore.aio._priority import run
from asyncstore.aio._replacement import Intent, Replacement, write_fully
from asyncstore.aio._stat import many
from asyncstore.aio._whole_text import TextRules, warn_default_encoding
from asyncstore.aio.errors import PartialWrite, TooLarge

__all__ = ("append", "read", "read_many", "read_text", "write", "write_text")

PIECE = 1 << 20  # bytes a read while a limit is watched: large enough for the disk, small enough not to overshoot
INLINE_CODEC = 1 << 18  # bytes decoded or encoded on the loop thread at most: about 0.1 ms


async def read(path: StrOrBytesPath, *, max_bytes: int | None = None) -> bytes:
    """Return the content of the file `path`.

    `max_bytes`: refuse a file with more bytes, whatever its size claims to be.

    Raises OSError as `open` does (IsADirectoryError for a directory) and `TooLarge`. Cancelled, nothing has happened; a
    read that had begun ends on its worker and its bytes are dropped. Reading a FIFO occupies a worker until its writer
    closes it: `open` it instead.
    """
    path = check_path(path)
    check_size(max_bytes, "max_bytes")
    data = read_file_cached(path)
    if data is None:
        return await run(read_blocking, path, max_bytes)
    if max_bytes is not None and len(data) > max_bytes:
        raise _too_large(path, max_bytes)
    if spend():
        await asyncio.sleep(0)
    return data


async def read_text(
    path: StrOrBytesPath,
    *,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    max_bytes: int | None = None,
) -> str:
    """Return the text of the file `path`, decoded as `open` would: same defaults, same newline translation.

    `max_bytes` as in `read`.

    Raises what `read` raises, UnicodeDecodeError, LookupError for an unknown encoding or error handler. Cancelled, as
    `read`.
    """
    warn_default_encoding(encoding)
    rules = TextRules(encoding, errors, newline)
    path = check_path(path)
    check_size(max_bytes, "max_bytes")
    data = read_file_cached(path)
    if data is None or len(data) > INLINE_CODEC:
        return await run(_read_and_decode, path, max_bytes, rules)
    if max_bytes is not None and len(data) > max_bytes:
        raise _too_large(path, max_bytes)
    text = rules.decode(data)
    if spend():
        await asyncio.sleep(0)
    return text


async def read_many(paths: Iterable[StrOrBytesPath], *, max_bytes: int | None = None) -> list[bytes | OSError]:
    """Return the content of every file, in order; in the place of a file that failed stands its OSError.

    The files are read in jobs of up to 128, several at a time, none of it on the loop thread. `max_bytes` is the limit
    of each file, a larger one yields its `TooLarge`.

    Raises TypeError and ValueError for a bad path before anything has begun. Cancelled, the jobs not begun never run.
    """
    check_size(max_bytes, "max_bytes")
    return await many(partial(read_blocking, max_bytes=max_bytes), paths)


async def write(
    path: StrOrBytesPath,
    data: bytes | bytearray | memoryview,
    *,
    atomic: bool = False,
    durable: bool = False,
    mode: int = 0o666,
) -> int:
    """Make `data` the whole content of the file `path`; return the number of bytes.

    `atomic`: whoever reads sees the old content or the new one, never a mix, also after a failure or ``kill -9``; the
    mode, owner and attributes of an old file are kept, a symbolic link is written through (how: `_replacement`).
    `durable`: return only once the content and the name are on the disk. `mode`: permission bits of a new file, cut by
    the umask. `data` must not be changed before the call has returned.

    Raises TypeError for str, OSError as `open` and the write do. Without `atomic` a failure leaves the file cut to what
    was written and raises `PartialWrite`; with it the old file stands untouched, and PermissionError is raised when the
    owner could not be kept. Cancelled before it began, nothing has happened. Cancelled while it runs: with `atomic` the
    old content stays unless the new one is being put in place at that moment; without it the job ends in the
    background.
    """
    return await _write(check_path(path), as_view(data), atomic=atomic, durable=durable, mode=check_mode(mode))


async def write_text(
    path: StrOrBytesPath,
    data: str,
    *,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    atomic: bool = False,
    durable: bool = False,
    mode: int = 0o666,
) -> int:
    """Make the text `data` the whole content of the file `path`, encoded as `open` would; return its length.

    The other parameters, what is raised and what a cancel leaves are those of `write`; UnicodeEncodeError is raised
    before the file is touched.
    """
    if not isinstance(data, str):
        raise TypeError(f"data should be str, not {type(data).__name__} (write takes bytes)")
    warn_default_encoding(encoding)
    rules = TextRules(encoding, errors, newline)
    path = check_path(path)
    mode = check_mode(mode)
    encoded = rules.encode(data) if len(data) <= INLINE_CODEC else await run(rules.encode, data)
    await _write(path, memoryview(encoded), atomic=atomic, durable=durable, mode=mode)
    return len(data)


async def append(
    path: StrOrBytesPath, data: bytes | bytearray | memoryview, *, durable: bool = False, mode: int = 0o666
) -> int:
    """Add `data` to the end of the file `path`, which is made when there is none; return the number of bytes.

    One O_APPEND write where the system takes all of it: appends of several tasks and processes do not mix on a local
    file system. `durable` and `mode` as in `write`.

    Raises TypeError for str, OSError, and `PartialWrite` when some bytes were added before it failed. Cancelled before
    it began, nothing has happened, else it ends in the background.
    """
    return await run(partial(_append_blocking, durable=durable), check_path(path), as_view(data), check_mode(mode))


async def _write(path: str | bytes, data: memoryview, *, atomic: bool, durable: bool, mode: int) -> int:
    if not atomic:
        return await run(partial(_write_blocking, durable=durable), path, data, mode)
    intent = Intent()
    try:
        return await run(partial(_replace_blocking, durable=durable), path, data, mode, intent)
    except asyncio.CancelledError:
        intent.withdraw()
        raise


def read_blocking(path: str | bytes, max_bytes: int | None = None) -> bytes:
    """Return the content of `path`; blocks. Raises OSError and `TooLarge`."""
    # FileIO sizes its buffer by fstat, reads until nothing comes, and knows that Linux reads 0x7ffff000 bytes at most.
    with io.FileIO(path) as file:
        try:
            if max_bytes is None:
                return file.readall()
            return _read_limited(file, path, max_bytes)
        except OSError as exc:
            if exc.filename is None:
                exc.filename = path
            raise


def _read_limited(file: io.FileIO, path: str | bytes, max_bytes: int) -> bytes:
    if os.fstat(file.fileno()).st_size > max_bytes:
        raise _too_large(path, max_bytes)
    pieces: list[bytes] = []
    room = max_bytes + 1  # one byte more tells a file of exactly max_bytes from a larger one
    while room and (piece := file.read(min(room, PIECE))):
        pieces.append(piece)
        room -= len(piece)
    if not room:
        raise _too_large(path, max_bytes)
    return b"".join(pieces)


def _too_large(path: str | bytes, max_bytes: int) -> TooLarge:
    return TooLarge(errno.EFBIG, f"the file holds more than max_bytes={max_bytes}", path)


def _read_and_decode(path: str | bytes, max_bytes: int | None, rules: TextRules) -> str:
    return rules.decode(read_blocking(path, max_bytes))


def _write_blocking(path: str | bytes, data: memoryview, mode: int, *, durable: bool) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    _fill(fd, path, data, truncated=True, durable=durable)
    return len(data)


def _append_blocking(path: str | bytes, data: memoryview, mode: int, *, durable: bool) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, mode)
    _fill(fd, path, data, truncated=False, durable=durable)
    return len(data)


def _fill(fd: int, path: str | bytes, data: memoryview, *, truncated: bool, durable: bool) -> None:
    """Write `data`, sync and close; a failure after the file has changed becomes PartialWrite."""
    written = 0
    try:
        try:
            written = write_fully(fd, data)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        if durable:
            fsync_path(os.path.dirname(path) or os.curdir)
    except OSError as exc:
        written = getattr(exc, "written", written)
        exc.filename = path
        if not (written or truncated):
            raise
        failure = PartialWrite(exc.errno, exc.strerror, path)
        failure.written = written
        raise failure from exc


def _replace_blocking(path: str | bytes, data: memoryview, mode: int, intent: Intent, *, durable: bool) -> int:
    try:
        with Replacement(path, mode=mode, durable=durable) as new:
            write_fully(new.fd, data)
            new.commit(intent)
    except OSError as exc:
        exc.filename, exc.filename2 = path, None  # not the temporary file's, which the caller has never heard of
        raise
    return len(data)
