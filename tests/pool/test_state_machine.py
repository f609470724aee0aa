"""Any sequence of submit, cancel, finish and close keeps the pool's promises (Hypothesis)."""

from __future__ import annotations

import asyncio
import threading

from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from hypothesis.strategies import booleans, integers

from asyncstore.pool import Lane, Pool, PoolClosed, PoolState


class Ticket:
    """One job of the model: `gate` lets it end; the worker notes when it is inside and when it has left."""

    def __init__(self, number: int, lane: int | None) -> None:
        self.number = number
        self.lane = lane
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.task: asyncio.Task[int]
        self.cancelled = self.cancelled_before_begin = False
        self.discards = 0


class PoolMachine(RuleBasedStateMachine):
    tickets = Bundle("tickets")

    @initialize(workers=integers(1, 3), pending=integers(1, 4))
    def open(self, workers: int, pending: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.pool = Pool(max_workers=workers, max_pending=pending, name="model")
        self.lanes: list[Lane] = []
        self.all: list[Ticket] = []
        self.order: dict[int | None, list[int]] = {}
        self.inside = {0: 0, 1: 0}
        self.overlap = False
        self.lanes = [self.pool.lane(), self.pool.lane()]

    def turn(self, count: int = 3) -> None:
        async def turns() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def job(self, ticket: Ticket) -> int:
        self.order.setdefault(ticket.lane, []).append(ticket.number)
        if ticket.lane is not None:
            self.inside[ticket.lane] += 1
            self.overlap |= self.inside[ticket.lane] > 1
        ticket.begun.set()
        ticket.gate.wait(30)
        if ticket.lane is not None:
            self.inside[ticket.lane] -= 1
        return ticket.number

    @rule(target=tickets, lane=integers(-1, 1), instant=booleans(), priority=integers(-4, 4))
    def submit(self, lane: int, instant: bool, priority: int) -> Ticket:
        ticket = Ticket(len(self.all), None if lane < 0 else lane)
        if instant:
            ticket.gate.set()

        def on_discard(result: int) -> None:
            assert result == ticket.number
            ticket.discards += 1

        async def call() -> int:
            if ticket.lane is None:
                return await self.pool.run(self.job, ticket, priority=priority, on_discard=on_discard)
            return await self.lanes[ticket.lane].run(self.job, ticket, on_discard=on_discard)

        ticket.task = self.loop.create_task(call())
        self.all.append(ticket)
        self.turn()
        return ticket

    @rule(ticket=tickets)
    def cancel(self, ticket: Ticket) -> None:
        if ticket.task.done():
            return
        ticket.cancelled = True
        ticket.cancelled_before_begin = not ticket.begun.is_set()
        ticket.task.cancel()
        self.turn()
        assert ticket.task.done()

    @rule(ticket=consumes(tickets))
    def let_go(self, ticket: Ticket) -> None:
        ticket.gate.set()

    @rule()
    def settle(self) -> None:
        self.turn(10)

    @invariant()
    def lanes_do_not_overlap(self) -> None:
        assert not getattr(self, "overlap", False)

    def teardown(self) -> None:
        if not hasattr(self, "pool"):
            return
        for ticket in self.all:
            ticket.gate.set()
        closed_early = len(self.all) % 3 == 0
        self.loop.run_until_complete(self.pool.aclose(drain=not closed_early, timeout=30))
        self.turn(10)
        assert self.pool.state is PoolState.CLOSED
        ran = [number for numbers in self.order.values() for number in numbers]
        assert len(ran) == len(set(ran)), "a job ran twice"
        for numbers in (self.order.get(0, []), self.order.get(1, [])):
            assert numbers == sorted(numbers), "a lane lost its order"
        for ticket in self.all:
            assert ticket.task.done(), "a future was left pending"
            if ticket.task.cancelled():
                assert ticket.cancelled
                if ticket.number not in ran:
                    assert ticket.discards == 0
                else:
                    assert ticket.discards == 1, "a result that nobody took was not discarded once"
            elif (error := ticket.task.exception()) is not None:
                assert isinstance(error, PoolClosed)
                assert ticket.number not in ran
            else:
                assert ticket.task.result() == ticket.number
                assert ticket.discards == 0
        stats = self.pool.stats()
        assert (stats.queued, stats.waiting, stats.running, stats.workers) == (0, 0, 0, 0)
        self.loop.close()


PoolMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestPool = PoolMachine.TestCase
