"""``/kv/...``: Berkeley DB over HTTP. A write is answered once it is on the disk; writes that meet share one sync.

Databases are opened when first asked for and stay open. Without the berkeleydb package every request is answered with
503 and how to install it, and the rest of the server works.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import os
import re
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_from_bytes

from asyncstore.http import HTTPError, Request, Response, Validators, Verdict, evaluate, parse_query

from ._files import page_size
from ._names import decode
from ._pages import json_response

if TYPE_CHECKING:
    from asyncstore import bdb

__all__ = ("MISSING", "PREFIX", "Keys", "open_environment")

_LOG = logging.getLogger("asyncstore.serve")
PREFIX = "/kv"
MISSING = "keys need Berkeley DB: pip install 'asyncstore[bdb]' (with libdb's headers installed), then start again"
_DATABASE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_MAX_KEY = 1024  # bytes: what fits into an inner page of a btree several times over
_MAX_DATABASES = 64  # open at the same time: each holds descriptors and cache; arbitrary
_PAGE = 100  # keys of a listing
_MAX_PAGE = 10_000  # keys that a client may ask for
_MAX_PAGE_BYTES = 8 * 1024 * 1024  # of values in one listing: it is put together in memory
_STRIPES = 256  # locks that writes spread over: two keys that share one only wait for each other
_METHODS = "GET, HEAD, PUT, DELETE, OPTIONS"
_READING = "GET, HEAD, OPTIONS"


async def open_environment(home: str) -> bdb.Environment | None:
    """Open the environment in `home`; None when the package that it needs is missing."""
    try:
        from asyncstore import bdb
    except ImportError as exc:
        _LOG.warning("%s (%s)", MISSING, exc)
        return None
    return await bdb.open(home, durability="full")


class Keys:
    """Answers requests for keys; `environment` None when there is no Berkeley DB."""

    def __init__(self, environment: bdb.Environment | None, *, read_only: bool, max_value: int) -> None:
        self._environment = environment
        self._read_only = read_only
        self._max_value = max_value
        self._databases: dict[str, asyncio.Future[bdb.Database[bytes]]] = {}
        self._locks = [asyncio.Lock() for _ in range(_STRIPES)]

    @property
    def problem(self) -> str | None:
        """Why there are no keys; None when there are."""
        return MISSING if self._environment is None else None

    @property
    def environment(self) -> bdb.Environment | None:
        """What the keys are kept in."""
        return self._environment

    def names(self) -> list[str]:
        """Return the names of the databases. Reads one directory, which holds a handful of files."""
        if self._environment is None:
            return []
        found = (entry.removesuffix(".db") for entry in os.listdir(self._environment.path) if entry.endswith(".db"))
        return sorted(name for name in found if _DATABASE.fullmatch(name))

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Answer `request`, whose path is `PREFIX` or begins with it and a slash."""
        rest = request.path[len(PREFIX) :].removeprefix("/")
        database, slash, key = rest.partition("/")
        is_key = bool(slash and key)
        allowed = _READING if self._read_only or not is_key else _METHODS
        if request.method == "OPTIONS":
            return Response(204, (("allow", allowed),))
        if request.method not in allowed.split(", "):
            raise HTTPError(405, f"{request.method} is not possible here", (("allow", allowed),))
        if self._environment is None:
            raise HTTPError(503, MISSING, (("retry-after", "3600"),))
        if not database:
            return json_response({"databases": self.names()})
        if _DATABASE.fullmatch(database) is None:
            raise HTTPError(400, "the name of a database is 1 to 64 letters, digits, underscores, dots and hyphens")
        if not is_key:
            return self._list(request, database)
        name = decode(key)
        if len(name) > _MAX_KEY:
            raise HTTPError(414, f"a key has at most {_MAX_KEY} bytes")
        match request.method:
            case "PUT":
                return self._put(request, database, name)
            case "DELETE":
                return self._delete(request, database, name)
            case _:
                return self._get(request, database, name)

    async def _open(self, name: str, *, create: bool) -> bdb.Database[bytes]:
        """Return the database `name`; requests that ask at the same time share one opening."""
        opening = self._databases.get(name)
        if opening is None:
            if not create and name not in self.names():
                raise HTTPError(404, "there is no such database")
            if len(self._databases) >= _MAX_DATABASES:
                raise HTTPError(503, f"{_MAX_DATABASES} databases are open, which is as many as there may be")
            opening = asyncio.ensure_future(self._open_database(name))
            self._databases[name] = opening
        return await asyncio.shield(opening)

    async def _open_database(self, name: str) -> bdb.Database[bytes]:
        assert self._environment is not None  # answer() has looked
        try:
            return await self._environment.database(name)
        except BaseException:
            self._databases.pop(name, None)  # so that the next request tries again
            raise

    def _lock(self, database: str, key: bytes) -> asyncio.Lock:
        return self._locks[hash((database, key)) % _STRIPES]

    async def _get(self, request: Request, database: str, key: bytes) -> Response:
        store = await self._open(database, create=False)
        value = await store.get(key)
        verdict = evaluate(request, _validators(value))
        if verdict is Verdict.FAILED:
            raise HTTPError(412, "the value is another than the condition asks for")
        if value is None:
            raise HTTPError(404, "there is no such key")
        headers = (("etag", _etag(value)), ("cache-control", "no-cache"))
        if verdict is Verdict.NOT_MODIFIED:
            return Response(304, headers)
        described = (("content-type", "application/octet-stream"), ("x-content-type-options", "nosniff"))
        return Response(200, (*described, *headers), value)

    async def _put(self, request: Request, database: str, key: bytes) -> Response:
        if request.header(b"content-range") is not None:  # RFC 9110 section 14.5
            raise HTTPError(400, "parts of a value cannot be stored")
        value = await request.body.read(self._max_value)
        store = await self._open(database, create=True)
        async with self._lock(database, key):
            current = await self._check(request, store, key)
            await store.put(key, value)
        headers = (("etag", _etag(value)),)
        if current is None:
            return Response(201, (*headers, ("location", f"{PREFIX}/{database}/{_quoted(key)}")))
        return Response(204, headers)

    async def _delete(self, request: Request, database: str, key: bytes) -> Response:
        store = await self._open(database, create=False)
        async with self._lock(database, key):
            if await self._check(request, store, key) is None or not await store.delete(key):
                raise HTTPError(404, "there is no such key")
        return Response(204)

    async def _check(self, request: Request, store: bdb.Database[bytes], key: bytes) -> bytes | None:
        """Return the present value of `key` once the conditions of `request` hold for it."""
        current = await store.get(key)
        if evaluate(request, _validators(current)) is not Verdict.PROCEED:
            raise HTTPError(412, "the value is another than the condition asks for")
        return current

    async def _list(self, request: Request, database: str) -> Response:
        query = parse_query(request.query)
        prefix = query.get(b"prefix", b"")
        after = query.get(b"after")
        limit = page_size(query, _PAGE, _MAX_PAGE)
        values = query.get(b"values", b"") in (b"1", b"true", b"yes")
        # The smallest key behind `after` is the same with a zero byte.
        start = None if after is None else after + b"\0"
        store = await self._open(database, create=False)
        items: list[dict[str, Any]] = []  # Any: JSON
        last, room, more = b"", _MAX_PAGE_BYTES, False
        async with store.range(start, prefix=prefix, limit=limit + 1) as records:
            async for key, value in records:
                room -= len(key) + (len(value) if values else 0)
                if len(items) == limit or (room < 0 and items):
                    more = True
                    break
                items.append(_item(key, value, values=values))
                last = key
        following = None
        if more:
            following = (
                f"{PREFIX}/{database}?prefix={quote_from_bytes(prefix, safe='')}"
                f"&after={quote_from_bytes(last, safe='')}&limit={limit}{'&values=1' if values else ''}"
            )
        return json_response({"database": database, "items": items, "next": following})


def _quoted(key: bytes) -> str:
    return quote(key, safe="")


def _etag(value: bytes) -> str:
    return f'"{hashlib.blake2b(value, digest_size=16).hexdigest()}"'


def _validators(value: bytes | None) -> Validators | None:
    return None if value is None else Validators(_etag(value))


def _text(name: str, data: bytes) -> dict[str, str]:
    """Return `data` as text under `name`, or base64 under another name when it is no UTF-8."""
    try:
        return {name: data.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def _item(key: bytes, value: bytes, *, values: bool) -> dict[str, Any]:  # Any: JSON
    item: dict[str, Any] = {**_text("key", key), "path": _quoted(key), "size": len(value)}
    if values:
        item |= _text("value", value)
    return item
