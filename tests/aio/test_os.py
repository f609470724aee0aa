"""The os functions of aio: every one does what its namesake does."""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
import stat

import pytest

from asyncstore import aio
from asyncstore.aio import _renameat2, _stat
from asyncstore.testing import cancel_everywhere
from tests.aio.faults import open_descriptors
from tests.aio.rest import settled

NAMESAKES = (
    "access", "chmod", "chown", "getxattr", "lchown", "link", "listdir", "listxattr", "lstat", "makedirs", "mkdir",
    "mkfifo", "mknod", "readlink", "remove", "removedirs", "removexattr", "rename", "renames", "replace", "rmdir",
    "setxattr", "stat", "statvfs", "symlink", "sync", "truncate", "unlink",
)  # fmt: skip


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


@pytest.mark.parametrize("name", NAMESAKES)
def test_parameters_are_named_and_placed_as_in_os(name):
    try:
        theirs = inspect.signature(getattr(os, name)).parameters
    except ValueError:
        pytest.skip("the parameters of some builtins cannot be told on Python 3.13")
    ours = inspect.signature(getattr(aio, name)).parameters
    placed = [each.name for each in theirs.values() if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert [each.name for each in ours.values() if each.kind is each.POSITIONAL_OR_KEYWORD] == placed
    assert set(theirs) <= set(ours)
    for each in theirs.values():
        if each.default is not each.empty and name != "listdir":
            assert ours[each.name].default in (each.default, int(each.default or 0) if each.default else each.default)


async def test_stat_and_lstat_tell_what_os_tells(file, tmp_path):
    (tmp_path / "link").symlink_to("file")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        for path in (file, str(file), os.fsencode(file), tmp_path, tmp_path / "link", "/dev/null", "/proc/self/status"):
            assert (await aio.stat(path))[:3] == os.stat(path)[:3]
            assert (await aio.lstat(path))[:3] == os.lstat(path)[:3]
        assert await aio.stat("file", dir_fd=fd) == os.stat(file)
        assert await aio.stat("link", dir_fd=fd, follow_symlinks=False) == os.lstat(tmp_path / "link")
        assert await aio.stat(fd) == os.stat(tmp_path)
    finally:
        os.close(fd)
    assert await aio.stat(file) == os.stat(file)


@pytest.mark.parametrize("name", ["none", "file/below", "loop", "x" * 300])
async def test_errors_of_stat_are_those_of_os_cached_or_not(file, tmp_path, monkeypatch, name):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError) as theirs:
        os.stat(tmp_path / name)
    for cached in (_stat.stat_cached, lambda path, follow: None):
        monkeypatch.setattr(_stat, "stat_cached", cached)
        with pytest.raises(OSError) as ours:
            await aio.stat(str(tmp_path / name))
        assert (type(ours.value), ours.value.errno) == (type(theirs.value), theirs.value.errno)
        assert ours.value.filename == str(tmp_path / name)


async def test_stat_many_answers_in_order_with_errors_in_their_places(file, tmp_path):
    paths = [file, tmp_path / "none", tmp_path] * 100
    answers = await aio.stat_many(paths)
    assert [type(answer) for answer in answers] == [os.stat_result, FileNotFoundError, os.stat_result] * 100
    assert answers[0] == os.stat(file)
    assert stat.S_ISDIR(answers[-1].st_mode)
    (tmp_path / "link").symlink_to("none")
    assert isinstance((await aio.stat_many([tmp_path / "link"], follow_symlinks=False))[0], os.stat_result)


async def test_statvfs_and_access(file):
    assert (await aio.statvfs(file)).f_bsize == os.statvfs(file).f_bsize
    assert await aio.access(file, os.R_OK)
    assert not await aio.access(file, os.X_OK)
    assert not await aio.access(str(file) + "none", os.F_OK)


