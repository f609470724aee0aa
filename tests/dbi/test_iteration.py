"""Large results come in batches, and end when they are told to."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

import pytest

from asyncstore import dbi

COUNT = (
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?) SELECT n, 'row ' || n AS name FROM c"
)


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 96, 5000])
async def test_all_rows_come_once_and_in_order(db, count):
    if count:
        rows = [row async for row in db.iterate(COUNT, (count,))]
    else:
        rows = [row async for row in db.iterate("SELECT 1 WHERE false")]
    assert [row["n"] for row in rows] == list(range(1, count + 1))


async def test_a_large_result_takes_the_memory_of_a_batch(db):
    total = 0
    gc.collect()
    tracemalloc.start()
    async for row in db.iterate(COUNT, (100_000,)):
        total += row[0]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 5_000_050_000
    assert peak < 2_000_000  # all of them take ten times as much


async def test_who_stops_early_leaves_nothing_open(db, url):
    async with db.iterate(COUNT, (1_000_000,)) as rows:
        async for row in rows:
            if row["n"] == 40:
                break
    assert db.session.engine.streams == 0
    assert [row async for row in rows] == []
    await db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def test_it_ends_also_while_another_task_has_a_transaction_open(db):
    rows = db.iterate(COUNT, (100,))
    await anext(rows)
    done = asyncio.Event()

    async def hold():
        async with db.transaction():
            await done.wait()

    holding = asyncio.ensure_future(hold())
    while db.transaction_open is None:
        await asyncio.sleep(0.001)
    async with asyncio.timeout(3):
        await rows.aclose()
    done.set()
    await holding
    assert db.session.engine.streams == 0


async def test_others_go_on_meanwhile(db):
    seen = 0
    async with db.iterate(COUNT, (200,)) as rows:
        async for row in rows:
            await asyncio.gather(*(db.execute("INSERT INTO t (v) VALUES (?)", (f"{row[0]}/{n}",)) for n in range(3)))
            seen += 1
    assert seen == 200
    assert await db.fetch_value("SELECT count(*) FROM t") == 600


async def test_an_error_of_a_neighbour_does_not_end_it(db):
    await db.execute("INSERT INTO t (v) VALUES ('a')")
    async with db.iterate(COUNT, (200,)) as rows:
        assert (await anext(rows))[0] == 1
        outcomes = await asyncio.gather(
            db.execute("INSERT INTO t (v) VALUES ('a')"), db.execute("INSERT OR FAIL INTO t (v) VALUES ('a')"),
            return_exceptions=True,
        )  # fmt: skip
        assert all(isinstance(outcome, dbi.errors.IntegrityError) for outcome in outcomes)
        assert len([row async for row in rows]) == 199


async def test_errors_come_out_of_the_iteration(db):
    with pytest.raises(dbi.errors.ProgrammingError, match="no such table"):
        await anext(db.iterate("SELECT * FROM nowhere"))
    with pytest.raises(dbi.errors.QueryTimeout):
        async for _ in db.iterate("SELECT max(n) FROM (" + COUNT + ")", (1_000_000_000,), timeout=0.05):
            pass
    assert db.session.engine.streams == 0


async def test_two_tasks_cannot_share_one(db):
    rows = db.iterate(COUNT, (100,))
    outcomes = await asyncio.gather(anext(rows), anext(rows), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Misuse", "Row"]
    await rows.aclose()


async def test_a_cancelled_batch_ends_it_and_gives_the_result_up(db):
    rows = db.iterate("SELECT max(n) FROM (" + COUNT + ")", (1_000_000_000,))
    reading = asyncio.ensure_future(anext(rows))
    await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.wait([reading])
    await rows.aclose()
    assert db.session.engine.streams == 0
    assert await db.fetch_value("SELECT 1") == 1


async def test_dropped_before_its_end_it_warns(db):
    rows = db.iterate(COUNT, (100,))
    await anext(rows)
    with pytest.warns(ResourceWarning, match="dropped before their end"):
        del rows
        gc.collect()
    async with asyncio.timeout(30):
        while db.session.engine.streams:
            await asyncio.sleep(0.001)


async def test_a_closed_connection_ends_it(url):
    db = await dbi.connect(url)
    rows = db.iterate(COUNT, (10_000,))
    await anext(rows)
    await db.aclose()
    with pytest.raises(dbi.errors.Closed):
        [row async for row in rows]
    await rows.aclose()
