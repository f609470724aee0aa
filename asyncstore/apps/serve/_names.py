"""Names in URLs: the part of a target that says which file, taken apart and decoded exactly once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

from asyncstore.http import HTTPError

__all__ = ("decode", "encode", "split_names")

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MAX_DEPTH = 64  # directories in a path; arbitrary, far above what people nest


def decode(text: str) -> bytes:
    """Undo the percent-encoding of one segment; raises `HTTPError` 400 for a broken escape."""
    if "%" not in text:
        return text.encode("latin-1")
    if _BROKEN_ESCAPE.search(text):
        raise HTTPError(400, "a percent sign in the path is not followed by two hexadecimal digits")
    return unquote_to_bytes(text)


def encode(names: Iterable[bytes]) -> str:
    """Return the path of a URL that leads to `names`."""
    return "/".join(quote(name, safe="!$&'()*+,;=:@") for name in names)


def split_names(path: str) -> tuple[list[bytes], bool]:
    """Return the names in `path`, and whether a slash ends it (so that it means a directory).

    The path is cut at its slashes first and decoded afterwards, so an encoded slash can never become a separator; it is
    refused, as no file can have one in its name. So are ``.`` and ``..``, however they are spelled, NUL and empty
    names. A backslash is a character like any other. Raises `HTTPError` 400.
    """
    if not path:
        return [], True
    parts = path.split("/")
    is_directory = not parts[-1]
    if is_directory:
        parts.pop()
    if len(parts) > _MAX_DEPTH:
        raise HTTPError(400, f"the path is more than {_MAX_DEPTH} directories deep")
    names = [decode(part) for part in parts]
    for name in names:
        if not name:
            raise HTTPError(400, "the path has an empty name in it")
        if name in (b".", b".."):
            raise HTTPError(400, "the path has a dot segment in it")
        if b"/" in name or b"\0" in name:
            raise HTTPError(400, "the path has an encoded slash or NUL in it")
    return names, is_directory
