"""Text out of bytes and bytes out of text, without a file: the state machine inside `TextFile`.

It is fed chunks and asked for characters or lines; what it cannot give yet it answers with None. It behaves as
`io.TextIOWrapper` does for every codec, error handler and newline mode, with the codecs and the newline decoder of the
standard library.

Invariants
1. `chars` is the text of `segments`, in order; the caller has had the first `used` characters of it.
2. Only the first segment may be used up in part: whole ones are dropped when the next chunk is fed.
3. While `lines` holds lines prepared for iteration they are the text before `lines_end`, and `used` counts for nothing
   until `settle` has been called.
4. Text leaves only when an operation has all that it returns. One that is cancelled while it waits for more bytes
   leaves everything here, for the next.
"""

from __future__ import annotations

import codecs
import io
import os

from asyncstore.aio._text_lines import LineEnds
from asyncstore.aio._text_position import Cookie, Segment, cookie_at

__all__ = ("CHUNK", "TextCore")

CHUNK = 8192  # bytes decoded at a time, as io does: an error in the text is met by the same read
NEWLINES = (None, "", "\n", "\r", "\r\n")


class TextCore:
    """Decoder, encoder and what is decoded and not yet taken."""

    def __init__(self, encoding: str, errors: str, newline: str | None) -> None:
        self.chars = ""
        self.used = 0
        self.segments: list[Segment] = []
        self.lines: list[str] = []  # the next one last
        self.lines_end = 0
        self.ratio = 0.0  # bytes a character in the last chunk
        self.finished = False  # the decoder has seen the end of the file
        self.fresh = True  # nothing has been decoded since the decoder was made or reset
        self.configure(encoding, errors, newline)

    def configure(self, encoding: str, errors: str, newline: str | None) -> None:
        """Set or change what the text is made with. Raises LookupError for an encoding that does not exist."""
        info = codecs.lookup(encoding)
        if not getattr(info, "_is_text_encoding", True):
            raise LookupError(f"{encoding!r} is not a text encoding; use codecs.open() to handle arbitrary codecs")
        self.encoding = encoding
        self.errors = errors
        self.newline = newline
        universal = not newline
        decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder(encoding)(errors)
        if universal:
            decoder = io.IncrementalNewlineDecoder(decoder, newline is None)  # type: ignore[assignment]  # its equal
        self.decoder = decoder
        self.encoder = codecs.getincrementalencoder(encoding)(errors)
        self.ends = LineEnds("\n" if newline is None else newline)
        written = os.linesep if newline is None else newline
        self.written_end = written if written in ("\r", "\r\n") else ""

    @property
    def newlines(self) -> str | tuple[str, ...] | None:
        """The line ends met so far, for universal newlines; None before the first."""
        if self.newline:
            return None
        found: str | tuple[str, ...] | None = getattr(self.decoder, "newlines", None)
        return found

    # decoding

    def feed(self, chunk: bytes) -> bool:
        """Decode `chunk`, b"" being the end of the file; return False when that was the end and gave nothing."""
        self.fresh = False
        held, flags = self.decoder.getstate()
        text = self.decoder.decode(chunk, not chunk)
        self._drop_used()
        chars, self.chars = self.chars, ""
        chars += text  # with a single reference this grows in place: a line of 100 chunks is not copied 100 times
        self.chars = chars
        self.segments.append(Segment(flags, held + chunk, len(held), len(text)))
        self.ratio = len(chunk) / len(text) if text else 0.0
        self.finished = not chunk
        return bool(chunk or text)

    def _drop_used(self) -> None:
        """Forget the segments that have been used up."""
        segments = self.segments
        drop = 0
        while segments and drop + segments[0].count <= self.used:
            drop += segments.pop(0).count
        if drop:
            self.chars = self.chars[drop:]
            self.used -= drop

    def feed_all(self, data: bytes) -> str:
        """Decode `data`, the rest of the file; return all text that is left."""
        self.fresh = False
        text = self.decoder.decode(data, True)  # noqa: FBT003  # its signature
        before = self.chars[self.used :]
        self.forget()
        self.finished = True
        return before + text if before else text

    def wanted(self, characters: int) -> int:
        """Return how many bytes to feed next when so many characters are missing."""
        return max(CHUNK, int(max(self.ratio, 1.0) * characters))

    def take(self, n: int) -> str | None:
        """Return `n` characters, None while there are fewer."""
        end = self.used + n
        if end > len(self.chars):
            return None
        text = self.chars[self.used : end]
        self.used = end
        return text

    def take_rest(self) -> str:
        """Return all that is decoded."""
        text = self.chars[self.used :]
        self.used = len(self.chars)
        return text

    def find_line(self, limit: int, scanned: int) -> tuple[str | None, int]:
        """Return the next line, at most `limit` characters unless negative, or None; and from where to look again."""
        used = self.used
        end = self.ends.find(self.chars, used + scanned)
        if limit >= 0 and (end < 0 or end - used > limit):
            if len(self.chars) - used >= limit:
                return self.take(limit), 0
        elif end >= 0:
            self.used = end
            return self.chars[used:end], 0
        return None, self.ends.rescan(len(self.chars) - used)

    def prepare_lines(self) -> None:
        """Split all complete lines that are decoded into `lines`."""
        lines, self.lines_end = self.ends.split(self.chars, self.used)
        if lines:
            lines.reverse()
            self.lines[:] = lines  # in place: closing the file empties this list
            self.used = self.lines_end

    def settle(self) -> None:
        """Put lines that were prepared and not asked for back."""
        lines = self.lines
        if lines:
            self.used = self.lines_end - sum(map(len, lines))
            lines.clear()

    def forget(self) -> None:
        """Drop what is decoded."""
        self.chars = ""
        self.used = 0
        self.segments.clear()
        self.lines.clear()
        self.finished = False

    # encoding

    def encode(self, text: str) -> bytes:
        """Return the bytes of `text`. Raises UnicodeEncodeError."""
        if self.written_end and "\n" in text:
            text = text.replace("\n", self.written_end)
        return self.encoder.encode(text)

    def begin_writing(self) -> None:
        """Forget what is decoded and where the decoder was: the text goes on behind the bytes that were read."""
        if self.segments or self.chars:
            self.forget()
        self.decoder.reset()
        self.fresh = True

    def place_encoder(self, *, at_start: bool) -> None:
        """Have the encoder write a byte order mark at the start of a file, and nowhere else."""
        if at_start:
            self.encoder.reset()
        else:
            self.encoder.setstate(0)

    # positions

    def cookie(self, position: int) -> int:
        """Return the cookie for the place of the caller, when the bytes that were fed end at `position`."""
        if not self.segments or (self.finished and self.used == len(self.chars)):
            return position
        segments = self.segments
        start = position - sum(len(segment.data) - segment.held for segment in segments)
        used = self.used
        for segment in segments:
            if used < segment.count or segment is segments[-1]:
                break
            used -= segment.count
            start += len(segment.data) - segment.held
        saved = self.decoder.getstate()
        if used == segment.count and not self.finished:
            return Cookie(position - len(saved[0]), saved[1]).pack()
        try:
            return cookie_at(self.decoder, segment, start - segment.held, used).pack()
        finally:
            self.decoder.setstate(saved)

    def go_to(self, cookie: Cookie, data: bytes) -> None:
        """Stand where `cookie` says, `data` being the bytes to be fed. Raises OSError when that leads nowhere."""
        self.forget()
        if cookie.start == 0 and cookie.flags == 0:
            self.decoder.reset()
        else:
            self.decoder.setstate((b"", cookie.flags))
        self.fresh = False
        if not cookie.skip:
            return
        text = self.decoder.decode(data, cookie.at_end)
        self.chars = text
        self.segments.append(Segment(cookie.flags, data, 0, len(text)))
        if len(text) < cookie.skip:
            raise OSError("can't restore logical file position")
        self.used = cookie.skip
