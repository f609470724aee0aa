"""What a piece of code left open: file descriptors, threads, asyncio tasks and child processes.

`leak_check` notes what is open when its block begins and compares at the end. Things may take a moment to go away (a
thread that has been told to end, a transport that closes in the next pass of the loop), so the comparison is repeated
until nothing is left or the settle time is over; a block that leaks nothing never waits.

File descriptors come from ``/proc/self/fd`` (``/dev/fd`` where there is no /proc) and are compared by number, device
and inode: a number that was closed and opened again for something else is a leak, the same number on the same file is
none. Unlinking an open file changes its name in /proc but neither of the three.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from asyncstore.testing.errors import Leaked

SETTLE = 2.0  # seconds: a thread or transport on a busy machine needs milliseconds to go away; only leaks wait longer
PAUSE = 0.01  # seconds between two looks

# prefixes of thread names: idle workers are kept on purpose, by our pools and by the loop's default executor
IDLE_WORKERS = ("asyncstore-", "asyncio_")
# what a loop opens once, at the first use, and closes with itself: our ring; libuv's spare descriptor against EMFILE
LOOP_TARGETS = ("anon_inode:[io_uring]", "/dev/null")

_FD_FOLDERS = ("/proc/self/fd", "/dev/fd")
_FD_BOUND = 4096  # without either folder, numbers below this are tried; arbitrary, macOS starts with a limit of 256

_Identity = tuple[int, int, int]  # number, device, inode


def open_descriptors() -> dict[_Identity, str]:
    """Return the file descriptors of this process, with what each refers to as far as the platform tells."""
    found = {}
    for number in _descriptor_numbers():
        try:
            status = os.fstat(number)
        except OSError:
            continue  # the folder's own descriptor, or one that another thread has just closed
        found[number, status.st_dev, status.st_ino] = _target(number)
    return found


def _descriptor_numbers() -> list[int]:
    for folder in _FD_FOLDERS:
        try:
            return [int(name) for name in os.listdir(folder)]
        except (OSError, ValueError):
            continue
    return list(range(_FD_BOUND))


def _target(number: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return "unknown"


def child_processes() -> frozenset[int]:
    """Return the ids of this process's children, zombies included.

    Raises `NotImplementedError` where the kernel does not list them: on Linux ``/proc/self/task/*/children``
    (proc(5), CONFIG_PROC_CHILDREN), elsewhere not at all.
    """
    children: set[int] = set()
    lists = list(Path("/proc/self/task").glob("*/children"))
    if not lists:
        raise NotImplementedError("this system does not list the children of a process: pass children=False")
    for listed in lists:
        try:
            children.update(map(int, listed.read_text().split()))
        except FileNotFoundError:
            continue  # the thread ended meanwhile
    return frozenset(children)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    descriptors: dict[_Identity, str]
    threads: frozenset[threading.Thread]
    tasks: frozenset[asyncio.Task[object]]
    children: frozenset[int]


@dataclass(eq=False)
class leak_check:  # noqa: N801  # used like contextlib's functions: `with leak_check():`
    """Fail when a block leaves something open; ``with``, or ``async with`` to watch the running loop's tasks too.

    `descriptors`, `threads`, `tasks` and `children` say what is watched; tasks only in the asynchronous form, or when a
    loop runs where `start` is called. Threads whose names begin with one of `idle_threads`, and the first new
    descriptor of each of `loop_targets`, do not count: pass ``()`` to count them. `settle` is how many seconds may
    pass until everything is gone. `collect` runs the garbage collector before something is called a leak, so that what
    merely waits for it is not reported; without, an object that closes in ``__del__`` counts as a leak.

    Raises `Leaked`, which names each thing, unless the block raised already: then they are a note on its exception.
    Also works without a block: `start()`, and any number of times `check()` or ``await acheck()``. Cancelled while it
    settles, it compares no more.
    """

    descriptors: bool = True
    threads: bool = True
    tasks: bool = True
    children: bool = False
    idle_threads: tuple[str, ...] = IDLE_WORKERS
    loop_targets: tuple[str, ...] = LOOP_TARGETS
    settle: float = SETTLE
    collect: bool = True
    _before: _Snapshot | None = field(default=None, init=False, repr=False)

    def start(self) -> None:
        """Note what is open now; later checks compare with this."""
        self._before = self._look()

    def leaks(self) -> tuple[str, ...]:
        """Return one sentence for each thing that is open now and was not at the start, without waiting."""
        before = self._before
        if before is None:
            raise RuntimeError("leak_check: start() was not called")
        now = self._look()
        return (
            *self._new_descriptors(before, now),
            *(
                f"thread {thread.name!r}" + (" (daemon)" if thread.daemon else "")
                for thread in sorted(now.threads - before.threads, key=lambda thread: thread.name)
            ),
            *(f"task {task!r}" for task in sorted(now.tasks - before.tasks, key=lambda task: task.get_name())),
            *(f"child process {pid} ({_command(pid)})" for pid in sorted(now.children - before.children)),
        )

    def check(self) -> None:
        """Raise `Leaked` if something is still open after at most `settle` seconds, in which this thread sleeps."""
        deadline = time.monotonic() + self.settle
        while leaks := self._confirmed():
            if time.monotonic() >= deadline:
                raise Leaked(leaks)
            time.sleep(PAUSE)

    async def acheck(self) -> None:
        """Raise `Leaked` if something is still open after at most `settle` seconds, in which the loop runs."""
        deadline = time.monotonic() + self.settle
        while leaks := self._confirmed():
            if time.monotonic() >= deadline:
                raise Leaked(leaks)
            await asyncio.sleep(PAUSE)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.check()
        except Leaked as leaked:
            if error is None:
                raise
            error.add_note(str(leaked))

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.acheck()
        except Leaked as leaked:
            if error is None:
                raise
            error.add_note(str(leaked))

    def _confirmed(self) -> tuple[str, ...]:
        leaks = self.leaks()
        if leaks and self.collect:
            gc.collect()
            leaks = self.leaks()
        return leaks

    def _look(self) -> _Snapshot:
        return _Snapshot(
            open_descriptors() if self.descriptors else {},
            self._look_for_threads() if self.threads else frozenset(),
            _tasks() if self.tasks else frozenset(),
            child_processes() if self.children else frozenset(),
        )

    def _new_descriptors(self, before: _Snapshot, now: _Snapshot) -> list[str]:
        allowed = set(self.loop_targets)
        found = []
        for identity in sorted(now.descriptors.keys() - before.descriptors.keys()):
            target = now.descriptors[identity]
            if target in allowed:
                allowed.remove(target)
            else:
                found.append(f"file descriptor {identity[0]} -> {target}")
        return found

    def _look_for_threads(self) -> frozenset[threading.Thread]:
        return frozenset(thread for thread in threading.enumerate() if not thread.name.startswith(self.idle_threads))


def _tasks() -> frozenset[asyncio.Task[object]]:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return frozenset()
    current = asyncio.current_task()
    return frozenset(task for task in asyncio.all_tasks(loop) if task is not current)


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "gone"
    return os.fsdecode(b" ".join(words).strip()) or "a zombie: nobody waited for it"
