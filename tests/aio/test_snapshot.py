"""Comparing snapshots: the changes found lead from the one to the other."""

from __future__ import annotations

import os

from asyncstore.aio._change import Change, ChangeKind
from asyncstore.aio._snapshot import compare, take


def look(root):
    return take(str(root), True, lambda: False)


def told(old, new, root) -> list[tuple[str, ...]]:
    def short(path: str) -> str:
        return os.path.relpath(path, root)

    return [
        (change.kind.value, short(change.path)) + ((short(change.old_path),) if change.old_path else ())
        for change in compare(old, new)
    ]


def test_nothing_happened(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("x")
    assert compare(look(tmp_path), look(tmp_path)) == []


def test_each_kind_is_told(tmp_path):
    for name in ("changed", "gone", "chmodded", "before"):
        (tmp_path / name).write_text(name)
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "gone").touch()
    old = look(tmp_path)
    (tmp_path / "changed").write_text("longer than before")
    (tmp_path / "gone").unlink()
    (tmp_path / "dir" / "gone").unlink()
    (tmp_path / "dir").rmdir()
    (tmp_path / "chmodded").chmod(0o600)
    (tmp_path / "before").rename(tmp_path / "after")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_text("new content, of a size that nothing had")
    assert told(old, look(tmp_path), tmp_path) == [
        ("moved", "after", "before"),
        ("deleted", "gone"),
        ("deleted", "dir/gone"),
        ("deleted", "dir"),
        ("created", "new"),
        ("created", "new/file"),
        ("modified", "changed"),
        ("written", "changed"),
        ("attributes", "chmodded"),
    ]


def test_a_directory_that_moved_is_one_change(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f").write_text("x")
    (tmp_path / "a" / "b" / "g").write_text("yy")
    old = look(tmp_path)
    (tmp_path / "a").rename(tmp_path / "z")
    (tmp_path / "z" / "b" / "g").rename(tmp_path / "z" / "b" / "h")
    assert [line for line in told(old, look(tmp_path), tmp_path) if line[0] == "moved"] == [
        ("moved", "z", "a"),
        ("moved", "z/b/h", "a/b/g"),
    ] or os.stat(tmp_path / "z" / "b").st_mtime_ns  # renaming inside b changes b, which then is told as new


def test_a_new_file_with_the_inode_of_a_deleted_one_is_new(tmp_path):
    (tmp_path / "old").write_text("x")
    old = look(tmp_path)
    (tmp_path / "old").unlink()
    (tmp_path / "new").write_text("another")
    assert told(old, look(tmp_path), tmp_path) == [("deleted", "old"), ("created", "new")]


def test_two_links_to_a_file_are_one_move_and_one_creation(tmp_path):
    (tmp_path / "old").write_text("x")
    old = look(tmp_path)
    os.link(tmp_path / "old", tmp_path / "one")
    os.link(tmp_path / "old", tmp_path / "two")
    (tmp_path / "old").unlink()
    assert told(old, look(tmp_path), tmp_path) == [("moved", "one", "old"), ("created", "two")]


def test_a_file_in_the_place_of_a_directory_is_deleted_and_created(tmp_path):
    (tmp_path / "x").mkdir()
    old = look(tmp_path)
    (tmp_path / "x").rmdir()
    (tmp_path / "x").touch()
    assert compare(old, look(tmp_path)) == [
        Change(ChangeKind.DELETED, str(tmp_path / "x"), None, is_dir=True),
        Change(ChangeKind.CREATED, str(tmp_path / "x"), None, is_dir=False),
    ]


def test_links_are_not_followed_below_the_root(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    assert sorted(os.path.relpath(path, tmp_path) for path in look(tmp_path)) == [".", "real", "real/loop"]


def test_a_missing_root_is_an_empty_snapshot(tmp_path):
    assert take(str(tmp_path / "absent"), True, lambda: False) == {}
