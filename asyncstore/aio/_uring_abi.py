"""io_uring as the kernel sees it: structures, numbers, and one pair of queues in memory shared with the kernel.

Everything here is from io_uring(7), io_uring_setup(2), io_uring_enter(2), io_uring_register(2) and linux/io_uring.h.
Nothing here knows of event loops; `_ring` drives it.

Why it is sound without memory barriers, which Python does not have. With IORING_SETUP_SINGLE_ISSUER and DEFER_TASKRUN,
Linux 6.2 and later touch both queues only inside io_uring_enter(2), called by the thread that made them. Between two
calls the memory is ours, and a system call orders it. Without DEFER_TASKRUN completions are written by other processors
at any time; then only x86 would do, and such a ring is never made here. Indexes are read and written through a
memoryview of 32-bit words: one access each.

Why the memory is mapped by hand (`_syscalls.map_memory`): see there.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from time import monotonic

from asyncstore.aio._syscalls import PAGE_SIZE, last_error, madvise, map_memory, syscall, unmap_memory

__all__ = ("ASYNC_CANCEL", "CANCEL_EVERYTHING", "DATASYNC", "FSYNC", "READ", "WRITE", "Queues", "map_slab")

FSYNC, ASYNC_CANCEL, READ, WRITE = 3, 14, 22, 23  # enum io_uring_op
DATASYNC = 1  # IORING_FSYNC_DATASYNC
CANCEL_EVERYTHING = 1 << 0 | 1 << 2  # IORING_ASYNC_CANCEL_ALL, IORING_ASYNC_CANCEL_ANY

_NR_SETUP, _NR_ENTER, _NR_REGISTER = 425, 426, 427
_SETUP_CQSIZE = 1 << 3
_SETUP_SUBMIT_ALL = 1 << 7  # one request that the kernel refuses does not hold up those behind it
_SETUP_TASKRUN_FLAG = 1 << 9
_SETUP_SINGLE_ISSUER = 1 << 12
_SETUP_DEFER_TASKRUN = 1 << 13
_SETUP_NO_SQARRAY = 1 << 16  # Linux 6.6: entries are taken in order, without a table of indexes between
_ENTER_GETEVENTS = 1 << 0
_ENTER_EXT_ARG = 1 << 3
_FEAT_SINGLE_MMAP = 1 << 0
_FEAT_EXT_ARG = 1 << 8
_SQ_TASKRUN = 1 << 2  # in the flags of the submission queue: work waits for io_uring_enter
_REGISTER_EVENTFD = 4
_OFFSET_SQ_RING = 0
_OFFSET_SQES = 0x10000000

_PARAMS = struct.Struct("=7I 12x 10I 10I")  # struct io_uring_params: head, resv, sq_off, cq_off; 120 bytes
_SQE = struct.Struct("=BBHiQQIIQ")  # struct io_uring_sqe up to user_data; what follows stays zero
_SQE_SHIFT = 6  # 64 bytes each
_CQE = struct.Struct("=Qii")  # user_data, res, flags
_CQE_SHIFT = 4
_INDEX_MASK = 0xFFFFFFFF  # indexes are free running 32-bit counters

_address, _u32, _size = ctypes.c_void_p, ctypes.c_uint, ctypes.c_size_t
_setup = syscall(_u32, _address)
_register = syscall(ctypes.c_int, _u32, _address, _u32)
# Entering to submit never sleeps; entering to wait does, and lets the other threads run.
_enter = syscall(ctypes.c_int, _u32, _u32, _u32, _address, _size)
_enter_and_wait = syscall(ctypes.c_int, _u32, _u32, _u32, _address, _size, release_gil=True)


def _error(what: str) -> OSError:
    number = last_error()
    return OSError(number, f"{what}: {os.strerror(number)}")


def _view(address: int, length: int) -> memoryview:
    """Return the `length` bytes of memory at `address`, which the view does not own."""
    return memoryview((ctypes.c_char * length).from_address(address)).cast("B")


def map_slab(length: int) -> tuple[int, memoryview]:
    """Return the address and a view of `length` bytes of fresh memory, which a forked child does not get."""
    address = map_memory(length, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    madvise(address, length, mmap.MADV_DONTFORK)
    madvise(address, length, mmap.MADV_NOHUGEPAGE)  # a slot of which 4 KiB are used must not cost 2 MiB
    return address, _view(address, length)


class Queues:
    """One submission and one completion queue. Every method is for the thread that made them.

    `entries`: requests between two submits at most; completions are kept for four times as many. Raises OSError when
    the kernel or a seccomp filter refuses (ENOSYS, EPERM, EINVAL for a kernel before 6.1, EMFILE).
    """

    __slots__ = (
        "_cqe_offset",
        "_cqe_view",
        "_flags_word",
        "_head",
        "_head_word",
        "_maps",
        "_sqe_view",
        "_tail",
        "_tail_word",
        "_tail_words",
        "_words",
        "completions_kept",
        "entries",
        "fd",
        "unsubmitted",
    )

    def __init__(self, entries: int) -> None:
        self._maps: list[tuple[int, int]] = []
        self.unsubmitted = 0  # requests that were pushed and not yet taken by the kernel
        self.fd, params = self._setup(entries)
        try:
            self._map(params)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _setup(entries: int) -> tuple[int, tuple[int, ...]]:
        """Make the ring; return its descriptor and the parameters that the kernel has filled in."""
        base = _SETUP_CQSIZE | _SETUP_SUBMIT_ALL | _SETUP_SINGLE_ISSUER | _SETUP_DEFER_TASKRUN | _SETUP_TASKRUN_FLAG
        for flags in (base | _SETUP_NO_SQARRAY, base):
            buffer = bytearray(_PARAMS.size)
            _PARAMS.pack_into(buffer, 0, 0, entries * 4, flags, *[0] * 24)
            fd = _setup(_NR_SETUP, entries, ctypes.addressof(ctypes.c_char.from_buffer(buffer)))
            if fd >= 0:
                return fd, _PARAMS.unpack(buffer)
            if last_error() != errno.EINVAL:
                break
        raise _error("io_uring_setup")

    def _map(self, params: tuple[int, ...]) -> None:
        self.entries, self.completions_kept, flags, _cpu, _idle, features = params[:6]
        if features & (wanted := _FEAT_SINGLE_MMAP | _FEAT_EXT_ARG) != wanted:
            raise OSError(errno.ENOSYS, f"io_uring_setup: features {features:#x} lack a part of {wanted:#x}")
        sq_head, sq_tail, _sq_mask, _sq_entries, sq_flags, _dropped, sq_array = params[7:14]
        cq_head, cq_tail, _cq_mask, _cq_entries, _overflow, cqes = params[17:23]
        del sq_head
        queues = self._map_part(
            max(cqes + (self.completions_kept << _CQE_SHIFT), sq_array + 4 * self.entries), _OFFSET_SQ_RING
        )
        self._sqe_view = self._map_part(self.entries << _SQE_SHIFT, _OFFSET_SQES)
        self._cqe_view = queues
        self._cqe_offset = cqes
        self._words = queues.cast("I")
        self._tail_word, self._head_word, self._tail_words = sq_tail // 4, cq_head // 4, cq_tail // 4
        self._flags_word = sq_flags // 4
        self._tail = self._words[self._tail_word]
        self._head = self._words[self._head_word]
        if not flags & _SETUP_NO_SQARRAY:  # entry i of the table stays entry i of the queue
            for index in range(self.entries):
                self._words[sq_array // 4 + index] = index

    def _map_part(self, length: int, offset: int) -> memoryview:
        length += -length % PAGE_SIZE
        address = map_memory(
            length, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | mmap.MAP_POPULATE, self.fd, offset
        )
        self._maps.append((address, length))
        madvise(address, length, mmap.MADV_DONTFORK)
        return _view(address, length)

    def signal(self, event_fd: int) -> None:
        """Have the kernel add to the eventfd `event_fd` whenever there is something to reap.

        The ring's own descriptor will not do: with DEFER_TASKRUN it does not turn readable for work that waits to be
        run inside io_uring_enter, and a cold read would hang.
        """
        array = ctypes.c_int(event_fd)
        if _register(_NR_REGISTER, self.fd, _REGISTER_EVENTFD, ctypes.addressof(array), 1) < 0:
            raise _error("io_uring_register")

    def push(self, op: int, fd: int, offset: int, address: int, length: int, flags: int, user_data: int) -> None:  # noqa: PLR0917  # the fields of a request, in their order
        """Put a request into the submission queue, of which less than `entries` are `unsubmitted`."""
        tail = self._tail
        at = (tail & self.entries - 1) << _SQE_SHIFT
        _SQE.pack_into(self._sqe_view, at, op, 0, 0, fd, offset, address, length, flags, user_data)
        self._tail = tail + 1 & _INDEX_MASK
        self.unsubmitted += 1

    def enter(self) -> None:
        """Submit what was pushed and let the kernel post what has completed. Does not wait.

        Raises BlockingIOError when the kernel is short of memory or of room for completions (then reap and try again),
        and OSError when the ring cannot be used any more.
        """
        self._words[self._tail_word] = self._tail
        while True:
            taken = _enter(_NR_ENTER, self.fd, self.unsubmitted, 0, _ENTER_GETEVENTS, None, 0)
            if taken >= 0:
                self.unsubmitted -= taken
                if not self.unsubmitted:
                    return
                if not taken:
                    raise BlockingIOError(errno.EAGAIN, "io_uring_enter took no request")
            elif (number := last_error()) == errno.EBUSY:
                raise BlockingIOError(number, f"io_uring_enter: {os.strerror(number)}")
            elif number != errno.EINTR:
                raise _error("io_uring_enter")

    def wait(self, completions: int, timeout: float) -> None:
        """Submit, and wait until so many completions can be reaped or `timeout` seconds have passed. Blocks the thread.

        Raises OSError when the ring cannot be used any more.
        """
        self._words[self._tail_word] = self._tail
        deadline = monotonic() + timeout
        while (left := deadline - monotonic()) > 0 and self.ready() < completions:
            span = struct.pack("=qq", int(left), int(left % 1 * 1e9))  # struct __kernel_timespec
            span_buffer = ctypes.create_string_buffer(span, 16)
            argument = struct.pack("=QIIQ", 0, 0, 0, ctypes.addressof(span_buffer))  # struct io_uring_getevents_arg
            flags = _ENTER_GETEVENTS | _ENTER_EXT_ARG
            buffer = ctypes.create_string_buffer(argument, 24)
            taken = _enter_and_wait(
                _NR_ENTER, self.fd, self.unsubmitted, completions, flags, ctypes.addressof(buffer), 24
            )
            if taken >= 0:
                self.unsubmitted -= taken
            elif last_error() not in (errno.EINTR, errno.ETIME, errno.EAGAIN, errno.EBUSY):
                raise _error("io_uring_enter")

    def calls(self) -> bool:
        """Return whether there is something to do: submit what was pushed, have posted what has completed, or reap.

        Linux 6.1 still posts some completions by itself, from another CPU, and then sets no flag. To be asked after the
        eventfd was read: the kernel sets the flag first and adds to the eventfd second, and both sides of the eventfd
        take its lock, so whoever has read it sees the flag.
        """
        words = self._words
        return (
            self.unsubmitted > 0 or words[self._flags_word] & _SQ_TASKRUN != 0 or words[self._tail_words] != self._head
        )

    def ready(self) -> int:
        """Return the number of completions that wait to be reaped."""
        return self._words[self._tail_words] - self._head & _INDEX_MASK

    def reap(self) -> list[tuple[int, int, int]]:
        """Take all completions: (user_data, result or negative errno, flags) each."""
        head = self._head
        tail = self._words[self._tail_words]
        if head == tail:
            return []
        view, offset, kept = self._cqe_view, self._cqe_offset, self.completions_kept
        first, last = head & kept - 1, tail & kept - 1
        if first < last:
            completions = list(_CQE.iter_unpack(view[offset + (first << _CQE_SHIFT) : offset + (last << _CQE_SHIFT)]))
        else:  # around the end of the table
            completions = list(_CQE.iter_unpack(view[offset + (first << _CQE_SHIFT) : offset + (kept << _CQE_SHIFT)]))
            completions += _CQE.iter_unpack(view[offset : offset + (last << _CQE_SHIFT)])
        self._words[self._head_word] = self._head = tail
        return completions

    def close(self) -> None:
        """Give the queues back. The kernel takes the ring apart later, in its own time."""
        maps, self._maps = self._maps, []
        for address, length in maps:
            unmap_memory(address, length)
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def forget(self) -> None:
        """In a forked child: close the child's copy of the descriptor. The mappings were not inherited."""
        self._maps = []
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
