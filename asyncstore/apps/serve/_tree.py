"""The files below one directory: what is served, stored and deleted, and how it survives a crash.

Everything here blocks and runs on worker threads, but for `open_cached`. Nothing is ever addressed by a path: names are
opened below the root's descriptor (`_beneath`), and files are replaced and removed relative to the descriptor of their
directory.

An upload is written to a file without a name (O_TMPFILE, so that a crash leaves nothing), synced, given its name in one
step, and the directory is synced: whoever looks sees the old content or the new, and what was acknowledged stays.
Where the file system has no O_TMPFILE, and for the moment between link and rename of a replacement, the file is called
`TEMPORARY_PREFIX` and something random: such names are neither served nor listed, and `sweep` removes those of dead
processes. The writer holds a lock on the file, which dies with it; that is how the living are told apart.

Lock rule: `_lock` makes "look whether the precondition holds, then replace" one step among the uploads of this
process. It is held for a stat, a link and a rename, never while data is written or synced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from asyncstore.aio import _syscalls
from asyncstore.aio._device import Device, known
from asyncstore.http import HTTPError

from ._beneath import KERNEL_RESOLVES, cached_how, open_beneath, open_beneath_cached

try:
    import fcntl
except ImportError:  # pragma: no cover  # no Unix
    fcntl = None  # type: ignore[assignment]

__all__ = ("TEMPORARY_PREFIX", "Entry", "Tree", "Upload", "etag_of", "refusal")

TEMPORARY_PREFIX = b".asyncstore-"
_O_TMPFILE: int = getattr(os, "O_TMPFILE", 0)
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)  # a FIFO must not make the open wait
_LIST = os.O_RDONLY | os.O_DIRECTORY

Check = Callable[[os.stat_result | None], None]
"""Looks at the present state of a file before it is replaced or removed; raises `HTTPError` to prevent that."""

_STATUS = {
    errno.ENOENT: (404, "there is no such file"),
    errno.ENOTDIR: (404, "there is no such file"),
    errno.ENAMETOOLONG: (404, "there is no such file"),
    errno.EXDEV: (404, "there is no such file"),  # a link that leads out: for whoever asks it is not there
    errno.ELOOP: (404, "there is no such file"),
    errno.EACCES: (403, "the server may not do that here"),
    errno.EPERM: (403, "the server may not do that here"),
    errno.EROFS: (403, "this file system cannot be written to"),
    errno.EISDIR: (409, "there is a directory of that name"),
    errno.EEXIST: (409, "there is something else of that name"),
    errno.ENOTEMPTY: (409, "the directory is not empty"),
    errno.EBUSY: (409, "the file is in use"),
    errno.EFBIG: (413, "the file would be larger than the file system takes"),
    errno.ENOSPC: (507, "there is no space left"),
    errno.EDQUOT: (507, "the quota is used up"),
    errno.EMFILE: (503, "too many files are open, try again later"),
    errno.ENFILE: (503, "too many files are open, try again later"),
}


def refusal(exc: OSError) -> HTTPError | None:
    """Return what a client is told of `exc`, None when it is no business of a client's (EIO, a bug)."""
    answer = _STATUS.get(exc.errno or 0)
    return None if answer is None else HTTPError(*answer)


def etag_of(status: os.stat_result) -> str:
    """Return the entity tag of a file: another inode, size or time stamp (nanoseconds) is another state of it.

    Strong, which holds for everything that is replaced as this server does it. A program that changes a file in place
    twice within one tick of the kernel's clock, to the same size, is not noticed.
    """
    return f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'


class Entry(NamedTuple):
    """A line of a listing. `size` is bytes, None for a directory; `modified` is seconds since the epoch."""

    name: bytes
    is_directory: bool
    size: int | None
    modified: float


