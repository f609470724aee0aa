"""The priority of requests, carried by the context."""

from __future__ import annotations

import asyncio

import pytest

from asyncstore.pool import current_priority, priority


async def test_the_innermost_block_counts_and_the_outer_one_comes_back():
    assert current_priority() == 0
    with priority(2) as level:
        assert (level, current_priority()) == (2, 2)
        with priority(-4):
            assert current_priority() == -4
        assert current_priority() == 2
    assert current_priority() == 0


async def test_tasks_started_inside_inherit_and_others_do_not():
    async def seen() -> int:
        await asyncio.sleep(0)
        return current_priority()

    before = asyncio.ensure_future(seen())
    with priority(3):
        inside = asyncio.ensure_future(seen())
    assert (await before, await inside) == (0, 3)


async def test_one_object_serves_tasks_at_the_same_time():
    async def use(level: int) -> int:
        with priority(level):
            await asyncio.sleep(0)
            return current_priority()

    assert await asyncio.gather(*(use(level) for level in (-1, 0, 1))) == [-1, 0, 1]


@pytest.mark.parametrize("level", [-5, 5, 1.0, True, "1", None])
def test_a_level_out_of_bounds_is_refused_at_once(level):
    with pytest.raises(ValueError, match="a priority is an int from -4 to 4"):
        priority(level)
