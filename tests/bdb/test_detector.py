"""libdb's lock detector, run from outside: every wait for a lock comes to its end."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from asyncstore.bdb._detector import look, provoke
from asyncstore.bdb._library import db
from tests.bdb.binding import bdb


def open_handle(home, *, lock_timeout=0):
    """Open an environment of the bare binding in which nobody looks; `lock_timeout` in microseconds."""
    handle = db.DBEnv()
    handle.set_flags(db.DB_TIME_NOTGRANTED, 1)
    handle.set_timeout(lock_timeout, db.DB_SET_LOCK_TIMEOUT)
    handle.open(str(home), db.DB_CREATE | db.DB_INIT_LOCK | db.DB_THREAD | db.DB_PRIVATE)
    return handle


def test_to_provoke_the_detector_ends_the_waits_whose_time_is_up(tmp_path):
    with contextlib.closing(open_handle(tmp_path, lock_timeout=20_000)) as handle:
        ended = []

        def wait(locker, name):
            try:
                handle.lock_get(locker, name, db.DB_LOCK_WRITE)
            except db.DBError as exc:
                ended.append(type(exc))

        threads = []
        for name in (b"a", b"b", b"c"):
            handle.lock_get(handle.lock_id(), name, db.DB_LOCK_WRITE)
            threads.append(threading.Thread(target=wait, args=(handle.lock_id(), name), daemon=True))
            threads[-1].start()
        count = 0
        while count < 3:
            count += provoke(handle)
        for thread in threads:
            thread.join(30)
        assert ended == [db.DBLockNotGrantedError] * 3


def test_to_provoke_the_detector_leaves_nothing(tmp_path):
    with contextlib.closing(open_handle(tmp_path, lock_timeout=20_000)) as handle:
        before = handle.lock_stat()
        for _ in range(3):
            provoke(handle)
        after = handle.lock_stat()
        assert (after["nlocks"], after["nlockers"]) == (before["nlocks"], before["nlockers"])
        assert after["lock_wait"] >= before["lock_wait"] + 3, "nobody waited, so libdb had no reason to look"


def test_a_look_breaks_a_deadlock(tmp_path):
    with contextlib.closing(open_handle(tmp_path)) as handle:
        lockers = handle.lock_id(), handle.lock_id()
        held = [
            handle.lock_get(locker, name, db.DB_LOCK_WRITE) for locker, name in zip(lockers, (b"a", b"b"), strict=True)
        ]
        losers = []

        def wait(number, name):
            try:
                handle.lock_put(handle.lock_get(lockers[number], name, db.DB_LOCK_WRITE))
            except db.DBLockDeadlockError:
                losers.append(number)
            handle.lock_put(held[number])

        threads = [threading.Thread(target=wait, args=args, daemon=True) for args in ((0, b"b"), (1, b"a"))]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            look(handle)
        assert len(losers) == 1


async def test_a_wait_that_libdb_has_lost_sight_of_ends_all_the_same(tmp_path, monkeypatch):
    """libdb forgets a time-out when a look and the beginning of a wait meet: from then on its looks find nothing."""
    async with bdb.open(tmp_path, lock_timeout=0.2) as env, env.database("a") as database:
        monkeypatch.setattr(type(env.home), "break_lock_waits", lambda home: 0)
        async with env.transaction() as holder:
            await database.put(b"k", b"1", txn=holder)
            async with env.transaction() as txn:
                async with asyncio.timeout(60):
                    with pytest.raises(bdb.errors.LockTimeout):
                        await database.put(b"k", b"2", txn=txn)
                await txn.abort()
