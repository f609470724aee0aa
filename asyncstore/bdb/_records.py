"""What a key, a value and a range may be: checked on the loop thread, before anything reaches a worker."""

from __future__ import annotations

__all__ = (
    "MAX_ITEM_BYTES",
    "MAX_NUMBER",
    "after_prefix",
    "bounds",
    "check_bytes",
    "check_count",
    "check_file",
    "check_name",
    "check_number",
)

MAX_ITEM_BYTES = 2**31 - 1  # bytes of one key or value: the binding passes lengths as C int
MAX_NUMBER = 2**32 - 1  # of a record: db_recno_t
MAX_NAME_BYTES = (
    200  # bytes of a database's name: file names end at 255 on Linux, and libdb adds to them while it renames
)


def check_bytes(what: str, item: bytes) -> None:
    """Raise TypeError unless `item` is bytes, ValueError when it is longer than MAX_ITEM_BYTES.

    bytearray and memoryview are refused: the caller could change them while a worker reads them.
    """
    if not isinstance(item, bytes):
        raise TypeError(f"a {what} is bytes, not {type(item).__name__}")
    if len(item) > MAX_ITEM_BYTES:
        raise ValueError(f"a {what} has at most {MAX_ITEM_BYTES} bytes, not {len(item)}")


def check_count(what: str, value: int) -> None:
    """Raise ValueError unless `value` is a count that fits libdb's 32 bits."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise ValueError(f"{what} is an int of 0 to {(1 << 31) - 1}, not {value!r}")


def check_name(name: str) -> None:
    """Raise TypeError or ValueError unless `name` can name a database's file in the home and is none of libdb's."""
    if not isinstance(name, str):
        raise TypeError(f"a database's name is a str, not {type(name).__name__}")
    if not name or "/" in name or "\0" in name or name.startswith("."):
        raise ValueError(f"a database's name is not empty, has no slash or NUL and no dot in front: {name[:80]!r}")
    if name.startswith("__db"):
        raise ValueError(f"names that begin with '__db' belong to Berkeley DB, which deletes such files: {name[:80]!r}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as exc:
        raise ValueError(f"a database's name must be encodable as UTF-8: {name[:80]!r}") from exc
    if size > MAX_NAME_BYTES:
        raise ValueError(f"a database's name has at most {MAX_NAME_BYTES} bytes in UTF-8, not {size}")


def check_file(name: str) -> None:
    """Raise TypeError or ValueError unless `name` can be a database's file: as `check_name`, and no log file's name."""
    check_name(name)
    if name.startswith("log."):
        raise ValueError(f"names that begin with 'log.' belong to Berkeley DB: {name[:80]!r}")


def check_number(number: int) -> None:
    """Raise TypeError or ValueError unless `number` can be a record's number: libdb would wrap it at 32 bits."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"a record number is an int, not {type(number).__name__}")
    if not 1 <= number <= MAX_NUMBER:
        raise ValueError(f"a record number is 1 to {MAX_NUMBER}, not {number}")


def bounds(start: bytes | None, stop: bytes | None, prefix: bytes | None) -> tuple[bytes | None, bytes | None]:
    """Return the first key of a range and the first key past it (None: no end) out of what the caller gave."""
    for what, key in (("start", start), ("stop", stop), ("prefix", prefix)):
        if key is not None:
            check_bytes(what, key)
    low, high = start, stop
    if prefix:
        end = after_prefix(prefix)
        low = prefix if low is None else max(low, prefix)
        high = end if high is None else high if end is None else min(high, end)
    return low, high


def after_prefix(prefix: bytes) -> bytes | None:
    r"""Return the least key greater than every key that begins with `prefix`; None when there is none.

    >>> after_prefix(b"ab"), after_prefix(b"a\xff"), after_prefix(b"\xff")
    (b'ac', b'b', None)
    """
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