class Tree:
    """What lies below `root`. With `dotfiles`, names that begin with a dot are files like any other."""

    def __init__(self, root: str | os.PathLike[str], *, dotfiles: bool = False, kernel: bool = KERNEL_RESOLVES) -> None:
        self.dotfiles = dotfiles
        self._kernel = kernel
        self._lock = threading.Lock()
        self._root = os.open(root, _LIST | os.O_CLOEXEC)
        if kernel:
            self._how_look = cached_how(os.O_PATH)
            self._how_read = cached_how(_READ)

    def close(self) -> None:
        """Let go of the root; idempotent. Uploads under way keep what they have opened."""
        root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    def hides(self, name: bytes) -> bool:
        """Tell whether `name` is kept from clients."""
        return name.startswith(TEMPORARY_PREFIX) or (not self.dotfiles and name.startswith(b"."))

    def _open(self, names: Sequence[bytes], flags: int) -> int:
        return open_beneath(self._root, names, flags, kernel=self._kernel)

    def open(self, names: Sequence[bytes]) -> tuple[int, os.stat_result]:
        """Open a regular file or a directory for reading; OSError (ENOENT) for anything else."""
        fd = self._open(names, _READ)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                raise FileNotFoundError(errno.ENOENT, "neither a file nor a directory", b"/".join(names))
        except BaseException:
            os.close(fd)
            raise
        return fd, status

    def open_cached(self, names: Sequence[bytes]) -> tuple[int, os.stat_result, Device] | None:
        """Open a regular file on the loop thread if that cannot block; None: ask a worker.

        Looks first at what it is (O_PATH): opening it could ask a file server or a daemon.
        """
        if not self._kernel or not names:
            return None
        path = b"/".join(names)
        fd = open_beneath_cached(self._root, path, self._how_look)
        if fd < 0:
            return None
        try:
            found = _syscalls.type_and_device(fd)
        finally:
            os.close(fd)
        device = None if found is None or not stat.S_ISREG(found[0]) else known(found[1])
        if device is None or not device.local:
            return None
        fd = open_beneath_cached(self._root, path, self._how_read)
        if fd < 0:
            return None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            return None
        return fd, status, device

    def list(self, names: Sequence[bytes], after: bytes, limit: int) -> tuple[list[Entry], bool]:
        """Return the entries of a directory behind `after`, in the order of their names, and whether there are more."""
        fd = self._open(names, _LIST)
        try:
            with os.scandir(fd) as entries:
                found = sorted(
                    name for entry in entries if (name := os.fsencode(entry.name)) > after and not self.hides(name)
                )
            page: list[Entry] = []
            for name in found:
                if len(page) == limit:
                    return page, True
                entry = self._entry(fd, names, name)
                if entry is not None:
                    page.append(entry)
            return page, False
        finally:
            os.close(fd)

    def _entry(self, directory: int, names: Sequence[bytes], name: bytes) -> Entry | None:
        """Describe `name` as a client would see it, None when it would not."""
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                fd, status = self.open([*names, name])
                os.close(fd)
        except OSError:  # gone meanwhile, or a link that leads nowhere or out
            return None
        if stat.S_ISDIR(status.st_mode):
            return Entry(name, is_directory=True, size=None, modified=status.st_mtime)
        if stat.S_ISREG(status.st_mode):
            return Entry(name, is_directory=False, size=status.st_size, modified=status.st_mtime)
        return None

    def upload(self, names: Sequence[bytes]) -> Upload:
        """Begin to store a file under `names`; directories on the way that are missing are made."""
        *parents, name = names
        directory = self._directory(parents)
        try:
            return Upload(directory, name, self._lock)
        except BaseException:
            os.close(directory)
            raise

    def store(self, names: Sequence[bytes], data: bytes, check: Check) -> tuple[os.stat_result, bool]:
        """Store `data` under `names` in one go; see `Upload.commit`."""
        with self.upload(names) as upload:
            upload.write(data)
            return upload.commit(check)

    def _directory(self, names: Sequence[bytes]) -> int:
        """Open the directory `names`, making what is missing of it; `HTTPError` 409 when one of them is a file."""
        try:
            return self._open(names, _LIST)
        except NotADirectoryError as exc:
            raise HTTPError(409, "the path goes through a file") from exc
        except FileNotFoundError:
            if not names:
                raise
        parent = self._directory(names[:-1])
        try:
            # EEXIST: somebody else made it, or it is a link to nowhere, which the open below complains of.
            with contextlib.suppress(FileExistsError):
                os.mkdir(names[-1], dir_fd=parent)
                os.fsync(parent)
        finally:
            os.close(parent)
        return self._open(names, _LIST)

    def delete(self, names: Sequence[bytes], check: Check, *, directory_only: bool = False) -> None:
        """Remove a file, a link or an empty directory, for good once this returns; or the latter alone."""
        *parents, name = names
        directory = self._open(parents, _LIST)
        try:
            with self._lock:
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                check(status)
                if directory_only or stat.S_ISDIR(status.st_mode):
                    os.rmdir(name, dir_fd=directory)
                else:
                    os.unlink(name, dir_fd=directory)
            os.fsync(directory)
        finally:
            os.close(directory)

    def sweep(self) -> int:
        """Remove the temporary files that a crash has left, and return how many; those of living writers stay."""
        removed = 0
        for directory, name in self._temporaries():
            with contextlib.suppress(OSError):  # gone meanwhile: its owner lives and has renamed it
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
                try:
                    if fcntl is not None and _lock_file(fd):
                        os.unlink(name, dir_fd=directory)
                        removed += 1
                finally:
                    os.close(fd)
        return removed

    def _temporaries(self) -> Iterator[tuple[int, bytes]]:
        if self._root < 0:
            return
        for _, _, files, directory in os.fwalk(b".", follow_symlinks=False, dir_fd=self._root):
            for name in files:
                if name.startswith(TEMPORARY_PREFIX):
                    yield directory, name


