"""Recovery from the log alone, after files were lost; the programs of Berkeley DB agree with what it leaves."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.bdb.binding import bdb
from tests.bdb.tools import tool


async def content(home: Path) -> dict[bytes, bytes]:
    async with bdb.open(home) as env, env.database("a", create=False) as db:
        return {key: value async for key, value in db.range()}


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    """A closed environment that has kept its log from the first record on."""
    async with bdb.open(tmp_path / "home", keep_logs=True) as env, env.database("a") as db:
        await db.put_many((b"%d" % number, b"v") for number in range(1000))
    return tmp_path / "home"


async def test_a_lost_database_comes_back_from_the_log(home):
    (home / "a.db").unlink()
    await bdb.recover(home, catastrophic=True)
    assert len(await content(home)) == 1000
    done = await asyncio.to_thread(subprocess.run, [tool("db5.3_verify"), str(home / "a.db")], capture_output=True)
    assert done.returncode == 0


async def test_recovering_what_is_sound_changes_nothing(home):
    await bdb.recover(home)
    await bdb.recover(home, catastrophic=True)
    assert len(await content(home)) == 1000


async def test_our_recovery_and_db_recover_are_the_same(home):
    (home / "a.db").unlink()
    await asyncio.to_thread(subprocess.run, [tool("db5.3_recover"), "-c", "-h", str(home)], check=True)
    assert len(await content(home)) == 1000


async def test_a_lost_log_file_is_told(home):
    (home / "a.db").unlink()
    (home / "log.0000000001").write_bytes(b"\xa5" * 5000)
    with pytest.raises(bdb.errors.Error) as caught:
        await bdb.recover(home, catastrophic=True)
    assert str(home) in str(caught.value)
    assert isinstance(caught.value, (bdb.errors.Corrupt, bdb.errors.WrongVersion))


async def test_what_is_open_or_missing_is_not_recovered(home, tmp_path):
    async with bdb.open(home):
        with pytest.raises(bdb.errors.AlreadyOpen):
            await bdb.recover(home)
    with pytest.raises(bdb.errors.NoSuchFile):
        await bdb.recover(tmp_path / "missing")
    with pytest.raises(ValueError, match="directory"):
        await bdb.recover("")


async def test_logs_in_a_directory_of_their_own_are_found(tmp_path):
    async with bdb.open(tmp_path / "home", keep_logs=True, log_dir="logs") as env, env.database("a") as db:
        await db.put(b"k", b"v")
        await env.backup(tmp_path / "backup")
    (tmp_path / "home" / "a.db").unlink()
    await bdb.recover(tmp_path / "home", catastrophic=True, log_dir="logs")
    await bdb.restore(tmp_path / "backup", tmp_path / "new", log_dir="logs")
    for home in ("home", "new"):
        async with bdb.open(tmp_path / home, log_dir="logs") as env, env.database("a") as db:
            assert await db.get(b"k") == b"v"
