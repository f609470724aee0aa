"""aio.Path beside pathlib.Path."""

from __future__ import annotations

import inspect
import os
import pathlib
import pickle
import shutil
import socket
import sys

import pytest

from asyncstore import aio
from asyncstore.testing import cancel_everywhere
from tests.aio.faults import open_descriptors
from tests.aio.rest import settled

PUBLIC = [name for name in dir(pathlib.Path) if not name.startswith("_")]
EXTRA_KEYWORDS = {"max_bytes", "atomic", "durable", "follow_symlinks", "case_sensitive", "recurse_symlinks", "newline"}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "file").write_text("text\n")
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "dir" / "a.py").touch()
    (tmp_path / "dir" / "sub" / "b.py").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dirlink").symlink_to("dir")
    (tmp_path / "broken").symlink_to("none")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(tmp_path / "socket"))
    return aio.Path(tmp_path)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_of_this_python_is_there_with_its_parameters(name):
    ours, theirs = getattr(aio.Path, name), getattr(pathlib.Path, name)
    if not callable(theirs):
        return
    our_parameters = inspect.signature(ours).parameters
    their_parameters = inspect.signature(theirs).parameters
    assert set(their_parameters) <= set(our_parameters)
    assert set(our_parameters) - set(their_parameters) <= EXTRA_KEYWORDS
    for each in their_parameters.values():
        assert our_parameters[each.name].default == each.default
        assert our_parameters[each.name].kind == each.kind


def test_paths_compare_hash_join_and_pickle_as_pure_paths():
    path = aio.Path("/a", "b")
    assert path == pathlib.PurePosixPath("/a/b") == path
    assert {path, pathlib.Path("/a/b")} == {path}
    assert path / "c" == aio.Path("/a/b/c")
    assert "/x" / path == path
    assert type(path / "c") is type(path.parent) is type(path.with_suffix(".x")) is aio.Path
    assert os.fspath(path) == str(path) == "/a/b"
    copy = pickle.loads(pickle.dumps(path))
    assert (copy, type(copy)) == (path, aio.Path)
    assert path.match("*b")
    assert aio.Path("a") < aio.Path("b")
    assert repr(path) == "Path('/a/b')"
    assert isinstance(path, pathlib.PurePath)
    assert not isinstance(path, pathlib.Path)


NAMES = ("file", "dir", "link", "dirlink", "broken", "loop", "none", "fifo", "socket", "file/below", ".")
TESTS = (
    "exists",
    "is_file",
    "is_dir",
    "is_symlink",
    "is_fifo",
    "is_socket",
    "is_block_device",
    "is_char_device",
    "is_mount",
)


@pytest.mark.parametrize("test", TESTS)
async def test_tests_answer_as_pathlib_does(place, test):
    for path in (*(place / name for name in NAMES), aio.Path("/dev/null"), aio.Path("/"), aio.Path("a\0b")):
        if test == "is_mount" and "\0" in str(path):
            continue
        try:
            theirs = getattr(pathlib.Path(path), test)()
        except (OSError, RuntimeError) as exc:
            with pytest.raises(type(exc)):
                await getattr(path, test)()
        else:
            assert await getattr(path, test)() is theirs


async def test_follow_symlinks_is_taken_on_every_python(place):
    assert not await (place / "broken").exists()
    assert await (place / "broken").exists(follow_symlinks=False)
    assert await (place / "link").is_file()
    assert not await (place / "link").is_file(follow_symlinks=False)
    assert not await (place / "dirlink").is_dir(follow_symlinks=False)
    assert not await place.is_junction()


async def test_an_unreadable_parent_raises_as_in_pathlib(place, monkeypatch):
    async def denied(*args, **kwargs):
        raise PermissionError(13, "denied")

    monkeypatch.setattr("asyncstore.aio._stat.stat", denied)
    with pytest.raises(PermissionError):
        await place.exists()


async def test_what_it_is(place):
    assert (await (place / "link").stat()).st_ino == os.stat(place / "file").st_ino
    assert await (place / "link").lstat() == os.lstat(place / "link")
    assert await (place / "file").samefile(str(place / "link"))
    assert await (place / "file").owner() == pathlib.Path(place / "file").owner()
    assert await (place / "file").group() == pathlib.Path(place / "file").group()
    assert await (place / "broken").owner(follow_symlinks=False)


async def test_where_it_is(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))
    assert await aio.Path.cwd() == place
    assert await aio.Path.home() == place
    assert await aio.Path("~/x").expanduser() == place / "x"
    assert await aio.Path("x").absolute() == place / "x"
    assert await (place / "dirlink" / ".." / "link").resolve() == pathlib.Path(place).resolve() / "file"
    with pytest.raises(FileNotFoundError):
        await (place / "none").resolve(strict=True)
    assert await (place / "link").readlink() == aio.Path("file")
    for path in (await aio.Path.cwd(), await aio.Path.home(), await aio.Path("x").absolute(), await place.resolve()):
        assert type(path) is aio.Path


async def test_content(place):
    path = place / "new"
    assert await path.write_bytes(b"bytes", atomic=True) == 5
    assert await path.read_bytes() == b"bytes"
    assert await path.write_text("t\u00e9xt\n", "utf-8", newline="\r\n") == 5
    assert await path.read_bytes() == b"t\xc3\xa9xt\r\n"
    assert await path.read_text("utf-8") == "t\u00e9xt\n"
    assert await path.read_text(encoding="utf-8", newline="") == "t\u00e9xt\r\n"
    async with path.open("rb") as file:
        assert await file.read(3) == b"t\xc3\xa9"
    async with path.open("a", encoding="utf-8") as file:
        await file.write("more")
    assert path.name == "new"
    assert (await path.read_bytes()).endswith(b"more")


