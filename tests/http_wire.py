"""A client that sends the bytes it is told to, and reads answers one by one: what HTTP servers are tested with."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType
from typing import NamedTuple, Self

import httptools

PATIENCE = 20.0  # seconds: an answer that takes longer is none, however busy the machine


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class _Reader:
    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.head_done = self.done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.head_done = True

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.done = True


class Wire:
    """One connection. ``async with Wire(address) as wire``."""

    def __init__(self, address: tuple[str, int], *, receive_buffer: int | None = None) -> None:
        self._address = address
        self._receive_buffer = receive_buffer
        self._pending = b""

    async def __aenter__(self) -> Self:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if self._receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self._address)
        except OSError:
            sock.close()
            raise
        limit = 2**16 if self._receive_buffer is None else self._receive_buffer
        self.reader, self.writer = await asyncio.open_connection(sock=sock, limit=limit)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass  # the server has dropped us, which is for the test to judge

    def reset(self) -> None:
        """Drop the connection the hard way: the other side gets a reset, not an end of input."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), PATIENCE)

    async def _more(self) -> bytes:
        if self._pending:
            data, self._pending = self._pending, b""
            return data
        return await asyncio.wait_for(self.reader.read(65536), PATIENCE)

    async def answer(self, *, method: str = "GET") -> Answer:
        """Read one whole answer; EOFError when the connection ends before."""
        reader = _Reader()
        parser = httptools.HttpResponseParser(reader)
        head = b""
        while b"\r\n\r\n" not in head:
            data = await self._more()
            if not data:
                raise EOFError(head)
            head += data
        head, _, rest = head.partition(b"\r\n\r\n")
        parser.feed_data(head + b"\r\n\r\n")
        status = parser.get_status_code()
        headers = reader.headers
        if status == 100 or method == "HEAD" or status in (204, 304):
            self._pending = rest
            return Answer(status, headers, b"")
        if "content-length" in headers:
            length = int(headers["content-length"])
            while len(rest) < length:
                data = await self._more()
                if not data:
                    raise EOFError(rest)
                rest += data
            self._pending = rest[length:]
            return Answer(status, headers, rest[:length])
        while not reader.done:  # chunks, read up to their end byte by byte so that what follows stays
            if not rest and not (rest := await self._more()):
                if "transfer-encoding" in headers:
                    raise EOFError(reader.body)
                break
            if "transfer-encoding" not in headers:
                reader.body += rest
                rest = b""
                continue
            parser.feed_data(rest[:1])
            rest = rest[1:]
        self._pending = rest
        return Answer(status, headers, reader.body)

    async def ask(self, method: str, target: str, body: bytes | None = None, **fields: str) -> Answer:
        lines = [f"{method} {target} HTTP/1.1", "Host: test"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        await self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))
        return await self.answer(method=method)

    async def rest(self) -> bytes:
        """Read until the server closes."""
        data = self._pending
        self._pending = b""
        while piece := await asyncio.wait_for(self.reader.read(65536), PATIENCE):
            data += piece
        return data


async def ask(address: tuple[str, int], method: str, target: str, body: bytes | None = None, **fields: str) -> Answer:
    """One request on a connection of its own."""
    async with Wire(address) as wire:
        return await wire.ask(method, target, body, **fields)
