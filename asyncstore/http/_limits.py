"""The bounds of the server: every queue, wait and size that a client could otherwise make endless."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ("Limits",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one server grants its clients. Sizes are bytes, times are seconds.

    Raises `ValueError` when a limit is not positive.
    """

    max_target: int = 8192  # length of the request target: RFC 9112 section 3 asks for 8000 at least; beyond it 414
    max_head: int = 32768  # target, names and values together: four times what browsers send; beyond it 431
    max_headers: int = 100  # header fields, trailers included: the same count as other servers'; beyond it 431
    max_body: int = 1 << 30  # body of one request; beyond it 413
    max_connections: int = 1000  # connections served at the same time; the next one is told 503
    max_pipeline: int = 16  # requests that wait behind the running one before the socket is left unread
    body_buffer: int = 256 * 1024  # bytes of a body that wait for the application before the socket is left unread
    write_buffer: int = 256 * 1024  # bytes that wait for the client before the application is made to wait
    idle_timeout: float = 60.0  # between two requests: browsers keep a connection for about that long
    head_timeout: float = 10.0  # from the first byte of a request to the end of its head: 408 (slowloris)
    body_timeout: float = 20.0  # without enough of a body arriving: 408
    min_body_rate: float = 256.0  # bytes a second below which an arriving body uses up its body_timeout
    send_timeout: float = 30.0  # a client that takes nothing for that long is cut off
    linger_timeout: float = 2.0  # after the last answer: how long the client's unread input is still swallowed
    drain: int = 64 * 1024  # bytes of a body nobody wants that are swallowed to keep a connection; beyond it, it closes

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                message = f"{field.name} must be positive, not {value!r}"
                raise ValueError(message)
