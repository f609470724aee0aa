"""aio.rmtree, scandir and walk."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import warnings
from pathlib import Path

import pytest

from asyncstore import aio
from asyncstore.aio import _remove, _scandir, _slices, _walk
from asyncstore.testing import cancel_everywhere
from tests.aio.faults import failing, open_descriptors
from tests.aio.rest import settled


def grow(top, depth=3, width=3, files=4):
    """A tree of `width` ** `depth` directories with `files` files each."""
    top.mkdir()
    for number in range(files):
        (top / f"f{number}").write_bytes(b"x")
    (top / "link").symlink_to("f0")
    if depth:
        for number in range(width):
            grow(top / f"d{number}", depth - 1, width, files)
        (top / "dirlink").symlink_to("d0")
    return top


@pytest.fixture
def tree(tmp_path):
    return grow(tmp_path / "tree")


async def listed(walk):
    return [entry async for entry in walk]


# rmtree


async def test_a_tree_is_removed_with_everything_in_it_and_nothing_beside_it(tree, tmp_path):
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "kept").write_bytes(b"")
    (tree / "d0" / "out").symlink_to(tmp_path / "beside")
    (tree / os.fsdecode(b"\xff\xfe")).mkdir()
    await aio.rmtree(tree)
    assert os.listdir(tmp_path) == ["beside"]
    assert os.listdir(tmp_path / "beside") == ["kept"]


async def test_a_tree_deeper_than_the_recursion_limit_and_the_descriptors_is_removed(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    await aio.rmtree(tmp_path / "d")
    assert os.listdir(tmp_path) == []


async def test_a_directory_swapped_for_a_link_is_not_entered(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept").write_bytes(b"")
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    true_enter = _remove._Removal.enter

    def swap_first(self, name):
        if name == "sub":
            (tmp_path / "tree" / "sub").rmdir()
            (tmp_path / "tree" / "sub").symlink_to(victim)
        return true_enter(self, name)

    monkeypatch.setattr(_remove._Removal, "enter", swap_first)
    with pytest.raises(OSError, match=r"sub") as caught:
        await aio.rmtree(tmp_path / "tree")
    assert caught.value.errno in (errno.ENOTDIR, errno.ELOOP)
    assert os.listdir(victim) == ["kept"]


async def test_a_tree_moved_away_in_mid_removal_is_noticed_on_the_way_back(tmp_path, monkeypatch):
    monkeypatch.setattr(_remove, "OPEN_LEVELS", 1)
    (tmp_path / "tree" / "a" / "b").mkdir(parents=True)
    (tmp_path / "elsewhere" / "kept").mkdir(parents=True)
    true_leave = _remove._Removal.leave

    def move_first(self):
        if self.levels[-1].name == "b":
            (tmp_path / "tree" / "a" / "b").rename(tmp_path / "elsewhere" / "b")
        return true_leave(self)

    monkeypatch.setattr(_remove._Removal, "leave", move_first)
    with pytest.raises(OSError, match="moved"):
        await aio.rmtree(tmp_path / "tree")
    assert (tmp_path / "elsewhere" / "kept").exists()


async def test_a_file_a_link_and_nothing_are_refused(tree, tmp_path):
    (tmp_path / "to").symlink_to("tree")
    for path, error in (
        (tree / "f0", NotADirectoryError),
        (tmp_path / "to", NotADirectoryError),
        (tmp_path / "no", FileNotFoundError),
    ):
        with pytest.raises(error) as caught:
            await aio.rmtree(path)
        assert caught.value.filename == str(path)
    assert (tree / "f0").exists()
    await aio.rmtree(tmp_path / "no", ignore_errors=True)
    await aio.rmtree(tmp_path / "no", True)


async def test_errors_go_to_onexc_on_the_loop_thread_and_the_rest_is_removed(tree, monkeypatch):
    true_unlink = os.unlink

    def refuse(path, *, dir_fd=None):
        if path == "f1":
            raise PermissionError(errno.EPERM, "not this one")
        true_unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    told = []
    await aio.rmtree(tree, onexc=lambda *what: told.append((asyncio.get_running_loop(), *what)))
    kept = sum(len(files) for _, _, files in os.walk(tree))
    unlinked = [(path, exc) for _, function, path, exc in told if function is refuse]
    assert len(unlinked) == kept > 10
    assert all(path.endswith("/f1") and path.startswith(str(tree)) for path, _ in unlinked)
    with pytest.raises(PermissionError):
        await aio.rmtree(tree)

    def stop(*what):
        raise KeyError("stop")

    with pytest.raises(KeyError):
        await aio.rmtree(tree, onexc=stop)


async def test_a_tree_is_removed_relative_to_an_open_directory(tree):
    fd = os.open(tree.parent, os.O_RDONLY)
    try:
        await aio.rmtree("tree", dir_fd=fd)
        await aio.mkdir("tree", dir_fd=fd)
        await aio.rmtree(b"tree", dir_fd=fd)
    finally:
        os.close(fd)
    assert not tree.exists()


async def test_whatever_call_fails_no_descriptor_is_left(tmp_path):
    before = open_descriptors()
    for nth in range(1, 1000, 3):
        tree = grow(tmp_path / "tree", depth=1)
        with failing(nth) as faults:
            try:
                await aio.rmtree(tree)
            except OSError:
                pass  # what counts is what it leaves open
        assert open_descriptors() == before
        shutil.rmtree(tree, ignore_errors=True)
        if not faults.failed:
            break
    assert nth > 20


async def test_a_cancelled_removal_leaves_nothing_open(tmp_path, monkeypatch):
    monkeypatch.setattr(_slices, "SECONDS", 0.0)
    before = open_descriptors()
    slices_of = _slices.Slices.__init__
    monkeypatch.setattr(
        _slices.Slices, "__init__", lambda self, source, **options: slices_of(self, source, count=1, seconds=0.0)
    )

    def make():
        shutil.rmtree(tmp_path / "tree", ignore_errors=True)
        return aio.rmtree(grow(tmp_path / "tree", depth=1, width=1, files=2))

    async def check():
        await settled(lambda: open_descriptors() == before)
        assert open_descriptors() == before

    report = await cancel_everywhere(make, check=check)
    assert report.points >= 8


# scandir


async def test_scandir_lists_what_os_scandir_lists(tree):
    os.mkfifo(tree / "fifo")
    with os.scandir(tree) as entries:
        theirs = {entry.name: entry for entry in entries}
    async with aio.scandir(tree) as entries:
        ours = {entry.name: entry async for entry in entries}
    assert ours.keys() == theirs.keys()
    for name, entry in ours.items():
        assert os.fspath(entry) == entry.path == theirs[name].path
        assert entry.inode() == theirs[name].inode()
        assert entry.is_symlink() == theirs[name].is_symlink()
        for follow in (True, False):
            assert await entry.is_dir(follow_symlinks=follow) == theirs[name].is_dir(follow_symlinks=follow)
            assert await entry.is_file(follow_symlinks=follow) == theirs[name].is_file(follow_symlinks=follow)
            assert await entry.stat(follow_symlinks=follow) == theirs[name].stat(follow_symlinks=follow)
    kinds = {name: entry.kind for name, entry in ours.items()}
    assert (kinds["f0"], kinds["d0"], kinds["link"], kinds["fifo"]) == ("file", "directory", "link", "other")
    assert "f0" in repr(ours["f0"])


async def test_scandir_takes_bytes_descriptors_and_no_path(tree, monkeypatch):
    async with aio.scandir(os.fsencode(tree)) as entries:
        assert {type(entry.name) async for entry in entries} == {bytes}
    fd = os.open(tree, os.O_RDONLY)
    try:
        assert sorted([entry.name async for entry in aio.scandir(fd)]) == sorted(os.listdir(tree))
    finally:
        os.close(fd)
    monkeypatch.chdir(tree)
    assert sorted([entry.name async for entry in aio.scandir()]) == sorted(os.listdir(tree))


async def test_names_that_are_no_utf8_are_listed_and_walked(tmp_path):
    (tmp_path / os.fsdecode(b"\xff")).mkdir()
    (tmp_path / os.fsdecode(b"\xff") / os.fsdecode(b"\xfe")).write_bytes(b"x")
    names = [entry.name async for entry in aio.scandir(tmp_path)]
    assert os.fsencode(names[0]) == b"\xff"
    assert await listed(aio.walk(tmp_path)) == list(os.walk(tmp_path))
    top = os.fsencode(tmp_path)
    assert await listed(aio.walk(top)) == list(os.walk(top))


async def test_scandir_tells_of_a_missing_directory_where_it_is_opened(tmp_path):
    with pytest.raises(FileNotFoundError):
        await aio.scandir(tmp_path / "no")
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        await aio.scandir(tmp_path / "f").__aenter__()
    with pytest.raises(TypeError):
        aio.scandir(5.0)


async def test_a_directory_of_many_batches_is_listed_whole(tmp_path):
    for number in range(5000):
        (tmp_path / str(number)).touch()
    entries = await aio.scandir(tmp_path)
    names = [entry.name async for entry in entries]
    assert sorted(names) == sorted(map(str, range(5000)))
    assert [entry async for entry in entries] == []
    await entries.aclose()


async def test_an_iterator_left_open_warns_and_a_closed_one_does_not(tmp_path, monkeypatch):
    for number in range(10):
        (tmp_path / str(number)).touch()
    before = open_descriptors()
    monkeypatch.setattr(_scandir, "COUNT", 1)
    monkeypatch.setattr(_scandir, "PIECE", 1)
    entries = aio.scandir(tmp_path)
    await anext(entries)
    assert "open" in repr(entries)
    with pytest.warns(ResourceWarning, match="unclosed <scandir"):
        del entries
    async with aio.scandir(tmp_path) as entries:
        await anext(entries)
    assert "closed" in repr(entries)
    assert [entry async for entry in entries] == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del entries
    await settled(lambda: open_descriptors() == before)
    assert open_descriptors() == before


async def test_a_cancelled_listing_leaves_nothing_open(tmp_path, monkeypatch):
    for number in range(6):
        (tmp_path / str(number)).touch()
    monkeypatch.setattr(_scandir, "COUNT", 1)
    monkeypatch.setattr(_scandir, "PIECE", 1)
    before = open_descriptors()

    async def use():
        async with aio.scandir(tmp_path) as entries:
            return [entry.name async for entry in entries]

    async def check():
        await settled(lambda: open_descriptors() == before)
        assert open_descriptors() == before

    report = await cancel_everywhere(use, check=check)
    assert report.points >= 6


# walk


@pytest.mark.parametrize("topdown", [True, False])
@pytest.mark.parametrize("followlinks", [True, False])
@pytest.mark.parametrize("ahead", [1, 3, 4096])
async def test_walk_yields_what_os_walk_yields_in_its_order(tree, monkeypatch, topdown, followlinks, ahead):
    monkeypatch.setattr(_walk, "COUNT", ahead)
    theirs = list(os.walk(tree, topdown, None, followlinks))
    assert await listed(aio.walk(tree, topdown, None, followlinks)) == theirs
    assert await listed(aio.walk(os.fsencode(tree), topdown, followlinks=followlinks)) == list(
        os.walk(os.fsencode(tree), topdown, followlinks=followlinks)
    )


@pytest.mark.parametrize("ahead", [1, 10, 4096])
async def test_directories_are_pruned_reordered_and_added_in_place(tree, tmp_path, monkeypatch, ahead):
    monkeypatch.setattr(_walk, "COUNT", ahead)
    grow(tmp_path / "more", depth=1)

    def change(directory, names):
        names.sort(reverse=True)
        if "d1" in names:
            names.remove("d1")
        if directory == str(tree):
            names.append("../more")
            names.append("d0/dirlink")  # a link that the caller puts in is not entered either
            names.append("none")

    theirs, ours = [], []
    for directory, names, files in os.walk(tree):
        change(directory, names)
        theirs.append((directory, list(names), files))
    async for directory, names, files in aio.walk(tree):
        change(directory, names)
        ours.append((directory, list(names), files))
    assert ours == theirs


async def test_a_directory_that_vanishes_during_the_walk_is_passed_over_or_told(tree, monkeypatch):
    monkeypatch.setattr(_walk, "COUNT", 1)
    told = []
    seen = []
    async for directory, _, _ in aio.walk(tree, onerror=told.append):
        seen.append(directory)
        if directory == str(tree / "d0"):
            shutil.rmtree(tree / "d0" / "d1")
    assert str(tree / "d0" / "d1") not in seen
    assert [type(exc) for exc in told] == [FileNotFoundError]
    assert told[0].filename == str(tree / "d0" / "d1")
    assert await listed(aio.walk(tree / "gone")) == []
    assert await listed(aio.walk(tree / "gone", topdown=False)) == []


@pytest.mark.parametrize("topdown", [True, False])
async def test_onerror_may_end_the_walk(tree, topdown):
    def end(error):
        raise error

    with pytest.raises(FileNotFoundError):
        await listed(aio.walk(tree / "gone", topdown, end))


@pytest.mark.parametrize("topdown", [True, False])
async def test_loops_of_links_end_and_are_told(tmp_path, topdown):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "up").symlink_to("..")
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "a" / "over").symlink_to("over")
    told = []
    directories = [each[0] async for each in aio.walk(tmp_path, topdown, told.append, followlinks=True)]
    assert sorted(directories) == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    assert [exc.errno for exc in told] == [errno.ELOOP] * 2
    assert {exc.filename for exc in told} == {str(tmp_path / "a" / "b" / "up"), str(tmp_path / "a" / "self")}


async def test_a_walk_left_or_cancelled_leaves_nothing_open(tree):
    before = open_descriptors()

    async def use():
        return [each async for each in aio.walk(tree)]

    async def check():
        await settled(lambda: open_descriptors() == before)
        assert open_descriptors() == before

    async for _ in aio.walk(tree, topdown=False):
        break
    report = await cancel_everywhere(use, check=check)
    assert report.points >= 1


async def test_a_walk_takes_few_jobs(tree, monkeypatch):
    """40 directories, but not 40 hops: this is what the walk ahead is for."""
    jobs = 0
    true_list = _walk._list_ahead

    def count(*args):
        nonlocal jobs
        jobs += 1
        return true_list(*args)

    monkeypatch.setattr(_walk, "_list_ahead", count)
    monkeypatch.setattr(_walk, "SECONDS", 10.0)
    assert len(await listed(aio.walk(tree))) == 40
    assert jobs == 1


@pytest.mark.parametrize(("bad", "error"), [("a\0b", ValueError), (Path, TypeError)])
async def test_bad_paths_are_refused_by_the_call(bad, error):
    for call in (aio.walk, aio.scandir):
        with pytest.raises(error):
            call(bad)
    with pytest.raises(error):
        await aio.rmtree(bad)
