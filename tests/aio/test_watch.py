"""Watching real directories, through inotify and by polling; each change is waited for, never slept for."""

from __future__ import annotations

import asyncio
import errno
import gc
import os

import pytest

from asyncstore.aio import _inotify, _watch_inotify
from asyncstore.aio._change import Change, ChangeKind
from asyncstore.aio._watch import watch
from asyncstore.aio.errors import FileClosed, WatchLimit
from asyncstore.testing import cancel_everywhere

CREATED, MODIFIED, DELETED, MOVED = ChangeKind.CREATED, ChangeKind.MODIFIED, ChangeKind.DELETED, ChangeKind.MOVED
POLLING = {"force_polling": True, "interval": 0.005}

needs_inotify = pytest.mark.skipif(not _inotify.available(), reason="this system has no inotify")


@pytest.fixture(params=[pytest.param({}, marks=needs_inotify, id="inotify"), pytest.param(POLLING, id="polling")])
def how(request) -> dict[str, object]:
    return request.param


async def following(watcher, count: int = 1) -> list[Change]:
    async with asyncio.timeout(20):
        return [await anext(watcher) for _ in range(count)]


async def until(watcher, wanted: Change) -> list[Change]:
    """All changes up to the wanted one."""
    seen = []
    async with asyncio.timeout(20):
        async for change in watcher:
            seen.append(change)
            if change == wanted:
                return seen
    raise AssertionError(f"{wanted} did not come, but {seen}")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


async def test_what_happens_in_a_directory_is_told_in_order(tmp_path, how):
    file, other = tmp_path / "file", tmp_path / "other"
    async with watch(tmp_path, **how) as changes:
        file.touch()
        assert await following(changes) == [Change(CREATED, str(file))]
        file.write_text("content")
        assert await following(changes) == [Change(MODIFIED, str(file))]
        file.rename(other)
        assert await following(changes) == [Change(MOVED, str(other), str(file))]
        other.unlink()
        assert await following(changes) == [Change(DELETED, str(other))]
        (tmp_path / "dir").mkdir()
        assert await following(changes) == [Change(CREATED, str(tmp_path / "dir"), None, is_dir=True)]


async def test_attributes_and_the_end_of_writing_are_told_to_who_asks(tmp_path, how):
    file = tmp_path / "file"
    file.touch()
    async with watch(tmp_path, events={ChangeKind.ATTRIBUTES, ChangeKind.WRITTEN}, **how) as changes:
        file.write_text("content")
        assert await following(changes) == [Change(ChangeKind.WRITTEN, str(file))]
        file.chmod(0o600)
        assert await following(changes) == [Change(ChangeKind.ATTRIBUTES, str(file))]


async def test_a_flat_watch_looks_into_no_directory(tmp_path, how):
    (tmp_path / "dir").mkdir()
    async with watch(tmp_path, **how) as changes:
        (tmp_path / "dir" / "inside").touch()
        (tmp_path / "beside").touch()
        assert await following(changes) == [Change(CREATED, str(tmp_path / "beside"))]


async def test_a_recursive_watch_sees_every_level(tmp_path, how):
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    async with watch(tmp_path, recursive=True, **how) as changes:
        (deep / "file").touch()
        assert await following(changes) == [Change(CREATED, str(deep / "file"))]


async def test_directories_made_and_filled_in_one_go_are_told_whole_and_once(tmp_path, how):
    async with watch(tmp_path, recursive=True, events={CREATED}, **how) as changes:
        made = set()
        for i in range(10):
            deep = tmp_path / f"{i}" / "b" / "c"
            deep.mkdir(parents=True)
            (deep / "file").touch()
            made |= {(deep / "file", False), (deep, True), (deep.parent, True), (deep.parent.parent, True)}
        seen = await following(changes, len(made))
        assert {(change.path, change.is_dir) for change in seen} == {(str(path), is_dir) for path, is_dir in made}
        (deep / "later").touch()
        assert await following(changes) == [Change(CREATED, str(deep / "later"))]


async def test_a_renamed_directory_is_followed_and_one_that_left_is_not(tmp_path, how):
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    (tree / "old").mkdir(parents=True)
    async with watch(tree, recursive=True, **how) as changes:
        (tree / "old").rename(tree / "new")
        assert await following(changes) == [Change(MOVED, str(tree / "new"), str(tree / "old"), is_dir=True)]
        (tree / "new" / "file").touch()
        assert await following(changes) == [Change(CREATED, str(tree / "new" / "file"))]
        (tree / "new").rename(outside)
        await until(changes, Change(DELETED, str(tree / "new"), None, is_dir=True))
        (outside / "unseen").touch()
        (tree / "seen").touch()
        assert await following(changes) == [Change(CREATED, str(tree / "seen"))]
        outside.rename(tree / "back")
        assert {change.path for change in await following(changes, 3)} == {
            str(tree / "back"),
            str(tree / "back" / "file"),
            str(tree / "back" / "unseen"),
        }


