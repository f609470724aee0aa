r"""Where lines of text end.

For universal newlines that have been translated, and for ``newline="\n"``, only ``"\n"`` ends a line; for
``newline=""`` ``"\n"``, ``"\r"`` and ``"\r\n"``; otherwise the given string. `str.splitlines` knows eight more ends
("\v", "\x85", ...) and is ten times faster than any loop, so it does the work on text that has none of those.
"""

from __future__ import annotations

import re

__all__ = ("LineEnds",)

_OTHER_ENDS = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # what else splitlines splits at
_ANY_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)")
_ANY_END = re.compile(r"\r\n|\r|\n")


class LineEnds:
    """The rule of one file. `end` is the only string that ends a line, or "" for any of the three."""

    __slots__ = ("end",)

    def __init__(self, end: str) -> None:
        self.end = end

    def find(self, text: str, start: int) -> int:
        r"""Return the index behind the first line end at or after `start`, -1 when there is none.

        The "\r" of a "\r\n" that is split between chunks is the decoder's to hold back (io.IncrementalNewlineDecoder).
        """
        if self.end:
            index = text.find(self.end, start)
            return index + len(self.end) if index >= 0 else -1
        found = _ANY_END.search(text, start)
        return found.end() if found else -1

    def rescan(self, length: int) -> int:
        """Return from where to look again, once text has been added to `length` characters without a line end."""
        return max(length - len(self.end) + 1, 0) if self.end else length

    def split(self, text: str, start: int) -> tuple[list[str], int]:
        """Return the complete lines of `text` from `start` on, and the index behind the last of them."""
        end = self.end
        if end:
            last = text.rfind(end, start)
            if last < 0:
                return [], start
            stop = last + len(end)
        else:
            stop = max(text.rfind("\n", start), text.rfind("\r", start)) + 1
            if stop <= start:
                return [], start
        whole = text[start:stop]
        if (end == "\n" and "\r" in whole) or len(end) > 1 or end == "\r":
            return [line + end for line in whole[: -len(end)].split(end)], stop
        for other in _OTHER_ENDS:
            if other in whole:
                if end:
                    return [line + end for line in whole[: -len(end)].split(end)], stop
                return _ANY_LINE.findall(whole), stop
        return whole.splitlines(keepends=True), stop
