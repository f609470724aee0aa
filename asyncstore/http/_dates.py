"""HTTP dates (RFC 9110 section 5.6.7), without the locale that `time.strftime` would follow."""

from __future__ import annotations

from calendar import timegm
from email.utils import formatdate, parsedate
from functools import lru_cache

__all__ = ("format_date", "parse_date")


@lru_cache(maxsize=256)  # the same files are asked for again and again; formatting costs 3 us
def format_date(seconds: int) -> str:
    """Return the IMF-fixdate of `seconds` since the epoch, for example ``Sun, 06 Nov 1994 08:49:37 GMT``."""
    return formatdate(seconds, usegmt=True)


def parse_date(text: str) -> int | None:
    """Return the seconds since the epoch that `text` names in any of the three formats of RFC 9110, or None."""
    parts = parsedate(text)
    if parts is None:
        return None
    try:
        return timegm(parts)
    except (ValueError, OverflowError):  # a month 13, a year 99999: a date that is none is to be ignored
        return None
