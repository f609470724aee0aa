"""What the caller handed over, checked before anything reaches a worker.

A bad argument is the caller's mistake: it is raised where the call stands, with the name of the argument and the value,
and not out of a thread 60 us later.
"""

from __future__ import annotations

import os
from typing import TypeAlias

__all__ = ("StrOrBytesPath", "as_view", "check_fd", "check_mode", "check_path", "check_path_or_fd", "check_size")

StrOrBytesPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def check_path(path: StrOrBytesPath, name: str = "path") -> str | bytes:
    """Return `path` as str or bytes that the operating system can take.

    Raises TypeError when it is neither str, bytes nor os.PathLike, and ValueError when it holds a NUL or a character
    that the file system's encoding cannot express.
    """
    plain: str | bytes
    if type(path) is str:
        plain = path
    else:
        try:
            plain = os.fspath(path)
        except TypeError:
            raise TypeError(f"{name} should be str, bytes or os.PathLike, not {type(path).__name__}") from None
    if isinstance(plain, str):
        if "\0" in plain:
            raise ValueError(f"{name} holds a NUL character, which no file name can: {plain!r}")
        if not plain.isascii():
            try:
                os.fsencode(plain)
            except UnicodeEncodeError as exc:
                raise ValueError(f"{name} cannot be encoded for the file system: {plain!r}") from exc
    elif b"\0" in plain:
        raise ValueError(f"{name} holds a NUL byte, which no file name can: {plain!r}")
    return plain


def check_path_or_fd(path: StrOrBytesPath | int, name: str = "path") -> str | bytes | int:
    """Return `path` as `check_path` does, or the file descriptor that it is.

    Raises TypeError for bool, ValueError for a negative descriptor, and what `check_path` raises.
    """
    if isinstance(path, int):
        return check_fd(path, name)
    return check_path(path, name)


def check_fd(fd: int, name: str = "fd") -> int:
    """Return `fd`; raises TypeError when it is no int (bool is none), ValueError when it is negative."""
    if isinstance(fd, bool) or not isinstance(fd, int):
        raise TypeError(f"{name} should be a file descriptor (int), not {type(fd).__name__}")
    if fd < 0:
        raise ValueError(f"{name} should be an open file descriptor, not {fd}")
    return fd


def check_size(size: int | None, name: str) -> int | None:
    """Return `size`, a count of bytes or None for no limit; raises TypeError and ValueError."""
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"{name} should be an int or None, not {type(size).__name__}")
    if size < 0:
        raise ValueError(f"{name} should not be negative, got {size}")
    return size


def check_mode(mode: int, name: str = "mode") -> int:
    """Return `mode`, permission bits; raises TypeError for what is no int, ValueError for bits beyond 0o7777."""
    if isinstance(mode, bool) or not isinstance(mode, int):
        raise TypeError(f"{name} should be an int such as 0o644, not {type(mode).__name__}")
    if not 0 <= mode <= 0o7777:
        raise ValueError(f"{name} should be permission bits from 0 to 0o7777, got {mode:#o}")
    return mode


def as_view(data: object, name: str = "data") -> memoryview:
    """Return the bytes of `data` as a flat view, without copying them.

    Raises TypeError for str (with the name of the call that takes it) and for anything else that is no contiguous
    buffer.
    """
    if isinstance(data, str):
        raise TypeError(f"{name} should be bytes-like, not str (write_text takes str)")
    try:
        return memoryview(data).cast("B")  # type: ignore[arg-type]  # the TypeError of a wrong type is what we wait for
    except TypeError as exc:
        raise TypeError(f"{name} should be bytes-like and contiguous, not {type(data).__name__}") from exc
