"""Faults at a seam: the n-th call of a function fails, for n = 1, 2, ... until none does.

After SQLite's test harness: whatever a piece of code does when its 7th ``write`` fails, a test finds out by making
the 7th ``write`` fail. A seam is any attribute of a module, class or object that the code under test looks up when it
calls (``os.fsync``, a method of a driver).
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

DEFAULT_LIMIT = 1000  # calls of a seam in one run: more than any single operation makes; arbitrary


class FaultCounter:
    """How often a seam was called, and how often it failed."""

    __slots__ = ("_fails", "_lock", "calls", "failures")

    def __init__(self, fails: Callable[[int], bool]) -> None:
        self._fails = fails
        self._lock = threading.Lock()  # seams are called on worker threads too
        self.calls = 0
        self.failures = 0

    def due(self) -> bool:
        """Count a call; tell whether it is to fail."""
        with self._lock:
            self.calls += 1
            fails = self._fails(self.calls)
            self.failures += fails
        return fails


@contextlib.contextmanager
def fail_nth(
    seam: object,
    name: str,
    n: int,
    error: BaseException | type[BaseException] | int = errno.EIO,
    *,
    persistent: bool = False,
) -> Iterator[FaultCounter]:
    """In the block, let the `n`-th call of ``seam.name`` raise `error`, and all later ones too if `persistent`.

    The call that fails does nothing else; all others reach the original. `error` is an exception, a class, or an errno,
    which becomes the `OSError` that the kernel would give. Yields a `FaultCounter`. It counts calls of all threads;
    the attribute is put back at the end of the block.

    Raises `ValueError` for an `n` below 1, `AttributeError` when there is no such attribute.
    """
    if n < 1:
        raise ValueError(f"calls are counted from 1: {n!r}")
    counter = FaultCounter(lambda call: call == n or (persistent and call > n))
    with _replaced(seam, name, error, counter):
        yield counter


@contextlib.contextmanager
def _replaced(
    seam: object, name: str, error: BaseException | type[BaseException] | int, counter: FaultCounter
) -> Iterator[None]:
    original = getattr(seam, name)
    stored = inspect.getattr_static(seam, name)
    is_own = name in getattr(seam, "__dict__", {})

    def stand_in(*args: Any, **kwargs: Any) -> Any:  # Any: it takes and returns what the original does
        if counter.due():
            raise OSError(error, os.strerror(error)) if isinstance(error, int) else error
        return original(*args, **kwargs)

    async def asynchronous(*args: Any, **kwargs: Any) -> Any:  # Any: as above
        if counter.due():
            raise OSError(error, os.strerror(error)) if isinstance(error, int) else error
        return await original(*args, **kwargs)

    chosen: object = asynchronous if inspect.iscoroutinefunction(original) else stand_in
    if isinstance(stored, staticmethod | classmethod):
        chosen = staticmethod(asynchronous if chosen is asynchronous else stand_in)  # `original` is bound already
    setattr(seam, name, chosen)
    try:
        yield
    finally:
        if is_own:
            setattr(seam, name, stored)
        else:
            delattr(seam, name)


async def fault_loop(
    run: Callable[[], object],
    seam: object,
    name: str,
    error: BaseException | type[BaseException] | int = errno.EIO,
    *,
    persistent: bool = False,
    check: Callable[[], object] | None = None,
    may_raise: type[BaseException] | tuple[type[BaseException], ...] = OSError,
    limit: int = DEFAULT_LIMIT,
) -> int:
    """Call `run` again and again, failing the n-th call of ``seam.name`` for n = 1, 2, ... until none fails.

    `run` and `check` may be synchronous or return awaitables. After every run `check()` says what must hold: the data
    is old or new, nothing is open. `may_raise` is what `run` may raise when the seam failed; it may also succeed, by
    a way around. `error` and `persistent` are as in `fail_nth`.

    Returns how many different calls were made to fail: assert that it is as large as it should be, for a seam that is
    not called proves nothing. Raises what `run` raises otherwise, what `check` raises with a note that says which call
    had failed, `AssertionError` after `limit` calls. Cancelled, it restores the seam.
    """
    for n in range(1, limit + 1):
        with fail_nth(seam, name, n, error, persistent=persistent) as counter:
            try:
                await _maybe_await(run())
            except BaseException as raised:
                if not counter.failures or not isinstance(raised, may_raise):
                    raised.add_note(f"while call {n} of {name} was to fail ({counter.failures} did)")
                    raise
        if check is not None:
            try:
                await _maybe_await(check())
            except BaseException as raised:
                raised.add_note(f"check() after call {n} of {name} was to fail ({counter.failures} did)")
                raise
        if not counter.failures:
            return n - 1
    raise AssertionError(f"{name} is still called {limit} times: raise limit, or is this an endless retry?")


async def _maybe_await(value: object | Awaitable[object]) -> None:
    if inspect.isawaitable(value):
        await value
