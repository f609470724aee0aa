"""What the arguments of `open` mean: checked before anything is touched, with the classes that builtins.open raises."""

from __future__ import annotations

import codecs
import io
import locale
import os
import sys
import warnings
from dataclasses import dataclass

from asyncstore.aio._buffer import BUFFER_SIZE
from asyncstore.aio._text import check_newline, resolve_encoding

__all__ = ("OpenMode", "parse_mode", "text_encoding")

_ACCESS = {
    (True, False): os.O_RDONLY,
    (False, True): os.O_WRONLY,
    (True, True): os.O_RDWR,
}
_CREATE = {"r": 0, "w": os.O_CREAT | os.O_TRUNC, "a": os.O_CREAT | os.O_APPEND, "x": os.O_CREAT | os.O_EXCL}


@dataclass(frozen=True, slots=True)
class OpenMode:
    """A mode that has been understood. `flags` are for open(2); `buffer_size` 0 means unbuffered."""

    text: bool
    readable: bool
    writable: bool
    append: bool
    flags: int
    buffer_size: int
    line_buffering: bool
    guess_line_buffering: bool
    raw_mode: str


def parse_mode(mode: str, buffering: int, encoding: str | None, errors: str | None, newline: str | None) -> OpenMode:
    """Check the arguments of `open` against each other.

    Raises TypeError for a wrong type, ValueError for a mode or a combination that makes no sense.
    """
    _check_types(mode, buffering, encoding, errors)
    letters = set(mode)
    if letters - set("axrwb+t") or len(mode) > len(letters):
        raise ValueError(f"invalid mode: {mode!r}")
    if {"t", "b"} <= letters:
        raise ValueError("can't have text and binary mode at once")
    kinds = letters & set("xrwa")
    if len(kinds) != 1:
        raise ValueError("must have exactly one of create/read/write/append mode and at most one plus")
    kind = kinds.pop()
    binary = "b" in letters
    if binary:
        _check_binary(buffering, encoding, errors, newline)
    else:
        check_newline(newline)
        if buffering == 0:
            raise ValueError("can't have unbuffered text I/O")
    if buffering < -1:
        raise ValueError("invalid buffering size")
    readable, writable = kind == "r" or "+" in letters, kind != "r" or "+" in letters
    return OpenMode(
        text=not binary,
        readable=readable,
        writable=writable,
        append=kind == "a",
        flags=_ACCESS[readable, writable] | _CREATE[kind],
        buffer_size=BUFFER_SIZE if buffering in (-1, 1) else buffering,
        line_buffering=buffering == 1 and not binary,
        guess_line_buffering=buffering == -1 and not binary,
        raw_mode=("rb+" if readable else "wb") if kind == "w" else f"{kind}b+" if readable and writable else f"{kind}b",
    )


def _check_types(mode: object, buffering: object, encoding: object, errors: object) -> None:
    if not isinstance(mode, str):
        raise TypeError(f"invalid mode: {mode!r}")
    if not isinstance(buffering, int):
        raise TypeError(f"invalid buffering: {buffering!r}")
    if encoding is not None and not isinstance(encoding, str):
        raise TypeError(f"invalid encoding: {encoding!r}")
    if errors is not None and not isinstance(errors, str):
        raise TypeError(f"invalid errors: {errors!r}")


def _check_binary(buffering: int, encoding: str | None, errors: str | None, newline: str | None) -> None:
    for name, value in (("encoding", encoding), ("errors", errors), ("newline", newline)):
        if value is not None:
            article = "an" if name in ("encoding", "errors") else "a"
            raise ValueError(f"binary mode doesn't take {article} {name} argument")
    if buffering == 1:
        warnings.warn(
            "line buffering (buffering=1) isn't supported in binary mode, the default buffer size will be used",
            RuntimeWarning,
            stacklevel=4,
        )


def text_encoding(encoding: str | None, errors: str | None, depth: int) -> tuple[str, str]:
    """Return the encoding and the error handler to use. Raises LookupError for one that does not exist.

    Warns with EncodingWarning under ``-X warn_default_encoding``, `depth` frames up, when `encoding` is None (PEP 597).
    """
    if encoding is None:
        if sys.flags.warn_default_encoding:
            io.text_encoding(None, depth + 1)
        encoding = "utf-8" if sys.flags.utf8_mode else locale.getencoding()
    encoding = resolve_encoding(encoding)
    codecs.lookup(encoding)
    if errors is not None:
        codecs.lookup_error(errors)
    return encoding, errors or "strict"
