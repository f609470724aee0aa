"""Bytes from one descriptor to another without passing through Python: sendfile(2) and copy_file_range(2)."""

from __future__ import annotations

import errno
import os
import select
import socket

from asyncstore.aio._blocking import pread_all, pwrite_all
from asyncstore.aio._descriptor import Descriptor
from asyncstore.aio._readiness import Readiness

__all__ = ("copy", "send")

STEP = 8 << 20  # bytes in one job, after which a cancel is noticed: a few milliseconds
PIECE = 256 << 10  # bytes in one read and write where the kernel cannot copy

# What says that the kernel cannot do it with these two files, and that reading and writing can.
_UNABLE = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.ETXTBSY}
)


async def send(source: Descriptor, out: int | socket.socket, offset: int, count: int | None) -> int:
    """Send from `source` to `out` until `count` bytes are sent, or the end; return the count."""
    if offset < 0 or (count is not None and count < 0):
        raise ValueError(f"offset and count should not be negative, got {offset} and {count}")
    target = out if isinstance(out, int) else out.fileno()
    done = 0
    while count is None or done < count:
        left = STEP if count is None else min(STEP, count - done)
        try:
            sent = await source.run(_send_if_ready, target, source.fd, offset + done, left)
        except OSError as exc:
            exc.written = done  # type: ignore[attr-defined]  # so that the caller knows, whatever class it is
            raise
        if sent == 0:
            break
        if sent is None:
            await Readiness().wait(target, writing=True)
        else:
            done += sent
    return done


def _send_if_ready(target: int, fd: int, offset: int, n: int) -> int | None:
    """Send once; return the count, 0 at the end of the file, None when `target` has no room."""
    poll = select.poll()
    poll.register(target, select.POLLOUT)
    if not poll.poll(0):
        return None
    try:
        return os.sendfile(target, fd, offset, n)
    except BlockingIOError:
        return None
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
    # No mmap on the source, or a target opened to append: sendfile(2) names the fall-back itself.
    data = os.pread(fd, min(n, 4096), offset)
    return os.write(target, data) if data else 0


async def copy(source: Descriptor, target: Descriptor, count: int, src_offset: int, dst_offset: int) -> int:
    """Copy until `count` bytes are copied, or the end of `source`; return the count."""
    if count < 0 or src_offset < 0 or dst_offset < 0:
        raise ValueError(f"count and offsets should not be negative, got {count}, {src_offset}, {dst_offset}")
    done = 0
    while done < count:
        use = target.hold()
        try:
            copied = await source.run(
                use, _copy, source.fd, target.fd, min(STEP, count - done), src_offset + done, dst_offset + done
            )
        finally:
            use.drop()
        if not copied:
            break
        done += copied
    return done


def _copy(source: int, target: int, count: int, src_offset: int, dst_offset: int) -> int:
    """Copy up to `count` bytes; return how many, 0 at the end of `source`."""
    if hasattr(os, "copy_file_range"):
        try:
            copied = os.copy_file_range(source, target, count, src_offset, dst_offset)
        except OSError as exc:
            if exc.errno not in _UNABLE:
                raise
        else:
            if copied:
                return copied
            # 0 may be the end, or a file of /proc, of which the kernel believes that it is empty: reading tells.
    data = pread_all(source, min(count, PIECE), src_offset)
    return pwrite_all(target, memoryview(data), dst_offset) if data else 0
