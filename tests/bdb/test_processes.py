"""Several processes on one environment: they share what is in it, and one that dies takes nothing with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.bdb.binding import bdb
from tests.bdb.nursery import Child, Nursery

PROCESSES = 8
TRANSFERS = 25  # of each of the tasks of each process
TASKS = 3
ACCOUNTS = 10
START = 1000

PROGRAM = """
    import json, random, time

    CACHE = 1 << 20

    async def told():
        return (await asyncio.to_thread(sys.stdin.readline)).strip()

    async def writers(home, number, count):
        # Puts of its own keys, and of one key that all write.
        async with bdb.open(home, cache_size=CACHE) as env, env.database("a") as db:
            say("ready")
            await told()

            async def write(task):
                for step in range(count):
                    key = b"%d %d %d" % (number, task, step)
                    await db.put(key, key * 10)
                    await db.update(b"counter", lambda old: b"%d" % (int(old or 0) + 1))

            await asyncio.gather(*(write(task) for task in range(4)))
            say("done")

    async def transfers(home, number, tasks, count, accounts):
        # Money moves between accounts in random order of locking: deadlocks, also between processes.
        rng = random.Random(number)
        async with bdb.open(home, cache_size=CACHE) as env, env.database("accounts") as db:
            say("ready")
            await told()

            async def transfer(txn, source, target, amount):
                for key, change in ((source, -amount), (target, amount)):
                    value = int(await db.get(key, txn=txn))
                    await db.put(key, b"%d" % (value + change), txn=txn)

            async def repeat():
                for _ in range(count):
                    source, target = (b"%03d" % one for one in rng.sample(range(accounts), 2))
                    amount = rng.randrange(10)
                    await env.run_transaction(lambda txn: transfer(txn, source, target, amount), attempts=1000)

            await asyncio.gather(*(repeat() for _ in range(tasks)))
            say("done")

    async def victim(home):
        # Acknowledges puts, then holds a lock and is killed.
        async with bdb.open(home, cache_size=CACHE) as env, env.database("a") as db:
            for number in range(100):
                await db.put(b"victim %d" % number, b"x" * 100)
                say(number)
            async with env.transaction() as txn:
                await db.put(b"locked", b"never committed", txn=txn)
                say("holding")
                await asyncio.Event().wait()

    async def survivor(home, number):
        # Puts what it can; then asks for what the victim has locked, and says how that ended and how long it took.
        env = await bdb.open(home, cache_size=CACHE)
        db = await env.database("a")
        say("ready")
        await told()
        begun = time.monotonic()
        wanted = [db.get(b"locked"), db.put(b"locked", b"mine"), db.put(b"survivor %d" % number, b"y")]
        if number % 2:
            async def in_transaction():
                async with env.transaction() as txn:
                    await db.put(b"locked", b"mine", txn=txn)

            wanted.append(in_transaction())
        outcomes = await asyncio.gather(*wanted, return_exceptions=True)
        say(json.dumps([type(outcome).__name__ for outcome in outcomes]))
        while True:  # later calls are refused at once
            try:
                await asyncio.wait_for(db.get(b"victim 1"), 30)
            except bdb.errors.NeedsRecovery:
                break
            await asyncio.sleep(0.01)
        await env.aclose()
        say("closed", time.monotonic() - begun)

    async def opposite(home, first, second):
        # Locks two databases in an order that another process takes the other way round.
        async with bdb.open(home, cache_size=CACHE) as env, env.database(first) as one, env.database(second) as two:
            say("ready")
            attempts = 0

            async def both(txn):
                nonlocal attempts
                attempts += 1
                await one.put(b"k", first.encode(), txn=txn)
                if attempts == 1:
                    say("has one")
                    await told()
                await two.put(b"k", first.encode(), txn=txn)

            await env.run_transaction(both)
            say("done", attempts)
"""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery(PROGRAM) as started:
        yield started


def prepared(home, *names: str, records: dict[bytes, bytes] | None = None) -> None:
    async def make() -> None:
        async with bdb.open(home, cache_size=1 << 20) as env:
            for name in names:
                async with env.database(name) as db:
                    await db.put_many((records or {}).items())

    asyncio.run(make())


def contents(home, name: str) -> dict[bytes, bytes]:
    async def read() -> dict[bytes, bytes]:
        async with bdb.open(home, cache_size=1 << 20) as env, env.database(name, create=False) as db:
            return dict([record async for record in db.range()])

    return asyncio.run(read())


def run_together(children: list[Child]) -> None:
    for child in children:
        child.until("ready")
    for child in children:
        child.tell("go")
    for child in children:
        assert "done" in child.rest()


def test_eight_processes_put_at_once_and_nothing_is_lost(tmp_path, nursery):
    prepared(tmp_path, "a")
    run_together([nursery.start("writers", str(tmp_path), number, 20) for number in range(PROCESSES)])
    stored = contents(tmp_path, "a")
    keys = [b"%d %d %d" % (one, task, step) for one in range(PROCESSES) for task in range(4) for step in range(20)]
    assert stored == {b"counter": b"%d" % len(keys), **{key: key * 10 for key in keys}}


def test_the_sum_is_kept_under_transactions_of_eight_processes(tmp_path, nursery):
    accounts = {b"%03d" % one: b"%d" % START for one in range(ACCOUNTS)}
    prepared(tmp_path, "accounts", records=accounts)
    run_together(
        [nursery.start("transfers", str(tmp_path), one, TASKS, TRANSFERS, ACCOUNTS) for one in range(PROCESSES)]
    )
    stored = contents(tmp_path, "accounts")
    assert stored.keys() == accounts.keys()
    assert sum(map(int, stored.values())) == START * ACCOUNTS
    assert stored != accounts


def test_a_deadlock_between_processes_is_resolved(tmp_path, nursery):
    prepared(tmp_path, "left", "right")
    with (
        nursery.child("opposite", str(tmp_path), "left", "right") as one,
        nursery.child("opposite", str(tmp_path), "right", "left") as two,
    ):
        for child in (one, two):
            child.until("has one")
        for child in (one, two):
            child.tell("go")
        said = [line for child in (one, two) for line in child.rest()]
    assert sorted(said) == ["done 1", "done 2"]


def test_a_process_killed_with_locks_leaves_the_others_an_error_and_nothing_lost(tmp_path, nursery):
    prepared(tmp_path, "a")
    with nursery.child("victim", str(tmp_path)) as victim:
        acknowledged = victim.until("holding")[:-1]
        survivors = [nursery.start("survivor", str(tmp_path), number) for number in range(PROCESSES - 1)]
        for survivor in survivors:
            survivor.until("ready")
        victim.kill()
    for survivor in survivors:
        survivor.tell("go")
    stored_by_survivors = set()
    for number, survivor in enumerate(survivors):
        said = survivor.rest()
        read, put, own, *transaction = json.loads(said[0])
        assert {read, put, *transaction} == {"NeedsRecovery"}
        assert own in ("NoneType", "NeedsRecovery", "LockTimeout")
        if own == "NoneType":
            stored_by_survivors.add(b"survivor %d" % number)
        word, seconds = said[1].split()
        assert word == "closed"
        assert float(seconds) < 20
    stored = contents(tmp_path, "a")
    assert {b"victim %d" % int(line) for line in acknowledged} <= stored.keys()
    assert stored_by_survivors <= stored.keys()
    assert b"locked" not in stored
