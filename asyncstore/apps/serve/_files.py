"""``/files/...``: the tree below --root as a resource for each file and each directory."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Self

from asyncstore.aio._descriptor import Descriptor
from asyncstore.errors import WouldBlock
from asyncstore.http import (
    HTTPError,
    MultipartDecoder,
    PartBegin,
    PartData,
    PartEnd,
    Request,
    Response,
    Verdict,
    evaluate,
    form_boundary,
    parse_query,
    plain_response,
)
from asyncstore.pool import Lane, Pool

from ._content import INLINE_SIZE, content_type_of, serve_file, validators_of
from ._names import encode, split_names
from ._pages import listing_json, listing_page, wants_json
from ._tree import Check, Tree, Upload, etag_of, refusal

__all__ = ("PREFIX", "Files")

PREFIX = "/files/"
_PAGE = 1000  # entries of a directory on one page
_MAX_PAGE = 10_000  # entries that a client may ask for on one page
_READING = "GET, HEAD, OPTIONS"
# Whoever may upload can upload a page with a script in it, which would then run as part of this site.
_SANDBOX = (
    "content-security-policy",
    "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'self'",
)


class Files:
    """Answers requests for files. With `read_only` nothing can be stored, and what is there is the operator's own."""

    def __init__(self, tree: Tree, pool: Pool, *, read_only: bool) -> None:
        self._tree = tree
        self._pool = pool
        self._read_only = read_only
        self._extra = () if read_only else (_SANDBOX,)

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Answer `request`, whose path begins with `PREFIX`."""
        names, is_directory = split_names(request.path[len(PREFIX) :])
        method = request.method
        if method in ("GET", "HEAD"):
            self._refuse_hidden(names, 404, "there is no such file")
            if not is_directory:
                return self._get_cached(request, names) or self._get(request, names)
            return self._list(request, names)
        allowed = self._allowed(is_directory=is_directory)
        if method == "OPTIONS":
            return Response(204, (("allow", allowed),))
        if method not in allowed.split(", "):
            raise HTTPError(405, f"{method} is not possible here", (("allow", allowed),))
        self._refuse_hidden(names, 403, "such names are not for clients")
        if method == "PUT":
            return self._put(request, names)
        return (
            self._post(request, names)
            if method == "POST"
            else self._delete(request, names, directory_only=is_directory)
        )

    def _allowed(self, *, is_directory: bool) -> str:
        if self._read_only:
            return _READING
        return f"{_READING}, POST, DELETE" if is_directory else f"{_READING}, PUT, DELETE"

    def _refuse_hidden(self, names: Sequence[bytes], status: int, detail: str) -> None:
        if any(map(self._tree.hides, names)):
            raise HTTPError(status, detail)

    async def _run(self, call: Callable[[], Awaitable[Response]]) -> Response:
        """Await `call`, telling the client of errors that are its business."""
        try:
            return await call()
        except OSError as exc:
            told = refusal(exc)
            if told is None:
                raise
            raise told from exc

    # Reading

    def _get_cached(self, request: Request, names: list[bytes]) -> Response | None:
        """Answer with a small file that the kernel has in its cache, without leaving the loop thread."""
        opened = self._tree.open_cached(names)
        if opened is None:
            return None
        fd, status, device = opened
        file = Descriptor(fd, status, os.O_RDONLY, device, names[-1])
        return serve_file(request, file, status, content_type_of(names[-1]), self._extra)

    async def _get(self, request: Request, names: list[bytes]) -> Response:
        async def get() -> Response:
            opened = await self._pool.run(_open_file, self._tree, names, on_discard=_drop_opened)
            if opened is None:
                return _redirect(request, names)
            file, status = opened
            return serve_file(request, file, status, content_type_of(names[-1]), self._extra)

        return await self._run(get)

    async def _list(self, request: Request, names: list[bytes]) -> Response:
        query = parse_query(request.query)
        limit = page_size(query, _PAGE, _MAX_PAGE)
        after = query.get(b"after", b"")

        async def list_directory() -> Response:
            entries, more = await self._pool.run(self._tree.list, names, after, limit)
            as_json = wants_json(request, query)
            render = listing_json if as_json else listing_page
            return render(names, entries, more=more, limit=limit, writable=not self._read_only)

        return await self._run(list_directory)

    # Writing

    async def _put(self, request: Request, names: list[bytes]) -> Response:
        # RFC 9110 section 14.5: storing the part as the whole is wrong
        if request.header(b"content-range") is not None:
            raise HTTPError(400, "parts of a file cannot be stored")
        if not names:
            raise HTTPError(409, "there is a directory of that name")
        check = _condition(request)

        async def put() -> Response:
            length = request.body.length
            if length is not None and length <= INLINE_SIZE:
                data = await request.body.read(INLINE_SIZE)
                status, created = await self._pool.run(self._tree.store, names, data, check)
            else:
                status, created = await self._stream(request, names, check)
            headers = [("etag", etag_of(status))]
            if created:
                return Response(201, [*headers, ("location", PREFIX + encode(names))])
            return Response(204, headers)

        return await self._run(put)

    async def _stream(self, request: Request, names: list[bytes], check: Check) -> tuple[os.stat_result, bool]:
        """Store the body as it comes: while one piece is written the next one arrives, and no more than that."""
        async with _Sink(self._pool, self._tree, names) as sink:
            async for data in request.body:
                await sink.write(data)
            return await sink.commit(check)

    async def _delete(self, request: Request, names: list[bytes], *, directory_only: bool) -> Response:
        if not names:
            raise HTTPError(403, "the root itself stays")

        async def delete() -> Response:
            remove = partial(self._tree.delete, names, _condition(request), directory_only=directory_only)
            await self._pool.run(remove)
            return Response(204)

        return await self._run(delete)

    async def _post(self, request: Request, names: list[bytes]) -> Response:
        """Store the files of a form in the directory `names`, as a browser without scripts sends them."""
        decoder = MultipartDecoder(form_boundary(request.text_header(b"content-type")))

        async def post() -> Response:
            stored = await self._store_form(request, decoder, names)
            if not stored:
                raise HTTPError(400, "the form has no file in it")
            location = directory_url(names)
            if wants_json(request, {}):
                return Response(201, (("location", PREFIX + encode([*names, stored[-1]])),))
            return Response(303, (("location", location),))

        return await self._run(post)

    async def _store_form(self, request: Request, decoder: MultipartDecoder, names: list[bytes]) -> list[bytes]:
        stored: list[bytes] = []
        async with contextlib.AsyncExitStack() as stack:
            sink: _Sink | None = None
            async for data in request.body:
                for event in decoder.receive(data):
                    if isinstance(event, PartBegin):
                        name = self._upload_name(event)
                        if name is not None:
                            sink = await stack.enter_async_context(_Sink(self._pool, self._tree, [*names, name]))
                    elif sink is not None and isinstance(event, PartData):
                        await sink.write(event.data)
                    elif sink is not None and isinstance(event, PartEnd):
                        await sink.commit(_no_condition)
                        stored.append(sink.name)
                        sink = None
            decoder.finish()
        return stored

    def _upload_name(self, part: PartBegin) -> bytes | None:
        """Return the name to store a form's file under, None for a field that is no file or was left empty."""
        if not part.filename:
            return None
        # Some browsers send the whole path that the file had, in their own system's spelling.
        name = part.filename.replace("\\", "/").rpartition("/")[2].encode("utf-8", "surrogateescape")
        if name in (b"", b".", b"..") or b"\0" in name or len(name) > 255:
            raise HTTPError(400, "a file of the form has no usable name")
        self._refuse_hidden([name], 403, "such names are not for clients")
        return name


