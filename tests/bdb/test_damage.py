"""Damaged files: what cannot be read is reported, by its name, and nothing else suffers.

Files are damaged while nobody has the environment open, and its regions are removed, because libdb keeps the cache in
them beyond the close. Each look at the damage is a process of its own: libdb may have to give the environment up.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bdb.binding import bdb
from tests.bdb.nursery import Nursery

PAGE = 4096
RECORDS = 2000

PROGRAM = """
    SIZES = {"cache_size": 1 << 20, "log_file_size": 1 << 18, "log_buffer": 1 << 16}

    async def make(home, kind):
        # Without checksums: with them another version is a damaged page.
        async with bdb.open(home, **SIZES) as env:
            options = {"record_length": 10} if kind == "queue" else {}
            await env.database("old", type=kind, checksum=False, **options)
        say("made")

    async def fill(home, name, close):
        # At `close` false it dies with all of its log still needed.
        env = await bdb.open(home, **SIZES)
        db = await env.database(name, page_size=4096)
        await db.put_many((b"%05d" % number, b"x" * 200) for number in range(2000))
        if close:
            await env.aclose()
        say("filled")
        await asyncio.Event().wait()

    def tell(stage, exc):
        say(stage, type(exc).__name__, str(exc).replace("\\n", " "))

    async def look(home, names):
        # Opens what is named, as a btree or "of type" KIND. Says "read NAME COUNT", or the stage that failed and how.
        try:
            env = await bdb.open(home, **SIZES)
        except bdb.errors.Error as exc:
            tell("open", exc)
            return
        for name in names:
            try:
                name, _, kind = name.partition(" of type ")
                options = {"record_length": 10} if kind == "queue" else {}
                db = await env.database(name, type=kind or "btree", **options)
                say("read", name, len([1 async for _ in db.range()]))
            except bdb.errors.Error as exc:
                tell(name, exc)
        say("done")
        os._exit(0)

    async def look_twice(home, names):
        await look_at_open(home)
        await look_at_open(home)

    async def look_at_open(home):
        try:
            async with bdb.open(home, **SIZES):
                say("opened")
        except bdb.errors.Error as exc:
            tell("open", exc)
"""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery(PROGRAM) as started:
        yield started


@pytest.fixture(scope="module")
def originals(nursery, tmp_path_factory) -> dict[str, Path]:
    """Environments to be copied: one that was closed, and one that a process died in."""
    folder = tmp_path_factory.mktemp("originals")
    for kind in ("closed", "crashed"):
        for name in ("good", "bad"):
            with nursery.child("fill", str(folder / kind), name, kind == "closed") as child:
                child.until("filled")
                child.kill()
    return {kind: folder / kind for kind in ("closed", "crashed")}


def copied(original: Path, home: Path) -> Path:
    shutil.copytree(original, home)
    for region in home.glob("__db.*"):
        region.unlink()
    return home


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def look(nursery: Nursery, home: Path, *names: str, function: str = "look") -> list[str]:
    with nursery.child(function, str(home), names) as child:
        return child.rest()


def test_a_damaged_page_is_noticed_when_it_is_read(nursery, originals, tmp_path):
    home = copied(originals["closed"], tmp_path / "home")
    overwrite(home / "bad.db", 20 * PAGE + 500, b"damage")
    good, bad, done = look(nursery, home, "good", "bad")
    assert good == f"read good {RECORDS}"
    # libdb gives the environment up; which of the two is heard first depends on the thread that tells of it.
    assert bad.startswith(("bad Corrupt", "bad NeedsRecovery"))
    assert "database 'bad'" in bad
    assert done == "done"
    assert look(nursery, home, "good")[0] == f"read good {RECORDS}"  # the next process recovers, and reads the rest


def garbage(path: Path) -> None:
    path.write_bytes(b"no database\n" * 5000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def short(path: Path) -> None:
    os.truncate(path, 3000)


def odd(path: Path) -> None:
    os.truncate(path, 20 * PAGE + 77)


def metadata(path: Path) -> None:
    overwrite(path, 40, b"damage")


@pytest.mark.parametrize("damage", [garbage, empty, short, odd, metadata])
def test_a_file_that_is_no_database_is_refused_and_the_others_are_read(nursery, originals, tmp_path, damage):
    home = copied(originals["closed"], tmp_path / "home")
    damage(home / "bad.db")
    bad, good, done = look(nursery, home, "bad", "good")
    assert bad.startswith("bad Corrupt open database 'bad'")
    assert str(home) in bad
    assert (good, done) == (f"read good {RECORDS}", "done")


@pytest.mark.parametrize("kind", ["btree", "hash", "recno", "queue", "heap"])
def test_a_database_of_another_version_says_so(nursery, tmp_path, kind):
    with nursery.child("make", str(tmp_path / "home"), kind) as child:
        assert child.rest() == ["made"]
    home = copied(tmp_path / "home", tmp_path / "copy")
    overwrite(home / "old.db", 16, struct.pack("<I", 99))
    assert look(nursery, home, f"old of type {kind}")[0].startswith("old WrongVersion open database 'old'")


def head(logs: list[Path]) -> None:
    overwrite(logs[-1], 0, os.urandom(100))


def middle(logs: list[Path]) -> None:
    overwrite(logs[-2], 100_000, os.urandom(3000))


def missing(logs: list[Path]) -> None:
    logs[-2].unlink()


def cut_off(logs: list[Path]) -> None:
    os.truncate(logs[-2], 100_000)


@pytest.mark.parametrize("damage", [head, middle, missing, cut_off])
def test_a_log_that_recovery_needs_and_cannot_read_is_reported_at_open(nursery, originals, tmp_path, damage):
    home = copied(originals["crashed"], tmp_path / "home")
    damage(sorted(home.glob("log.*")))
    first, second = look(nursery, home, function="look_twice")  # the same process may try again
    for said in (first, second):
        assert said.startswith("open Corrupt open environment")
        assert str(home) in said
        assert "recovery failed" in said


def test_databases_whose_log_files_are_missing_are_refused(nursery, originals, tmp_path):
    home = copied(originals["closed"], tmp_path / "home")
    for log in home.glob("log.*"):
        log.unlink()
    said = look(nursery, home, "bad")
    assert said[0].startswith("bad Corrupt open database 'bad'")


def test_foreign_files_in_the_home_are_left_alone(nursery, originals, tmp_path):
    home = copied(originals["closed"], tmp_path / "home")
    names = ["README", "log.txt", "log.123", "x.db", "good.db.bak", "DB_NOTES"]
    for name in names:
        (home / name).write_bytes(b"foreign")
    (home / "folder").mkdir()
    assert look(nursery, home, "good", "bad") == [f"read good {RECORDS}", f"read bad {RECORDS}", "done"]
    assert all((home / name).read_bytes() == b"foreign" for name in names)


async def test_a_home_that_is_a_file_or_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    refusals: list[Callable[[], object]] = [
        lambda: bdb.open(tmp_path / "file"),
        lambda: bdb.open(tmp_path / "file" / "below"),
        lambda: bdb.open(tmp_path / "missing", create=False),
    ]
    for refusal in refusals:
        with pytest.raises(bdb.errors.Error, match=str(tmp_path)) as caught:
            await refusal()
        assert isinstance(caught.value, OSError)
    await asyncio.sleep(0)
