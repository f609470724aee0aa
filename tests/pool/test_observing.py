"""Statistics and observers."""

from __future__ import annotations

import asyncio
import functools
import logging

import pytest

from asyncstore.pool import Histogram, JobRecord
from tests.pool.conftest import Gate


async def test_stats_count_what_happened(single, gate: Gate):
    lane = single.lane()
    with pytest.raises(ValueError, match="invalid literal"):
        await lane.run(int, "x")
    await single.run(int)
    held = asyncio.ensure_future(single.run(gate.hold))
    await gate.until_begun()
    queued = asyncio.ensure_future(lane.run(int))
    await asyncio.sleep(0)
    stats = single.stats()
    assert (stats.done, stats.running, stats.queued, stats.workers, stats.idle) == (2, 1, 1, 1, 0)
    gate.open.set()
    await asyncio.gather(held, queued)
    stats = single.stats()
    assert (stats.done, stats.queued, stats.wait_time.total, stats.run_time.total) == (4, 0, 4, 4)
    assert stats.wakeups == stats.batch_sizes.total
    assert 0 < stats.run_time.quantile(0.5) <= stats.run_time.quantile(1.0)


async def test_an_observer_sees_name_lane_times_and_outcome_of_each_job(single, gate: Gate):
    seen: list[JobRecord] = []
    single.add_observer(seen.append)
    lane = single.lane(name="db")
    await lane.run(functools.partial(int, base=2), "101")
    with pytest.raises(ZeroDivisionError):
        await single.run(divmod, 1, 0)
    held = asyncio.ensure_future(single.run(gate.hold))
    await gate.until_begun()
    dropped = asyncio.ensure_future(single.run(int))
    await asyncio.sleep(0)
    dropped.cancel()
    held.cancel()
    gate.open.set()
    await single.run(len, ())
    assert [(record.name, record.lane, record.outcome) for record in seen] == [
        ("int", "db", "returned"),
        ("divmod", None, "raised"),
        ("Gate.hold", None, "discarded"),
        ("int", None, "dropped"),
        ("len", None, "returned"),
    ]
    assert all(record.wait >= 0 and record.run >= 0 for record in seen)
    single.remove_observer(seen.append)
    await single.run(int)
    assert len(seen) == 5
    with pytest.raises(ValueError, match="not an observer"):
        single.remove_observer(seen.append)


async def test_an_exception_in_an_observer_is_logged_and_harms_nobody(single, caplog):
    def observer(record: JobRecord) -> None:
        raise RuntimeError("observer broke")

    seen: list[JobRecord] = []
    single.add_observer(observer)
    single.add_observer(seen.append)
    with caplog.at_level(logging.ERROR, "asyncstore.pool"):
        assert await asyncio.gather(single.run(int), single.run(int)) == [0, 0]
    assert "observer broke" in caplog.text
    assert len(seen) == 2


def test_a_histogram_gives_bounds_and_quantiles():
    counts = [0] * 64
    counts[0], counts[3], counts[5] = 1, 8, 1  # one 0, eight of 4..7, one of 16..31
    histogram = Histogram.merge([counts, counts], unit=0.5)
    assert histogram.total == 20
    assert list(histogram.buckets()) == [(0.5, 2), (1.0, 0), (2.0, 0), (4.0, 16), (8.0, 0), (16.0, 2)]
    assert [histogram.quantile(q) for q in (0.05, 0.5, 0.9, 0.99, 1.0)] == [0.5, 4.0, 4.0, 16.0, 16.0]
    assert Histogram.merge([]).quantile(0.5) == 0.0
    with pytest.raises(ValueError, match=r"0\.\.1"):
        histogram.quantile(2)
