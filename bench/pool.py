"""The hop: what one call on a worker thread costs, at 1 to 1024 concurrent tasks."""

from __future__ import annotations

import asyncio
import time

from bench.harness import Case, Participant

CASES = [
    Case("hop, 1 task", 1, "job", "hop", {"run_in_executor": 1}),
    Case("hop, 16 tasks", 16, "job", "hop", {"run_in_executor": 3}),
    Case("hop, 64 tasks", 64, "job", "hop", {"run_in_executor": 3}),
    Case("hop, 1024 tasks", 1024, "job", "hop", {"run_in_executor": 3}),
    Case("lane hop, 64 tasks", 64, "job", "lane_hop"),
    Case("beside 0.2 ms ticks", 1, "job", "hop_beside_200us"),
    Case("beside 2 ms ticks", 1, "job", "hop_beside_2ms"),
]
PACKAGES = ["asyncstore", "anyio", "uvloop"]


def job() -> None:
    """Do nothing: only the way there and back is measured."""


class Hop(Participant):
    busy: asyncio.Task[None] | None = None

    async def hop(self) -> None:
        raise NotImplementedError

    async def prepare(self, case: Case) -> None:
        tick = {"hop_beside_200us": 0.0002, "hop_beside_2ms": 0.002}.get(case.operation)
        if tick is not None:
            await self.hop()
            self.busy = asyncio.ensure_future(self.hold_the_loop(tick))

    async def hold_the_loop(self, tick: float) -> None:
        while True:
            end = time.perf_counter() + tick
            while time.perf_counter() < end:
                pass
            await asyncio.sleep(0)

    async def hop_beside_200us(self) -> None:
        await self.hop()

    async def hop_beside_2ms(self) -> None:
        await self.hop()

    async def finish(self) -> None:
        if self.busy is not None:
            self.busy.cancel()


class Asyncstore(Hop):
    async def prepare(self, case: Case) -> None:
        from asyncstore.pool import Pool

        self.pool = Pool()
        self.lane = self.pool.lane()
        await super().prepare(case)

    async def hop(self) -> None:
        await self.pool.run(job)

    async def lane_hop(self) -> None:
        await self.lane.run(job)

    async def finish(self) -> None:
        await super().finish()
        await self.pool.aclose()


class Executor(Hop):
    async def prepare(self, case: Case) -> None:
        self.loop = asyncio.get_running_loop()
        await super().prepare(case)

    async def hop(self) -> None:
        await self.loop.run_in_executor(None, job)


class ToThread(Hop):
    async def hop(self) -> None:
        await asyncio.to_thread(job)


class AnyioToThread(Hop):
    async def hop(self) -> None:
        import anyio.to_thread

        await anyio.to_thread.run_sync(job)


PARTICIPANTS = {"asyncstore": Asyncstore, "run_in_executor": Executor, "to_thread": ToThread, "anyio": AnyioToThread}
