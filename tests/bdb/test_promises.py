"""What each durability promises, met by SIGKILL.

"write": what was acknowledged survives the death of the process. "none": the last commits may be gone, but not one out
of the middle; what is there is whole; and `flush_log`, `checkpoint`, `aclose` and a later commit that is durable make
all before them durable too.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from tests.bdb.nursery import Nursery, contents

WRITERS = 16

PROGRAM = """
    WRITERS = 16

    async def writers(home, run, durability, settle):
        # Each step is one transaction over two databases, or one put; "t n" is said after step n of writer t. In
        # between `settle` is done, and what the writers had said before it began is said again behind "settled".
        async with bdb.open(home, cache_size=1 << 20, durability=durability) as env:
            async with env.database("left") as left, env.database("right") as right:
                done = [-1] * WRITERS

                async def write(task):
                    number = 0
                    while True:
                        key = b"%d %d %d" % (run, task, number)
                        if task % 2:
                            await left.put(key, key * 20)
                        else:
                            async def both(txn):
                                await left.put(key, key * 20, txn=txn)
                                await right.put(key, key * 20, txn=txn)

                            await env.run_transaction(both)
                        say(task, number)
                        done[task] = number
                        number += 1

                async def settle_now():
                    if settle == "flush":
                        await env.flush_log()
                    elif settle == "checkpoint":
                        await env.checkpoint()
                    elif settle == "commit":
                        async def one(txn):
                            await left.put(b"durable %d" % run, b"", txn=txn)

                        await env.run_transaction(one, durability="full")  # it may give way to the writers

                async def settling():
                    while True:
                        await asyncio.sleep(0.005)
                        before = list(done)
                        await settle_now()
                        say("settled", *before)

                work = [write(task) for task in range(WRITERS)]
                if settle:
                    work.append(settling())
                await asyncio.gather(*work)

    async def closing(home, durability):
        env = await bdb.open(home, durability=durability)
        db = await env.database("a")
        await asyncio.gather(*(db.put(b"%03d" % number, b"x" * 1000) for number in range(500)))
        await env.aclose()
        say("closed")
        await asyncio.Event().wait()
"""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery(PROGRAM) as started:
        yield started


def killed_round(nursery: Nursery, rng: random.Random, *arguments: object, settled: bool = False) -> list[str]:
    """Let the writers run, kill them somewhere, and return what they said."""
    with nursery.child("writers", *arguments) as child:
        least = rng.choice([1, 20, 200])
        said = child.lines(
            lambda found: len(found) >= least and (not settled or any(line.startswith("settled") for line in found))
        )
        time.sleep(rng.uniform(0, 0.004))  # to be killed at any moment
        return said + child.kill()


def acknowledged(said: list[str]) -> list[int]:
    """Return the last step that each writer has said."""
    last = [-1] * WRITERS
    for line in said:
        if not line.startswith("settled"):
            task, number = map(int, line.split())
            last[task] = number
    return last


def survivors(left: dict[bytes, bytes], right: dict[bytes, bytes], run: int) -> list[int]:
    """Return the last step of each writer that is there, and see that all before it are, whole and on both sides."""
    last = [-1] * WRITERS
    for task in range(WRITERS):
        prefix = b"%d %d " % (run, task)
        numbers = sorted(int(key.split()[2]) for key in left if key.startswith(prefix))
        assert numbers == list(range(len(numbers))), "a commit is missing out of the middle"
        assert all(left[prefix + b"%d" % number] == (prefix + b"%d" % number) * 20 for number in numbers)
        mirrored = {key: value for key, value in right.items() if key.startswith(prefix)}
        expected = {key: value for key, value in left.items() if key.startswith(prefix)} if task % 2 == 0 else {}
        assert mirrored == expected, "half of a transaction"
        last[task] = len(numbers) - 1
    return last


def test_at_write_what_was_acknowledged_survives_the_death_of_the_process(tmp_path, nursery, rng):
    said = [killed_round(nursery, rng, str(tmp_path), run, "write", "") for run in range(8)]
    left, right = contents(tmp_path, "left", "right", create=True)
    for run, lines in enumerate(said):
        there, told = survivors(left, right, run), acknowledged(lines)
        assert all(found >= asked for found, asked in zip(there, told, strict=True)), (there, told)


def test_at_none_a_death_takes_the_last_commits_only_and_leaves_all_whole(tmp_path, nursery, rng):
    said = [killed_round(nursery, rng, str(tmp_path), run, "none", "") for run in range(8)]
    left, right = contents(tmp_path, "left", "right", create=True)
    lost = 0
    for run, lines in enumerate(said):
        there, told = survivors(left, right, run), acknowledged(lines)
        lost += sum(max(0, asked - found) for found, asked in zip(there, told, strict=True))
    assert lost, "the kill was no test: every commit had reached the disk"


@pytest.mark.parametrize("settle", ["flush", "checkpoint", "commit"])
def test_at_none_nothing_is_lost_that_a_flush_followed(tmp_path, nursery, rng, settle):
    """The flush is `flush_log`, a checkpoint, or the commit of one transaction that is durable."""
    said = [killed_round(nursery, rng, str(tmp_path), run, "none", settle, settled=True) for run in range(4)]
    left, right = contents(tmp_path, "left", "right", create=True)
    for run, lines in enumerate(said):
        there = survivors(left, right, run)
        *_, line = (line for line in lines if line.startswith("settled"))
        settled = [int(word) for word in line.split()[1:]]
        assert all(found >= asked for found, asked in zip(there, settled, strict=True)), (there, settled)


@pytest.mark.parametrize("durability", ["full", "write", "none"])
def test_at_every_durability_a_clean_close_keeps_everything(tmp_path, nursery, durability):
    with nursery.child("closing", str(tmp_path), durability) as child:
        child.until("closed")
        child.kill()
    (stored,) = contents(tmp_path, "a", create=True)
    assert stored == {b"%03d" % number: b"x" * 1000 for number in range(500)}
