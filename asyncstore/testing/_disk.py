"""Disks that are full: a file system with a few bytes, and a limit on the size of files.

Which of the two a machine offers depends on rights: mounting needs CAP_SYS_ADMIN (mount(2)), a limit needs none
(setrlimit(2)) but counts for the whole process, so it is set for a block and put back.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from asyncstore.testing.errors import Unavailable

DEFAULT_SIZE = 1 << 20  # bytes: room for a few files and quick to fill


@contextlib.contextmanager
def small_tmpfs(size: int = DEFAULT_SIZE) -> Iterator[Path]:
    """Yield the folder of a new tmpfs of `size` bytes, rounded up to pages; it is gone after the block.

    Writing more fails with ENOSPC. Raises `Unavailable` where mounting is not allowed, or no Linux: see `full_disk`.
    """
    if sys.platform != "linux":
        raise Unavailable("this platform has no tmpfs")
    with tempfile.TemporaryDirectory(prefix="tmpfs-") as folder:
        options = f"size={size},mode=700"
        try:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True, text=True
            )
        except FileNotFoundError:
            raise Unavailable("this platform has no mount program") from None
        except subprocess.CalledProcessError as error:
            raise Unavailable(f"this kernel does not let us mount a tmpfs: {error.stderr.strip()}") from error
        try:
            yield Path(folder)
        finally:
            # lazily: a file that the test forgot to close must not keep the mount for ever
            subprocess.run(["umount", "-l", folder], check=True, capture_output=True)


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """In the block, no file may grow beyond `size` bytes: writing more fails with EFBIG (RLIMIT_FSIZE).

    It counts for all threads of the process; SIGXFSZ, which would end the process, is ignored meanwhile if this is the
    main thread, and by default CPython ignores it anyhow. Raises `Unavailable` when the hard limit is lower already.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if hard != resource.RLIM_INFINITY and hard < size:
        raise Unavailable(f"files may not be larger than {hard} bytes here")
    was = signal.getsignal(signal.SIGXFSZ)
    if was is not signal.SIG_IGN:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        if was is not signal.SIG_IGN:
            signal.signal(signal.SIGXFSZ, was)


@contextlib.contextmanager
def full_disk(size: int = DEFAULT_SIZE) -> Iterator[Path]:
    """Yield a folder in which files cannot grow beyond about `size` bytes, by the best means that the machine offers.

    A small tmpfs where mounting is allowed (ENOSPC, all files together), else a limit on each file (EFBIG), which then
    counts for the whole process. Code under test has to treat both alike: `OSError`, and nothing lost.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(small_tmpfs(size))
        except Unavailable:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="full-")))
            stack.enter_context(file_size_limit(size))
        yield folder
