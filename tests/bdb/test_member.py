"""A replicated environment on asyncio: sites in one process, fail-over, and what happens to what was open."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asyncstore.testing._servers import _free_port
from tests.bdb.binding import bdb

PATIENCE = 30.0  # seconds for what takes a tenth of one: only a hang gets here
QUICK = {
    "ack_timeout": 20.0,
    "election_timeout": 0.4,
    "election_retry": 0.3,
    "connection_retry": 0.2,
    "heartbeat_send": 0.2,  # two masters learn of each other by what they send
    "heartbeat_monitor": 20.0,  # longer than a busy machine stands still
}


class Group:
    """The homes and addresses of three sites; site 0 creates the group."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports: set[int] = set()
        while len(ports) < 3:
            ports.add(_free_port())
        self.addresses = [("127.0.0.1", port) for port in ports]

    def settings(self, number: int, **options: Any) -> Any:
        peers = tuple(address for place, address in enumerate(self.addresses) if place != number)
        given = {**QUICK, "priority": 100 - number, "creator": number == 0, **options}
        return bdb.Replication(local=self.addresses[number], peers=peers, **given)

    def site(self, number: int, **options: Any) -> Any:
        home = self.folder / f"{number}"
        return bdb.open(home, replication=self.settings(number, **options), cache_size=1 << 20)


@pytest.fixture
def group(tmp_path: Path) -> Group:
    return Group(tmp_path)


@pytest.fixture
async def sites(group) -> AsyncIterator[list[Any]]:
    """Three sites, the first of which is master."""
    async with contextlib.AsyncExitStack() as stack:
        opened = []
        for number in range(3):
            env = await stack.enter_async_context(group.site(number, acks="all"))
            await env.replication.wait_ready(timeout=PATIENCE)
            opened.append(env)
        yield opened


