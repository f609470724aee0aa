"""What a pool decides: which connection goes to whom, and when one is opened or closed. Pure: no clock, no I/O.

The pool tells what happened and does what the answer, `Actions`, says. Invariants, which `check` asserts:

1. No more than `max_size` connections are idle, lent and being opened together.
2. Nobody waits while a connection is idle.
3. Whoever waits has a connection being opened for it, unless all that there may be are lent or being opened.
4. Whoever asked first gets the first connection.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

__all__ = ("Actions", "Book", "Limits", "Slot")


class Waiter(Protocol):
    """Somebody who waits for a connection: a future."""

    def done(self) -> bool:
        """Whether it does not wait any more."""


C = TypeVar("C")
W = TypeVar("W", bound=Waiter)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be, and for how long (seconds)."""

    min_size: int
    max_size: int
    max_idle: float
    max_lifetime: float


@dataclass(slots=True, eq=False)
class Slot(Generic[C]):
    """A connection's place in the pool."""

    connection: C
    dies: float  # when it is replaced
    since: float  # when it was given back, or opened
    lent_at: float = 0.0
    suspect: bool = False  # another one was lost: this one is looked at before it is lent
    where: str = ""  # the line that took it


@dataclass(slots=True)
class Actions(Generic[C, W]):
    """What is to be done, in this order."""

    hand: list[tuple[W, Slot[C]]] = field(default_factory=list)
    close: list[Slot[C]] = field(default_factory=list)
    open: int = 0


class Book(Generic[C, W]):
    """Who has which connection. Times are those of one clock that only goes forward."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.idle: deque[Slot[C]] = deque()  # the one that was used last at the end
        self.lent: set[Slot[C]] = set()
        self.opening = 0
        self.waiting: deque[W] = deque()
        self.closed = False

    @property
    def size(self) -> int:
        """How many connections there are or will be."""
        return len(self.idle) + len(self.lent) + self.opening

    def take(self) -> Slot[C] | None:
        """Return an idle connection, now lent; None: there is none, or others wait already."""
        if not self.idle or self.waiting:
            return None
        slot = self.idle.pop()
        self.lent.add(slot)
        return slot

    def put_back(self, slot: Slot[C]) -> None:
        """`slot` was taken just now, and is not used after all."""
        self.lent.discard(slot)
        self.idle.append(slot)

    def wait(self, waiter: W) -> Actions[C, W]:
        """`waiter` asks for a connection that `take` did not have."""
        self.waiting.append(waiter)
        return self._settled(Actions())

    def gave_up(self, waiter: W) -> None:
        """`waiter` waits no more. What is being opened for it comes to somebody else."""
        if waiter in self.waiting:
            self.waiting.remove(waiter)

    def opened(self, slot: Slot[C], now: float) -> Actions[C, W]:
        """A connection was opened."""
        self.opening -= 1
        return self._free(slot, now)

    def open_failed(self) -> Actions[C, W]:
        """A connection could not be opened. The one that waits first is to be told, and has been taken off by then."""
        self.opening -= 1
        return self._settled(Actions())

    def returned(self, slot: Slot[C], now: float) -> Actions[C, W] | None:
        """A connection was given back and is as new; None: there is nothing to be done."""
        self.lent.discard(slot)
        if not self.waiting and not self.closed and now < slot.dies:
            slot.since = now
            self.idle.append(slot)
            return None
        return self._free(slot, now)

    def lost(self, slot: Slot[C]) -> Actions[C, W]:
        """A connection that was lent is gone; the others are looked at before they are lent again."""
        self.lent.discard(slot)
        for other in self.idle:
            other.suspect = True
        return self._settled(Actions())

    def dropped(self, slot: Slot[C]) -> Actions[C, W]:
        """A connection that was lent has been closed on purpose."""
        self.lent.discard(slot)
        return self._settled(Actions())

    def expire(self, now: float) -> Actions[C, W]:
        """Time has passed: close what is too old or more than is needed, and open what is missing.

        Only here, not whenever one is lost: a server that is down is asked for no more often than this is called.
        """
        actions: Actions[C, W] = Actions()
        spare = self.size - self.limits.min_size
        kept: deque[Slot[C]] = deque()
        for slot in self.idle:
            idle_too_long = spare > 0 and now - slot.since >= self.limits.max_idle
            if idle_too_long or now >= slot.dies:
                spare -= 1
                actions.close.append(slot)
            else:
                kept.append(slot)
        self.idle = kept
        return self._settled(actions, least=self.limits.min_size)

    def close(self) -> Actions[C, W]:
        """The pool closes: idle ones are closed, and the others when they come back."""
        self.closed = True
        actions: Actions[C, W] = Actions(close=list(self.idle))
        self.idle.clear()
        return actions

    def _free(self, slot: Slot[C], now: float) -> Actions[C, W]:
        actions: Actions[C, W] = Actions()
        if self.closed or now >= slot.dies:
            actions.close.append(slot)
            return self._settled(actions)
        slot.since = now
        while self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                self.lent.add(slot)
                actions.hand.append((waiter, slot))
                return actions
        self.idle.append(slot)
        return actions

    def _settled(self, actions: Actions[C, W], *, least: int = 0) -> Actions[C, W]:
        """Add to `actions` what has to be opened for invariant 3, and for a size of at `least` so many."""
        if self.closed:
            return actions
        needed = max(len(self.waiting) - self.opening, least - self.size)
        actions.open = max(0, min(needed, self.limits.max_size - self.size))
        self.opening += actions.open
        return actions

    def check(self) -> None:
        """Assert the invariants; for tests."""
        assert 0 <= self.size <= self.limits.max_size, "1"
        waiting = [waiter for waiter in self.waiting if not waiter.done()]
        assert not (waiting and self.idle), "2"
        if waiting and not self.closed:
            assert self.opening >= len(waiting) or self.size == self.limits.max_size, "3"
