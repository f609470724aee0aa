"""Copying and moving files: whole at the destination, or not there at all.

The bytes go by copy_file_range(2), which shares blocks where the file system can, else by sendfile(2), else through
memory. A way that answers "not here" is given up for the next; one that says "no more" is believed only from a read,
because copy_file_range says it at once for files under /proc. Holes stay holes: the extents are asked for by SEEK_DATA
(lseek(2)).
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Generator, Iterator
from typing import Literal, TypeAlias, overload

from asyncstore.aio._arguments import StrOrBytesPath, check_path
from asyncstore.aio._replacement import Replacement, copy_xattrs, replace_with_link
from asyncstore.aio._slices import run_slices

__all__ = ("Preserve", "copy", "copy_file", "copy_link", "inside")

Preserve: TypeAlias = Literal["nothing", "mode", "all"]

PIECE = 8 << 20  # bytes a call: some milliseconds from the cache, so that a cancel is soon noticed
_MEMORY_PIECE = 1 << 20  # bytes through memory
_SLICE = 0.016  # seconds: no results travel, only the chance to be cancelled
_NOT_HERE = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF, errno.ETXTBSY, errno.ENOTSOCK}
)


@overload
async def copy(
    src: StrOrBytesPath,
    dst: str | os.PathLike[str],
    *,
    follow_symlinks: bool = True,
    preserve: Preserve = "mode",
    durable: bool = False,
) -> str: ...
@overload
async def copy(
    src: StrOrBytesPath,
    dst: bytes | os.PathLike[bytes],
    *,
    follow_symlinks: bool = True,
    preserve: Preserve = "mode",
    durable: bool = False,
) -> bytes: ...
async def copy(
    src: StrOrBytesPath,
    dst: StrOrBytesPath,
    *,
    follow_symlinks: bool = True,
    preserve: Preserve = "mode",
    durable: bool = False,
) -> str | bytes:
    """Copy the file `src` to `dst`, or into the directory `dst`; return the path of the copy.

    The copy appears whole: an old file `dst` is replaced in one step, and a link `dst` is written through. `preserve`:
    "nothing" but the content, the "mode" too, or "all": mode, times, extended attributes, and owner and group as far as
    the process may. Not `follow_symlinks`: a link `src` is copied as a link. `durable`: return once the copy and its
    name are on the disk.

    Raises OSError as opening, reading and writing do, `shutil.SameFileError`, IsADirectoryError for a directory `src`,
    EINVAL for anything else that is no regular file. Cancelled, or failed: `dst` is as it was.
    """
    check_preserve(preserve)
    source = check_path(src, "src")
    target = check_path(dst, "dst")
    job = _copy(source, target, preserve, follow_symlinks=follow_symlinks, durable=durable)
    return await run_slices(job, seconds=_SLICE)


def check_preserve(preserve: str) -> None:
    """Raise ValueError for a word that `copy` does not know."""
    if preserve not in ("nothing", "mode", "all"):
        raise ValueError(f"preserve should be 'nothing', 'mode' or 'all', not {preserve!r}")


def _copy(
    src: str | bytes, dst: str | bytes, preserve: Preserve, *, follow_symlinks: bool, durable: bool
) -> Generator[None, None, str | bytes]:
    dst = inside(src, dst)
    if not follow_symlinks and os.path.islink(src):
        copy_link(src, dst, preserve)
    else:
        yield from copy_file(src, dst, preserve, durable=durable)
    return dst


def inside(src: str | bytes, dst: str | bytes) -> str | bytes:
    """Return where a copy of `src` to `dst` goes: into `dst` when that is a directory, as for cp and mv. Blocks."""
    if not os.path.isdir(dst):
        return dst
    name = os.path.basename(src.rstrip(os.fsencode(os.sep) if isinstance(src, bytes) else os.sep))  # type: ignore[arg-type]  # of one kind
    return os.path.join(dst, os.fsencode(name) if isinstance(dst, bytes) else os.fsdecode(name))  # type: ignore[arg-type]  # of one kind


def copy_file(
    src: str | bytes, dst: str | bytes, preserve: Preserve, *, durable: bool = False, inherit: bool = True
) -> Generator[None, None, None]:
    """Copy the content of the regular file `src` to `dst`, which appears in one step; blocks, yields after every piece.

    `inherit`: as `Replacement` has it.
    """
    try:
        yield from _copy_file(src, dst, preserve, durable=durable, inherit=inherit)
    except OSError as exc:
        if exc.filename != src and not isinstance(exc, shutil.SameFileError):
            exc.filename, exc.filename2 = src, dst  # not the temporary file's, which the caller has never heard of
        raise


def _copy_file(
    src: str | bytes, dst: str | bytes, preserve: Preserve, *, durable: bool, inherit: bool
) -> Generator[None, None, None]:
    # O_NONBLOCK: a FIFO is to be refused, not waited for
    source = os.open(src, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(source)
        _check_source(src, status)
        with Replacement(dst, mode=0o666 if preserve == "nothing" else 0o600, durable=durable, inherit=inherit) as new:
            if new.old is not None and os.path.samestat(new.old, status):
                raise shutil.SameFileError(f"{src!r} and {dst!r} are the same file")
            yield from _copy_content(source, new.fd, status)
            if preserve == "mode":
                os.fchmod(new.fd, stat.S_IMODE(status.st_mode))
            elif preserve == "all":
                _copy_attributes(source, new.fd, status)
            new.commit()
    finally:
        os.close(source)


def copy_link(src: str | bytes, dst: str | bytes, preserve: Preserve) -> None:
    """Make `dst` a symbolic link that says what the link `src` says; it appears in one step. Blocks."""
    status = os.lstat(src)
    said = os.readlink(os.fsencode(src))
    with replace_with_link(said, dst) as made:
        if preserve == "all":
            try:
                os.chown(made, status.st_uid, status.st_gid, follow_symlinks=False)
            except PermissionError:
                pass  # only root gives files away; a link's owner guards nothing but its removal
            os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _check_source(src: str | bytes, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), src)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "only a regular file can be copied", src)


def _copy_attributes(source: int, target: int, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    try:
        os.fchown(target, status.st_uid, status.st_gid)
    except PermissionError:
        mode &= ~(stat.S_ISUID | stat.S_ISGID)  # they would run with somebody else's rights
    os.fchmod(target, mode)
    if hasattr(os, "listxattr"):
        copy_xattrs(source, target, ("",))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_content(source: int, target: int, status: os.stat_result) -> Generator[None, None, None]:
    """Copy until the end of `source`, wherever that is by then; yields after every piece."""
    mover = _Mover(source, target)
    offset = 0
    if status.st_blocks * 512 < status.st_size and hasattr(os, "SEEK_DATA"):
        for start, end in _extents(source, status.st_size):
            offset = start
            while offset < end and (count := mover.move(offset, min(PIECE, end - offset))):
                offset += count
                yield
        offset = min(status.st_size, os.fstat(source).st_size)  # cut meanwhile?
        os.ftruncate(target, offset)
    while count := mover.move(offset, PIECE):
        offset += count
        yield


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each stretch of data among the holes of a file."""
    offset = 0
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno == errno.ENXIO:
                return  # nothing but a hole up to the end
            if exc.errno != errno.EINVAL:
                raise
            yield offset, size  # a file system that knows no holes
            return
        offset = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, offset


