"""Sending files: which headers a file gets, which parts of it are sent, and from which engine they come.

Small files whose pages are cached are read on the spot and leave in one write with their head. The rest is sent in
pieces at the client's pace, each read the way `aio` reads: at once when it is cached, on a worker when not.
sendfile(2) is not used: asyncio's runs it on the loop thread, where a page that is not cached stops every other client
for as long as the disk takes, and uvloop has none.
"""

from __future__ import annotations

import mimetypes
import os
import secrets
from collections.abc import AsyncIterator, Sequence

from asyncstore.aio._descriptor import Descriptor
from asyncstore.http import (
    HTTPError,
    Request,
    Response,
    Span,
    Unsatisfiable,
    Validators,
    Verdict,
    evaluate,
    format_date,
    multipart_layout,
    parse_ranges,
    range_holds,
)

from ._tree import etag_of

__all__ = ("INLINE_SIZE", "FileBody", "content_type_of", "serve_file", "validators_of")

INLINE_SIZE = 64 * 1024  # bytes: read at once and sent with the head; 7 us on the loop thread
_PIECE = 256 * 1024  # bytes read at a time: what `aio` reads inline at most
# Not the system's table: the same file has the same type on every machine.
_TYPES = mimetypes.MimeTypes(filenames=())
for _kind, _suffix in (
    ("text/markdown", ".md"),
    ("text/plain", ".log"),
    ("application/wasm", ".wasm"),
    ("image/avif", ".avif"),
    ("image/webp", ".webp"),
    ("font/woff2", ".woff2"),
):
    _TYPES.add_type(_kind, _suffix)
_UTF8_TYPES = frozenset(("application/json", "application/javascript", "application/xml", "image/svg+xml"))
_ENCODINGS = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def content_type_of(name: bytes) -> str:
    """Return the media type of a file by its name; what is unknown is application/octet-stream."""
    kind, encoding = _TYPES.guess_type("x/" + name.decode("utf-8", "replace"), strict=False)
    if encoding is not None:  # an archive is sent as what it is: a browser must not unpack it on the way
        return _ENCODINGS.get(encoding, "application/octet-stream")
    if kind is None:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") or kind in _UTF8_TYPES else kind


def validators_of(status: os.stat_result) -> Validators:
    """Return what tells this state of a file from others."""
    return Validators(etag_of(status), int(status.st_mtime))


class FileBody:
    """Parts of an open file, each with some bytes before it, and some at the end; closes the file at the end."""

    def __init__(self, file: Descriptor, parts: Sequence[tuple[bytes, Span]], end: bytes = b"") -> None:
        self._file = file
        self._parts = parts
        self._end = end

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        for before, span in self._parts:
            if before:
                yield before
            offset = span.offset
            end = offset + span.length
            while offset < end:
                data = await self._file.pread(min(_PIECE, end - offset), offset)
                if not data:
                    return  # truncated meanwhile: the server sees the missing bytes and cuts the connection
                offset += len(data)
                yield data
        if self._end:
            yield self._end

    async def aclose(self) -> None:
        """Close the file."""
        await self._file.close()


def serve_file(
    request: Request,
    file: Descriptor,
    status: os.stat_result,
    content_type: str,
    extra: Sequence[tuple[str, str]],
) -> Response:
    """Return the answer to a GET or HEAD of an open file, which it takes over. Raises `HTTPError` 412 and 416."""
    try:
        response = _answer(request, file, status, content_type, extra)
    except BaseException:
        file.abandon()
        raise
    if isinstance(response.body, bytes):
        file.abandon()
    return response


def _answer(
    request: Request, file: Descriptor, status: os.stat_result, content_type: str, extra: Sequence[tuple[str, str]]
) -> Response:
    current = validators_of(status)
    size = status.st_size
    known = [
        ("etag", current.etag),
        ("last-modified", format_date(int(status.st_mtime))),
        ("cache-control", "no-cache"),  # ask again: what is served here changes
        *extra,
    ]
    verdict = evaluate(request, current)
    if verdict is Verdict.NOT_MODIFIED:
        return Response(304, known)
    if verdict is Verdict.FAILED:
        raise HTTPError(412, "the file is in another state than the condition asks for")
    known += (("accept-ranges", "bytes"), ("x-content-type-options", "nosniff"))
    spans = _spans(request, current, size)
    if spans is None:
        return _send(file, 200, [("content-type", content_type), *known], Span(0, size))
    if len(spans) == 1:
        offset, length = spans[0]
        extent = f"bytes {offset}-{offset + length - 1}/{size}"
        return _send(file, 206, [("content-type", content_type), ("content-range", extent), *known], spans[0])
    boundary = secrets.token_hex(16)
    heads, end, total = multipart_layout(spans, size, content_type, boundary)
    headers = [("content-type", f"multipart/byteranges; boundary={boundary}"), *known]
    return Response(206, headers, FileBody(file, list(zip(heads, spans, strict=True)), end), length=total)


def _spans(request: Request, current: Validators, size: int) -> list[Span] | None:
    """Return the parts asked for, None for the whole file."""
    wanted = request.text_header(b"range")
    if wanted is None or request.method != "GET" or not range_holds(request, current):
        return None
    try:
        return parse_ranges(wanted, size)
    except Unsatisfiable as exc:
        detail = f"the file has {size} bytes, none of them in the range"
        raise HTTPError(416, detail, (("content-range", f"bytes */{size}"),)) from exc


def _send(file: Descriptor, status: int, headers: list[tuple[str, str]], span: Span) -> Response:
    if span.length <= INLINE_SIZE:
        data = file.read_cached(span.length, span.offset) if span.length else b""
        if data is not None and len(data) == span.length:
            return Response(status, headers, data)
    return Response(status, headers, FileBody(file, [(b"", span)]), length=span.length)
