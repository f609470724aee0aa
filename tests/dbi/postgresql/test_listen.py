"""LISTEN and NOTIFY: what is sent is heard, in order, and nothing is lost without a word."""

from __future__ import annotations

import asyncio

import pytest

from asyncstore import dbi


@pytest.fixture
async def db(postgresql_url):
    async with dbi.connect(postgresql_url) as connection:
        yield connection


@pytest.fixture
async def sender(postgresql_url):
    async with dbi.connect(postgresql_url) as connection:
        yield connection


async def send(sender, *payloads, channel="news"):
    for payload in payloads:
        await sender.execute("SELECT pg_notify(?, ?)", (channel, payload))


async def test_what_is_sent_is_heard_in_order_beside_statements(db, sender):
    pid = await sender.fetch_value("SELECT pg_backend_pid()")
    async with db.listen("news", "more") as heard:
        await send(sender, "a", "b")
        await send(sender, "c", channel="more")
        assert await db.fetch_value("SELECT 1") == 1
        assert [await anext(heard) for _ in range(3)] == [
            dbi.Notification("news", "a", pid),
            dbi.Notification("news", "b", pid),
            dbi.Notification("more", "c", pid),
        ]
    await send(sender, "unheard")
    with pytest.raises(StopAsyncIteration):
        await anext(heard)


async def test_a_name_that_needs_quotes(db, sender):
    name = 'A "strange" näme'
    async with db.listen(name) as heard:
        await send(sender, "a", channel=name)
        assert (await anext(heard)).channel == name


async def test_two_listeners_of_one_channel_and_one_of_them_ends(db, sender):
    async with db.listen("news") as first:
        async with db.listen("news") as second:
            await send(sender, "a")
            assert (await anext(first)).payload == (await anext(second)).payload == "a"
        await send(sender, "b")
        assert (await anext(first)).payload == "b"


async def test_more_than_are_kept_end_it_with_an_error_after_what_was_kept(db, sender):
    async with db.listen("news", max_pending=2) as heard:
        await send(sender, "a", "b", "c")
        await db.fetch_value("SELECT 1")
        assert [(await anext(heard)).payload for _ in range(2)] == ["a", "b"]
        with pytest.raises(dbi.errors.NotificationsLost, match="more than 2"):
            await anext(heard)


async def test_a_lost_connection_is_told(db, sender):
    pid = await db.fetch_value("SELECT pg_backend_pid()")
    async with db.listen("news") as heard:
        waiting = asyncio.ensure_future(anext(heard))
        await asyncio.sleep(0)
        await sender.execute("SELECT pg_terminate_backend(?)", (pid,))
        with pytest.raises(dbi.errors.ConnectionLost):
            await waiting


async def test_a_cancelled_wait_loses_nothing(db, sender):
    async with db.listen("news") as heard:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(heard), 0.01)
        await send(sender, "a")
        assert (await anext(heard)).payload == "a"


async def test_a_pools_connection_hears_no_more_when_it_is_given_back(postgresql_url, sender):
    async with dbi.Pool(postgresql_url, max_size=1) as pool:
        async with pool.acquire() as db, db.listen("news") as heard:
            await send(sender, "a")
            assert (await anext(heard)).payload == "a"
        assert await pool.fetch_value("SELECT count(*) FROM pg_listening_channels()") == 0


async def test_what_cannot_be(db, url):
    with pytest.raises(ValueError, match="channels are names"):
        db.listen()
    with pytest.raises(ValueError, match="max_pending"):
        db.listen("news", max_pending=0)
    with pytest.raises(dbi.errors.Misuse, match="async with"):
        await anext(db.listen("news"))
    async with dbi.connect(url) as other:
        with pytest.raises(dbi.errors.NotSupportedError, match="sends no notifications"):
            await other.listen("news").__aenter__()
