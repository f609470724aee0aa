"""Nothing acknowledged is lost when the process is killed, whatever it was doing.

What was acknowledged is what the process had said it was, through a pipe, when SIGKILL met it. Each round opens what
the round before has left behind: recovery works on what recovery has mended.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.bdb.binding import bdb
from tests.bdb.nursery import Nursery, contents

WRITERS = 64
ROUNDS = 50
CACHE = 1 << 20  # bytes: small, so that pages are written long before a checkpoint

PROGRAM = """
    WRITERS, CACHE = 64, 1 << 20

    async def writers(home, run, checkpoint_bytes):
        # Writer t stores "run t n" for n = 0, 1, ..., deletes what has an odd n three steps later, and overwrites
        # "last t". It says "t n" once all of step n is acknowledged.
        async with bdb.open(home, cache_size=CACHE, checkpoint_bytes=checkpoint_bytes) as env:
            async with env.database("a") as db:
                for task in range(WRITERS):
                    say("last", task, (await db.get(b"last %d" % task) or b"none").decode())
                say("ready")

                async def write(task):
                    number = 0
                    while True:
                        key = b"%d %d %d" % (run, task, number)
                        work = [db.put(key, key * 20), db.put(b"last %d" % task, b"%d %d" % (run, number))]
                        if number >= 3 and number % 2 == 0:
                            work.append(db.delete(b"%d %d %d" % (run, task, number - 3)))
                        await asyncio.gather(*work)
                        say(task, number)
                        number += 1

                await asyncio.gather(*(write(task) for task in range(WRITERS)))

    async def transfers(home, run):
        # Each transaction stores the same number in two databases, and moves the sum of all from one to the other.
        async with bdb.open(home, cache_size=CACHE, checkpoint_bytes=30_000) as env:
            async with env.database("left") as left, env.database("right") as right:

                async def transfer(task, number):
                    key = b"%d %d %d" % (run, task, number)

                    async def both(txn):
                        await left.put(key, b"l" * 300, txn=txn)
                        await right.put(key, b"r" * 300, txn=txn)
                        await left.update(b"sum %d" % task, lambda old: b"%d" % (int(old or 0) - 1), txn=txn)
                        await right.update(b"sum %d" % task, lambda old: b"%d" % (int(old or 0) + 1), txn=txn)

                    await env.run_transaction(both)
                    say(key.decode())

                async def repeat(task):
                    number = 0
                    while True:
                        await transfer(task, number)
                        number += 1

                await asyncio.gather(*(repeat(task) for task in range(8)))

    async def compacting(home, run):
        async with bdb.open(home, cache_size=CACHE, checkpoint_bytes=100_000) as env, env.database("a") as db:

            async def write():
                number = 0
                while True:
                    keys = [b"%06d %d" % (number + one, run) for one in range(40)]
                    await asyncio.gather(*(db.put(key, key * 30) for key in keys))
                    await asyncio.gather(*(db.delete(key) for key in keys[::2]))
                    say(number)
                    number += 40

            async def compact():
                while True:
                    await db.compact()
                    say("compacted")

            await asyncio.gather(write(), compact())

    async def fill(home):
        async with bdb.open(home, cache_size=CACHE) as env, env.database("a") as db:
            await db.put_many((b"%06d" % number, b"x" * 100) for number in range(3000))
            say("filled")
            await asyncio.Event().wait()

    async def recover(home):
        async with bdb.open(home, cache_size=CACHE):
            say("recovered")
            await asyncio.Event().wait()
"""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery(PROGRAM) as started:
        yield started


def steps(lines: list[str]) -> dict[int, int]:
    """Return the last step that each writer has said, and see that they came in order."""
    last = dict.fromkeys(range(WRITERS), -1)
    for line in lines:
        task, number = map(int, line.split())
        assert number == last[task] + 1
        last[task] = number
    return last


def check_last(lines: list[str], run: int, last: dict[int, int]) -> None:
    """See that each writer's overwritten record has the value of its last step, or of the one in flight behind it."""
    for line in lines:
        _, task, value = line.split(" ", 2)
        step = last[int(task)]
        in_flight = f"{run} {step + 1}"
        assert value in (f"{run} {step}", in_flight) or (step < 0 and not value.startswith(f"{run} ")), line


