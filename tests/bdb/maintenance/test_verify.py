"""Verification finds what is damaged, and salvage saves what is not; both agree with db_verify and db_load."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.bdb.binding import bdb
from tests.bdb.tools import tool

PAGE = 4096
HOLDER = """
    import asyncio, sys
    from asyncstore import bdb

    async def main():
        async with bdb.open(sys.argv[1]):
            print("open", flush=True)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(main())
"""


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    """A closed environment with three databases, "big" of many pages."""
    async with bdb.open(tmp_path / "home") as env:
        big = await env.database("big", page_size=PAGE)
        await big.put_many((b"%06d" % number, b"value %d" % number) for number in range(5000))
        await (await env.database("hash", type="hash")).put(b"k", b"v")
        await (await env.database("queue", type="queue", record_length=9, extent_pages=1)).append(b"v")
    return tmp_path / "home"


def damage(path: Path, page: int) -> None:
    with open(path, "r+b") as file:
        file.seek(page * PAGE + 100)
        file.write(b"\xa5" * 500)


async def db_verify(path: Path) -> bool:
    done = await asyncio.to_thread(subprocess.run, [tool("db5.3_verify"), "-q", str(path)], capture_output=True)
    return done.returncode == 0


async def test_a_sound_environment_is_sound_file_by_file(home):
    seen: list[Any] = []
    verdicts = await bdb.verify(home, progress=seen.append)
    assert [(os.path.basename(one.path), one.sound) for one in verdicts] == [
        ("big.db", True),
        ("hash.db", True),
        ("queue.db", True),
    ]
    assert (seen[0].what, seen[0].done, seen[0].total, seen[0].unit) == ("big.db", 0, 3, "files")
    assert seen[-1].done == 3


@pytest.mark.parametrize("page", [0, 1, 7])
async def test_a_damaged_page_is_found_as_db_verify_finds_it(home, page):
    damage(home / "big.db", page)
    (verdict,) = await bdb.verify(home / "big.db")
    assert not verdict.sound
    assert isinstance(verdict.error, bdb.errors.Corrupt)
    assert "big.db" in str(verdict.error)
    assert not await db_verify(home / "big.db")
    (other,) = await bdb.verify(home / "hash.db")
    assert other.sound
    assert await db_verify(home / "hash.db")


@pytest.mark.parametrize("content", [b"", b"no database", bytes(3 * PAGE), b"\xff" * 5000])
async def test_a_file_that_is_no_database_is_damaged(tmp_path, content):
    (tmp_path / "x.db").write_bytes(content)
    (verdict,) = await bdb.verify(tmp_path / "x.db")
    assert not verdict.sound


async def test_what_is_not_there_cannot_be_verified(tmp_path):
    with pytest.raises(bdb.errors.NoSuchFile):
        await bdb.verify(tmp_path / "missing.db")
    with pytest.raises(bdb.errors.NoSuchFile):
        await bdb.verify(tmp_path / "missing" / "home")


async def test_an_environment_that_is_open_is_not_verified(home):
    async with bdb.open(home):
        with pytest.raises(bdb.errors.AlreadyOpen):
            await bdb.verify(home)
    await bdb.verify(home)


async def test_an_environment_that_another_process_has_open_is_not_verified(home):
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert await asyncio.to_thread(other.stdout.readline) == b"open\n"
        for work in (bdb.verify, bdb.recover):
            with pytest.raises(bdb.errors.InUse, match=f"process {other.pid} has it open"):
                await work(home)
        other.communicate(b"", timeout=60)
    assert all(verdict.sound for verdict in await bdb.verify(home))


async def test_keys_in_an_order_of_their_own_are_verified_without_their_order(tmp_path):
    def backwards(left: bytes, right: bytes) -> int:
        return (left < right) - (left > right)

    async with bdb.open(tmp_path) as env, env.database("a", compare=backwards) as db:
        await db.put_many((b"%d" % number, b"") for number in range(100))
    (verdict,) = await bdb.verify(tmp_path / "a.db", order=False)
    assert verdict.sound
    (verdict,) = await bdb.verify(tmp_path / "a.db")
    assert not verdict.sound


async def test_an_encrypted_file_is_verified_with_its_password(tmp_path):
    async with bdb.open(tmp_path, password="secret") as env, env.database("a") as db:
        await db.put(b"k", b"v")
    assert [one.sound for one in await bdb.verify(tmp_path, password="secret")] == [True]
    (verdict,) = await bdb.verify(tmp_path / "a.db", password="wrong")
    assert not verdict.sound


@pytest.mark.parametrize("printable", [False, True])
async def test_salvage_saves_what_lies_on_sound_pages(home, tmp_path, printable):
    damage(home / "big.db", 7)
    salvaged = await bdb.salvage(home / "big.db", tmp_path / "saved", printable=printable)
    assert not salvaged.sound
    assert sorted(os.listdir(tmp_path)) == ["home", "saved"]
    async with bdb.open(tmp_path / "new") as env:
        (loaded,) = await env.load(tmp_path / "saved", "big")
        assert 4700 < loaded.records == salvaged.records < 5000, "those of one page are lost"
        async with env.database("big") as big:
            async for key, value in big.range():
                assert value == b"value %d" % int(key)
    (tmp_path / "theirs").mkdir()
    await asyncio.to_thread(
        subprocess.run,
        [tool("db5.3_load"), "-f", str(tmp_path / "saved"), str(tmp_path / "theirs" / "x.db")],
        check=True,
    )


async def test_salvage_of_what_is_no_database_any_more_saves_nothing_and_says_so(home, tmp_path):
    damage(home / "big.db", 0)
    with open(home / "big.db", "r+b") as file:
        file.write(b"\xa5" * 300)
    salvaged = await bdb.salvage(home / "big.db", tmp_path / "saved")
    assert (salvaged.records, salvaged.sound) == (0, False)
    assert (tmp_path / "saved").read_bytes() == b""


async def test_salvage_of_a_sound_file_saves_all(home, tmp_path):
    salvaged = await bdb.salvage(home / "big.db", tmp_path / "saved")
    assert (salvaged.records, salvaged.sound) == (5000, True)
    rough = await bdb.salvage(home / "big.db", tmp_path / "more", aggressive=True)
    assert rough.records >= 5000, "what was moved when a page was split is there twice"
    async with bdb.open(tmp_path / "new") as env:
        (loaded,) = await env.load(tmp_path / "saved", "big")
        assert loaded.records == 5000


async def test_salvage_that_cannot_be_written_says_why_and_leaves_nothing(home, tmp_path):
    with pytest.raises(bdb.errors.NoSuchFile):
        await bdb.salvage(home / "big.db", tmp_path / "nowhere" / "saved")
    with pytest.raises(bdb.errors.NoSuchFile):
        await bdb.salvage(home / "missing.db", tmp_path / "saved")
    assert os.listdir(tmp_path) == ["home"]


async def test_upgrading_a_file_that_is_up_to_date_changes_nothing(home, tmp_path):
    shutil.copy(home / "big.db", tmp_path / "copy.db")
    await bdb.upgrade(tmp_path / "copy.db")
    (verdict,) = await bdb.verify(tmp_path / "copy.db")
    assert verdict.sound
    with pytest.raises(bdb.errors.NoSuchFile):
        await bdb.upgrade(tmp_path / "missing.db")