async def wait_until(condition):
    """Wait until ``await condition()`` is true."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_what_the_master_writes_is_read_at_its_clients(sites):
    first, second, _ = sites
    db = await first.database("a")
    await db.put(b"k", b"v")
    copy = await second.database("a")
    assert await copy.get(b"k") == b"v"
    assert [record async for record in copy.range()] == [(b"k", b"v")]


async def test_a_client_refuses_writes_by_name(sites):
    first, second, _ = sites
    await (await first.database("a")).put(b"k", b"v")
    copy = await second.database("a")
    with pytest.raises(bdb.errors.NotMaster):
        await copy.put(b"k", b"w")
    async with second.transaction() as txn:
        with pytest.raises(bdb.errors.NotMaster):
            await copy.put(b"k", b"w", txn=txn)
    assert await copy.get(b"k") == b"v"


async def test_status_names_the_master_and_the_sites(group, sites):
    master, *clients = [await env.replication.status() for env in sites]
    assert (master.role, master.ready, master.master) == (bdb.Role.MASTER, True, group.addresses[0])
    assert len(master.sites) == 2
    for client in clients:
        assert (client.role, client.master) == (bdb.Role.CLIENT, group.addresses[0])


async def test_a_master_that_closes_hands_over_and_what_is_open_goes_on(group, sites):
    first, second, third = sites
    await (await first.database("a")).put(b"k", b"1")
    db, copy = await second.database("a"), await third.database("a")
    await first.replication.set_priority(0)
    await first.aclose()
    await second.replication.wait_ready(timeout=PATIENCE, role=bdb.Role.MASTER)
    await second.replication.set_acks("one")
    await db.put(b"k", b"2")

    async def arrived() -> bool:
        return await copy.get(b"k") == b"2"

    await wait_until(arrived)
    async with group.site(0, priority=0, acks="all") as back:
        await back.replication.wait_ready(timeout=PATIENCE, role=bdb.Role.CLIENT)
        old = await back.database("a")
        assert await old.get(b"k") == b"2"


async def test_a_transaction_that_is_open_when_the_master_changes_is_undone(group, sites):
    first, second, third = sites
    await (await first.database("a")).put(b"k", b"1")
    copy = await third.database("a")
    txn = third.transaction()
    assert await copy.get(b"k", txn=txn) == b"1"
    cursor = copy.cursor()
    await cursor.first()
    await first.aclose()
    await second.replication.wait_ready(timeout=PATIENCE, role=bdb.Role.MASTER)

    async def settled() -> bool:
        return txn.state == "aborted"

    await wait_until(settled)
    with pytest.raises(bdb.errors.NotMaster):
        await copy.get(b"k", txn=txn)
    await cursor.aclose()
    await third.replication.wait_ready(timeout=PATIENCE)
    assert await copy.get(b"k") == b"1"


async def test_a_commit_that_is_not_acknowledged_says_so_and_stands(sites):
    first, second, third = sites
    db = await first.database("a")
    await second.aclose()
    await third.aclose()
    await first.replication.set_acks("all")
    first.handle.rep_set_timeout(*ack_timeout(0.05))
    with pytest.raises(bdb.errors.NotReplicated) as caught:
        await db.put(b"k", b"1")
    assert caught.value.maybe_applied
    with pytest.raises(bdb.errors.NotReplicated):
        async with first.transaction() as txn:
            await db.put(b"t", b"1", txn=txn)
    assert await db.get_many([b"k", b"t"]) == [b"1", b"1"]


def ack_timeout(seconds: float) -> tuple[int, int]:
    from berkeleydb import db

    return db.DB_REP_ACK_TIMEOUT, round(seconds * 1e6)


async def test_events_tell_what_happens(sites):
    first, second, _ = sites
    events = second.replication.events()
    next_event = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    await first.aclose()
    seen = []
    async with asyncio.timeout(PATIENCE):
        while bdb.RepEvent.MASTER not in seen:
            seen.append((await next_event).kind)
            next_event = asyncio.ensure_future(anext(events))
    next_event.cancel()
    await asyncio.wait([next_event])
    await events.aclose()
    assert bdb.RepEvent.CONNECT_BROKEN in seen
    assert bdb.RepEvent.ELECTED in [event.kind for event in second.replication.recent_events()]


async def test_a_newcomer_that_reaches_nobody_is_told_so_and_leaves_nothing_open(group):
    with pytest.raises(bdb.errors.NoMaster, match="join"):
        await group.site(1, join_timeout=0.01)
    async with group.site(0) as first:
        await first.replication.wait_ready(timeout=PATIENCE)
        async with group.site(1) as second:
            await second.replication.wait_ready(timeout=PATIENCE, role=bdb.Role.CLIENT)


async def test_a_newcomer_waits_for_the_others_to_come_up(group):
    newcomer = asyncio.ensure_future(_opened(group.site(1)))
    await asyncio.sleep(0.3)
    assert not newcomer.done()
    async with group.site(0), contextlib.aclosing(await newcomer) as second:
        await second.replication.wait_ready(timeout=PATIENCE, role=bdb.Role.CLIENT)


async def test_a_newcomer_that_is_cancelled_leaves_nothing_open(group):
    newcomer = asyncio.ensure_future(_opened(group.site(1)))
    await asyncio.sleep(0.3)
    newcomer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await newcomer
    async with group.site(0), group.site(1) as second:
        await second.replication.wait_ready(timeout=PATIENCE, role=bdb.Role.CLIENT)


async def _opened(opening: Any) -> Any:
    return await opening


async def test_waiting_for_a_role_that_does_not_come_ends(sites):
    with pytest.raises(bdb.errors.NoMaster, match=r"not master within 0\.01 s"):
        await sites[1].replication.wait_ready(timeout=0.01, role=bdb.Role.MASTER)


async def test_an_environment_without_replication_has_none(env):
    assert env.replication is None


async def test_a_closed_member_says_so(group):
    async with group.site(0) as env:
        member = env.replication
    with pytest.raises(bdb.errors.Closed):
        await member.status()


async def test_an_index_follows_on_a_client(sites):
    first, second, _ = sites
    db = await first.database("a")
    await db.associate("i", lambda key, value: value)
    await db.put(b"k", b"v")
    copy = await second.database("a")
    index = await copy.associate("i", lambda key, value: value)
    assert await index.get_with_key(b"v") == (b"k", b"v")
    await db.put(b"k", b"w")
    assert await index.get_with_key(b"v") is None
    assert [entry async for entry in index.range()] == [(b"w", b"k", b"w")]


COMMANDED = """
    import asyncio, os, sys
    from pathlib import Path
    from asyncstore import bdb
    from tests.bdb.test_member import Group, ack_timeout

    def say(text):
        os.write(1, text.encode() + b"\\n")

    async def storm(db):
        async def write(task):
            number = 0
            while True:
                key = f"{task} {number}"
                await db.put(key.encode(), key.encode() * 9)
                say(key)
                number += 1
        await asyncio.gather(*(write(task) for task in range(16)))

    async def main(folder, acks, ports):
        group = Group(Path(folder))
        group.addresses = [("127.0.0.1", int(port)) for port in ports]
        async with group.site(0, acks=acks) as env:
            await env.replication.wait_ready(timeout=30, role=bdb.Role.MASTER)
            async with env.database("a") as db, db.associate("i", lambda key, value: value) as index:
                say("ready")
                while line := await asyncio.to_thread(sys.stdin.readline):
                    match line.split():
                        case ["storm"]:
                            await storm(db)
                        case ["impatient"]:
                            env.handle.rep_set_timeout(*ack_timeout(0.05))
                            say("ok")
                        case ["put", key, value]:
                            try:
                                await db.put(key.encode(), value.encode())
                                say("ok")
                            except bdb.errors.Error as exc:
                                say(type(exc).__name__)
                        case ["get", key]:
                            say(str(await db.get(key.encode())))
                        case ["find", value]:
                            say(str(await index.get_with_key(value.encode())))

    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
