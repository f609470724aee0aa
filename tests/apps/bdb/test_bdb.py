"""``asyncstore bdb``: every command on a real environment, and what it says when something is wrong."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from asyncstore import cli
from tests.bdb.binding import bdb

COMMAND = [sys.executable, "-m", "asyncstore.cli", "bdb"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A closed environment: the database "users", and two more in the file "several"."""

    async def fill() -> None:
        async with bdb.open(tmp_path / "home") as env:
            users = await env.database("users", page_size=4096)
            await users.put_many((b"%06d" % number, b"value %d" % number) for number in range(3000))
            await (await env.database("one", file="several")).put(b"k", b"v")
            await (await env.database("two", file="several", type="recno", record_length=4)).append(b"v")

    asyncio.run(fill())
    return tmp_path / "home"


def run(*arguments: Any) -> int:
    return cli.main(["bdb", *map(str, arguments)])


def content(home: Path, name: str, **where: Any) -> dict[Any, bytes]:
    async def read() -> dict[Any, bytes]:
        async with bdb.open(home, create=False) as env, env.database(name, type=None, **where) as db:
            return {key: value async for key, value in db.range()}

    return asyncio.run(read())


def test_stat_tells_of_the_environment_and_all_databases(home, capsys):
    assert run("stat", home) == 0
    text = capsys.readouterr().out
    for part in ("environment\n", "several: one\n", "several: two\n", "users.db\n", "3,000"):
        assert part in text


