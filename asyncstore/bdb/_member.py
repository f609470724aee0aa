"""An environment's membership in its replication group: what `Environment.replication` is.

It follows libdb's events on the environment's loop, and does what they ask for: transactions that are open when the
master changes are undone (libdb waits for their end before it lets the site catch up), and databases are opened anew
after it, since a site that had to give up commits has made the handles on them dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, TypeVarTuple

from asyncstore.bdb import _replication, errors
from asyncstore.bdb._rep_events import Event, RepEvent
from asyncstore.bdb._rep_settings import Acks, Replication, check_acks, check_priority
from asyncstore.bdb._replication import Role, Status
from asyncstore.bdb._translate import translated

if TYPE_CHECKING:
    from asyncstore.bdb._core import Core

__all__ = ("Member",)

EVENTS_KEPT = 1024  # for a consumer of `events` that does not come to take them; then the oldest are dropped
UNSETTLING = frozenset({RepEvent.CLIENT, RepEvent.NEW_MASTER, RepEvent.DUPLICATE_MASTER})
SETTLING = frozenset({RepEvent.STARTUP_DONE, RepEvent.MASTER})
logger = logging.getLogger("asyncstore.bdb")

Ts = TypeVarTuple("Ts")


class Member:
    """This site in its replication group. All methods raise `Closed` once the environment is closed."""

    def __init__(self, environment: Core, settings: Replication) -> None:
        self._environment = weakref.ref(environment)
        self._title = environment.title
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()  # replaced with each change, after it was set
        self._queues: set[asyncio.Queue[Event]] = set()
        self._reopening: asyncio.Task[None] | None = None
        self.settings = settings
        own, loop = weakref.ref(self), self._loop

        def notify(event: Event) -> None:
            member = own()
            if member is not None:
                with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is left to tell
                    loop.call_soon_threadsafe(member.happened, event)

        self._unsubscribe = environment.events.subscribe(notify)

    def __repr__(self) -> str:
        return f"<Member {self.settings.local} of the group of {self._title}>"

    def happened(self, event: Event) -> None:
        """Follow an event, on the loop. For the subscription."""
        environment = self._environment()
        if environment is None or not environment.working:
            return
        if event.kind in UNSETTLING:
            for session in sorted(environment.sessions, key=lambda session: -session.depth):
                session.end_early(errors.NotMaster)
        if event.kind in SETTLING and (self._reopening is None or self._reopening.done()):
            self._reopening = self._loop.create_task(self._reopen(environment))
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)
        if event.kind is not RepEvent.CONNECT_TRY_FAILED:
            self._changed.set()
            self._changed = asyncio.Event()

    async def _reopen(self, environment: Core) -> None:
        for database in environment.reopenable():
            try:
                await environment.reopen(database)
            except errors.Closed:
                return
            except errors.Error as exc:
                logger.warning("%s could not be opened anew after a change of masters: %s", database.title, exc)

    async def _run(self, doing: str, work: Callable[[*Ts], object], *args: *Ts) -> object:
        environment = self._environment()
        if environment is None:
            raise errors.Closed(doing=doing, of=self._title)

        def call() -> object:
            with translated(doing, self._title):
                return work(*args)

        return await environment.run(doing, call)

    async def status(self) -> Status:
        """Return where the site stands: its role, the master's address, the other sites, and counts."""
        environment = self._environment()
        found = await self._run("status", _replication.status, None if environment is None else environment.handle)
        assert isinstance(found, Status), "what the function returns"
        return found

    async def wait_ready(self, *, timeout: float | None = None, role: Role | None = None) -> Status:
        """Return once the site is master, or a client that has caught up; with `role`, once it is that.

        `timeout` in seconds; after it `NoMaster` is raised. A cancel changes nothing.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    changed = self._changed
                    status = await self.status()
                    if status.ready and role in (None, status.role):
                        return status
                    await changed.wait()
        except TimeoutError as exc:
            detail = f"not {'ready' if role is None else role.value} within {timeout:g} s"
            raise errors.NoMaster(doing="wait for", of=self._title, detail=detail) from exc

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens in the group from now on, without end; see `RepEvent`.

        Who takes them too slowly misses the oldest of more than a thousand.
        """
        queue: asyncio.Queue[Event] = asyncio.Queue(EVENTS_KEPT)
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)

    def recent_events(self) -> tuple[Event, ...]:
        """Return the last 256 events at most, the oldest first."""
        environment = self._environment()
        return () if environment is None else environment.events.recent()

    async def set_priority(self, priority: int) -> None:
        """Change the priority in elections from the next one on; 0: the site is never elected.

        libdb has no call that makes a master step down. A clean hand-over is this with 0, closing the environment (the
        others elect at once) and opening it again.
        """
        check_priority(priority)
        environment = self._environment()
        handle = None if environment is None else environment.handle
        await self._run("set the priority of", _replication.set_priority, handle, priority)

    async def set_acks(self, acks: Acks) -> None:
        """Change which sites have to acknowledge a commit, from the next one on."""
        check_acks(acks)
        environment = self._environment()
        handle = None if environment is None else environment.handle
        await self._run("set the policy of", _replication.set_acks, handle, acks)

    async def synchronize(self) -> None:
        """Catch up with the master, at a client that was told to delay that (`delay_sync`)."""
        environment = self._environment()
        handle = None if environment is None else environment.handle
        await self._run("synchronize", _replication.synchronize, handle)

    async def aclose(self) -> None:
        """Stop following events. For the environment's closing."""
        self._unsubscribe()
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.wait([self._reopening])