async def test_links_and_names(file, tmp_path):
    await aio.link(file, tmp_path / "hard")
    assert os.path.samefile(file, tmp_path / "hard")
    await aio.symlink("file", tmp_path / "soft")
    assert await aio.readlink(tmp_path / "soft") == "file"
    assert await aio.readlink(os.fsencode(tmp_path / "soft")) == b"file"
    assert await aio.realpath(tmp_path / "soft") == os.path.realpath(file)
    with pytest.raises(FileNotFoundError):
        await aio.realpath(tmp_path / "none", strict=True)
    await aio.rename(tmp_path / "hard", tmp_path / "renamed")
    await aio.replace(tmp_path / "renamed", tmp_path / "soft")
    await aio.unlink(tmp_path / "soft")
    await aio.renames(file, tmp_path / "new" / "place" / "file")
    assert os.listdir(tmp_path) == ["new"]
    await aio.remove(tmp_path / "new" / "place" / "file")
    with pytest.raises(FileNotFoundError):
        await aio.remove(tmp_path / "new" / "place" / "file")


async def test_rename2_refuses_to_replace_and_exchanges(file, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"other")
    with pytest.raises(FileExistsError) as caught:
        await aio.rename2(file, other, noreplace=True)
    assert (caught.value.filename, caught.value.filename2) == (str(file), str(other))
    await aio.rename2(file, other, exchange=True)
    assert (file.read_bytes(), other.read_bytes()) == (b"other", b"content")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        await aio.rename2("file", "third", noreplace=True, src_dir_fd=fd, dst_dir_fd=fd)
    finally:
        os.close(fd)
    await aio.rename2(tmp_path / "third", other)
    assert os.listdir(tmp_path) == ["other"]
    with pytest.raises(ValueError, match="exclude"):
        await aio.rename2(file, other, noreplace=True, exchange=True)


async def test_rename2_says_so_where_the_system_has_no_such_call(file, tmp_path, monkeypatch):
    monkeypatch.setattr(_renameat2, "_call", lambda: None)
    with pytest.raises(OSError, match="no renameat2") as caught:
        await aio.rename2(file, tmp_path / "other", noreplace=True)
    assert caught.value.errno == errno.ENOSYS
    await aio.rename2(file, tmp_path / "other")


async def test_directories(tmp_path):
    await aio.mkdir(tmp_path / "a", 0o700)
    await aio.makedirs(tmp_path / "b" / "c" / "d")
    await aio.makedirs(tmp_path / "b" / "c" / "d", exist_ok=True)
    with pytest.raises(FileExistsError):
        await aio.makedirs(tmp_path / "b")
    assert sorted(await aio.listdir(tmp_path)) == ["a", "b"]
    assert sorted(await aio.listdir(os.fsencode(tmp_path))) == [b"a", b"b"]
    await aio.rmdir(tmp_path / "a")
    (tmp_path / "kept").touch()
    await aio.removedirs(tmp_path / "b" / "c" / "d")
    assert os.listdir(tmp_path) == ["kept"]
    assert await aio.listdir(None) == os.listdir(None)


async def test_attributes(file):
    await aio.chmod(file, 0o640)
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o640
    await aio.chown(file, -1, os.getegid())
    await aio.lchown(file, os.geteuid(), -1)
    await aio.utime(file, (10, 20))
    assert os.stat(file).st_mtime == 20
    await aio.utime(file, ns=(1, 2))
    assert os.stat(file).st_mtime_ns == 2
    await aio.utime(file)
    assert os.stat(file).st_mtime > 20
    with pytest.raises(ValueError, match="not both"):
        await aio.utime(file, (1, 2), ns=(1, 2))
    await aio.truncate(file, 3)
    assert file.read_bytes() == b"con"


async def test_lchmod_never_changes_what_the_link_leads_to(file, tmp_path):
    (tmp_path / "link").symlink_to("file")
    file.chmod(0o640)
    try:
        await aio.lchmod(tmp_path / "link", 0o600)
    except (NotImplementedError, OSError):
        pass  # Linux has no mode for links, and says so in one way or the other
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o640


async def test_extended_attributes(file):
    try:
        os.setxattr(file, "user.probe", b"")
    except OSError:
        pytest.skip("no extended attributes here")
    await aio.setxattr(file, "user.colour", bytearray(b"blue"))
    assert await aio.getxattr(file, b"user.colour") == b"blue"
    assert sorted(await aio.listxattr(file)) == ["user.colour", "user.probe"]
    await aio.removexattr(file, "user.colour")
    with pytest.raises(OSError) as caught:
        await aio.getxattr(file, "user.colour")
    assert caught.value.errno == errno.ENODATA


