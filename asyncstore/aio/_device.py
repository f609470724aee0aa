"""What is known of each device (``st_dev``) that files lie on: may its files be touched on the loop thread, and how.

Whether RWF_NOWAIT works, and whether a cached name can be opened without asking somebody, is a property of the file
system. It is learned once per device and remembered, since to ask costs as much as the read that it is about:

- the type, by statfs(2), which asks the server on a network file system: on a worker thread, never on the loop;
- RWF_NOWAIT, by trying it: tmpfs and overlayfs answer EOPNOTSUPP, ext4, xfs and btrfs take it for reads, xfs for writes
  too.

A device number can come back as another file system after an unmount, so what is known expires.

Assumes nothing of the GIL: entries are replaced whole, and a lost update costs one more question.
"""

from __future__ import annotations

import asyncio
import os
from time import monotonic

from asyncstore.aio import _syscalls
from asyncstore.errors import WouldBlock
from asyncstore.pool import default_pool

__all__ = ("Device", "known", "learn", "learn_later")

LIFETIME = 60.0  # seconds; arbitrary: rarely enough to cost nothing, often enough for whoever mounts by hand
MAX_DEVICES = 1024  # a container host has some hundreds of mounts; beyond it everything is forgotten and learned again

# File system types that never leave the machine, linux/magic.h. A type that is missing here is served by threads:
# slower, never wrong. FUSE and network file systems (a daemon, possibly this very process, or a server answers an open)
# must stay out, and so must pseudo file systems, whose reads take locks of their own.
_LOCAL_TYPES = frozenset(
    {
        0x0000EF53,  # ext2, ext3, ext4
        0x58465342,  # xfs
        0x9123683E,  # btrfs
        0xF2F52010,  # f2fs
        0xCA451A4E,  # bcachefs
        0x2FC12FC1,  # zfs
        0x01021994,  # tmpfs
        0x858458F6,  # ramfs
        0x794C7630,  # overlayfs
        0x73717368,  # squashfs
        0xE0F5E1E2,  # erofs
        0x00004D44,  # vfat
        0x2011BAB0,  # exfat
    }
)
_MEMORY_TYPES = frozenset({0x01021994, 0x858458F6})  # tmpfs, ramfs: nothing to wait for but swap


class Device:
    """One device. `local`: no server or daemon is asked. `in_memory`: its files are nowhere but in memory.

    `nowait_reads` and `nowait_writes` are true until the file system has answered EOPNOTSUPP to RWF_NOWAIT.
    """

    __slots__ = ("expires", "in_memory", "kind", "local", "nowait_reads", "nowait_writes")

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.local = kind in _LOCAL_TYPES
        self.in_memory = kind in _MEMORY_TYPES
        self.nowait_reads = hasattr(os, "RWF_NOWAIT")
        self.nowait_writes = hasattr(os, "RWF_NOWAIT")
        self.expires = monotonic() + LIFETIME

    def __repr__(self) -> str:
        return f"<Device type={self.kind:#x} local={self.local} nowait={self.nowait_reads}/{self.nowait_writes}>"


_devices: dict[int, Device] = {}  # by _syscalls.device_key
_being_learned: set[int] = set()


def known(key: int) -> Device | None:
    """Return what is known of the device `key` (see `_syscalls.device_key`), None when that is nothing or too old."""
    device = _devices.get(key)
    if device is None or device.expires < monotonic():
        return None
    return device


def learn(fd: int, st_dev: int) -> Device:
    """Return the device `st_dev`, on which `fd` lies. Unless it is known, asks the file system: for worker threads."""
    key = _syscalls.device_key(st_dev)
    return known(key) or _ask(fd, key)


def _ask(fd: int, key: int) -> Device:
    kind = _syscalls.file_system_type(fd) if _syscalls.AVAILABLE else 0
    device = _devices.get(key)
    if device is not None and device.kind == kind:
        device.expires = monotonic() + LIFETIME
        return device
    if len(_devices) >= MAX_DEVICES:
        _devices.clear()
    device = _devices[key] = Device(kind)
    return device


def learn_later(fd: int, key: int) -> None:
    """Have a worker learn the device `key` from `fd` and close `fd`; where no loop runs do so at once."""
    if key in _being_learned:
        os.close(fd)
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        _learn_and_close(fd, key)
        return
    _being_learned.add(key)
    try:
        _job = default_pool().submit_nowait(_learn_and_close, fd, key)
    except WouldBlock:  # no hurry: the next call asks again
        _being_learned.discard(key)
        os.close(fd)


def _learn_and_close(fd: int, key: int) -> None:
    try:
        _ask(fd, key)
    finally:
        _being_learned.discard(key)
        os.close(fd)