"""


class Commanded:
    """Site 0 in a process of its own, the master at first."""

    def __init__(self, group: Group, acks: str) -> None:
        command = [sys.executable, "-c", textwrap.dedent(COMMANDED), str(group.folder), acks]
        command += [str(port) for _, port in group.addresses]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    async def line(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return (await asyncio.to_thread(self.stdout.readline)).rstrip(b"\n")

    def tell(self, *words: str) -> None:
        self.stdin.write(" ".join(words).encode() + b"\n")
        self.stdin.flush()

    async def ask(self, *words: str) -> str:
        self.tell(*words)
        return (await self.line()).decode()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.stdin.close()
        self.stdout.close()


@contextlib.asynccontextmanager
async def commanded(group: Group, acks: str) -> AsyncIterator[Commanded]:
    site = Commanded(group, acks)
    try:
        assert await site.line() == b"ready"
        yield site
    finally:
        site.end()


@contextlib.asynccontextmanager
async def others(group: Group, **options: Any) -> AsyncIterator[list[Any]]:
    async with group.site(1, **options) as second, group.site(2, **options) as third:
        for env in (second, third):
            await env.replication.wait_ready(timeout=PATIENCE)
        yield [second, third]


async def master_of(environments: list[Any]) -> Any:
    """Return the one that is master, once there is one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for env in environments:
                if (await env.replication.status()).role is bdb.Role.MASTER:
                    return env
            await asyncio.sleep(0.01)


async def test_nothing_that_a_quorum_acknowledged_is_lost_when_the_master_is_killed(group):
    """16 writers at the master are killed with it; whoever is elected has every key that was acknowledged."""
    async with commanded(group, "quorum") as first, others(group) as environments:
        first.tell("storm")
        acknowledged = {await first.line() for _ in range(300)}
        first.process.send_signal(signal.SIGKILL)
        acknowledged.update((await asyncio.to_thread(first.stdout.read)).split(b"\n")[:-1])
        db = await (await master_of(environments)).database("a")
        stored = dict([record async for record in db.range()])
        assert not acknowledged - stored.keys()
        assert all(value == key * 9 for key, value in stored.items())
        await db.put(b"after", b"1")


async def test_commits_that_nobody_else_has_are_undone_and_what_is_open_goes_on(group):
    """A master that was cut off comes back: its handles are dead for libdb, and are replaced under their users."""
    async with commanded(group, "all") as first:
        async with others(group, acks="all"):
            assert await first.ask("put", "k", "1") == "ok"
        await first.ask("impatient")
        assert await first.ask("put", "lost", "2") == "NotReplicated"
        assert await first.ask("find", "2") == "(b'lost', b'2')"
        first.process.send_signal(signal.SIGSTOP)
        async with others(group, acks="one") as environments:
            db = await (await master_of(environments)).database("a")
            index = await db.associate("i", lambda key, value: value)
            with contextlib.suppress(bdb.errors.NotReplicated):  # the other may not have met its master yet
                await db.put(b"kept", b"3")
            first.process.send_signal(signal.SIGCONT)
            async with asyncio.timeout(PATIENCE):
                while await first.ask("get", "kept") != "b'3'":
                    await asyncio.sleep(0.01)
            assert await first.ask("get", "lost") == "None"
            assert await first.ask("find", "2") == "None"
            assert await first.ask("find", "3") == "(b'kept', b'3')"
            assert await first.ask("put", "k", "4") == "NotMaster"
            await index.aclose()
