"""Whether pages of a file are in memory, asked of mincore(2), where the file system does not know RWF_NOWAIT.

overlayfs, the root file system of every container, refuses RWF_NOWAIT. mincore on a mapping of the file answers the
same question in 1 us, and a plain pread(2) of pages that are in memory does not block. A page can be reclaimed between
the two: then one read waits for the disk on the loop thread. No wrong data comes of it, and the mapping is never
touched, so that a file truncated under it raises no SIGBUS.

mincore lies to whoever may not write the file: since Linux 5.2 it says that all is in memory. Such files are not asked
about.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from asyncstore.aio import _syscalls

__all__ = ("Resident",)

MAX_PAGES = 65  # what the largest inline read can touch: 64 pages of 4 KiB and one more when it is not aligned
FIRST_READS = 1  # served without asking: a mapping (3 us) pays off from the second read on

_PAGE = _syscalls.PAGE_SIZE
_IS_RESIDENT = (1).__and__  # of the byte that mincore(2) tells of a page: its other bits mean nothing


class Resident:
    """The question about the file behind `fd`, whose owner calls `close` before it closes `fd`."""

    __slots__ = ("_address", "_answer", "_answer_address", "_fd", "_length", "_reads", "_usable")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._address = 0
        self._length = 0  # bytes of the file that are mapped
        self._reads = 0
        self._usable = _syscalls.AVAILABLE and _tells_the_truth(fd)
        self._answer = bytearray(MAX_PAGES)
        self._answer_address = 0
        if self._usable:
            self._answer_address = _syscalls.address_of(self._answer)

    def holds(self, n: int, offset: int) -> bool:
        """Return whether all that a read of `n` bytes at `offset` would copy is in memory."""
        self._reads += 1
        if not self._usable or n <= 0 or offset < 0 or self._reads <= FIRST_READS:
            return False
        end = offset + n
        if end > self._length:
            end = min(end, self._map())
        if end <= offset:
            return self._usable  # nothing to copy: at or beyond the end of the file
        start = offset - offset % _PAGE
        pages = (end - start + _PAGE - 1) // _PAGE
        if pages > MAX_PAGES or _syscalls.mincore(self._address + start, end - start, self._answer_address) < 0:
            return False
        if pages == 1:
            return self._answer[0] & 1 == 1
        return all(map(_IS_RESIDENT, self._answer[:pages]))

    def _map(self) -> int:
        """Map the file as far as it goes now; return its length."""
        size = os.fstat(self._fd).st_size
        if size > self._length:
            self.close()
            try:
                self._address = _syscalls.map_memory(size, mmap.PROT_READ, mmap.MAP_SHARED, self._fd, 0)
            except OSError:  # no mmap on this file, or no address space: threads serve it
                self._usable = False
                return 0
            self._length = size
        return size

    def close(self) -> None:
        """Undo the mapping. Idempotent."""
        if self._length:
            _syscalls.unmap_memory(self._address, self._length)
            self._address = self._length = 0

    def __del__(self) -> None:
        self.close()


def _tells_the_truth(fd: int) -> bool:
    """Whether the kernel tells this process what is in memory: root, the owner, or whoever can write the file."""
    user = os.geteuid()
    writable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
    return writable or user in (0, os.fstat(fd).st_uid)
