"""A new content for a file, written beside it and put in its place in one step.

Steps, all on one worker thread, all relative to one open directory, so that a directory renamed meanwhile loses
nothing:

1. open the directory that really holds the file: a symbolic link is written *through*, as editors do, and stays a link;
2. create ``.asyncstore-<16 hex digits>.tmp`` in it with O_EXCL: only there can rename(2) replace the file in one step.
   (O_TMPFILE with linkat(2) would need no name, but linkat refuses to replace.)
3. give it owner, mode and attributes of the old file *before* any content is in it: it is 0600 until then;
4. write, fsync when durable, close (NFS tells of a failed write there);
5. rename over the old name; fsync the directory when durable.

Any failure before step 5 removes the temporary file; the old file has never been touched. A process killed in between
leaves the temporary file, which `remove_leftovers` knows by its name.

Not kept: hard links (the other names keep the old content), and security.capability, security.ima and security.evm,
which speak of the old content; the kernel drops the first at any write, too.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

__all__ = (
    "Intent",
    "Replacement",
    "Withdrawn",
    "copy_xattrs",
    "is_leftover",
    "replace_with_link",
    "temporary_name",
    "write_fully",
)

_PREFIX = ".asyncstore-"
_SUFFIX = ".tmp"
_DIGITS = 16  # hexadecimal: 64 random bits, not to be guessed by someone who prepares a link of that name
_MAX_LINKS = 40  # symbolic links followed before ELOOP, as the kernel counts them (path_resolution(7))
_MAX_WRITE = 0x7FFF_F000  # bytes: Linux transfers no more in one call (write(2))
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_KEPT_XATTRS = ("user.", "system.posix_acl_access", "security.selinux")
# what a file system answers that has no such attribute, or none at all, or that forbids it to this process
_NO_XATTR = frozenset({errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS})


def temporary_name() -> str:
    """Return a fresh name that `is_leftover` recognises."""
    return f"{_PREFIX}{secrets.token_hex(_DIGITS // 2)}{_SUFFIX}"


def is_leftover(name: str | bytes) -> bool:
    """Tell whether `name` is one that `temporary_name` makes."""
    plain = os.fsdecode(name)
    digits = plain[len(_PREFIX) : -len(_SUFFIX)]
    return (
        plain.startswith(_PREFIX)
        and plain.endswith(_SUFFIX)
        and len(digits) == _DIGITS
        and all(digit in "0123456789abcdef" for digit in digits)
    )


class Withdrawn(Exception):
    """The caller was cancelled before the new content was put in place."""


class Intent:
    """Whether the caller still wants the replacement: decided once, between the loop thread and the worker."""

    __slots__ = ("_lock", "_settled")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settled: bool | None = None  # True: being put in place; False: withdrawn

    def withdraw(self) -> None:
        """Called by the cancelled caller: has no effect once `confirm` has returned."""
        with self._lock:
            if self._settled is None:
                self._settled = False

    def confirm(self) -> None:
        """Called by the worker at the last moment; raises Withdrawn when the caller has gone."""
        with self._lock:
            if self._settled is False:
                raise Withdrawn
            self._settled = True


class Replacement:
    """The new content of `path`. Blocks; use it as a context manager on a worker: write to `fd`, then `commit`.

    `mode`: permission bits of a file that is new, cut by the umask. `durable`: `commit` returns once all is on the
    disk. `old` is the status of the file that is there, None when there is none. `inherit`: write through a link and
    take the attributes of the old file; without it whatever has the name is replaced as rename(2) would.

    Raises OSError; IsADirectoryError for a directory; and, when it inherits, EINVAL for anything else that is no
    regular file: a device must not become a file.
    """

    def __init__(self, path: str | bytes, *, mode: int = 0o666, durable: bool = False, inherit: bool = True) -> None:
        self.path = path
        self.durable = durable
        self.inherit = inherit
        self.fd = -1
        self._temporary: str | bytes | None = None
        self._directory, self._name = _open_place(path, through_links=inherit)
        try:
            self.old = self._look()
            self._create(mode)
        except BaseException as exc:
            self._clean_up_after(exc)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._clean_up_after(exc)

    def _clean_up_after(self, exc: BaseException | None) -> None:
        """Clean up; a failure of that is told as a note of `exc`, which is why it was called, if there is one."""
        try:
            self._clean_up()
        except OSError as failure:
            if exc is None:
                raise
            exc.add_note(f"the clean-up failed, too: {failure}")

    def _look(self) -> os.stat_result | None:
        try:
            old = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(old.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
        if self.inherit and not stat.S_ISREG(old.st_mode):
            raise OSError(errno.EINVAL, "only a regular file can be replaced in one step", self.path)
        return old

    def _create(self, mode: int) -> None:
        name = temporary_name()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        # a new file takes its mode from the kernel, which knows the umask and the directory's default ACL
        self.fd = os.open(name, flags, 0o600 if self.old and self.inherit else mode, dir_fd=self._directory)
        self._temporary = name
        if self.old is not None and self.inherit:
            self._keep_attributes(self.old)

    def _keep_attributes(self, old: os.stat_result) -> None:
        made = os.fstat(self.fd)
        if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
            try:
                os.fchown(self.fd, old.st_uid, old.st_gid)
            except PermissionError as exc:
                owner = f"{old.st_uid}:{old.st_gid}"
                raise PermissionError(
                    exc.errno, f"a replacement could not keep the file's owner {owner}", self.path
                ) from exc
        os.fchmod(self.fd, stat.S_IMODE(old.st_mode))  # after fchown, which clears the set-user-ID bit
        if hasattr(os, "listxattr"):
            self._keep_xattrs()

    def _keep_xattrs(self) -> None:
        try:
            old = os.open(
                self._name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._directory
            )
        except PermissionError:
            return  # its owner may not read it, and so not its attributes
        try:
            copy_xattrs(old, self.fd, _KEPT_XATTRS)
        finally:
            os.close(old)

    def commit(self, intent: Intent | None = None) -> None:
        """Put the new content in place; raises OSError, and Withdrawn when `intent` has been withdrawn."""
        if self.durable:
            os.fsync(self.fd)
        fd, self.fd = self.fd, -1
        os.close(fd)
        temporary = self._temporary
        assert temporary is not None  # made by __init__; a second commit is a bug of ours
        if intent is not None:
            intent.confirm()
        os.replace(temporary, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        self._temporary = None
        if self.durable:
            try:
                os.fsync(self._directory)
            except OSError as exc:
                exc.add_note("the new content is in place, but a power cut may bring the old one back")
                raise

    def _clean_up(self) -> None:
        """Close everything, remove the temporary file if it is still one; what fails here fails after the cause."""
        try:
            if self.fd >= 0:
                fd, self.fd = self.fd, -1
                os.close(fd)
        finally:
            try:
                if self._temporary is not None:
                    temporary, self._temporary = self._temporary, None
                    try:
                        os.unlink(temporary, dir_fd=self._directory)
                    except OSError as exc:
                        exc.filename = temporary
                        raise
            finally:
                directory, self._directory = self._directory, -1
                os.close(directory)


def copy_xattrs(source: int, target: int, kept: tuple[str, ...]) -> None:
    """Copy the extended attributes whose names begin with one of `kept`, as far as the file systems allow it."""
    try:
        names = os.listxattr(source)
    except OSError as exc:
        if exc.errno in _NO_XATTR:
            return
        raise
    for name in names:
        if name.startswith(kept):
            try:
                os.setxattr(target, name, os.getxattr(source, name))
            except OSError as exc:
                if exc.errno not in _NO_XATTR:
                    raise


def write_fully(fd: int, data: memoryview) -> int:
    """Write all of `data`, in as many calls as it takes, return its size; a failure says how much was ``written``."""
    written = 0
    try:
        while written < len(data):
            written += os.write(fd, data[written : written + _MAX_WRITE])
    except OSError as exc:
        exc.written = written  # type: ignore[attr-defined]  # for the caller that turns it into PartialWrite
        raise
    return written


@contextmanager
def replace_with_link(said: str | bytes, path: str | bytes) -> Iterator[str | bytes]:
    """Make a symbolic link that says `said`, yield its temporary path, rename it to `path` at the end of the block."""
    name = temporary_name()
    where = os.path.dirname(path)
    made = os.path.join(where, os.fsencode(name)) if isinstance(where, bytes) else os.path.join(where, name)
    os.symlink(said, made)
    try:
        yield made
        os.replace(made, path)
    except BaseException:
        os.unlink(made)
        raise


def _open_place(path: str | bytes, *, through_links: bool) -> tuple[int, str | bytes]:
    """Return a descriptor of the directory that holds what `path` leads to, and the name there."""
    directory: int | None = None
    here: Any = path  # str or bytes; the stubs cannot say that what comes out is of the same kind
    try:
        for _ in range(_MAX_LINKS):
            where, name = os.path.split(here)
            if not name:
                code = errno.EISDIR if here else errno.ENOENT
                raise OSError(code, os.strerror(code), path)
            opened = _open_directory(where or os.curdir, directory)
            if directory is not None:
                os.close(directory)
            directory = opened
            if not through_links:
                return directory, name
            try:
                here = os.readlink(name, dir_fd=directory)
            except OSError as exc:
                if exc.errno in (errno.EINVAL, errno.ENOENT):  # no link, or nothing there yet
                    return directory, name
                raise
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    except OSError as exc:
        if directory is not None:
            os.close(directory)
        exc.filename = path
        raise


def _open_directory(where: str | bytes, relative_to: int | None) -> int:
    try:
        return os.open(where, _DIRECTORY, dir_fd=relative_to)
    except PermissionError:
        if not hasattr(os, "O_PATH"):
            raise
        # a directory that may be written but not read: good for all but fsync
        return os.open(where, _DIRECTORY | os.O_PATH, dir_fd=relative_to)