def check_step(stored: dict[bytes, bytes], run: int, task: int, last: int) -> None:
    for number in range(last + 2):
        key = b"%d %d %d" % (run, task, number)
        assert stored.get(key, key * 20) == key * 20, "a record in part"
        if number % 2 == 0 or number > last - 2:
            assert key in stored or number > last, f"{key!r} was acknowledged and is lost"
        elif number <= last - 3:
            assert key not in stored, f"the deletion of {key!r} was acknowledged and is lost"


def test_kill_at_random_under_64_writers_loses_nothing_acknowledged(tmp_path, nursery, rng):
    """Half of the rounds write checkpoints all the time, so that many a writer is killed in the middle of one."""
    rounds: list[dict[int, int]] = []
    for run in range(ROUNDS):
        with nursery.child("writers", str(tmp_path), run, 10_000 if run % 2 else 1 << 25) as child:
            said = child.lines(lambda found: "ready" in found)
            start = said.index("ready")
            if rounds:
                check_last(said[:start], run - 1, rounds[-1])
            said = said[start + 1 :]
            said += child.count(rng.choice([0, 1, 2, 64, 300, 600]))
            time.sleep(rng.uniform(0, 0.004))  # not to wait for anything: to be killed at any moment
            rounds.append(steps(said + child.kill()))
    (stored,) = contents(tmp_path, "a")
    for run, last in enumerate(rounds):
        for task, number in last.items():
            check_step(stored, run, task, number)
    assert sum(number + 1 for last in rounds for number in last.values()) > ROUNDS


def test_kill_under_transactions_over_two_databases_leaves_both_changes_or_neither(tmp_path, nursery, rng):
    acknowledged: set[str] = set()
    for run in range(15):
        with nursery.child("transfers", str(tmp_path), run) as child:
            acknowledged.update(child.count(rng.choice([1, 2, 20, 100])))
            time.sleep(rng.uniform(0, 0.004))
            acknowledged.update(child.kill())
    left, right = contents(tmp_path, "left", "right")
    assert left.keys() == right.keys()
    sums = {key for key in left if key.startswith(b"sum")}
    assert {key.encode() for key in acknowledged} <= left.keys()
    assert all(left[key] == b"l" * 300 and right[key] == b"r" * 300 for key in left.keys() - sums)
    assert sum(int(left[key]) for key in sums) == -len(left.keys() - sums)
    assert sum(int(right[key]) for key in sums) == len(right.keys() - sums)


def test_kill_during_compaction_loses_nothing_acknowledged(tmp_path, nursery, rng):
    last: dict[int, int] = {}
    compactions = 0
    for run in range(8):
        with nursery.child("compacting", str(tmp_path), run) as child:
            said = child.lines(lambda found: "compacted" in found and len(found) > rng.choice([3, 10]))
            time.sleep(rng.uniform(0, 0.01))
            said += child.kill()
            compactions += said.count("compacted")
            last[run] = max((int(line) for line in said if line != "compacted"), default=-1)
    (stored,) = contents(tmp_path, "a")
    assert all(value == key * 30 for key, value in stored.items())
    for run, number in last.items():
        found = {int(key.split()[0]) for key in stored if key.endswith(b" %d" % run)}
        kept = {one for one in range(number + 40) if one % 2}
        assert kept <= found, "acknowledged and lost"
        assert {one for one in found - kept if one < number + 40} == set(), "a deletion was acknowledged and is lost"
    assert compactions >= 8


def test_kill_of_the_recovering_process_leaves_an_environment_that_recovers(tmp_path, nursery, rng):
    """Every opening is killed at some moment of its recovery; the first that is let live finds everything."""
    with nursery.child("fill", str(tmp_path)) as child:
        child.until("filled")
        child.kill()
    in_recovery = 0
    for run in range(20):
        with nursery.child("recover", str(tmp_path)) as child:
            time.sleep(run * 0.002)  # later and later, until an opening comes to its end
            in_recovery += "recovered" not in child.kill()
    assert in_recovery >= 3
    (stored,) = contents(tmp_path, "a")
    assert stored == {b"%06d" % number: b"x" * 100 for number in range(3000)}


async def test_an_environment_is_opened_by_one_process_after_another_died_in_it(tmp_path, nursery):
    with nursery.child("fill", str(tmp_path)) as child:
        child.until("filled")
        child.kill()
    async with bdb.open(tmp_path) as env, env.database("a") as db:
        await db.put(b"k", b"v")
        assert await db.get(b"k") == b"v"
