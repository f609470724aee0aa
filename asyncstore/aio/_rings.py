"""Which loop has which ring, and whether this process can have any.

io_uring is often forbidden: the seccomp profiles of Docker 25 and containerd 2 answer EPERM, gVisor ENOSYS, an
administrator may have set kernel.io_uring_disabled. So it is tried once a process, with a real read, at the first use
and never at import; whatever goes wrong is a reason that `ring_state` tells, and never an error.

A ring belongs to the thread that made it, so each thread remembers the ring of its running loop, weakly: the loop owns
the ring (`_ring.Ring`). How it ends, by public means of asyncio alone:

1. ``loop.shutdown_asyncgens()``, which `asyncio.run` calls: an asynchronous generator that was begun on the loop and
   never finished is closed there, and closes the ring.
2. ``loop.close()`` without that drops its readers, and with them the last reference.
3. A fork: the child forgets all.

The environment variable ASYNCSTORE_AIO_RING=0 turns rings off.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncstore.aio import _syscalls

if TYPE_CHECKING:
    from asyncstore.aio._ring import Ring  # made of ctypes, and loaded where there can be one

__all__ = ("SLOT", "RingFailed", "RingState", "ring_here", "ring_state")

SLOT = 64 * 1024  # bytes: the largest request
SWITCH = "ASYNCSTORE_AIO_RING"
OLDEST_KERNEL = (6, 2)  # from here on completions are posted in the task's own context only, see `_uring_abi`
PROBE_TIMEOUT = 1.0  # seconds; the read takes 50 us


class RingFailed(OSError):
    """The ring cannot be used any more. The kernel may have the request, and may still do it."""


@dataclass(frozen=True, slots=True)
class RingState:
    """Whether this process uses io_uring for files. `usable` is None before the first use; `reason` is for people."""

    usable: bool | None
    reason: str


_state = RingState(None, "not tried yet: it is at the first read that the page cache cannot serve")
_rings: weakref.WeakSet[Ring] = weakref.WeakSet()


class _Here(threading.local):
    """What this thread knows of its loop: its ring, or that it is to have none."""

    loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
    ring: Callable[[], Ring | None] = staticmethod(lambda: None)  # or a weak reference


_here = _Here()


def ring_state() -> RingState:
    """Return whether this process uses io_uring for files, and why not. Does not try it."""
    return _state


def probe() -> RingState:
    """Try io_uring, unless that has been done, and return the outcome. Blocks for about 0.2 ms."""
    global _state  # noqa: PLW0603  # a fact about the kernel under this process, learned once
    if _state.usable is None:
        reason = _obstacle()
        _state = RingState(usable=not reason, reason=reason or "io_uring works")
    return _state


def _obstacle() -> str:
    """Return why there can be no ring, an empty text when there can."""
    if os.environ.get(SWITCH) == "0":
        return f"turned off by {SWITCH}=0"
    if not _syscalls.AVAILABLE or not hasattr(os, "eventfd"):
        return "not a 64-bit Linux, or no ctypes"
    release = os.uname().release
    if _version(release) < OLDEST_KERNEL:
        return f"Linux {release} is older than {OLDEST_KERNEL[0]}.{OLDEST_KERNEL[1]}"
    try:
        return _try_read()
    except OSError as exc:
        return exc.strerror or str(exc)


def _version(release: str) -> tuple[int, ...]:
    """Return the first two numbers of a kernel release such as 6.18.44-generic."""
    numbers = []
    for part in release.split(".")[:2]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        numbers.append(int(digits or 0))
    return tuple(numbers)


def _try_read() -> str:
    """Read eight bytes of a file in memory through a ring, and see that the eventfd tells of it."""
    from asyncstore.aio._uring_abi import READ, Queues, map_slab

    told = b"io_uring"
    file = os.memfd_create("asyncstore-probe")
    event = -1
    queues = None
    address, slab = map_slab(_syscalls.PAGE_SIZE)
    settled = True
    try:
        os.write(file, told)
        queues = Queues(2)
        event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        queues.signal(event)
        queues.push(READ, file, 0, address, len(told), 0, 1)
        settled = False
        queues.wait(1, PROBE_TIMEOUT)
        completions = queues.reap()
        settled = bool(completions)
        if completions != [(1, len(told), 0)] or slab[: len(told)] != told:
            return f"a probing read came back as {completions}"
        try:
            os.eventfd_read(event)
        except BlockingIOError:
            return "a probing read did not signal its eventfd"
        return ""
    finally:
        os.close(file)
        if event >= 0:
            os.close(event)
        if queues is not None:
            queues.close()
        if settled:  # else the kernel may still write there: leaked on purpose
            _syscalls.unmap_memory(address, _syscalls.PAGE_SIZE)


def ring_here() -> Ring | None:
    """Return the ring of the running loop, made at the first call; None when it cannot have one."""
    if _state.usable is False:
        return None
    loop = asyncio.get_running_loop()
    ring = _here.ring()
    if ring is not None and ring.loop is loop and not ring.closed:
        return ring
    return _ring_for(loop)


def _ring_for(loop: asyncio.AbstractEventLoop) -> Ring | None:
    here = _here
    if here.loop is not None and here.loop() is loop:
        return None  # it had one, which has ended with it or has failed, or it was refused one
    if not probe().usable:
        return None
    from asyncstore.aio._ring import Ring

    _sweep()
    here.loop = weakref.ref(loop)
    here.ring = lambda: None
    try:
        ring = Ring(loop)
    except OSError:  # out of descriptors or of memory: this loop does without
        return None
    _rings.add(ring)
    reference = weakref.ref(ring)
    here.ring = reference
    ring.sentinel = _begin(_until_shutdown(reference))
    return ring


async def _until_shutdown(ring: weakref.ref[Ring]) -> AsyncGenerator[None, None]:
    """Stand begun on the loop until ``loop.shutdown_asyncgens()`` closes all such generators; then close the ring."""
    try:
        yield
    finally:
        alive = ring()
        if alive is not None:
            alive.close()


def _begin(generator: AsyncGenerator[None, None]) -> AsyncGenerator[None, None]:
    """Run `generator` to its first yield, here and now: the running loop takes note of it (PEP 525)."""
    try:
        generator.__anext__().__await__().send(None)
    except StopIteration:
        pass
    return generator


def _sweep() -> None:
    """Close the rings of loops that were closed without a word and are still referred to by somebody."""
    for ring in list(_rings):
        if not ring.closed and ring.loop.is_closed():
            ring.close()


def _forget() -> None:
    """In a forked child: no ring of the parent's is of any use, and none may be touched."""
    global _here  # noqa: PLW0603  # the thread that forked is the only one left
    for ring in list(_rings):
        ring.forget()
    _rings.clear()
    _here = _Here()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
