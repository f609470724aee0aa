"""fail_nth and fault_loop: exactly the n-th call fails, everything is put back, and every call gets its turn."""

from __future__ import annotations

import asyncio
import errno
import os
import threading

import pytest

from asyncstore.testing import fail_nth, fault_loop


class Seam:
    def method(self, value):
        return value + 1

    @staticmethod
    def static(value):
        return value + 2

    @classmethod
    def of_class(cls, value):
        return cls.static(value) + 1

    async def asynchronous(self, value):
        await asyncio.sleep(0)
        return value + 4


class Heir(Seam):
    pass


def outcomes(call, times=4):
    found = []
    for _ in range(times):
        try:
            found.append(call())
        except OSError as error:
            found.append(error.errno)
    return found


def test_the_named_call_fails_and_the_others_reach_the_original():
    real = os.getppid()
    with fail_nth(os, "getppid", 2, errno.ENOSPC) as counter:
        assert outcomes(os.getppid) == [real, errno.ENOSPC, real, real]
    assert (counter.calls, counter.failures) == (4, 1)
    assert os.getppid() == real


def test_a_persistent_fault_stays():
    real = os.getppid()
    with fail_nth(os, "getppid", 3, persistent=True) as counter:
        assert outcomes(os.getppid) == [real, real, errno.EIO, errno.EIO]
    assert counter.failures == 2


def test_an_errno_becomes_the_exception_that_the_kernel_would_give():
    with fail_nth(os, "getppid", 1, errno.ENOENT), pytest.raises(FileNotFoundError, match="No such file"):
        os.getppid()


@pytest.mark.parametrize("error", [KeyError("x"), KeyError])
def test_any_exception_can_be_the_fault(error):
    with fail_nth(os, "getppid", 1, error), pytest.raises(KeyError):
        os.getppid()


@pytest.mark.parametrize("owner", [Seam, Heir])
@pytest.mark.parametrize(("name", "result"), [("method", 11), ("static", 12), ("of_class", 13)])
def test_methods_of_every_kind_are_seams(owner, name, result):
    before = dict(vars(owner))
    with fail_nth(owner, name, 2):
        assert outcomes(lambda: getattr(owner(), name)(10), 3) == [result, errno.EIO, result]
    assert dict(vars(owner)) == before


def test_one_object_can_be_the_seam():
    one, other = Seam(), Seam()
    with fail_nth(one, "method", 1):
        assert outcomes(lambda: one.method(1), 2) == [errno.EIO, 2]
        assert other.method(1) == 2
    assert vars(one) == {}


async def test_a_coroutine_function_stays_one():
    seam = Seam()
    with fail_nth(seam, "asynchronous", 2):
        assert await seam.asynchronous(1) == 5
        coroutine = seam.asynchronous(1)
        with pytest.raises(OSError, match="Input/output"):
            await coroutine


def test_the_seam_is_put_back_when_the_block_raises():
    real = os.getppid

    def fail():
        with fail_nth(os, "getppid", 1):
            os.getppid()

    with pytest.raises(OSError, match="Input/output"):
        fail()
    assert os.getppid is real


def test_calls_of_all_threads_count_and_one_of_them_fails():
    failed = []

    def call():
        for _ in range(100):
            try:
                os.getppid()
            except OSError:
                failed.append(1)

    with fail_nth(os, "getppid", 250) as counter:
        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counter.calls == 400
    assert len(failed) == counter.failures == 1


@pytest.mark.parametrize(("arguments", "error"), [(("getppid", 0), ValueError), (("no_such_name", 1), AttributeError)])
def test_nonsense_is_refused(arguments, error):
    with pytest.raises(error), fail_nth(os, *arguments):
        pass


def save(path, data):
    """A well-behaved writer: the old content or the new."""
    temporary = path.with_suffix(".new")
    try:
        temporary.write_bytes(data)
        os.chmod(temporary, 0o600)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


async def test_each_call_is_made_to_fail_once(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen = []

    def check():
        assert os.listdir(tmp_path) == ["file"]
        seen.append(path.read_bytes())

    assert await fault_loop(lambda: save(path, b"new"), os, "chmod", check=check) == 2
    assert seen == [b"old", b"old", b"new"]


async def test_a_writer_that_leaves_something_behind_is_found_with_the_call_that_failed(tmp_path):
    def careless():
        (tmp_path / "temporary").write_bytes(b"x")
        os.chmod(tmp_path / "temporary", 0o600)
        os.replace(tmp_path / "temporary", tmp_path / "file")

    def check():
        assert not (tmp_path / "temporary").exists()

    with pytest.raises(AssertionError) as failure:
        await fault_loop(careless, os, "replace", check=check)
    assert failure.value.__notes__ == ["check() after call 1 of replace was to fail (1 did)"]


async def test_coroutines_are_awaited_and_may_go_another_way_round():
    seam = Seam()

    async def retries():
        try:
            return await seam.asynchronous(1)
        except OSError:
            return await seam.asynchronous(1)

    async def check():
        await asyncio.sleep(0)

    assert await fault_loop(retries, seam, "asynchronous", check=check) == 1
    with pytest.raises(OSError, match="Input/output"):
        await fault_loop(retries, seam, "asynchronous", persistent=True, may_raise=())


async def test_an_exception_that_is_not_expected_comes_out_with_the_call_that_failed():
    def translates():
        try:
            os.getppid()
        except OSError:
            raise KeyError("who?") from None

    with pytest.raises(KeyError) as failure:
        await fault_loop(translates, os, "getppid")
    assert failure.value.__notes__ == ["while call 1 of getppid was to fail (1 did)"]
    assert await fault_loop(translates, os, "getppid", may_raise=KeyError) == 1


async def test_a_failure_without_a_fault_comes_out():
    def broken():
        raise OSError("by itself")

    with pytest.raises(OSError, match="by itself"):
        await fault_loop(broken, os, "getppid")


async def test_a_fault_that_is_swallowed_is_the_checks_business_and_an_endless_retry_is_not():
    def stubborn():
        while True:
            try:
                return os.getppid()
            except OSError:
                continue

    def endless():
        for _ in range(6):
            os.getppid()

    assert await fault_loop(stubborn, os, "getppid") == 1
    with pytest.raises(AssertionError, match="still called 5 times"):
        await fault_loop(endless, os, "getppid", limit=5)
