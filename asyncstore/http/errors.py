"""What goes wrong in HTTP: who is at fault is the class, what to answer is the status."""

from __future__ import annotations

from collections.abc import Sequence

from asyncstore.errors import Broken, Error

__all__ = ("ClientDisconnected", "HTTPError", "InvalidMessage", "ProtocolError")


class HTTPError(Error):
    """A request that is answered with `status`: raised by an application, turned into a response by the server.

    `detail` is one sentence for the person at the other end; it is sent as the body, so it must hold no secret.
    `headers` are sent along (``Allow`` with 405, ``Content-Range`` with 416, ...).
    """

    def __init__(self, status: int, detail: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(status, detail, tuple(headers))  # the arguments, so that the error pickles
        self.status = status
        self.detail = detail
        self.headers = tuple(headers)

    def __str__(self) -> str:
        return f"{self.status}: {self.detail}"


class ProtocolError(HTTPError):
    """The peer broke the rules of HTTP/1.1; nothing that follows on the connection can be trusted."""


class ClientDisconnected(Broken):
    """The client went away before its request had arrived whole."""


class InvalidMessage(Error, ValueError):
    """A response that cannot be sent as it stands, such as a header value with a line break."""
