"""The inotify codec, against tables and cut at every place, and the binding's life."""

from __future__ import annotations

import os
import struct
import threading

import pytest
from hypothesis import given, strategies as st

from asyncstore.aio._inotify import Inotify, Mask, RawEvent, available, parse


def record(wd: int, mask: int, cookie: int, name: bytes, padding: int) -> bytes:
    padded = name + b"\0" * padding if name else b""
    return struct.pack("iIII", wd, mask, cookie, len(padded)) + padded


CASES = [
    (b"", []),
    (record(1, Mask.CREATE, 0, b"a", 15), [RawEvent(1, 0x100, 0, "a")]),
    (record(1, Mask.DELETE_SELF, 0, b"", 0), [RawEvent(1, 0x400, 0, "")]),
    (record(-1, Mask.Q_OVERFLOW, 0, b"", 0), [RawEvent(-1, 0x4000, 0, "")]),
    (record(2, Mask.MOVED_FROM, 7, b"x" * 16, 1), [RawEvent(2, 0x40, 7, "x" * 16)]),
    (record(2, Mask.MODIFY, 0, b"\xff", 3), [RawEvent(2, 2, 0, "\udcff")]),
    (record(3, Mask.CREATE | Mask.ISDIR, 0, b"d", 3), [RawEvent(3, 0x40000100, 0, "d")]),
]


@pytest.mark.parametrize(("data", "events"), CASES)
def test_a_record_is_parsed(data, events):
    assert parse(data) == events


def test_records_follow_each_other():
    assert parse(b"".join(data for data, _ in CASES)) == [event for _, events in CASES for event in events]


@pytest.mark.parametrize("data", [data for data, _ in CASES if data])
def test_a_record_cut_short_anywhere_is_an_error_and_never_an_event(data):
    for end in range(1, len(data)):
        with pytest.raises(ValueError, match="cut short"):
            parse(data[:end])


@given(
    st.lists(
        st.tuples(
            st.integers(-1, 2**31 - 1),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**32 - 1),
            st.binary(max_size=20).filter(lambda name: b"\0" not in name),
            st.integers(1, 16),
        )
    )
)
def test_what_the_kernel_packs_is_what_is_parsed(records):
    data = b"".join(record(*fields) for fields in records)
    assert parse(data) == [RawEvent(wd, mask, cookie, os.fsdecode(name)) for wd, mask, cookie, name, _ in records]


needs_inotify = pytest.mark.skipif(not available(), reason="this system has no inotify")


@needs_inotify
def test_a_change_is_read_and_nothing_more(tmp_path):
    inotify = Inotify()
    wd = inotify.add_watch(str(tmp_path), Mask.CREATE)
    with pytest.raises(BlockingIOError):
        inotify.read()
    (tmp_path / "file").touch()
    assert parse(inotify.read()) == [RawEvent(wd, Mask.CREATE, 0, "file")]
    inotify.rm_watch(wd)
    inotify.rm_watch(wd)  # the kernel has dropped it already
    inotify.close()
    inotify.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        inotify.add_watch(str(tmp_path), Mask.CREATE)


@needs_inotify
def test_a_missing_path_is_named_in_the_error(tmp_path):
    inotify = Inotify()
    with pytest.raises(FileNotFoundError) as caught:
        inotify.add_watch(str(tmp_path / "absent"), Mask.CREATE)
    assert caught.value.filename == str(tmp_path / "absent")
    inotify.close()


@needs_inotify
def test_the_descriptor_stays_open_while_a_worker_is_inside(tmp_path, monkeypatch):
    """Closed at once, its number could become another file's, to which the worker would then add a watch."""
    from asyncstore.aio import _inotify

    inside, leave = threading.Event(), threading.Event()
    real = _inotify._libc()

    class Slow:
        def inotify_add_watch(self, *arguments):
            inside.set()
            leave.wait()
            return real.inotify_add_watch(*arguments)

    inotify = Inotify()
    monkeypatch.setattr(_inotify, "_libc", Slow)
    outcome = []
    worker = threading.Thread(target=lambda: outcome.append(inotify.add_watch(str(tmp_path), Mask.CREATE)))
    worker.start()
    inside.wait()
    inotify.close()
    os.fstat(inotify.fd)
    leave.set()
    worker.join()
    assert outcome[0] > 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(inotify.fd)