async def test_a_file_is_watched_by_itself(tmp_path, how):
    file = tmp_path / "file"
    file.touch()
    async with watch(file, **how) as changes:
        (tmp_path / "other").touch()
        file.write_text("x")
        assert await following(changes) == [Change(MODIFIED, str(file))]


@pytest.mark.parametrize("end", ["deleted", "moved"])
async def test_the_end_of_the_watched_path_ends_the_iteration(tmp_path, how, end):
    root = tmp_path / "root"
    root.mkdir()
    async with watch(root, **how) as changes:
        root.rmdir() if end == "deleted" else root.rename(tmp_path / "elsewhere")
        async with asyncio.timeout(20):
            assert [change async for change in changes] == [Change(ChangeKind.GONE, str(root))]
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


async def test_a_missing_path_is_an_error_at_once(tmp_path, how):
    with pytest.raises(FileNotFoundError) as caught:
        async with watch(tmp_path / "absent", **how):
            pass
    assert caught.value.filename == str(tmp_path / "absent")


async def test_closing_wakes_the_consumer(tmp_path, how):
    watcher = watch(tmp_path, **how)
    await watcher.__aenter__()
    consumers = [asyncio.ensure_future(anext(watcher, None)) for _ in range(3)]
    await asyncio.sleep(0)
    await watcher.aclose()
    await watcher.aclose()
    assert await asyncio.gather(*consumers) == [None] * 3
    with pytest.raises(FileClosed):
        await watcher.__aenter__()


async def test_iterating_without_a_block_starts_by_itself(tmp_path, how):
    watcher = watch(tmp_path, **how)
    first = asyncio.ensure_future(anext(watcher))
    while watcher._state.value != "open":
        await asyncio.sleep(0)
    (tmp_path / "file").touch()
    assert await first == Change(CREATED, str(tmp_path / "file"))
    await watcher.aclose()


async def test_cancelling_the_consumer_loses_no_change(tmp_path, how):
    async with watch(tmp_path, **how) as changes:
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        (tmp_path / "file").touch()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await following(changes) == [Change(CREATED, str(tmp_path / "file"))]


async def test_starting_cancelled_at_every_await_leaves_no_descriptor(tmp_path, how):
    (tmp_path / "dir").mkdir()

    async def use() -> None:
        async with watch(tmp_path, recursive=True, **how) as changes:
            (tmp_path / "dir" / "file").touch()
            (tmp_path / "dir" / "file").unlink()
            (tmp_path / "dir" / "file").touch()
            await anext(changes)
        (tmp_path / "dir" / "file").unlink()

    async def closed() -> None:
        (tmp_path / "dir" / "file").unlink(missing_ok=True)
        async with asyncio.timeout(20):
            while descriptors() > before:  # a worker that is inside leaves when it is scheduled next
                await asyncio.sleep(0)

    await use()  # what is opened once and for all is open now
    before = descriptors()
    report = await cancel_everywhere(use, check=closed)
    assert report.points >= 2


async def test_a_dropped_watcher_warns_and_lets_its_descriptor_go(tmp_path, how):
    async with watch(tmp_path, **how):
        pass
    before = descriptors()
    watcher = watch(tmp_path, **how)
    await watcher.__aenter__()

    def drop() -> None:
        held.clear()
        gc.collect()

    held = [watcher]
    del watcher
    with pytest.warns(ResourceWarning, match="was not closed"):
        drop()
    async with asyncio.timeout(20):
        while descriptors() > before:
            await asyncio.sleep(0)


async def test_a_name_that_is_no_text_is_told(tmp_path, how):
    async with watch(os.fsencode(tmp_path), **how) as changes:
        with open(os.fsencode(tmp_path) + b"/\xff", "w"):
            pass
        (change,) = await following(changes)
        assert os.fsencode(change.path) == os.fsencode(tmp_path) + b"/\xff"


async def test_polling_serves_where_there_is_no_inotify(tmp_path, monkeypatch):
    monkeypatch.setattr("asyncstore.aio._watch.available", lambda: False)
    async with watch(tmp_path, interval=0.005) as changes:
        assert changes.polling
        assert "polling" in repr(changes)
        (tmp_path / "file").touch()
        assert await following(changes) == [Change(CREATED, str(tmp_path / "file"))]


async def test_a_slow_consumer_of_polling_gets_the_sum_and_never_loses(tmp_path):
    async with watch(tmp_path, max_queue=2, **POLLING) as changes:
        for name in "ab":
            (tmp_path / name).touch()
        while len(changes._queue) < 2:
            await asyncio.sleep(0)
        (tmp_path / "c").touch()
        (tmp_path / "a").unlink()
        seen = await following(changes, 4)
    assert [(change.kind, os.path.basename(change.path)) for change in seen] == [
        (CREATED, "a"),
        (CREATED, "b"),
        (DELETED, "a"),
        (CREATED, "c"),
    ]