class _Mover:
    """Moves bytes from one descriptor to the same place of another, by the best way that works here."""

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._ways: list[Callable[[int, int], int]] = [self._by_memory]
        if hasattr(os, "sendfile") and os.uname().sysname == "Linux":  # elsewhere it writes to sockets only
            self._ways.insert(0, self._by_sendfile)
        if hasattr(os, "copy_file_range"):
            self._ways.insert(0, self._by_copy_range)

    def move(self, offset: int, count: int) -> int:
        """Move up to `count` bytes at `offset`; return how many, 0 at the end of the file."""
        while True:
            try:
                moved = self._ways[0](offset, count)
            except OSError as exc:
                if len(self._ways) == 1 or exc.errno not in _NOT_HERE:
                    raise
                moved = 0
            if moved or len(self._ways) == 1:
                return moved
            del self._ways[0]

    def _by_copy_range(self, offset: int, count: int) -> int:
        return os.copy_file_range(self._source, self._target, count, offset, offset)

    def _by_sendfile(self, offset: int, count: int) -> int:
        os.lseek(self._target, offset, os.SEEK_SET)
        return os.sendfile(self._target, self._source, offset, count)

    def _by_memory(self, offset: int, count: int) -> int:
        piece = memoryview(os.pread(self._source, min(count, _MEMORY_PIECE), offset))
        written = 0
        while written < len(piece):
            written += os.pwrite(self._target, piece[written:], offset + written)
        return written
