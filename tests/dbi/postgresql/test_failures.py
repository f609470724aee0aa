"""Servers that refuse, die, hang and cut: named errors in bounded time, and nothing broken is lent."""

from __future__ import annotations

import asyncio
import logging

import pytest

from asyncstore import dbi
from asyncstore.dbi import _async_session, _pool_keeper
from asyncstore.testing import POSTGRESQL, ChaosProxy, Reset, TemporaryServer, Truncate
from tests.services import require_server


@pytest.fixture(scope="module")
def server():
    """A server of this module's own, to be killed."""
    require_server(POSTGRESQL)
    with TemporaryServer(POSTGRESQL) as running:
        yield running


async def table(url):
    async with dbi.connect(url) as db:
        await db.executescript("DROP TABLE IF EXISTS t; CREATE TABLE t (a INT)")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (("open%20sesame", "wrong"), dbi.errors.OperationalError, "password authentication failed"),
        (("/postgres", "/nowhere"), dbi.errors.OperationalError, 'database "nowhere" does not exist'),
    ],
)
async def test_what_the_server_refuses_is_told_without_the_password(server, change, error, message, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(error, match=message) as caught:
        await dbi.connect(server.url.replace(*change))
    assert "sesame" not in f"{caught.value!r} {caught.value} {caplog.text}"


async def test_nobody_listens(server):
    async with ChaosProxy(server.host, server.port) as proxy:
        port = proxy.port
    with pytest.raises(dbi.errors.ConnectionLost, match="connect PostgreSQL database"):
        await dbi.connect(server.url.replace(str(server.port), str(port)))


async def test_a_server_that_does_not_answer_costs_the_time_to_connect(server):
    server.pause()
    try:
        with pytest.raises(dbi.errors.ConnectionLost, match=r"within 0.2 s"):
            await dbi.connect(server.url, connect_timeout=0.2)
    finally:
        server.resume()


async def test_a_backend_that_is_ended_in_mid_query(server):
    async with dbi.connect(server.url) as db, dbi.connect(server.url) as other:
        pid = await db.fetch_value("SELECT pg_backend_pid()")
        running = asyncio.ensure_future(db.fetch_value("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.05)
        await other.execute("SELECT pg_terminate_backend(?)", (pid,))
        with pytest.raises(dbi.errors.ConnectionLost):
            await running
        with pytest.raises(dbi.errors.ConnectionLost):
            await db.fetch_value("SELECT 1")
        assert not db.usable


async def test_a_pool_survives_the_end_of_its_backends(server):
    async with dbi.Pool(server.url, min_size=3, max_size=3) as pool, dbi.connect(server.url) as other:
        for _ in range(3):
            ended = await other.fetch_value(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            assert ended == 3
            await asyncio.sleep(0.05)  # until the news is here
            found = await asyncio.gather(*(pool.fetch_value("SELECT ?::int", (number,)) for number in range(20)))
            assert found == list(range(20))


async def test_a_server_that_is_killed_and_comes_back(server):
    await table(server.url)
    async with dbi.Pool(server.url, max_size=4) as pool:
        await pool.execute("INSERT INTO t VALUES (1)")

        async def in_a_transaction():
            async with pool.transaction():
                await pool.execute("INSERT INTO t VALUES (2)")
                await pool.fetch_value("SELECT pg_sleep(60)")

        async def in_a_fetch():
            async for _ in pool.iterate("SELECT a, pg_sleep(0.01) FROM generate_series(1, 100000) AS s(a)"):
                pass

        tasks = [
            asyncio.ensure_future(work)
            for work in (pool.fetch_value("SELECT pg_sleep(60)"), in_a_transaction(), in_a_fetch())
        ]
        await asyncio.sleep(0.5)
        server.kill()
        async with asyncio.timeout(20):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [dbi.errors.ConnectionLost] * 3
        with pytest.raises(dbi.errors.ConnectionLost):
            await pool.fetch_value("SELECT 1")
        server.restart()
        assert await pool.fetch_value("SELECT count(*) FROM t") == 1, "what was acknowledged is there, and no more"
        assert pool.statistics().lent == 0


@pytest.mark.parametrize("fault", [Reset(after=5000), Truncate(after=20_000), Reset(after=70_000)])
async def test_a_connection_cut_within_an_answer(server, fault):
    async with ChaosProxy(server.host, server.port) as proxy:
        url = server.url.replace(str(server.port), str(proxy.port))
        async with dbi.connect(url, sslmode="disable") as db:
            assert await db.fetch_value("SELECT 1") == 1
            proxy.set_faults(fault)
            with pytest.raises(dbi.errors.ConnectionLost):
                async with asyncio.timeout(20):
                    while True:
                        await db.fetch_all("SELECT repeat('x', 1000) FROM generate_series(1, 100)")
            assert not db.usable


async def test_a_server_that_hangs_costs_a_statement_its_time_and_the_pool_a_connection(server, monkeypatch):
    monkeypatch.setattr(_async_session, "MEND_TIMEOUT", 0.2)
    monkeypatch.setattr(_pool_keeper, "CHECK_TIMEOUT", 0.2)
    async with dbi.Pool(server.url, max_size=1, connect_timeout=0.2) as pool:
        assert await pool.fetch_value("SELECT 1") == 1
        server.pause()
        try:
            with pytest.raises(dbi.errors.QueryTimeout):
                await pool.fetch_value("SELECT pg_sleep(0)", timeout=0.1)
        finally:
            server.resume()
        async with asyncio.timeout(20):
            assert await pool.fetch_value("SELECT 2") == 2


async def test_closing_a_connection_to_a_server_that_hangs_is_bounded(server, monkeypatch):
    monkeypatch.setattr(_async_session, "MEND_TIMEOUT", 0.2)
    db = await dbi.connect(server.url)
    server.pause()
    try:
        async with asyncio.timeout(5):
            await db.aclose()
    finally:
        server.resume()