def _lock_file(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another writer has it, or the file system knows no locks: then nothing is swept
        return False
    return True


class Upload:
    """A file on its way: `write` pieces of it, then `commit`; `abandon` leaves no trace. One thread at a time."""

    def __init__(self, directory: int, name: bytes, lock: threading.Lock) -> None:
        self._directory = directory
        self._name = name
        self._lock = lock
        self._temporary: bytes | None = None  # the name that the file has meanwhile
        self._fd = self._create()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abandon()

    def _create(self) -> int:
        fd = -1
        if _O_TMPFILE:
            # EISDIR and ENOENT are what kernels and file systems say that take the flag for O_DIRECTORY.
            with contextlib.suppress(OSError):
                fd = os.open(b".", _O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666, dir_fd=self._directory)
        if fd < 0:
            self._temporary = _temporary_name()
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = os.open(self._temporary, flags, 0o666, dir_fd=self._directory)
        if fcntl is not None:
            _lock_file(fd)
        return fd

    def write(self, data: bytes) -> None:
        """Append `data`."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def commit(self, check: Check) -> tuple[os.stat_result, bool]:
        """Give the file its name if `check` agrees; return its status and whether the name is new.

        All of it is on the disk when this returns. An existing file keeps its permissions and, where we may, its owner.
        Raises `HTTPError` 409 when the name belongs to something that is no file.
        """
        os.fsync(self._fd)
        with self._lock:
            current = self._current()
            check(current)
            if current is not None:
                self._keep_attributes(current)
            self._publish(replacing=current is not None)
        os.fsync(self._directory)
        return os.fstat(self._fd), current is None

    def _current(self) -> os.stat_result | None:
        try:
            status = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise HTTPError(409, "there is something of that name that is no file")
        return status

    def _keep_attributes(self, current: os.stat_result) -> None:
        own = os.fstat(self._fd)
        if (own.st_uid, own.st_gid) != (current.st_uid, current.st_gid):
            with contextlib.suppress(PermissionError):  # only root may give files away
                os.fchown(self._fd, current.st_uid, current.st_gid)
        os.fchmod(self._fd, stat.S_IMODE(current.st_mode))

    def _publish(self, *, replacing: bool) -> None:
        if self._temporary is None:
            source = f"/proc/self/fd/{self._fd}"
            if not replacing:
                try:
                    os.link(source, self._name, dst_dir_fd=self._directory)
                except FileExistsError:
                    pass  # another program made it this very moment: replace it, as if it had come first
                else:
                    return
            temporary = _temporary_name()
            os.link(source, temporary, dst_dir_fd=self._directory)
            self._temporary = temporary
        os.rename(self._temporary, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        self._temporary = None

    def abandon(self) -> None:
        """Close, and remove what has not been committed; idempotent."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        os.close(fd)
        temporary, self._temporary = self._temporary, None
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=self._directory)
        os.close(self._directory)


def _temporary_name() -> bytes:
    return TEMPORARY_PREFIX + secrets.token_hex(8).encode()
