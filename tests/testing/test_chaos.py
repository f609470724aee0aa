"""ChaosProxy: what a client sees of each fault, and that nothing stays open."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys

import pytest

from asyncstore.testing import (
    ChaosProxy,
    Corrupt,
    Delay,
    Door,
    Drop,
    Reset,
    Split,
    Stall,
    Throttle,
    Truncate,
    cancel_everywhere,
    leak_check,
)


async def echo(reader, writer):
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def echo_server():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def proxied(**options):
    async with leak_check(threads=False), echo_server() as port, ChaosProxy("127.0.0.1", port, **options) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def connected(proxy):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def say(streams, data):
    reader, writer = streams
    writer.write(data)
    await writer.drain()
    return await reader.readexactly(len(data))


async def test_without_faults_bytes_and_connections_pass_and_are_counted():
    async with proxied() as proxy:
        async with connected(proxy) as one, connected(proxy) as two:
            assert await say(one, b"hello") == b"hello"
            assert await say(two, b"x" * 300_000) == b"x" * 300_000
            assert proxy.connections == proxy.open_connections == 2
        await proxy.wait_until(lambda proxy: not proxy.open_connections)
        assert proxy.bytes_to_server == proxy.bytes_to_client == 300_005
        assert proxy.connections == 2


async def test_half_closing_is_passed_on():
    async with proxied() as proxy, connected(proxy) as (reader, writer):
        writer.write(b"all")
        writer.write_eof()
        assert await reader.read() == b"all"


@pytest.mark.parametrize("after", [0, 3])
async def test_a_reset_reaches_the_client_as_connection_reset_after_the_bytes_before(after):
    async with proxied(to_client=Reset(after)) as proxy, connected(proxy) as (reader, writer):
        writer.write(b"hello")
        if after:
            assert await reader.readexactly(after) == b"hello"[:after]
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)


@pytest.mark.parametrize("after", [0, 3])
async def test_a_truncated_answer_ends_as_a_clean_end_of_stream(after):
    async with proxied(to_client=Truncate(after)) as proxy, connected(proxy) as (reader, writer):
        writer.write(b"hello" * 1000)
        assert await reader.read() == b"hello"[:after]


async def test_a_truncated_request_ends_the_connection_too():
    async with proxied(to_server=Truncate(3)) as proxy, connected(proxy) as (reader, writer):
        writer.write(b"hello")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        assert proxy.bytes_to_server == 3


async def test_dropped_bytes_are_read_and_never_forwarded():
    async with proxied(to_server=Drop(2)) as proxy, connected(proxy) as (reader, writer):
        writer.write(b"hello" * 100_000)
        await writer.drain()
        writer.write_eof()
        assert await reader.read() == b"he"


async def test_a_stall_pushes_back_on_the_sender_and_flows_on_when_healed():
    data = b"x" * 20_000_000  # more than the kernel buffers on the way
    async with proxied(to_server=Stall(5)) as proxy, connected(proxy) as (reader, writer):
        assert await say((reader, writer), b"hello") == b"hello"
        writer.write(data)
        sent = asyncio.create_task(writer.drain())
        await proxy.wait_until(lambda proxy: proxy.bytes_to_server == 5)
        for _ in range(50):
            await asyncio.sleep(0)
        assert not sent.done()
        assert proxy.bytes_to_server == 5
        proxy.set_faults()
        assert await reader.readexactly(len(data)) == data
        await sent


async def test_split_bytes_arrive_in_pieces():
    async with proxied(to_client=Split(1)) as proxy, connected(proxy) as (reader, writer):
        writer.write(b"hello")
        pieces = []
        while sum(map(len, pieces)) < 5:
            pieces.append(await reader.read(100))
        assert b"".join(pieces) == b"hello"
        assert len(pieces) > 1


async def test_a_corrupted_byte_differs_and_only_that():
    async with proxied(to_client=Corrupt(1, mask=1)) as proxy, connected(proxy) as streams:
        assert await say(streams, b"aaa") == b"a`a"


async def test_a_delayed_answer_comes_after_the_delay():
    loop = asyncio.get_running_loop()
    async with proxied(to_client=Delay(0.05)) as proxy, connected(proxy) as streams:
        began = loop.time()
        await say(streams, b"hello")
        assert loop.time() - began >= 0.049  # loops round their timers to the millisecond


async def test_a_delay_ends_when_the_faults_change():
    async with proxied(to_server=Delay(3600)) as proxy, connected(proxy) as streams:
        answer = asyncio.create_task(say(streams, b"hello"))
        await proxy.wait_until(lambda proxy: proxy.connections)
        proxy.set_faults()
        assert await answer == b"hello"


async def test_a_throttled_stream_takes_its_time():
    loop = asyncio.get_running_loop()
    async with proxied(to_client=Throttle(1000)) as proxy, connected(proxy) as streams:
        began = loop.time()
        await say(streams, b"x" * 100)
        assert loop.time() - began >= 0.07  # four of five slices of 20 ms lie before the last byte


async def test_faults_of_open_connections_can_be_set_in_each_direction():
    async with proxied() as proxy, connected(proxy) as streams:
        assert await say(streams, b"hello") == b"hello"
        proxy.to_client = (Corrupt(5), Split(1))
        assert proxy.to_client == (Corrupt(5), Split(1))
        assert proxy.to_server == ()
        assert await say(streams, b"\0\0") == b"\xff\0"
        proxy.to_server = Drop()
        streams[1].write(b"lost")
        streams[1].write_eof()
        assert await streams[0].read() == b""


async def test_all_connections_can_be_reset_at_once():
    async with proxied() as proxy, connected(proxy) as one, connected(proxy) as two:
        await say(one, b"x")
        await say(two, b"x")
        proxy.reset_connections()
        for reader, _ in (one, two):
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
        await proxy.wait_until(lambda proxy: not proxy.open_connections)


async def test_all_connections_can_be_closed_at_once():
    async with proxied() as proxy, connected(proxy) as streams:
        await say(streams, b"x")
        proxy.close_connections()
        assert await streams[0].read() == b""


async def test_a_shut_door_refuses_and_can_be_opened_again_on_the_same_port():
    async with proxied(door=Door.REFUSES) as proxy:
        port = proxy.port
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        proxy.door = Door.OPEN
        assert proxy.port == port
        async with connected(proxy) as streams:
            await say(streams, b"x")
            proxy.door = Door.REFUSES
            assert await say(streams, b"still here") == b"still here"
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.skipif(sys.platform != "linux", reason="this platform answers when its queue is full")
async def test_a_deaf_door_neither_accepts_nor_refuses():
    async with proxied(door=Door.DEAF) as proxy:
        with socket.socket() as client:
            client.settimeout(0)
            assert client.connect_ex(("127.0.0.1", proxy.port)) == errno.EINPROGRESS
            for _ in range(50):
                await asyncio.sleep(0)
            assert client.connect_ex(("127.0.0.1", proxy.port)) == errno.EALREADY
        proxy.door = Door.OPEN
        async with connected(proxy) as streams:
            assert await say(streams, b"x") == b"x"
        assert proxy.connections == 1


async def test_a_server_that_cannot_be_reached_resets_the_client():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and nobody listens
        async with ChaosProxy("127.0.0.1", bound.getsockname()[1]) as proxy, connected(proxy) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)


async def test_unix_sockets_on_both_sides(tmp_path):
    server = await asyncio.start_unix_server(echo, tmp_path / "server")
    async with leak_check():
        async with ChaosProxy(path=tmp_path / "server", listen_path=tmp_path / "proxy", to_client=Truncate(2)) as proxy:
            reader, writer = await asyncio.open_unix_connection(proxy.listen_path)
            writer.write(b"hello")
            assert await reader.read() == b"he"
            writer.close()
            await writer.wait_closed()
            proxy.door = Door.REFUSES
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_unix_connection(proxy.listen_path)
            with pytest.raises(RuntimeError, match="no port"):
                assert proxy.port
        assert not (tmp_path / "proxy").exists()
    server.close()
    await server.wait_closed()


async def test_closing_twice_and_without_a_start_does_nothing():
    proxy = ChaosProxy("127.0.0.1", 9)
    await proxy.aclose()
    await proxy.start()
    assert f"at ('127.0.0.1', {proxy.port})" in repr(proxy)
    with pytest.raises(RuntimeError, match="already"):
        await proxy.start()
    await proxy.aclose()
    await proxy.aclose()


async def test_a_client_accepted_in_the_last_moment_is_closed():
    async with leak_check(), echo_server() as port:
        proxy = ChaosProxy("127.0.0.1", port)
        await proxy.start()
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            proxy._accept(proxy._listener)
            await proxy.aclose()
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""


async def test_a_proxy_that_nobody_closed_warns():
    proxy = ChaosProxy("127.0.0.1", 9)
    await proxy.start()
    asyncio.get_running_loop().remove_reader(proxy._listener)
    proxy._listener.close()
    with pytest.warns(ResourceWarning, match="unclosed <ChaosProxy"):
        proxy.__del__()
    proxy._listener = None


def test_a_proxy_needs_somewhere_to_go():
    with pytest.raises(ValueError, match="port"):
        ChaosProxy()


async def test_cancelled_anywhere_a_client_of_the_proxy_leaves_nothing_open():
    async with echo_server() as port, ChaosProxy("127.0.0.1", port) as proxy:
        leaks = leak_check(threads=False)
        leaks.start()

        async def talk():
            async with connected(proxy) as streams:
                assert await say(streams, b"hello") == b"hello"

        async def at_rest():
            await proxy.wait_until(lambda proxy: not proxy.open_connections)

        report = await cancel_everywhere(talk, check=at_rest)
        assert report.points >= 2
        await leaks.acheck()