async def test_nodes(tmp_path):
    await aio.mkfifo(tmp_path / "fifo", 0o600)
    await aio.mknod(tmp_path / "node", stat.S_IFIFO | 0o600)
    await aio.mknod(tmp_path / "file")
    kinds = [stat.S_IFMT(os.stat(tmp_path / name).st_mode) for name in ("fifo", "node", "file")]
    assert kinds == [stat.S_IFIFO, stat.S_IFIFO, stat.S_IFREG]


async def test_syncing(file, tmp_path):
    await aio.pathsync(file)
    await aio.pathsync(tmp_path)
    await aio.syncfs(file)
    await aio.sync()
    with pytest.raises(FileNotFoundError):
        await aio.pathsync(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        await aio.syncfs(tmp_path / "none")


BAD_PATH = ("a\0b", b"a\0b")


@pytest.mark.parametrize("bad", [*BAD_PATH, 1.5, None, object()])
async def test_a_bad_path_is_refused_before_a_worker_sees_it(bad):
    error = ValueError if bad in BAD_PATH else TypeError
    for call in (
        lambda: aio.stat(bad),
        lambda: aio.lstat(bad),
        lambda: aio.unlink(bad),
        lambda: aio.mkdir(bad),
        lambda: aio.rename("a", bad),
        lambda: aio.rename(bad, "a"),
        lambda: aio.symlink("a", bad),
        lambda: aio.chmod(bad, 0o600),
        lambda: aio.truncate(bad, 0),
        lambda: aio.pathsync(bad),
        lambda: aio.stat_many([bad]),
    ):
        with pytest.raises(error):
            await call()


async def test_a_bad_descriptor_is_refused():
    with pytest.raises(ValueError, match="-1"):
        await aio.stat(-1)
    with pytest.raises(TypeError, match="bool"):
        await aio.stat(True)


async def test_a_fifo_and_a_device_are_looked_at_without_opening_them(tmp_path):
    """Opening a FIFO releases the writer that waits for a reader."""
    os.mkfifo(tmp_path / "fifo")
    for _ in range(3):
        assert stat.S_ISFIFO((await aio.stat(tmp_path / "fifo")).st_mode)
    with pytest.raises(OSError) as caught:
        os.open(tmp_path / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    assert caught.value.errno == errno.ENXIO


CANCELLED = {
    "stat": lambda d: aio.stat(d / "new"),
    "stat_many": lambda d: aio.stat_many([d] * 300),
    "mkdir": lambda d: aio.mkdir(d / "new"),
    "makedirs": lambda d: aio.makedirs(d / "new" / "er"),
    "listdir": aio.listdir,
    "symlink": lambda d: aio.symlink("a", d / "new"),
    "rename": lambda d: aio.rename(d / "file", d / "new"),
    "unlink": lambda d: aio.unlink(d / "file"),
    "chmod": lambda d: aio.chmod(d / "file", 0o600),
    "truncate": lambda d: aio.truncate(d / "file", 0),
    "pathsync": aio.pathsync,
    "syncfs": aio.syncfs,
    "realpath": aio.realpath,
}


@pytest.mark.parametrize("name", CANCELLED)
async def test_a_cancel_at_any_await_leaves_nothing_open(tmp_path, monkeypatch, name):
    monkeypatch.setattr(_stat, "stat_cached", lambda path, follow: None)
    before = open_descriptors()
    number = 0

    def make():
        nonlocal number
        number += 1
        place = tmp_path / str(number)
        place.mkdir()
        (place / "file").touch()
        (place / "new").touch() if name == "stat" else None
        return CANCELLED[name](place)

    async def check():
        await settled(lambda: open_descriptors() == before)
        assert open_descriptors() == before

    report = await cancel_everywhere(make, check=check)
    assert report.points >= 1


async def test_calls_of_many_tasks_all_get_their_own_answers(tmp_path):
    for number in range(200):
        (tmp_path / str(number)).write_bytes(b"x" * number)
    answers = await asyncio.gather(*(aio.stat(tmp_path / str(number)) for number in range(200)))
    assert [answer.st_size for answer in answers] == list(range(200))