class _Sink:
    """An upload and the lane that its jobs run on: an upload that is given up is closed behind the job that uses it."""

    def __init__(self, pool: Pool, tree: Tree, names: list[bytes]) -> None:
        self.name = names[-1]
        self._lane: Lane = pool.lane(name="upload")
        self._tree = tree
        self._names = names
        self._upload: Upload | None = None

    async def __aenter__(self) -> Self:
        self._upload = await self._lane.run(self._tree.upload, self._names, on_discard=Upload.abandon)
        return self

    async def write(self, data: bytes) -> None:
        assert self._upload is not None  # entered
        await self._lane.run(self._upload.write, data)

    async def commit(self, check: Check) -> tuple[os.stat_result, bool]:
        assert self._upload is not None  # entered
        return await self._lane.run(self._upload.commit, check)

    async def __aexit__(self, *_: object) -> None:
        upload, self._upload = self._upload, None
        if upload is None:
            return
        try:
            _closing = self._lane.submit_nowait(upload.abandon)
        except WouldBlock:  # the pool is full: wait for a place rather than leak a descriptor
            await self._lane.run(upload.abandon)


def _open_file(tree: Tree, names: list[bytes]) -> tuple[Descriptor, os.stat_result] | None:
    """Open a file on a worker; None: it is a directory."""
    fd, status = tree.open(names)
    if stat.S_ISDIR(status.st_mode):
        os.close(fd)
        return None
    return Descriptor.adopt(fd, name=names[-1]), status


def _drop_opened(opened: tuple[Descriptor, os.stat_result] | None) -> None:
    if opened is not None:
        opened[0].abandon()


def _condition(request: Request) -> Check:
    """Return the check that holds the preconditions of `request` against the state of a file."""

    def check(status: os.stat_result | None) -> None:
        if evaluate(request, None if status is None else validators_of(status)) is not Verdict.PROCEED:
            raise HTTPError(412, "the file is in another state than the condition asks for")

    return check


def _no_condition(_: os.stat_result | None) -> None:
    """Let everything pass: a form carries no conditions."""


def directory_url(names: Sequence[bytes]) -> str:
    """Return the URL of a directory."""
    return PREFIX + "".join(encode([name]) + "/" for name in names)


def _redirect(request: Request, names: list[bytes]) -> Response:
    """Send a client that asked for a directory without its slash to where relative links work."""
    query = f"?{request.query}" if request.query else ""
    return plain_response(308, "this is a directory", (("location", directory_url(names) + query),))


def page_size(query: dict[bytes, bytes], usual: int, most: int) -> int:
    """Return the limit that a query asks for; `HTTPError` 400 for what is no number from 1 to `most`."""
    value = query.get(b"limit")
    if value is None:
        return usual
    if not value.isdigit() or len(value) > 9 or not 1 <= int(value) <= most:
        raise HTTPError(400, f"limit must be a number from 1 to {most}")
    return int(value)
