r"""Positions in decoded text: where in the bytes a character lies, and how to get a decoder there again.

A character of a text file has no address: decoders hold bytes back, carry state (shift sequences, byte order, a "\\r"
that may belong to a "\\n") and make several characters of one byte. So what `tell` returns is a cookie of five
numbers, which say how to come to the place:

    seek to byte `start`, give the decoder the state `flags`, feed it `feed` bytes (and the end of the file, if
    `at_end`), and drop the first `skip` characters of what comes out.

They are packed into one int as `io.TextIOWrapper` does, so that the common cookie (UTF-8 outside of a "\\r\\n") is
the byte offset itself, and cookies of either can be used with the other.

To find the numbers, `cookie_at` needs the decoder's state at some earlier point and the bytes decoded since. The
count of characters that come out of the first i of them never falls as i grows, so the shortest prefix that makes the
wanted character is found by bisection: 13 decodings of at most 8 KiB.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

__all__ = ("Cookie", "Segment", "cookie_at")

_WORD = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Cookie:
    """See the module's docstring."""

    start: int
    flags: int = 0
    feed: int = 0
    at_end: bool = False
    skip: int = 0

    def pack(self) -> int:
        """Return the cookie as the int that `tell` gives out."""
        return self.start | self.flags << 64 | self.feed << 128 | self.skip << 192 | self.at_end << 256

    @classmethod
    def unpack(cls, number: int) -> Cookie:
        """Return the cookie that was packed into `number`, which is not negative."""
        start, flags, feed, skip = ((number >> shift) & _WORD for shift in (0, 64, 128, 192))
        return cls(start, flags, feed, bool(number >> 256), skip)


@dataclass(slots=True)
class Segment:
    """One chunk of the file and its text: `count` characters came out of `data`, decoded from the state `flags`.

    `held` of the first bytes of `data` had been given to the decoder before, and held back by it.
    """

    flags: int
    data: bytes
    held: int
    count: int


def cookie_at(decoder: codecs.IncrementalDecoder, segment: Segment, start: int, used: int) -> Cookie:
    """Return the cookie for the place after `used` characters of `segment`, whose `data` begins at byte `start`.

    Leaves `decoder` in a state of its own: the caller restores it.
    """
    data = segment.data

    def decoded(length: int) -> tuple[int, bytes, int]:
        """How many characters the first `length` bytes make, and what the decoder is then left with."""
        decoder.setstate((b"", segment.flags))
        count = len(decoder.decode(data[:length]))
        held, flags = decoder.getstate()
        return count, held, flags

    if used == 0:
        return Cookie(start, segment.flags)
    low, high = 0, len(data)  # invariant: fewer than `used` characters at `low`; `high` makes enough, or is the end
    while high - low > 1:
        middle = (low + high) // 2
        if decoded(middle)[0] < used:
            low = middle
        else:
            high = middle
    count, held, flags = decoded(high)
    if count == used and not held:
        return Cookie(start + high, flags)
    # In the middle of what one byte makes, of a held "\r", or of bytes that the decoder holds back. Go back to a place
    # where it holds nothing back, and say what to feed from there. The start is one.
    for safe in range(low, -1, -1):
        before, held, flags = decoded(safe)
        if not held and before <= used:
            return Cookie(start + safe, flags, high - safe, count < used, used - before)
    raise AssertionError("a decoder holds nothing back at the start of a segment")
