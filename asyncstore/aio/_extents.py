"""Where on its device a file lies: FS_IOC_FIEMAP (Documentation/filesystems/fiemap in the kernel's source)."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from asyncstore.aio._arguments import StrOrBytesPath, check_path
from asyncstore.aio._priority import run

__all__ = ("Extent", "extents")

_FS_IOC_FIEMAP = 0xC020660B  # _IOWR('f', 11, struct fiemap), the same on the architectures that Python runs on
_HEAD = struct.Struct("=QQLLLL")  # start, length, flags, mapped, count, reserved
_EXTENT = struct.Struct("=QQQQQLLLL")  # logical, physical, length, 2 reserved, flags, 3 reserved
_AT_ONCE = 256  # extents asked for in one call: 14 KiB
_FLAG_SYNC = 1  # write the file out first, so that delayed blocks have a place
_WHOLE = 2**64 - 1
LAST = 1  # FIEMAP_EXTENT_LAST: the flag of the last extent of a file


@dataclass(frozen=True, slots=True)
class Extent:
    """A stretch of a file: bytes from the start of the file and of the device, its length, FIEMAP_EXTENT_* flags."""

    logical: int
    physical: int
    length: int
    flags: int


async def extents(path: StrOrBytesPath, *, sync: bool = False) -> list[Extent]:
    """Return the extents of the file `path`, in its order; holes have none.

    `sync`: write the file out first, so that what is only in memory has got its place.

    Raises OSError: EOPNOTSUPP or ENOTTY where the file system does not tell. Cancelled, nothing has happened.
    """
    return await run(_extents, check_path(path), _FLAG_SYNC if sync else 0)


def _extents(path: str | bytes, flags: int) -> list[Extent]:
    from fcntl import ioctl  # not on every system

    found: list[Extent] = []
    # O_NONBLOCK: a FIFO is refused by the ioctl, and not waited for
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        start = 0
        while True:
            head = _HEAD.pack(start, _WHOLE - start, flags, 0, _AT_ONCE, 0)
            answer = bytearray(head + bytes(_EXTENT.size * _AT_ONCE))
            ioctl(fd, _FS_IOC_FIEMAP, answer)
            mapped = _HEAD.unpack_from(answer)[3]
            for number in range(mapped):
                logical, physical, length, _, _, each, *_ = _EXTENT.unpack_from(
                    answer, _HEAD.size + number * _EXTENT.size
                )
                found.append(Extent(logical, physical, length, each))
            if not mapped or found[-1].flags & LAST:
                return found
            start = found[-1].logical + found[-1].length
    except OSError as exc:
        exc.filename = path
        raise
    finally:
        os.close(fd)
