"""aio.path beside os.path."""

from __future__ import annotations

import inspect
import os
import time

import pytest
from hypothesis import given, strategies as st

from asyncstore import aio
from asyncstore.aio import path as aio_path

PLAIN = (
    "basename", "commonpath", "commonprefix", "dirname", "expandvars", "isabs", "join", "normcase", "normpath", "split",
    "splitdrive", "splitext",
)  # fmt: skip


@pytest.fixture
def place(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("none")
    (tmp_path / "loop").symlink_to("loop")
    os.utime(tmp_path / "file", (10, 20))
    return tmp_path


def test_every_name_of_os_path_is_there():
    assert set(os.path.__all__) <= set(aio_path.__all__)


@pytest.mark.parametrize("name", PLAIN)
def test_what_works_on_strings_is_os_path_s_own(name):
    assert getattr(aio.path, name) is getattr(os.path, name)


@pytest.mark.parametrize("name", sorted(set(aio_path.__all__) & set(os.path.__all__) - set(PLAIN)))
def test_parameters_are_named_as_in_os_path(name):
    theirs = getattr(os.path, name)
    if callable(theirs):
        ours = inspect.signature(getattr(aio.path, name)).parameters
        parameters = inspect.signature(theirs).parameters
        assert len(ours) == len(parameters)
        if name != "splitroot":  # its parameter changes its name between versions, and takes no keyword here
            assert list(ours) == list(parameters)
        assert inspect.iscoroutinefunction(getattr(aio.path, name)) or name == "splitroot"


@pytest.mark.parametrize("entry", ["file", "dir", "link", "broken", "loop", "none", "file/below", "", "a\0b", "."])
@pytest.mark.parametrize("name", ["exists", "lexists", "isfile", "isdir", "islink"])
async def test_tests_answer_as_os_path_does(place, name, entry):
    for path in (os.path.join(place, entry) if entry else "", os.fsencode(os.path.join(place, entry))):
        assert await getattr(aio.path, name)(path) is getattr(os.path, name)(path)


async def test_tests_take_descriptors(place):
    with open(place / "file", "rb") as file:
        assert await aio.path.exists(file.fileno())
        assert await aio.path.isfile(file.fileno())
        assert await aio.path.getsize(file.fileno()) == 7
        assert await aio.path.sameopenfile(file.fileno(), file.fileno())
        assert await aio.path.samefile(file.fileno(), place / "link")


async def test_sizes_and_times(place):
    assert await aio.path.getsize(place / "link") == 7
    assert await aio.path.getatime(place / "file") == 10
    assert await aio.path.getmtime(place / "file") == 20
    assert abs(await aio.path.getctime(place / "file") - time.time()) < 3600
    for name in ("getsize", "getatime", "getmtime", "getctime"):
        with pytest.raises(FileNotFoundError):
            await getattr(aio.path, name)(place / "none")


async def test_the_rest_answers_as_os_path_does(place, monkeypatch):
    assert await aio.path.samefile(place / "file", place / "link")
    assert not await aio.path.samefile(place / "file", place / "dir")
    assert await aio.path.samestat(os.stat(place / "file"), os.stat(place / "link"))
    assert await aio.path.realpath(place / "link") == os.path.realpath(place / "file")
    assert await aio.path.ismount("/")
    assert not await aio.path.ismount(place)
    assert not await aio.path.isjunction(place)
    assert not await aio.path.isdevdrive(place)
    monkeypatch.chdir(place)
    assert await aio.path.abspath("dir/../file") == str(place / "file")
    assert await aio.path.abspath(b"file") == os.fsencode(place / "file")
    assert await aio.path.relpath(place / "file") == "file"
    assert await aio.path.relpath(str(place / "file"), start=str(place / "dir")) == "../file"
    monkeypatch.setenv("HOME", "/somewhere")
    assert await aio.path.expanduser("~/x") == "/somewhere/x"
    assert await aio.path.expanduser(b"~/x") == b"/somewhere/x"
    assert await aio.path.expanduser("x") == "x"
    assert await aio.path.expanduser("~root") == os.path.expanduser("~root")


@given(st.text(alphabet="/ab.", max_size=8))
def test_splitroot_puts_together_what_it_splits(path):
    drive, root, rest = aio.path.splitroot(path)
    assert (drive, drive + root + rest) == ("", path)
    assert not rest.startswith("/") or root == "/"
    if hasattr(os.path, "splitroot"):
        assert aio.path.splitroot(path) == os.path.splitroot(path)
        assert aio.path.splitroot(path.encode()) == os.path.splitroot(path.encode())


async def test_what_is_no_path_is_refused():
    for name in ("exists", "isfile", "isdir", "getsize", "ismount", "abspath"):
        with pytest.raises(TypeError):
            await getattr(aio.path, name)(1.5)
