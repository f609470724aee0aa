"""Files below a root: nothing leads out, nothing is half there, by the kernel's resolution and by our own."""

from __future__ import annotations

import errno
import os
import stat
import threading

import pytest

from asyncstore.apps.serve import _tree
from asyncstore.apps.serve._beneath import KERNEL_RESOLVES, open_beneath
from asyncstore.apps.serve._tree import TEMPORARY_PREFIX, Tree, refusal
from asyncstore.http import HTTPError
from asyncstore.testing import leak_check

WAYS = [pytest.param(False, id="walk")]
if KERNEL_RESOLVES:
    WAYS.append(pytest.param(True, id="openat2"))


@pytest.fixture(params=WAYS)
def kernel(request):
    return request.param


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "root"
    (directory / "sub" / "deep").mkdir(parents=True)
    (directory / "file").write_bytes(b"inside")
    (directory / "sub" / "file").write_bytes(b"inside sub")
    (tmp_path / "secret").write_bytes(b"outside")
    (tmp_path / "rootlike").mkdir()
    (tmp_path / "rootlike" / "secret").write_bytes(b"outside")
    links = {
        "good": "file",
        "good-dir": "sub",
        "up-and-back": "sub/../file",
        "sub/to-sibling": "../file",
        "chain": "good",
        "absolute": str(tmp_path / "secret"),
        "absolute-inside": str(directory / "file"),
        "climb": "../secret",
        "climb-deep": "sub/deep/../../../secret",
        "out": "..",
        "self-absolute": "/",
        "loop": "loop",
        "dangling": "nothing",
        "proc": "/proc/self/root/etc/passwd",
        "similar": "../rootlike",
    }
    for name, target in links.items():
        (directory / name).symlink_to(target)
    os.mkfifo(directory / "fifo")
    return directory


@pytest.fixture
def tree(root, kernel):
    made = Tree(root, kernel=kernel)
    yield made
    made.close()


def read(tree: Tree, *names: bytes) -> bytes:
    fd, _ = tree.open(names)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def content(fd: int) -> bytes:
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def agree(_: os.stat_result | None) -> None:
    pass


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([b"file"], b"inside"),
        ([b"sub", b"file"], b"inside sub"),
        ([b"good"], b"inside"),
        ([b"chain"], b"inside"),
        ([b"good-dir", b"file"], b"inside sub"),
        ([b"up-and-back"], b"inside"),
        ([b"sub", b"to-sibling"], b"inside"),
        ([b"good-dir", b"to-sibling"], b"inside"),
    ],
)
def test_links_that_stay_inside_are_followed(tree, names, expected):
    assert read(tree, *names) == expected


@pytest.mark.parametrize(
    "names",
    [
        [b"absolute"], [b"absolute-inside"], [b"climb"], [b"climb-deep"], [b"out", b"secret"], [b"out"],
        [b"self-absolute", b"etc", b"passwd"], [b"proc"], [b"similar", b"secret"], [b"loop"], [b"dangling"],
        [b"nothing"], [b"file", b"below"], [b"x" * 300], [b"fifo"], [b"sub", b"out", b"out"],
    ],
)  # fmt: skip
def test_nothing_else_is_there(tree, names):
    with pytest.raises(OSError) as caught:
        tree.open(names)
    told = refusal(caught.value)
    assert told is not None
    assert told.status == 404


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"/etc/passwd", b"../secret", b"file\0"])
def test_a_name_that_is_more_than_a_name_is_no_name(root, kernel, name):
    fd = os.open(root, os.O_RDONLY)
    try:
        with pytest.raises(ValueError, match="not the name"):
            open_beneath(fd, [name], os.O_RDONLY, kernel=kernel)
    finally:
        os.close(fd)


def test_a_directory_that_turns_into_a_link_does_not_lead_out(root, kernel, tmp_path):
    """The race that a check by path loses: somebody swaps a directory and a link while names are looked up."""
    tree = Tree(root, kernel=kernel)
    (root / "flip").mkdir()
    (root / "flip" / "secret").write_bytes(b"inside")
    (root / "other").symlink_to("../rootlike")
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            for first, second in (("flip", "aside"), ("other", "flip"), ("flip", "other"), ("aside", "flip")):
                os.rename(root / first, root / second)

    thread = threading.Thread(target=flip)
    thread.start()
    seen = set()
    failures = set()
    try:
        for _ in range(3000):
            try:
                seen.add(read(tree, b"flip", b"secret"))
            except OSError as exc:
                failures.add(exc.errno)
    finally:
        stop.set()
        thread.join()
        tree.close()
    assert seen <= {b"inside"}
    assert failures <= {errno.ENOENT, errno.EXDEV, errno.ENOTDIR, errno.ELOOP, errno.EAGAIN}


def test_writing_through_a_link_that_leads_out_is_impossible(tree, tmp_path):
    for names in ([b"out", b"new"], [b"similar", b"secret"]):
        with pytest.raises(OSError):
            tree.store(names, b"x", agree)
    for name in (b"absolute", b"climb", b"dangling"):
        with pytest.raises(HTTPError) as caught:
            tree.store([name], b"x", agree)
        assert caught.value.status == 409
    assert (tmp_path / "secret").read_bytes() == b"outside"
    assert (tmp_path / "rootlike" / "secret").read_bytes() == b"outside"
    assert not (tmp_path / "new").exists()


def test_deleting_a_link_removes_the_link(tree, root, tmp_path):
    tree.delete([b"climb"], agree)
    assert not (root / "climb").is_symlink()
    assert (tmp_path / "secret").exists()
    with pytest.raises(OSError):
        tree.delete([b"similar", b"secret"], agree)
    assert (tmp_path / "rootlike" / "secret").exists()