def test_stat_as_json_can_be_read_by_programs(home, capsys):
    assert run("stat", home, "users", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["users"]
    assert found["users"]["records"] == 3000


def test_a_dump_is_loaded_into_another_environment(home, tmp_path, capsys):
    assert run("dump", home, "users", "-o", tmp_path / "dump") == 0
    (tmp_path / "other").mkdir()
    assert run("load", tmp_path / "other", "people", "-i", tmp_path / "dump") == 0
    assert "people: 3,000 records\n" in capsys.readouterr().out
    assert content(tmp_path / "other", "people") == content(home, "users")


def test_a_dump_goes_through_a_pipe(home, tmp_path):
    with subprocess.Popen([*COMMAND, "dump", str(home), "two", "--file", "several"], stdout=subprocess.PIPE) as dump:
        done = subprocess.run(
            [*COMMAND, "load", str(tmp_path / "other"), "--file", "copy"],
            stdin=dump.stdout, capture_output=True, timeout=60, check=True,
        )  # fmt: skip
    assert done.stdout == b"two: 1 records\n"
    assert content(tmp_path / "other", "two", file="copy") == {1: b"v   "}


def test_loading_keeps_what_is_there_when_asked_to(home, tmp_path, capsys):
    run("dump", home, "users", "-o", tmp_path / "dump")
    capsys.readouterr()
    assert run("load", home, "users", "-n", "-i", tmp_path / "dump") == 0
    assert "users: 0 records, 3,000 kept as they were" in capsys.readouterr().out


def test_a_reader_of_a_dump_that_has_had_enough_is_no_failure(home):
    with subprocess.Popen(
        [*COMMAND, "dump", str(home), "users"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as dump:
        assert dump.stdout is not None
        assert dump.stderr is not None
        dump.stdout.readline()
        dump.stdout.close()
        said = dump.stderr.read()
        assert dump.wait(60) in (0, 141)
    assert b"Traceback" not in said


def test_backup_restore_and_recover(home, tmp_path, capsys):
    assert run("backup", home, tmp_path / "backup") == 0
    assert run("backup", home, tmp_path / "backup", "--update") == 0
    assert run("restore", tmp_path / "backup", tmp_path / "new") == 0
    assert run("recover", tmp_path / "new") == 0
    assert run("recover", "--catastrophic", tmp_path / "new") == 0
    assert "2 database files and 1 log files" in capsys.readouterr().out
    assert len(content(tmp_path / "new", "users")) == 3000


def test_verify_names_what_is_damaged_and_fails(home, capsys):
    assert run("verify", home) == 0
    assert capsys.readouterr().out.splitlines() == [f"{home}/several: ok", f"{home}/users.db: ok"]
    with open(home / "users.db", "r+b") as file:
        file.seek(3 * 4096 + 100)
        file.write(b"\xa5" * 100)
    assert run("verify", home) == 1
    several, users = capsys.readouterr().out.splitlines()
    assert several.endswith(": ok")
    assert "damaged" in users
    assert run("salvage", home / "users.db", home.parent / "saved") == 1
    assert "the file is damaged" in capsys.readouterr().out
    assert run("load", home.parent / "new", "users", "-i", home.parent / "saved") == 0
    assert 2000 < len(content(home.parent / "new", "users")) < 3000


def test_compact_and_upgrade_work(home, capsys):
    assert run("compact", home, "users", "--fill", 90) == 0
    assert "pages examined" in capsys.readouterr().out
    assert run("upgrade", home / "users.db") == 0
    assert len(content(home, "users")) == 3000


@pytest.mark.parametrize(
    "arguments",
    [
        ["stat", "missing"],
        ["stat", "."],
        ["dump", "home", "nobody"],
        ["verify", "missing"],
        ["backup", "home", "home"],
        ["restore", "home/missing", "new"],
        ["recover", "missing"],
        ["load", "home", "x", "-i", "missing"],
        ["compact", "home", "nobody"],
        ["salvage", "missing", "saved"],
        ["upgrade", "missing"],
        ["stat", "home", "--password-file", "missing"],
    ],
)
def test_what_goes_wrong_is_one_line_and_status_1(home, monkeypatch, capsys, arguments):
    monkeypatch.chdir(home.parent)
    assert run(*arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"asyncstore bdb {arguments[0]}: ") or "missing" in said
    assert said.count("\n") == 1
    assert sorted(os.listdir(".")) == ["home"], "nothing was made"


@pytest.mark.parametrize(
    "arguments", [[], ["frob"], ["stat"], ["compact", "h", "n", "--fill", "0"], ["recover", "h", "--until", "noon"]]
)
def test_arguments_that_make_no_sense_are_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_an_encrypted_environment_is_opened_with_the_password_in_a_file(tmp_path, capsys):
    async def fill() -> None:
        async with bdb.open(tmp_path / "home", password="secret") as env, env.database("a") as db:
            await db.put(b"k", b"v")

    asyncio.run(fill())
    (tmp_path / "password").write_text("secret\n")
    assert (
        run("dump", "-p", tmp_path / "home", "a", "--password-file", tmp_path / "password", "-o", tmp_path / "d") == 0
    )
    assert b" k\n v\n" in (tmp_path / "d").read_bytes()
    assert run("dump", tmp_path / "home", "a") == 1


def on_a_terminal(*arguments: Any) -> str:
    """Run a command whose stderr is a terminal, and return what it showed there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        shown = io.BytesIO()
        try:
            while piece := os.read(ours, 4096):
                shown.write(piece)
        except OSError:  # EIO: the other end is closed
            pass
        os.close(ours)
        assert process.wait(60) == 0
    return shown.getvalue().decode()


def test_a_terminal_gets_a_progress_bar_and_quiet_none(home, tmp_path):
    shown = on_a_terminal("backup", home, tmp_path / "backup")
    assert "backup:" in shown
    assert "B/s" in shown
    assert on_a_terminal("backup", home, tmp_path / "again", "--quiet") == ""


def test_an_interrupt_ends_a_command_with_130(tmp_path):
    with subprocess.Popen(
        [*COMMAND, "load", str(tmp_path / "home"), "x"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as load:
        assert load.stdin is not None
        load.stdin.write(b"VERSION=3\ntype=btree\nHEADER=END\n" + b" 61\n" * 2_000_000)
        load.send_signal(signal.SIGINT)
        load.stdin.close()
        assert load.wait(60) == 130
        assert load.stderr is not None
        assert b"Traceback" not in load.stderr.read()
