"""aio.copy, copytree and move."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from asyncstore import aio
from asyncstore.aio import _copy
from asyncstore.aio._replacement import is_leftover
from asyncstore.testing import cancel_everywhere
from tests.aio.faults import failing, open_descriptors
from tests.aio.rest import settled

DATA = os.urandom(300_000)


@pytest.fixture
def elsewhere(tmp_path):
    """A directory on another file system than tmp_path."""
    if os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("the temporary folder of this machine lies on its only tmpfs")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
        yield Path(path)


def tree_of(top):
    """Everything below `top`: names, types, modes, contents."""
    found = {}
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            path = Path(directory, name)
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            mode = None if path.is_symlink() else stat.S_IMODE(status.st_mode)
            found[str(path.relative_to(top))] = (mode, content)
    return found


@pytest.fixture
def tree(tmp_path):
    top = tmp_path / "tree"
    (top / "a" / "b").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "file").write_bytes(DATA)
    (top / "a" / "secret").write_bytes(b"secret")
    (top / "a" / "secret").chmod(0o600)
    (top / "a" / "b" / "deep").write_bytes(b"deep")
    (top / "a").chmod(0o750)
    (top / "link").symlink_to("a/secret")
    (top / "dirlink").symlink_to("a")
    return top


@pytest.mark.parametrize("ways", [("copy_file_range", "sendfile"), ("copy_file_range",), ("sendfile",), ()])
async def test_every_way_of_copying_gives_the_same_bytes(tmp_path, monkeypatch, ways):
    for way in {"copy_file_range", "sendfile"} - set(ways):

        def refuse(*args):
            raise OSError(errno.EXDEV, "not here")

        monkeypatch.setattr(os, way, refuse)
    (tmp_path / "a").write_bytes(DATA)
    assert await aio.copy(tmp_path / "a", tmp_path / "b") == str(tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == DATA


async def test_a_proc_file_that_claims_to_be_empty_is_copied_whole(tmp_path):
    await aio.copy("/proc/version", tmp_path / "version")
    assert (tmp_path / "version").read_bytes() == Path("/proc/version").read_bytes()


async def test_holes_stay_holes(tmp_path):
    size = 5 << 30  # beyond 4 GiB
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(size)
        os.pwrite(file.fileno(), b"middle", 3 << 30)
    await aio.copy(tmp_path / "sparse", tmp_path / "copy")
    status = os.stat(tmp_path / "copy")
    assert status.st_size == size
    assert status.st_blocks * 512 < 1 << 20
    with open(tmp_path / "copy", "rb") as file:
        assert os.pread(file.fileno(), 6, 3 << 30) == b"middle"
        assert os.pread(file.fileno(), 6, (3 << 30) - 6) == bytes(6)


async def test_a_copy_goes_into_a_directory_under_its_own_name(tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    (tmp_path / "d").mkdir()
    assert await aio.copy(tmp_path / "a", os.fsencode(tmp_path / "d")) == os.fsencode(tmp_path / "d" / "a")
    assert (tmp_path / "d" / "a").read_bytes() == DATA


@pytest.mark.parametrize("preserve", ["nothing", "mode", "all"])
async def test_preserve_says_what_is_kept(tmp_path, preserve):
    source = tmp_path / "a"
    source.write_bytes(DATA)
    source.chmod(0o751)
    os.utime(source, (1000, 2000))
    umask = os.umask(0o022)
    try:
        await aio.copy(source, tmp_path / "b", preserve=preserve)
    finally:
        os.umask(umask)
    status = os.stat(tmp_path / "b")
    assert stat.S_IMODE(status.st_mode) == (0o644 if preserve == "nothing" else 0o751)
    assert (status.st_mtime == 2000) is (preserve == "all")


async def test_a_link_is_copied_as_a_link_when_asked(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    await aio.copy(tmp_path / "link", tmp_path / "copy", follow_symlinks=False, preserve="all")
    assert os.readlink(tmp_path / "copy") == "nowhere"
    with pytest.raises(FileNotFoundError):
        await aio.copy(tmp_path / "link", tmp_path / "other")
    assert sorted(os.listdir(tmp_path)) == ["copy", "link"]


async def test_what_cannot_be_copied_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "same").symlink_to("a")
    with pytest.raises(shutil.SameFileError):
        await aio.copy(tmp_path / "a", tmp_path / "same")
    with pytest.raises(IsADirectoryError):
        await aio.copy(tmp_path, tmp_path / "b")
    with pytest.raises(OSError, match="regular file"):
        await aio.copy(tmp_path / "fifo", tmp_path / "b")
    with pytest.raises(ValueError, match="preserve"):
        await aio.copy(tmp_path / "a", tmp_path / "b", preserve="some")
    assert sorted(os.listdir(tmp_path)) == ["a", "fifo", "same"]
    assert (tmp_path / "a").read_bytes() == DATA


async def test_a_file_that_shrinks_or_grows_meanwhile_is_copied_as_far_as_it_goes(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(DATA)
    true_move = _copy._Mover.move

    def resize_first(size):
        def move(self, offset, count):
            os.truncate(path, size)
            return true_move(self, offset, count)

        return move

    for size in (100, 400_000):
        monkeypatch.setattr(_copy._Mover, "move", resize_first(size))
        await aio.copy(path, tmp_path / "b")
        assert os.path.getsize(tmp_path / "b") == size


async def test_whatever_call_fails_the_destination_is_old_or_whole(tmp_path):
    (tmp_path / "d").mkdir()
    source, target = tmp_path / "a", tmp_path / "d" / "b"
    source.write_bytes(DATA)
    before = open_descriptors()
    for nth in range(1, 100):
        target.write_bytes(b"old")
        with failing(nth, errno.EIO) as faults:
            try:
                await aio.copy(source, target, preserve="all", durable=True)
                told = ""
            except OSError as exc:
                told = str(exc)
        assert ".asyncstore-" not in told
        assert target.read_bytes() in (b"old", DATA)
        assert os.listdir(target.parent) == ["b"]
        assert open_descriptors() == before
        if not faults.failed:
            break
    assert nth > 12
    assert not faults.failed


async def test_a_cancelled_copy_leaves_the_destination_as_it_was_or_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(_copy, "PIECE", 1000)
    monkeypatch.setattr(_copy, "_SLICE", 0.0)  # a slice a piece: hundreds of awaits
    (tmp_path / "d").mkdir()
    (tmp_path / "a").write_bytes(DATA[:20_000])
    before = open_descriptors()

    async def check():
        await settled(lambda: open_descriptors() == before)
        assert os.listdir(tmp_path / "d") in ([], ["b"])
        if os.listdir(tmp_path / "d"):
            assert (tmp_path / "d" / "b").read_bytes() == DATA[:20_000]
            (tmp_path / "d" / "b").unlink()
        assert open_descriptors() == before

    report = await cancel_everywhere(lambda: aio.copy(tmp_path / "a", tmp_path / "d" / "b"), check=check)
    assert report.points >= 20


async def test_a_tree_is_copied_as_shutil_copies_it(tree, tmp_path):
    for symlinks in (True, False):
        theirs, ours = tmp_path / f"theirs{symlinks}", tmp_path / f"ours{symlinks}"
        shutil.copytree(tree, theirs, symlinks=symlinks)
        assert await aio.copytree(tree, ours, symlinks=symlinks) == str(ours)
        assert tree_of(ours) == tree_of(theirs)


async def test_a_tree_is_copied_without_what_is_ignored(tree, tmp_path):
    await aio.copytree(tree, tmp_path / "ours", ignore=shutil.ignore_patterns("secret", "empty"), symlinks=True)
    assert sorted(tree_of(tmp_path / "ours")) == ["a", "a/b", "a/b/deep", "dirlink", "file", "link"]


async def test_a_tree_is_copied_into_a_directory_that_is_there_only_when_asked(tree, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        await aio.copytree(tree, tmp_path / "there")
    await aio.copytree(tree, tmp_path / "there", dirs_exist_ok=True)
    assert (tmp_path / "there" / "mine").read_bytes() == b"mine"
    assert (tmp_path / "there" / "a" / "b" / "deep").read_bytes() == b"deep"


async def test_a_tree_copied_into_itself_does_not_hold_its_own_copy(tree):
    await aio.copytree(tree, tree / "a" / "copy")
    assert (tree / "a" / "copy" / "a" / "b" / "deep").exists()
    assert not (tree / "a" / "copy" / "a" / "copy").exists()


async def test_a_link_back_into_the_tree_is_told_and_nothing_is_left(tree, tmp_path):
    (tree / "a" / "loop").symlink_to(tree)
    with pytest.raises(OSError, match="leads back") as caught:
        await aio.copytree(tree, tmp_path / "copy")
    assert caught.value.errno == errno.ELOOP
    assert os.listdir(tmp_path) == ["tree"]


async def test_whatever_call_fails_a_new_tree_is_whole_or_not_there(tree, tmp_path):
    before = open_descriptors()
    for nth in range(1, 1000, 7):
        with failing(nth, errno.ENOSPC) as faults:
            try:
                await aio.copytree(tree, tmp_path / "copy", symlinks=True)
                failed = False
            except OSError:
                failed = True
        assert open_descriptors() == before
        assert not any(is_leftover(name) for name in os.listdir(tmp_path)), faults.failed
        if (tmp_path / "copy").exists():
            assert set(tree_of(tmp_path / "copy")) == set(tree_of(tree))
            shutil.rmtree(tmp_path / "copy")
        if not faults.failed:
            assert not failed
            break
    assert nth > 100


async def test_a_move_on_one_file_system_is_a_rename(tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    inode = os.stat(tmp_path / "a").st_ino
    assert await aio.move(tmp_path / "a", tmp_path / "b", durable=True) == str(tmp_path / "b")
    assert os.stat(tmp_path / "b").st_ino == inode
    (tmp_path / "d").mkdir()
    assert await aio.move(tmp_path / "b", tmp_path / "d") == str(tmp_path / "d" / "b")
    with pytest.raises(FileNotFoundError):
        await aio.move(tmp_path / "a", tmp_path / "b")


async def test_a_move_to_another_file_system_keeps_everything(tree, elsewhere):
    before = tree_of(tree)
    os.utime(tree / "file", (1000, 2000))
    assert await aio.move(tree, elsewhere / "moved", durable=True) == str(elsewhere / "moved")
    assert tree_of(elsewhere / "moved") == before
    assert not tree.exists()
    await aio.move(elsewhere / "moved" / "file", tree.parent)
    assert os.stat(tree.parent / "file").st_mtime == 2000
    await aio.move(elsewhere / "moved" / "link", tree.parent / "link")
    assert os.readlink(tree.parent / "link") == "a/secret"
    assert sorted(os.listdir(elsewhere / "moved")) == ["a", "dirlink", "empty"]


async def test_a_move_over_a_link_on_another_file_system_replaces_the_link(tmp_path, elsewhere):
    (tmp_path / "a").write_bytes(DATA)
    (elsewhere / "target").write_bytes(b"stays")
    (elsewhere / "link").symlink_to("target")
    await aio.move(tmp_path / "a", elsewhere / "link")
    assert not (elsewhere / "link").is_symlink()
    assert (elsewhere / "target").read_bytes() == b"stays"


async def test_a_fifo_does_not_move_to_another_file_system(tmp_path, elsewhere):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="only files"):
        await aio.move(tmp_path / "fifo", elsewhere / "fifo")
    assert os.listdir(tmp_path) == ["fifo"]
    assert os.listdir(elsewhere) == []


async def test_a_directory_is_not_moved_into_itself(tree):
    with pytest.raises(OSError, match="Invalid argument"):
        await aio.move(tree, tree / "a" / "tree")


async def test_whatever_call_fails_a_move_loses_nothing(tmp_path, elsewhere):
    before = open_descriptors()
    for nth in range(1, 100):
        (tmp_path / "a").write_bytes(DATA)
        with failing(nth, errno.EIO) as faults:
            try:
                await aio.move(tmp_path / "a", elsewhere / "b")
            except OSError:
                pass  # what counts is what it leaves
        held = [path for path in (tmp_path / "a", elsewhere / "b") if path.exists()]
        assert held
        assert all(path.read_bytes() == DATA for path in held)
        assert os.listdir(elsewhere) in ([], ["b"])
        assert open_descriptors() == before
        (elsewhere / "b").unlink(missing_ok=True)
        if not faults.failed:
            break
    assert nth > 10


async def test_a_cancelled_move_leaves_one_whole_file(tmp_path, elsewhere, monkeypatch):
    monkeypatch.setattr(_copy, "PIECE", 1000)
    monkeypatch.setattr("asyncstore.aio._copy_tree._SLICE", 0.0)

    def make():
        (tmp_path / "a").write_bytes(DATA[:10_000])
        return aio.move(tmp_path / "a", elsewhere / "b")

    async def check():
        await settled()
        held = [path for path in (tmp_path / "a", elsewhere / "b") if path.exists()]
        assert len(held) == 1
        assert held[0].read_bytes() == DATA[:10_000]
        assert os.listdir(elsewhere) in ([], ["b"])
        held[0].unlink()

    report = await cancel_everywhere(make, check=check)
    assert report.points >= 5
