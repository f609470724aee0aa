"""The fairness budget: endless inline hits must not starve the other tasks of a loop."""

from __future__ import annotations

import asyncio

import pytest

from asyncstore.aio import _budget
from asyncstore.aio._budget import BURST, HITS, spend


async def hit(times: int) -> None:
    for _ in range(times):
        if spend():
            await asyncio.sleep(0)


async def a_new_turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.fixture
def frozen_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(_budget, "perf_counter", lambda: now[0])
    return now


async def test_the_budget_of_a_turn_is_64_hits(frozen_clock):
    await a_new_turn()
    answers = [spend() for _ in range(2 * HITS)]
    first = answers.index(True)
    assert HITS - BURST <= first < HITS + BURST
    assert sum(answers[first:]) == -(-len(answers[first:]) // BURST), "then each task gets a few"


async def test_a_new_turn_has_a_new_budget(frozen_clock):
    await a_new_turn()
    while not spend():
        pass
    await a_new_turn()
    assert not any(spend() for _ in range(HITS - 8))


async def test_slow_hits_end_the_turn_after_half_a_millisecond(frozen_clock):
    await a_new_turn()
    taken = 0
    while not spend():
        taken += 1
        frozen_clock[0] += 0.00003
    assert taken * 0.00003 < 2 * _budget.SECONDS
    assert taken < HITS
    assert all(spend() for _ in range(10)), "then each task gets one"


@pytest.mark.parametrize("hogs", [1, 16])
async def test_endless_hits_do_not_starve_another_task(hogs: int, frozen_clock):
    """The other task gets a turn for every 72 hits at the latest, and 8 for each further hog."""
    total = 32 * HITS
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await asyncio.gather(*(hit(total // hogs) for _ in range(hogs)))
    beside.cancel()
    assert turns >= total // (HITS + BURST + BURST * hogs)


def test_a_loop_that_stopped_in_the_middle_of_a_turn_leaves_the_next_one_its_budget():
    def spend_all_and_stop(loop: asyncio.AbstractEventLoop) -> None:
        while not spend():
            pass
        loop.stop()  # before the callback runs that begins the next turn

    async def count() -> int:
        await a_new_turn()
        spent = 0
        while not spend():
            spent += 1
        return spent

    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        first.call_soon(spend_all_and_stop, first)
        first.run_forever()
        assert second.run_until_complete(count()) > 0
        assert second.run_until_complete(count()) > HITS // 4
    finally:
        first.close()
        second.close()
