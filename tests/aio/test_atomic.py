"""aio.write(atomic=True): the old content or the new, nothing left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from asyncstore import aio
from asyncstore.aio import _replacement
from asyncstore.aio._replacement import Intent, Withdrawn, is_leftover, temporary_name
from asyncstore.testing import cancel_everywhere
from tests.aio.faults import failing, open_descriptors
from tests.aio.rest import settled

OLD, NEW = b"old" * 1000, b"new content" * 1000


@pytest.fixture
def file(tmp_path):
    """A file alone in a directory."""
    path = tmp_path / "place" / "file"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EMFILE])
async def test_whatever_call_fails_the_content_is_old_or_new_and_nothing_is_left(file, durable, persistent, code):
    before = open_descriptors()
    failures = 0
    for nth in range(1, 100):
        file.write_bytes(OLD)
        with failing(nth, code, persistent=persistent) as faults:
            try:
                await aio.write(file, NEW, atomic=True, durable=durable)
                error = None
            except OSError as exc:
                error = exc
        assert file.read_bytes() in ((OLD, NEW) if error else (NEW,))
        assert open_descriptors() == before
        if not (persistent and "unlink" in faults.failed):  # a file that cannot be removed stays
            assert os.listdir(file.parent) == [file.name], faults.failed
        for leftover in file.parent.glob(".*"):
            assert is_leftover(leftover.name)
            leftover.unlink()
        if not faults.failed:
            break
        failures += 1
        assert error is None or error.errno == code
    assert failures >= 8, "the calls of an atomic write are no longer all made through os"
    assert not faults.failed


async def test_an_error_names_the_file_and_not_the_temporary_one(file):
    with failing(6) as faults, pytest.raises(OSError, match="injected") as caught:
        await aio.write(file, NEW, atomic=True)
    assert faults.failed
    assert caught.value.filename == str(file)


async def test_a_cancel_at_any_await_leaves_old_or_new_and_nothing_else(file):
    before = open_descriptors()

    async def check():
        await settled(lambda: open_descriptors() == before)
        assert file.read_bytes() in (OLD, NEW)
        assert os.listdir(file.parent) == [file.name]
        assert open_descriptors() == before

    report = await cancel_everywhere(lambda: aio.write(file, NEW, atomic=True, durable=True), check=check)
    assert report.points >= 1


async def test_a_cancel_before_the_new_content_is_in_place_keeps_the_old(file, monkeypatch):
    reached, go = threading.Event(), threading.Event()
    true_write = _replacement.write_fully

    def slow(fd, data):
        reached.set()
        go.wait(10)
        return true_write(fd, data)

    monkeypatch.setattr("asyncstore.aio._whole.write_fully", slow)
    task = asyncio.create_task(aio.write(file, NEW, atomic=True))
    while not reached.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await settled()
    assert file.read_bytes() == OLD
    assert os.listdir(file.parent) == [file.name]


def test_an_intent_is_settled_once():
    intent = Intent()
    intent.confirm()
    intent.withdraw()
    intent.confirm()
    withdrawn = Intent()
    withdrawn.withdraw()
    with pytest.raises(Withdrawn):
        withdrawn.confirm()


async def test_mode_owner_and_attributes_of_the_old_file_are_kept(file):
    os.chmod(file, 0o751)
    owner = (1234, 4321) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(file, *owner)
    try:
        os.setxattr(file, "user.colour", b"blue")
    except OSError:
        pytest.skip("no extended attributes here")
    await aio.write(file, NEW, atomic=True)
    status = os.stat(file)
    assert stat.S_IMODE(status.st_mode) == 0o751
    assert (status.st_uid, status.st_gid) == owner
    assert os.getxattr(file, "user.colour") == b"blue"


async def test_the_new_content_is_never_readable_by_more_than_the_old_was(file, monkeypatch):
    os.chmod(file, 0o600)
    seen = []
    true_write = os.write

    def look(fd, data):
        seen.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return true_write(fd, data)

    monkeypatch.setattr(os, "write", look)
    await aio.write(file, NEW, atomic=True)
    monkeypatch.undo()
    assert 0o600 in seen
    assert 0o644 not in seen


async def test_an_owner_that_cannot_be_kept_is_refused_and_the_file_stays(file, monkeypatch):
    def refuse(fd, uid, gid):
        raise PermissionError(errno.EPERM, "not yours")

    true_fstat = os.fstat
    monkeypatch.setattr(os, "fchown", refuse)
    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result([*true_fstat(fd)[:4], 77, 77, *true_fstat(fd)[6:]]))
    with pytest.raises(PermissionError, match="could not keep the file's owner"):
        await aio.write(file, NEW, atomic=True)
    monkeypatch.undo()
    assert file.read_bytes() == OLD
    assert os.listdir(file.parent) == [file.name]


async def test_a_new_file_gets_its_mode_cut_by_the_umask(tmp_path):
    umask = os.umask(0o027)
    try:
        await aio.write(tmp_path / "new", NEW, atomic=True, mode=0o666)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(os.stat(tmp_path / "new").st_mode) == 0o640


@pytest.mark.parametrize("absolute", [False, True])
async def test_a_symbolic_link_is_written_through(file, tmp_path, absolute):
    (tmp_path / "link").symlink_to(file if absolute else "place/file")
    (tmp_path / "second").symlink_to("link")
    await aio.write(tmp_path / "second", NEW, atomic=True)
    assert (tmp_path / "second").is_symlink()
    assert (tmp_path / "link").is_symlink()
    assert file.read_bytes() == NEW
    assert os.listdir(file.parent) == [file.name]


async def test_a_link_that_leads_nowhere_yet_is_written_through(tmp_path):
    (tmp_path / "link").symlink_to("target")
    await aio.write(tmp_path / "link", NEW, atomic=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == NEW


async def test_a_loop_of_links_is_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links") as caught:
        await aio.write(tmp_path / "a", NEW, atomic=True)
    assert caught.value.errno == errno.ELOOP


async def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, error in ((tmp_path / "fifo", OSError), ("/dev/null", OSError), (tmp_path, IsADirectoryError)):
        with pytest.raises(error):
            await aio.write(path, NEW, atomic=True)
    assert stat.S_ISFIFO(os.stat(tmp_path / "fifo").st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert os.listdir(tmp_path) == ["fifo"]


@pytest.mark.parametrize("name", ["", "none/file", "none/"])
async def test_a_path_without_a_place_is_refused_as_open_refuses_it(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError) as ours:
        await aio.write(name, NEW, atomic=True)
    with pytest.raises(OSError) as theirs:
        open(name, "wb")
    assert ours.value.errno == theirs.value.errno
    assert os.listdir(tmp_path) == []


async def test_bytes_paths_and_names_that_are_no_utf8_work(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe"
    await aio.write(path, NEW, atomic=True)
    assert await aio.read(path) == NEW
    assert await aio.read(os.fsdecode(path)) == NEW


async def test_leftovers_are_known_by_their_name_and_removed_when_old(tmp_path):
    dead, alive, other = temporary_name(), temporary_name(), ".asyncstore-notes.tmp"
    for name in (dead, alive, other):
        (tmp_path / name).write_bytes(b"")
    tree = temporary_name()
    (tmp_path / tree / "sub").mkdir(parents=True)
    for name in (dead, other, tree):
        os.utime(tmp_path / name, (0, 0))
    assert sorted(await aio.remove_leftovers(tmp_path)) == sorted([dead, tree])
    assert sorted(os.listdir(tmp_path)) == sorted([alive, other])
    assert await aio.remove_leftovers(tmp_path, older_than=0.0) == [alive]
    with pytest.raises(ValueError, match="older_than"):
        await aio.remove_leftovers(tmp_path, older_than=-1)


def test_a_writer_killed_at_any_moment_leaves_the_old_content_or_the_new(tmp_path):
    """Kill -9, 30 times: the reader finds one of the two contents, whole."""
    target = tmp_path / "file"
    contents = {bytes([letter]) * 300_000 for letter in (65, 66)}
    target.write_bytes(min(contents))
    program = (
        "import asyncio, sys\n"
        "from asyncstore import aio\n"
        "async def main():\n"
        "    print('ready', flush=True)\n"
        "    while True:\n"
        "        for letter in (65, 66):\n"
        "            await aio.write(sys.argv[1], bytes([letter]) * 300_000, atomic=True)\n"
        "asyncio.run(main())\n"
    )
    chance = random.Random(1)

    def a_round():
        writer = subprocess.Popen([sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        with writer.stdout:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(chance.random() * 0.02)  # no synchronisation: the moment is to be any
            writer.send_signal(signal.SIGKILL)
            writer.wait()

    for _ in range(30):
        a_round()
        assert target.read_bytes() in contents
        assert all(name == target.name or is_leftover(name) for name in os.listdir(tmp_path))
    asyncio.run(aio.remove_leftovers(tmp_path, older_than=0.0))
    assert os.listdir(tmp_path) == [target.name]


async def test_a_directory_renamed_in_mid_write_loses_nothing(file, monkeypatch):
    moved = file.parent.with_name("moved")
    true_write = os.write

    def move_first(fd, data):
        file.parent.rename(moved)
        monkeypatch.setattr(os, "write", true_write)
        return true_write(fd, data)

    monkeypatch.setattr(os, "write", move_first)
    await aio.write(file, NEW, atomic=True)
    assert (moved / "file").read_bytes() == NEW
    assert os.listdir(moved) == ["file"]


async def test_many_atomic_writers_of_one_file_leave_one_content(file):
    contents = [bytes([65 + i]) * 10_000 for i in range(20)]
    await asyncio.gather(*(aio.write(Path(file), content, atomic=True) for content in contents))
    assert file.read_bytes() in contents
    assert os.listdir(file.parent) == [file.name]
