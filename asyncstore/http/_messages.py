"""What an application sees: the request it gets and the response it returns.

An application is a callable that takes a `Request` and returns a `Response`, at once or as an awaitable: the plain kind
costs no task. It raises `HTTPError` for whatever is the client's fault.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote_to_bytes

from ._encoding import encode_head
from .errors import HTTPError

__all__ = ("App", "Request", "RequestBody", "Response", "ResponseBody", "parse_query")


class RequestBody(Protocol):
    """The body of a request, as it arrives: an asynchronous iterator over bytes.

    Reading it is what makes the client send on: unread, it stays in the client. Raises `ClientDisconnected` when the
    client goes away, `HTTPError` when the body breaks the rules or a limit; both again at every further read.
    A cancel while reading loses nothing.
    """

    length: int | None
    """Bytes announced by the client; None when the body comes in chunks."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return the iterator, which is the body itself: there is one pass."""

    async def __anext__(self) -> bytes:
        """Return all that has arrived, at least one byte; `StopAsyncIteration` at the end."""

    async def read(self, limit: int) -> bytes:
        """Return the rest of the body; `HTTPError` 413 when it is longer than `limit` bytes."""


class ResponseBody(Protocol):
    """A body that is sent piece by piece; `aclose` is called once, whether it was read, wholly or in part, or not."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return the pieces, none of them empty."""

    async def aclose(self) -> None:
        """Let go of what the body holds."""


class Request:
    """A request whose head has arrived; its body may still be on its way.

    `target` is what the client sent, `path` and `query` its parts, still percent-encoded. `headers` are in the order
    sent, names in lower case. `client` is the peer's address as the socket reports it. `route` may be set by the
    application: it names the group of requests that this one belongs to, for metrics and logs.
    """

    __slots__ = ("_parts", "body", "client", "headers", "method", "route", "target", "version")

    def __init__(
        self,
        method: str,
        target: str,
        headers: list[tuple[bytes, bytes]],
        body: RequestBody,
        *,
        version: str = "1.1",
        client: Any = None,  # an address: a tuple for TCP, a string for a unix socket
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.body = body
        self.client = client
        self.route = ""
        self._parts: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target[:80]!r}>"

    @property
    def path(self) -> str:
        """The path of the target, percent-encoded as it came. Raises `HTTPError` 400 for a target without a path."""
        return self._split()[0]

    @property
    def query(self) -> str:
        """What follows the question mark, percent-encoded as it came."""
        return self._split()[1]

    def header(self, name: bytes) -> bytes | None:
        """Return the value of the field `name` (lower case), several joined by commas; None when there is none."""
        found = None
        for key, value in self.headers:
            if key == name:
                found = value if found is None else found + b", " + value
        return found

    def text_header(self, name: bytes) -> str | None:
        """Return the value of the field `name` as Latin-1 text."""
        value = self.header(name)
        return None if value is None else value.decode("latin-1")

    def _split(self) -> tuple[str, str]:
        if self._parts is None:
            self._parts = split_target(self.target)
        return self._parts


def split_target(target: str) -> tuple[str, str]:
    """Return path and query of a request target (RFC 9112 section 3.2), still encoded.

    Takes the origin form, the absolute form (whose authority is dropped) and ``*``. Raises `HTTPError` 400 for the
    rest.
    """
    if target[:1] != "/" and target != "*":
        scheme, separator, rest = target.partition("://")
        if not separator or scheme.lower() not in ("http", "https"):
            raise HTTPError(400, "the target of the request is no path")
        target = "/" + rest.partition("/")[2] if "/" in rest else "/"
    if "#" in target:
        raise HTTPError(400, "the target of the request has a fragment")
    path, _, query = target.partition("?")
    return path, query


def parse_query(query: str) -> dict[bytes, bytes]:
    """Return the parameters of a query string, decoded once; raises `HTTPError` 400 for a name that comes twice."""
    found: dict[bytes, bytes] = {}
    for item in query.split("&"):
        if not item:
            continue
        name, _, value = (unquote_to_bytes(part.replace("+", " ")) for part in item.partition("="))
        if name in found:
            raise HTTPError(400, "a parameter of the query comes twice")
        found[name] = value
    return found


class Response:
    """What is sent back. Nothing in it changes once made, so one object may answer any number of requests.

    `body` is bytes or an object that yields them (`ResponseBody`), then with the `length` in bytes if it is known; a
    body of unknown length is sent in chunks. The server adds Date, Content-Length and the rest of the framing. Raises
    `InvalidMessage` for a status or a field that cannot be sent.
    """

    __slots__ = ("body", "head", "headers", "length", "sized_head", "status")

    def __init__(
        self,
        status: int = 200,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | ResponseBody = b"",
        *,
        length: int | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.length = len(body) if isinstance(body, bytes) else length
        self.head = encode_head(status, headers)
        # What most answers begin with, ready made: None when it depends on the request.
        self.sized_head: bytes | None = None
        if self.length is not None and status not in (204, 304):
            self.sized_head = b"%bcontent-length: %d\r\n" % (self.head, self.length)

    def __repr__(self) -> str:
        return f"<Response {self.status} length={self.length}>"


App: TypeAlias = Callable[[Request], Response | Awaitable[Response]]