@needs_inotify
async def test_a_full_queue_leaves_the_rest_in_the_kernel_and_loses_nothing(tmp_path):
    async with watch(tmp_path, max_queue=3) as changes:
        for i in range(50):
            (tmp_path / f"{i:02}").touch()
        while len(changes._queue) < 3:
            await asyncio.sleep(0)
        (tmp_path / "more").touch()
        assert len(changes._queue) == 3
        seen = await following(changes, 51)
    assert [os.path.basename(change.path) for change in seen] == [f"{i:02}" for i in range(50)] + ["more"]


@needs_inotify
async def test_an_overflow_of_the_kernel_s_queue_is_told_and_watching_goes_on(tmp_path):
    """The consumer does not read; more happens than the kernel keeps; directories made meanwhile are watched after."""
    with open("/proc/sys/fs/inotify/max_queued_events") as setting:
        kept = int(setting.read())
    if kept > 20_000:
        pytest.skip(f"this system keeps {kept} events, too many to exceed in a test")
    async with watch(tmp_path, recursive=True, max_queue=1) as changes:
        for _ in range(kept // 2 + 100):
            (tmp_path / "x").touch()
            (tmp_path / "x").unlink()
        (tmp_path / "dir").mkdir()
        seen = await until(changes, Change(ChangeKind.OVERFLOW, str(tmp_path), None, is_dir=True))
        assert Change(CREATED, str(tmp_path / "dir"), None, is_dir=True) not in seen  # it is what was lost
        (tmp_path / "dir" / "file").touch()
        await until(changes, Change(CREATED, str(tmp_path / "dir" / "file")))


@needs_inotify
async def test_a_directory_with_more_than_the_queue_holds_is_told_as_overflow(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for i in range(10):
        (source / f"{i}").touch()
    tree = tmp_path / "tree"
    tree.mkdir()
    async with watch(tree, recursive=True, max_queue=5) as changes:
        source.rename(tree / "dir")
        assert await following(changes, 2) == [
            Change(CREATED, str(tree / "dir"), None, is_dir=True),
            Change(ChangeKind.OVERFLOW, str(tree), None, is_dir=True),
        ]
        (tree / "dir" / "more").touch()
        assert await following(changes) == [Change(CREATED, str(tree / "dir" / "more"))]


class Refusing:
    """A C library whose inotify calls fail from the nth on."""

    def __init__(self, call: str, number: int, after: int = 0) -> None:
        self.real = _inotify._libc()
        self.call, self.number, self.left = call, number, after

    def __call__(self) -> Refusing:
        return self

    def __getattr__(self, name: str):
        def call(*arguments):
            if name == self.call:
                self.left -= 1
                if self.left < 0:
                    _inotify.ctypes.set_errno(self.number)
                    return -1
            return getattr(self.real, name)(*arguments)

        return call


@needs_inotify
@pytest.mark.parametrize(
    ("call", "number", "said"),
    [
        ("inotify_add_watch", errno.ENOSPC, "raise fs.inotify.max_user_watches"),
        ("inotify_init1", errno.EMFILE, "raise fs.inotify.max_user_instances"),
    ],
)
async def test_the_end_of_the_system_s_watches_names_the_setting(tmp_path, monkeypatch, call, number, said):
    before = descriptors()
    monkeypatch.setattr(_inotify, "_libc", Refusing(call, number))
    with pytest.raises(WatchLimit, match=said) as caught:
        async with watch(tmp_path):
            pass
    assert caught.value.errno == number
    assert caught.value.filename == str(tmp_path)
    assert isinstance(caught.value.__cause__, OSError)
    assert descriptors() <= before


@needs_inotify
async def test_running_out_of_watches_later_ends_the_iteration_with_the_error(tmp_path, monkeypatch):
    async with watch(tmp_path, recursive=True) as changes:
        monkeypatch.setattr(_inotify, "_libc", Refusing("inotify_add_watch", errno.ENOSPC))
        (tmp_path / "dir").mkdir()
        assert await following(changes) == [Change(CREATED, str(tmp_path / "dir"), None, is_dir=True)]
        with pytest.raises(WatchLimit):
            await following(changes)
        with pytest.raises(StopAsyncIteration):
            await anext(changes)


@needs_inotify
async def test_a_move_out_of_sight_is_told_when_its_second_half_does_not_come(tmp_path, monkeypatch):
    monkeypatch.setattr(_watch_inotify, "MOVE_WAIT", 0.001)
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").touch()
    async with watch(root) as changes:
        (root / "file").rename(tmp_path / "file")
        assert await following(changes) == [Change(DELETED, str(root / "file"))]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"path": 7}, TypeError),
        ({"path": ""}, ValueError),
        ({"path": "a\0b"}, ValueError),
        ({"path": ".", "events": ["created"]}, TypeError),
        ({"path": ".", "events": []}, ValueError),
        ({"path": ".", "events": [ChangeKind.GONE]}, ValueError),
        ({"path": ".", "max_queue": 0}, ValueError),
        ({"path": ".", "interval": 0}, ValueError),
        ({"path": ".", "interval": float("nan")}, ValueError),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments, error):
    with pytest.raises(error):
        watch(**arguments)