async def test_listing(place):
    theirs = pathlib.Path(place)
    assert [str(path) async for path in place.iterdir()] == [str(path) for path in theirs.iterdir()]
    assert {type(path) async for path in place.iterdir()} == {aio.Path}
    with pytest.raises(FileNotFoundError):
        _ = [path async for path in (place / "none").iterdir()]


@pytest.mark.parametrize("pattern", ["*", "*.py", "**/*.py", "**", "dir/*/b.py", "none", "[!f]*", "*/"])
async def test_globs_find_what_pathlib_finds(place, pattern):
    theirs = pathlib.Path(place)
    assert [str(path) async for path in place.glob(pattern)] == [str(path) for path in theirs.glob(pattern)]
    assert [str(path) async for path in place.rglob(pattern)] == [str(path) for path in theirs.rglob(pattern)]


async def test_glob_options_are_those_of_the_running_python(place):
    if sys.version_info < (3, 12):
        with pytest.raises(TypeError, match="case_sensitive"):
            _ = [path async for path in place.glob("*", case_sensitive=False)]
    else:
        assert [path.name async for path in place.glob("FILE", case_sensitive=False)] == ["file"]
    if sys.version_info < (3, 13):
        with pytest.raises(TypeError, match="recurse_symlinks"):
            _ = [path async for path in place.rglob("*", recurse_symlinks=True)]
    else:
        assert place / "dirlink" / "a.py" in [path async for path in place.rglob("*", recurse_symlinks=True)]


@pytest.mark.parametrize("follow_symlinks", [True, False])
@pytest.mark.parametrize("top_down", [True, False])
async def test_walks_yield_what_pathlib_yields(place, top_down, follow_symlinks):
    (pathlib.Path(place) / "dirlink").unlink()
    (pathlib.Path(place) / "other").symlink_to("dir")
    ours = [each async for each in place.walk(top_down, None, follow_symlinks)]
    assert {type(each[0]) for each in ours} == {aio.Path}
    if sys.version_info >= (3, 12):
        theirs = list(pathlib.Path(place).walk(top_down, None, follow_symlinks))
        assert [(str(each[0]), *each[1:]) for each in ours] == [(str(each[0]), *each[1:]) for each in theirs]
    listed = {str(directory.relative_to(place)): (set(names), set(files)) for directory, names, files in ours}
    assert ("other" in listed["."][0]) is follow_symlinks
    assert ("other" in listed["."][1]) is not follow_symlinks


async def test_changing(place):
    path = place / "new"
    await path.touch(0o600)
    with pytest.raises(FileExistsError):
        await path.touch(exist_ok=False)
    await path.chmod(0o640)
    assert (await path.stat()).st_mode & 0o777 == 0o640
    await (place / "x" / "y").mkdir(parents=True)
    await (place / "x" / "y").mkdir(exist_ok=True)
    with pytest.raises(FileExistsError):
        await (place / "x").mkdir()
    await (place / "x" / "y").rmdir()
    moved = await path.rename(str(place / "moved"))
    assert (moved, type(moved)) == (place / "moved", aio.Path)
    assert await moved.replace(place / "file") == place / "file"
    await (place / "soft").symlink_to("file")
    await (place / "hard").hardlink_to(place / "file")
    assert await (place / "hard").samefile(place / "soft")
    await (place / "soft").unlink()
    await (place / "soft").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        await (place / "soft").unlink()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there is no link_to on Python 3.12 and newer")
async def test_link_to_works_and_warns(place):
    with pytest.warns(DeprecationWarning, match="hardlink_to"):
        await (place / "file").link_to(place / "hard")
    assert await (place / "hard").samefile(place / "file")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="there is no from_uri on Python 3.12 and older")
def test_from_uri():
    assert aio.Path.from_uri("file:///a/b") == aio.Path("/a/b")
    assert type(aio.Path.from_uri("file:///a/b")) is aio.Path


async def test_a_subclass_stays_what_it_is(place):
    class Mine(aio.Path):
        pass

    path = Mine(place)
    assert {type(each) async for each in path.iterdir()} == {Mine}
    assert type(await path.resolve()) is type(await (path / "link").readlink()) is Mine


METHODS = {
    "stat": lambda p: p.stat(),
    "read_bytes": lambda p: (p / "file").read_bytes(),
    "write_bytes": lambda p: (p / "file").write_bytes(b"x", atomic=True),
    "touch": lambda p: (p / "touched").touch(),
    "resolve": lambda p: p.resolve(),
    "owner": lambda p: p.owner(),
}


@pytest.mark.parametrize("name", METHODS)
async def test_a_cancel_at_any_await_leaves_nothing_open(place, monkeypatch, name):
    monkeypatch.setattr("asyncstore.aio._stat.stat_cached", lambda path, follow: None)
    monkeypatch.setattr("asyncstore.aio._whole.read_file_cached", lambda path: None)
    before = open_descriptors()

    async def check():
        await settled(lambda: open_descriptors() == before)
        assert open_descriptors() == before

    assert (await cancel_everywhere(lambda: METHODS[name](place), check=check)).points >= 1


@pytest.mark.parametrize("name", ["iterdir", "glob", "walk", "open"])
async def test_a_cancelled_iteration_leaves_nothing_open(place, name):
    before = open_descriptors()

    async def use():
        if name == "open":
            async with (place / "file").open("rb") as file:
                return await file.read()
        listing = place.glob("**/*") if name == "glob" else getattr(place, name)()
        return [each async for each in listing]

    async def check():
        await settled(lambda: open_descriptors() == before)
        assert open_descriptors() == before

    await cancel_everywhere(use, check=check)
    async for _ in place.iterdir():
        break
    shutil.rmtree(place)
