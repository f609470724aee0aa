"""Nothing acknowledged is lost when the process is killed, whatever it was doing."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import textwrap

from tests.bdb.binding import bdb

ROUNDS = 10
WRITER = """
    import asyncio, os, sys
    from asyncstore import bdb

    WRITERS = 16

    async def main(home, run):
        async with bdb.open(home, cache_size=1 << 20) as env, env.database("a") as db:
            async def write(task):
                number = 0
                while True:
                    key = f"{run} {task} {number}"
                    await db.put(key.encode(), key.encode() * 20)
                    os.write(1, key.encode() + b"\\n")  # after the acknowledgement, in one piece
                    number += 1

            await asyncio.gather(*(write(task) for task in range(WRITERS)))

    asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def killed_run(home, run: int, after: int) -> list[bytes]:
    """Let writers run, kill -9 them when they have acknowledged `after` keys, and return all that they acknowledged."""
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(home), str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        said = b""
        while said.count(b"\n") < after:
            ready, _, _ = select.select([writer.stdout], [], [], 60)
            assert ready, "the writer has stopped"
            piece = os.read(writer.stdout.fileno(), 1 << 16)
            assert piece, "the writer has died by itself"
            said += piece
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read()
    return said.split(b"\n")[:-1]


async def test_kill_at_random_under_concurrent_writers_loses_nothing_acknowledged(tmp_path):
    """Each round recovers what the round before left behind, reads it back, and is killed in turn."""
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    acknowledged: set[bytes] = set()
    for run in range(ROUNDS):
        acknowledged.update(killed_run(tmp_path, run, after=rng.choice([1, 2, 50, 300])))
    async with bdb.open(tmp_path) as env, env.database("a", create=False) as db:
        stored = dict([record async for record in db.range()])
    lost = acknowledged - stored.keys()
    assert not lost, f"seed {seed}: {len(lost)} of {len(acknowledged)} lost"
    assert all(value == key * 20 for key, value in stored.items())  # none in part


async def test_an_environment_is_opened_by_one_process_after_another_died_in_it(tmp_path):
    killed_run(tmp_path, 0, after=1)
    async with bdb.open(tmp_path) as env, env.database("a") as db:
        await db.put(b"k", b"v")
        assert await db.get(b"k") == b"v"
