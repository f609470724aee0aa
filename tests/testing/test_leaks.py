"""leak_check: what it must name, and what it must leave in peace."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading

import pytest

from asyncstore.pool import default_pool
from asyncstore.testing import Leaked, leak_check
from asyncstore.testing._leaks import open_descriptors


def quick(**options):
    """A check that does not give a real leak two seconds to go away."""
    return leak_check(settle=0.02, **options)


def started(**options):
    check = quick(**options)
    check.start()
    return check


def test_an_open_file_is_named_with_its_number_and_path(tmp_path):
    path = tmp_path / "left-open"
    with pytest.raises(Leaked) as failure, quick():
        fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.close(fd)
    assert failure.value.leaks == (f"file descriptor {fd} -> {path}",)
    assert str(failure.value) == f"1 leaked: file descriptor {fd} -> {path}"


def test_a_number_that_is_used_again_for_another_file_is_a_leak(tmp_path):
    first = os.open(tmp_path / "first", os.O_CREAT | os.O_WRONLY)
    check = started()
    os.close(first)
    second = os.open(tmp_path / "second", os.O_CREAT | os.O_WRONLY)
    assert second == first
    with pytest.raises(Leaked, match=r"-> .*second"):
        check.check()
    os.close(second)


def test_an_open_file_that_is_unlinked_is_no_leak(tmp_path):
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    with quick():
        (tmp_path / "file").unlink()
    os.close(fd)


def test_without_proc_descriptors_are_found_all_the_same(monkeypatch):
    monkeypatch.setattr("asyncstore.testing._leaks._FD_FOLDERS", ("/nonexistent",))
    with pytest.raises(Leaked, match=r"^2 leaked: file descriptor \d+ -> .*; file descriptor \d+ -> "), quick():
        ends = os.pipe()
    for end in ends:
        os.close(end)


def test_a_file_that_only_waits_for_the_garbage_collector_is_no_leak_unless_asked(tmp_path):
    class Cycle:
        def __init__(self):
            self.itself = self
            self.fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)

        def __del__(self):
            os.close(self.fd)

    with quick():
        Cycle()
    with pytest.raises(Leaked, match=r"-> .*/file$"), quick(collect=False):
        Cycle()


def test_a_thread_is_named():
    leave = threading.Event()
    check = started()
    thread = threading.Thread(target=leave.wait, name="stray", daemon=True)
    thread.start()
    with pytest.raises(Leaked, match=r"^1 leaked: thread 'stray' \(daemon\)$"):
        check.check()
    leave.set()
    thread.join()


def test_a_thread_that_is_about_to_end_is_waited_for():
    leave = threading.Event()
    with leak_check():
        threading.Thread(target=leave.wait, name="slow to leave").start()
        threading.Timer(0.05, leave.set).start()


@pytest.mark.parametrize("name", ["asyncstore-1", "asyncio_0"])
def test_idle_workers_of_the_pools_count_only_when_asked(name):
    leave = threading.Event()
    strict = started(idle_threads=())
    with quick():
        worker = threading.Thread(target=leave.wait, name=name, daemon=True)
        worker.start()
    with pytest.raises(Leaked, match=name):
        strict.check()
    leave.set()
    worker.join()


async def test_work_on_the_default_pool_leaks_nothing():
    async with quick():
        await default_pool().run(len, "x")


async def test_a_task_is_named():
    with pytest.raises(Leaked, match=r"task <Task pending name='stray' .*Event.wait"):
        async with quick():
            task = asyncio.create_task(asyncio.Event().wait(), name="stray")
    task.cancel()


async def test_the_loop_runs_while_the_check_waits_so_that_tasks_can_end():
    async def ends_soon():
        for _ in range(5):
            await asyncio.sleep(0)

    async with leak_check():
        task = asyncio.create_task(ends_soon())
    assert task.done()


@pytest.mark.skipif(sys.platform != "linux", reason="this platform does not list a process's children")
def test_a_child_process_is_named_also_when_nobody_waited_for_it():
    check = started(children=True, descriptors=False)
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout.read(1) == b"\n"  # it runs: its command line is no longer the one of the fork
    with pytest.raises(Leaked, match=r"^1 leaked: child process \d+ \(.*python.* -c .*read\(\)\)$"):
        check.check()
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie from here on
    with pytest.raises(Leaked, match=rf"child process {child.pid} \(a zombie: nobody waited for it\)"):
        check.check()
    child.wait()
    child.stdout.close()


def test_children_that_are_gone_are_no_leak():
    with quick(children=True):
        subprocess.run([sys.executable, "-c", ""], check=True)


def test_the_exception_of_the_block_comes_first_and_carries_the_leaks_as_a_note(tmp_path):
    opened = []

    def leak_and_fail():
        with quick():
            opened.append(os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY))
            raise LookupError

    with pytest.raises(LookupError) as failure:
        leak_and_fail()
    os.close(*opened)
    assert re.fullmatch(r"1 leaked: file descriptor \d+ -> .*/file", failure.value.__notes__[0])


async def test_the_exception_of_an_asynchronous_block_comes_first_too():
    tasks = []

    async def leak_and_fail():
        async with quick():
            tasks.append(asyncio.create_task(asyncio.Event().wait()))
            raise LookupError

    with pytest.raises(LookupError) as failure:
        await leak_and_fail()
    tasks[0].cancel()
    assert "task <Task" in failure.value.__notes__[0]


def test_what_is_not_watched_is_not_reported(tmp_path):
    with quick(descriptors=False, threads=False, tasks=False):
        fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    os.close(fd)


def test_a_check_can_be_made_again_and_again():
    check = started()
    check.check()
    fd, other = os.pipe()
    with pytest.raises(Leaked):
        check.check()
    os.close(fd)
    os.close(other)
    check.check()


def test_a_check_that_was_not_started_says_so():
    with pytest.raises(RuntimeError, match="start"):
        leak_check().check()


def test_one_descriptor_of_the_loop_does_not_count_and_a_second_does():
    lenient, strict = started(), started(loop_targets=())
    first = os.open(os.devnull, os.O_RDONLY)
    lenient.check()
    with pytest.raises(Leaked, match=r"^1 leaked: .* -> /dev/null$"):
        strict.check()
    second = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(Leaked, match=r"^1 leaked: .* -> /dev/null$"):
        lenient.check()
    os.close(first)
    os.close(second)


def test_open_descriptors_leave_out_the_look_itself():
    assert set(open_descriptors()) == set(open_descriptors())
