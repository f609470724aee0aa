"""A process that is killed while it writes: nothing that was acknowledged is lost, and no transaction is half there."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap

WRITERS = textwrap.dedent("""
    import asyncio, os, sys
    from asyncstore import dbi

    def say(*words):
        os.write(1, " ".join(map(str, words)).encode() + b"\\n")  # in one piece, also when killed

    async def writer(db, task, run):
        for number in range(1_000_000):
            await db.execute("INSERT INTO t VALUES (?, ?, ?)", (run, task, number))
            say("t", task, number)

    async def pairs(db, run):
        for number in range(1_000_000):
            async with db.transaction():
                await db.execute("INSERT INTO left VALUES (?, ?)", (run, number))
                await db.execute("INSERT INTO right VALUES (?, ?)", (run, number))
            say("pair", 0, number)

    async def main(path, run):
        async with dbi.connect(f"sqlite:///{path}") as db:
            await db.executescript(
                "CREATE TABLE IF NOT EXISTS t (run, task, number);"
                "CREATE TABLE IF NOT EXISTS left (run, number);"
                "CREATE TABLE IF NOT EXISTS right (run, number)"
            )
            say("ready")
            await asyncio.gather(pairs(db, run), *(writer(db, task, run) for task in range(32)))

    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
""")


def killed(path, run: int, least: int) -> list[list[str]]:
    """Let the writers run until they have said `least` lines, kill them, and return what they said."""
    with subprocess.Popen([sys.executable, "-c", WRITERS, str(path), str(run)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        said = [process.stdout.readline() for _ in range(least)]
        os.kill(process.pid, signal.SIGKILL)
        said += process.stdout.readlines()
    return [line.decode().split() for line in said if line.endswith(b"\n")]


def test_kill_9_at_random_loses_nothing_acknowledged(tmp_path):
    path = tmp_path / "crash.db"
    seed = random.randrange(1 << 32)
    print("seed", seed)  # noqa: T201 - shown when the test fails
    rng = random.Random(seed)
    acknowledged: set[tuple[int, int, int]] = set()
    pairs: set[tuple[int, int]] = set()
    for run in range(10):
        for what, task, number in killed(path, run, rng.choice([1, 50, 1000])):
            if what == "t":
                acknowledged.add((run, int(task), int(number)))
            else:
                pairs.add((run, int(number)))
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    stored = connection.execute("SELECT * FROM t").fetchall()
    left, right = (set(connection.execute(f"SELECT * FROM {side}")) for side in ("left", "right"))
    connection.close()
    assert len(stored) == len(set(stored)), "something was carried out twice"
    assert acknowledged <= set(stored)
    assert left == right
    assert pairs <= left