def test_a_listing_shows_what_can_be_opened(tree):
    entries, more = tree.list([], b"", 100)
    assert not more
    assert {(entry.name, entry.is_directory) for entry in entries} == {
        (b"file", False), (b"sub", True), (b"good", False), (b"good-dir", True), (b"up-and-back", False),
        (b"chain", False),
    }  # fmt: skip
    page, more = tree.list([], b"file", 2)
    assert [entry.name for entry in page] == [b"good", b"good-dir"]
    assert more


def test_names_that_are_no_utf8_are_files_like_any_other(tree, root):
    tree.store([b"\xff\xfe"], b"x", agree)
    assert read(tree, b"\xff\xfe") == b"x"
    assert b"\xff\xfe" in [entry.name for entry in tree.list([], b"", 100)[0]]


def test_dotfiles_and_temporary_files_are_hidden(tree, root):
    (root / ".hidden").write_bytes(b"x")
    (root / os.fsdecode(TEMPORARY_PREFIX + b"1")).write_bytes(b"x")
    assert not [entry for entry in tree.list([], b"", 100)[0] if entry.name.startswith(b".")]
    assert tree.hides(b".hidden")
    open_tree = Tree(root, dotfiles=True)
    assert not open_tree.hides(b".hidden")
    assert open_tree.hides(TEMPORARY_PREFIX + b"1")
    assert [entry.name for entry in open_tree.list([], b"", 100)[0] if entry.name.startswith(b".")] == [b".hidden"]
    open_tree.close()


@pytest.fixture(params=["unnamed", "named"])
def temporary(request, monkeypatch):
    """Both ways to write a file that is not there yet: without a name, and where the file system cannot do that."""
    if request.param == "named":
        monkeypatch.setattr(_tree, "_O_TMPFILE", 0)


def leftovers(root) -> list[str]:
    return [name for _, _, files in os.walk(root) for name in files if name.startswith(TEMPORARY_PREFIX.decode())]


def test_storing_makes_directories_and_tells_what_is_new(tree, root, temporary):
    status, created = tree.store([b"a", b"b", b"new"], b"first", agree)
    assert created
    assert (root / "a/b/new").read_bytes() == b"first"
    assert status.st_ino == (root / "a/b/new").stat().st_ino
    status, created = tree.store([b"a", b"b", b"new"], b"second", agree)
    assert not created
    assert (root / "a/b/new").read_bytes() == b"second"
    assert leftovers(root) == []


def test_a_replaced_file_keeps_its_permissions(tree, root, temporary):
    os.chmod(root / "file", 0o640)
    tree.store([b"file"], b"x", agree)
    assert stat.S_IMODE((root / "file").stat().st_mode) == 0o640


def test_an_open_reader_keeps_the_old_content(tree, root, temporary):
    fd, _ = tree.open([b"file"])
    tree.store([b"file"], b"new", agree)
    assert content(fd) == b"inside"
    assert read(tree, b"file") == b"new"


def test_a_check_that_refuses_leaves_everything_as_it_was(tree, root, temporary):
    def refuse(_: os.stat_result | None) -> None:
        raise HTTPError(412, "no")

    for name in (b"file", b"other"):
        with pytest.raises(HTTPError):
            tree.store([name], b"x", refuse)
    with pytest.raises(HTTPError):
        tree.delete([b"file"], refuse)
    assert (root / "file").read_bytes() == b"inside"
    assert not (root / "other").exists()
    assert leftovers(root) == []


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize("call", ["write", "fsync", "link", "rename", "fchmod"])
@pytest.mark.parametrize("name", [b"file", b"other"])
def test_a_failure_anywhere_leaves_the_old_content_and_no_trace(tree, root, monkeypatch, call, name):
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with leak_check(tasks=False), monkeypatch.context() as patch:
        patch.setattr(os, call, broken)
        try:
            tree.store([name], b"x" * 100, agree)
        except OSError as exc:
            told = refusal(exc)
            assert told is not None
            assert told.status == 507
            assert not (root / "other").exists()
            assert (root / "file").read_bytes() == b"inside"
    assert leftovers(root) == []


def test_a_directory_is_neither_replaced_nor_removed_with_what_is_in_it(tree, root, temporary):
    with pytest.raises(HTTPError) as caught:
        tree.store([b"sub"], b"x", agree)
    assert caught.value.status == 409
    with pytest.raises(OSError) as failed:
        tree.delete([b"sub"], agree)
    told = refusal(failed.value)
    assert told is not None
    assert told.status == 409
    tree.delete([b"sub", b"deep"], agree)
    assert not (root / "sub" / "deep").exists()


def test_an_upload_that_is_given_up_leaves_no_trace(tree, root, temporary):
    upload = tree.upload([b"given-up"])
    upload.write(b"x" * 1000)
    upload.abandon()
    upload.abandon()
    assert leftovers(root) == []
    assert not (root / "given-up").exists()


def test_sweeping_removes_what_the_dead_left_and_nothing_else(tree, root, monkeypatch):
    monkeypatch.setattr(_tree, "_O_TMPFILE", 0)
    dead = root / "sub" / os.fsdecode(TEMPORARY_PREFIX + b"dead")
    dead.write_bytes(b"x")
    alive = tree.upload([b"alive"])
    assert len(leftovers(root)) == 2
    assert tree.sweep() == 1
    assert not dead.exists()
    alive.write(b"content")
    alive.commit(agree)
    alive.abandon()
    assert (root / "alive").read_bytes() == b"content"
    assert tree.sweep() == 0
