"""Opens a pool's connections, lends them, takes them back clean, and closes them; what `Book` decides, it does."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from asyncstore.dbi import errors
from asyncstore.dbi._connection import Connection
from asyncstore.dbi._pool_book import Actions, Book, Limits, Slot
from asyncstore.dbi._request import Request, Sort
from asyncstore.dbi._session import Session
from asyncstore.dbi._url import Database
from asyncstore.pool import Pool, heeded

__all__ = ("Keeper", "Lendable", "Setup", "Terms")

TICK = 1.0  # seconds between two looks at what is too old or missing: arbitrary
JITTER = 0.1  # of a lifetime, by which those of one pool differ so that they do not end together
CLEAN_TIMEOUT = 10.0  # seconds that taking back what a caller has left may take before it is closed: arbitrary
CHECK_TIMEOUT = 5.0  # seconds that a sound connection may take for an answer: arbitrary
HOLDERS = 3  # that a message about a pool in use names

log = logging.getLogger("asyncstore.dbi")

Lendable = Slot[Connection]
Setup = Callable[[Connection], Awaitable[object]]
Waiter = asyncio.Future[Lendable]


@dataclass(frozen=True, slots=True)
class Terms:
    """How a pool was told to lend (seconds)."""

    acquire_timeout: float
    check_after: float  # of rest, after which a connection is looked at before it is lent
    max_waiting: int
    lock_timeout: float
    setup: Setup | None


class Keeper:
    """Lends connections to one database. Belongs to the loop on which it was made."""

    def __init__(self, database: Database, limits: Limits, terms: Terms, workers: Pool | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._database = database
        self._terms = terms
        self._workers = workers
        self.book: Book[Connection, Waiter] = Book(limits)
        self.title = f"pool of {database.title}"
        self.opened = self.lost = self.leaked = self.timeouts = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._emptied: asyncio.Future[None] | None = None  # the last connection that was lent is back
        self._timer = self._loop.call_later(TICK, _tick, weakref.ref(self))

    # Lending

    def take_nowait(self) -> Lendable | None:
        """Return a connection that can be used at once, None when that needs waiting."""
        slot = self.book.take()
        if slot is None:
            return None
        if slot.suspect or slot.connection.session.broken or time.monotonic() - slot.since > self._terms.check_after:
            self.book.put_back(slot)
            return None
        slot.lent_at = time.monotonic()
        return slot

    async def take(self, timeout: float | None = None) -> Lendable:
        """Return a connection, when there is one; `give_back` is owed for it.

        Raises `PoolTimeout` after `acquire_timeout`, or `timeout` where that is less, `PoolFull` and `Closed`, and what
        opening a connection raises. A cancel takes nothing.
        """
        limit = self._terms.acquire_timeout if timeout is None else min(timeout, self._terms.acquire_timeout)
        until = self._loop.time() + limit
        while True:
            self.check_open("acquire")
            slot = self.book.take() or await self._wait(until)
            if await self._is_sound(slot):
                slot.lent_at = time.monotonic()
                return slot

    def check_open(self, doing: str) -> None:
        """Raise unless the pool can be used now, on this loop."""
        if self.book.closed:
            raise errors.Closed(doing=doing, of=self.title)
        if asyncio.get_running_loop() is not self._loop:
            raise errors.Misuse("it was opened on another event loop", doing=doing, of=self.title)

    async def _wait(self, until: float) -> Lendable:
        if len(self.book.waiting) >= self._terms.max_waiting:
            detail = f"{self._terms.max_waiting} wait for a connection already"
            raise errors.PoolFull(detail, doing="acquire", of=self.title)
        waiter: Waiter = self._loop.create_future()
        timer = self._loop.call_at(until, self._too_late, waiter)
        self._perform(self.book.wait(waiter))
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.exception() is None:
                self._free(waiter.result())  # it was handed over just now
            self.book.gave_up(waiter)
            raise
        finally:
            timer.cancel()

    def _too_late(self, waiter: Waiter) -> None:
        self.book.gave_up(waiter)
        if not waiter.done():
            self.timeouts += 1
            waiter.set_exception(errors.PoolTimeout(self._holders(), doing="acquire", of=self.title))

    def _holders(self) -> str:
        """Return who has the connections, for a message."""
        now = time.monotonic()
        book = self.book
        held = sorted(book.lent, key=lambda slot: slot.lent_at)[:HOLDERS]
        longest = ", ".join(f"{now - slot.lent_at:.1f} s {slot.where}".strip() for slot in held)
        text = f"no connection came free in time; {len(book.lent)} of {book.limits.max_size} are lent"
        return f"{text} (the longest for {longest})" if held else text

    async def _is_sound(self, slot: Lendable) -> bool:
        """Look at a connection about to be lent; one that does not answer is closed, and False."""
        session = slot.connection.session
        stale = slot.suspect or time.monotonic() - slot.since > self._terms.check_after
        if not session.broken and not stale:
            return True
        try:
            if not session.broken:
                async with asyncio.timeout(CHECK_TIMEOUT):
                    await self._ask(slot, "check")
                slot.suspect = False
                return True
        except (errors.Error, TimeoutError) as exc:
            log.info("%s: a connection at rest was lost: %r", self.title, exc)
        except BaseException:
            self._drop(slot)
            raise
        self._lose(slot)
        return False

    async def _ask(self, slot: Lendable, doing: str) -> None:
        """Have the database answer."""
        connection = slot.connection
        operation = connection.session.dialect.operations.fetch_value
        request = Request(
            connection.usage, connection.title, doing, Sort.ALONE, lambda on: operation(on, "SELECT 1", ())
        )
        await connection.submit(request)

    # Taking back

    def give_back(self, slot: Lendable, connection: Connection) -> None:
        """Take back what was lent; `connection` is what the caller had, the slot's own or another on its session."""
        session = connection.session
        if session.broken:
            self._lose(slot)
        elif connection.traces or connection.transaction_open is not None or session.busy or connection.usage.busy:
            self._spawn(self._clean(slot, connection))
        else:
            self._free(slot)

    def _free(self, slot: Lendable) -> None:
        slot.where = ""
        actions = self.book.returned(slot, time.monotonic())
        if actions is not None:
            self._perform(actions)

    async def _clean(self, slot: Lendable, connection: Connection) -> None:
        """Take back what a caller has left in the session, or close it."""
        try:
            async with asyncio.timeout(CLEAN_TIMEOUT):
                clean = await self._is_cleaned(slot, connection)
        except Exception as exc:  # noqa: BLE001 - whatever it is: a connection that is not clean is not lent again
            log.warning("%s: a connection is closed, for it could not be cleaned: %r", self.title, exc)
            clean = False
        except BaseException:
            self._drop(slot)
            raise
        if not clean:
            self._drop(slot)
        elif slot.connection.session.broken:
            self._lose(slot)
        else:
            connection.traces = False
            self._free(slot)

    async def _is_cleaned(self, slot: Lendable, connection: Connection) -> bool:
        await connection.quiet()
        if not connection.traces:
            await self._ask(slot, "check")  # behind what a cancelled statement has left
            return True
        reset = connection.session.reset()
        if reset is None:
            return False
        await connection.submit(Request(connection.usage, connection.title, "reset", Sort.ALONE, reset))
        if self._terms.setup is not None:
            await self._terms.setup(slot.connection)
            slot.connection.traces = False
        return True

    def leak(self, slot: Lendable) -> None:
        """Close a connection that its caller has dropped without giving it back."""
        self.leaked += 1
        self._drop(slot)

    def _lose(self, slot: Lendable) -> None:
        self.lost += 1
        slot.connection.abort()
        self._perform(self.book.lost(slot))
        self._look_whether_empty()

    def _drop(self, slot: Lendable) -> None:
        slot.connection.abort()
        self._perform(self.book.dropped(slot))
        self._look_whether_empty()

    # Doing what the book says

    def _perform(self, actions: Actions[Connection, Waiter]) -> None:
        for waiter, slot in actions.hand:
            waiter.set_result(slot)
        for slot in actions.close:
            self._spawn(slot.connection.aclose())
        for _ in range(actions.open):
            self._spawn(self._open())
        if actions.close:
            self._look_whether_empty()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(heeded)

    async def _open(self) -> None:
        try:
            session = await self._database.connect(lock_timeout=self._terms.lock_timeout, workers=self._workers)
            connection = await self.connection(session)
        except asyncio.CancelledError:
            self._perform(self.book.open_failed())
            raise
        except Exception as exc:  # noqa: BLE001 - it is told to who waits for the connection
            self._tell(exc)
            self._perform(self.book.open_failed())
            return
        self.opened += 1
        now = time.monotonic()
        lifetime = self.book.limits.max_lifetime * (1 - JITTER * random.random())  # noqa: S311 - no secret
        slot = Slot(connection, now + lifetime, now)
        self._perform(self.book.opened(slot, now))

    async def connection(self, session: Session) -> Connection:
        """Return a connection on `session`, set up as the pool was told. Raises what that raises."""
        connection = Connection(session, self._terms.lock_timeout)
        if self._terms.setup is not None:
            try:
                await self._terms.setup(connection)
            except BaseException:
                connection.abort()
                raise
            connection.traces = False  # these are to stay
        return connection

    def _tell(self, exc: Exception) -> None:
        while self.book.waiting:
            waiter = self.book.waiting.popleft()
            if not waiter.done():
                waiter.set_exception(exc)
                return
        log.warning("%s: a connection could not be opened: %r", self.title, exc)

    async def start(self) -> None:
        """Open as many as there are at least. Raises what opening one raises; then those opened are to be aborted."""
        until = self._loop.time() + self._terms.acquire_timeout
        found = await asyncio.gather(
            *(self._wait(until) for _ in range(self.book.limits.min_size)), return_exceptions=True
        )
        failure: BaseException | None = None
        for slot in found:
            if isinstance(slot, BaseException):
                failure = failure or slot
            else:
                self._free(slot)
        if failure is not None:
            raise failure

    def tick(self) -> None:
        """Look at what is too old or missing; called every now and then."""
        self._timer = self._loop.call_later(TICK, _tick, weakref.ref(self))
        self._perform(self.book.expire(time.monotonic()))

    # Closing

    def _look_whether_empty(self) -> None:
        if self._emptied is not None and not self.book.lent and not self._emptied.done():
            self._emptied.set_result(None)

    async def aclose(self, timeout: float) -> None:
        """Refuse who waits, wait for those that are lent, `timeout` seconds at most, and close all."""
        self._timer.cancel()
        self._perform(self.book.close())
        for waiter in self.book.waiting:
            if not waiter.done():
                waiter.set_exception(errors.Closed("the pool was closed", doing="acquire", of=self.title))
        self.book.waiting.clear()
        try:
            async with asyncio.timeout(timeout):
                if self.book.lent:
                    self._emptied = self._loop.create_future()
                    await self._emptied
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            log.warning("%s: %s", self.title, self._holders().replace("no connection came free in time; ", ""))
        finally:
            self.abort()

    def abort(self) -> None:
        """Close all at once."""
        self._timer.cancel()
        self.book.closed = True
        for task in self._tasks:
            task.cancel()
        for slot in [*self.book.idle, *self.book.lent]:
            slot.connection.abort()


def _tick(reference: weakref.ref[Keeper]) -> None:
    keeper = reference()
    if keeper is not None:
        keeper.tick()
