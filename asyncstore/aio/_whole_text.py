"""Whole texts to bytes and back, with the rules that `open` has for encodings and line ends.

One decoding of the whole followed by the newline rule of io.TextIOWrapper gives the text that `open` reads. It has to
be the *incremental* decoder that io uses: ``bytes.decode("utf-16")`` takes a text without byte order mark for native,
the incremental one refuses it. Encoding comes before the file is touched, so a character that cannot be encoded costs
nobody the old content.
"""

from __future__ import annotations

import codecs
import io
import locale
import os
import sys

__all__ = ("TextRules",)

_PLAIN = frozenset({"utf-8", "UTF-8", "utf8", "ascii", "latin-1"})  # codecs whose two decoders are known to agree
_NEWLINES = (None, "", "\n", "\r", "\r\n")


class TextRules:
    """A checked triple of encoding, errors and newline, with `open`'s defaults.

    Raises TypeError and ValueError for a newline that `open` does not know, LookupError for an unknown encoding or
    error handler.
    """

    __slots__ = ("encoding", "errors", "newline")

    def __init__(self, encoding: str | None, errors: str | None, newline: str | None) -> None:
        if newline is not None and not isinstance(newline, str):
            raise TypeError(f"newline should be str or None, not {type(newline).__name__}")
        if newline not in _NEWLINES:
            raise ValueError(f"newline should be None, '', '\\n', '\\r' or '\\r\\n', not {newline!r}")
        if encoding is None:
            encoding = "utf-8" if sys.flags.utf8_mode else "locale"
        elif not isinstance(encoding, str):
            raise TypeError(f"encoding should be str or None, not {type(encoding).__name__}")
        if encoding == "locale":
            encoding = locale.getencoding()
        if encoding not in _PLAIN:
            "".encode(encoding)  # refuses what there is not, and what is no text encoding (hex)
        if errors is None:
            errors = "strict"
        elif not isinstance(errors, str):
            raise TypeError(f"errors should be str or None, not {type(errors).__name__}")
        else:
            codecs.lookup_error(errors)
        self.encoding = encoding
        self.errors = errors
        self.newline = newline

    def decode(self, data: bytes) -> str:
        """Return the text of `data`; raises UnicodeDecodeError."""
        if self.encoding in _PLAIN:
            text = data.decode(self.encoding, self.errors)
        else:
            text = codecs.getincrementaldecoder(self.encoding)(self.errors).decode(data, final=True)
        if self.newline is None and "\r" in text:
            return text.replace("\r\n", "\n").replace("\r", "\n")
        return text

    def encode(self, text: str) -> bytes:
        """Return the bytes of `text`; raises UnicodeEncodeError."""
        newline = os.linesep if self.newline is None else self.newline
        if newline in ("\r", "\r\n"):
            text = text.replace("\n", newline)
        return text.encode(self.encoding, self.errors)


def warn_default_encoding(encoding: str | None) -> None:
    """Warn as `open` does under ``-X warn_default_encoding`` when the caller leaves the encoding to the locale."""
    if encoding is None and sys.flags.warn_default_encoding:
        io.text_encoding(None, 3)
