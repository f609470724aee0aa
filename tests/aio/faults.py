"""Failing system calls: the Nth call that a worker thread makes, for N = 1, 2, ... until none is left to fail."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CALLS = (
    "chown", "close", "copy_file_range", "fchmod", "fchown", "fstat", "fsync", "getxattr", "link", "listxattr", "lseek",
    "lstat", "mkdir", "open", "pread", "pwrite", "readlink", "rename", "replace", "rmdir", "scandir", "sendfile",
    "setxattr", "stat", "symlink", "unlink", "utime", "write",
)  # fmt: skip


class Faults:
    """Counts the calls of worker threads and fails the `nth`; with `persistent` every one from there on."""

    def __init__(self, nth: int, code: int, *, persistent: bool) -> None:
        self.nth = nth
        self.code = code
        self.persistent = persistent
        self.count = 0
        self.failed: list[str] = []
        self._loop_thread = threading.get_ident()
        self._lock = threading.Lock()

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == self._loop_thread:
                return call(*args, **kwargs)
            with self._lock:
                self.count += 1
                fail = self.count == self.nth or (self.persistent and self.count > self.nth)
            if not fail:
                return call(*args, **kwargs)
            self.failed.append(name)
            if name == "close":
                call(*args, **kwargs)  # Linux gives the descriptor up even when close reports an error
            raise OSError(self.code, f"injected into os.{name}")

        return faulty


@contextmanager
def failing(nth: int, code: int = errno.EIO, *, persistent: bool = False) -> Iterator[Faults]:
    """Fail the `nth` system call on worker threads inside the block."""
    faults = Faults(nth, code, persistent=persistent)
    saved = {name: getattr(os, name) for name in CALLS if hasattr(os, name)}
    supports = {kind: getattr(os, kind) for kind in ("supports_dir_fd", "supports_fd", "supports_follow_symlinks")}
    try:
        for name, call in saved.items():
            setattr(os, name, faults.wrap(name, call))
        yield faults
    finally:
        for name, call in saved.items():
            setattr(os, name, call)
        for kind, functions in supports.items():
            setattr(os, kind, functions)


def open_descriptors() -> set[str]:
    """Return what the process holds open, apart from sockets, pipes and the loop's own."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except FileNotFoundError:
            continue  # the descriptor that lists this directory
        if target.startswith("/") and not target.startswith(("/proc", "/dev")):
            found.add(f"{entry.name} -> {target}")
    return found
