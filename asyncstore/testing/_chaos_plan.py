"""What a fault does to a piece of a byte stream: data in, actions out, no socket in sight."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

SLICES_PER_SECOND = (
    50  # a throttled stream moves in slices of 20 ms: smooth enough for a client, coarse enough for a loop
)


class Ending(enum.Enum):
    """How a direction of a connection ends."""

    END_OF_STREAM = "the sender finished"
    CLOSE = "closed by a fault"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Send:
    """Forward these bytes, in one write."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds, or until the faults change."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Do nothing, and read nothing more, until the faults change."""


Action = Send | Wait | Hold | Ending


def _refuse_negative(**values: float) -> None:
    for name, value in values.items():
        if value < 0:
            raise ValueError(f"{name} must not be negative: {value!r}")


@dataclass(frozen=True, slots=True)
class Delay:
    """Hold every piece back for `seconds`, and what is behind it too."""

    seconds: float

    def __post_init__(self) -> None:
        _refuse_negative(seconds=self.seconds)

    def apply(self, actions: list[Action], _seen: int) -> list[Action]:
        """Put a wait before all else."""
        return [Wait(self.seconds), *actions] if actions else actions


@dataclass(frozen=True, slots=True)
class Drop:
    """A black hole: forward the first `after` bytes of the direction, read the rest and forget it."""

    after: int = 0

    def __post_init__(self) -> None:
        _refuse_negative(after=self.after)

    def apply(self, actions: list[Action], seen: int) -> list[Action]:
        """Leave out what lies beyond."""
        return _cut(actions, self.after - seen)[0]


@dataclass(frozen=True, slots=True)
class Truncate:
    """Forward the first `after` bytes of the direction, then end the stream (FIN) in both directions."""

    after: int

    def __post_init__(self) -> None:
        _refuse_negative(after=self.after)

    def apply(self, actions: list[Action], seen: int) -> list[Action]:
        """End in a close when the limit is reached."""
        before, _, reached = _cut(actions, self.after - seen)
        return [*before, Ending.CLOSE] if reached else before


@dataclass(frozen=True, slots=True)
class Reset:
    """Forward the first `after` bytes of the direction, then reset the connection (RST); 0 resets at the first byte."""

    after: int = 0

    def __post_init__(self) -> None:
        _refuse_negative(after=self.after)

    def apply(self, actions: list[Action], seen: int) -> list[Action]:
        """End in a reset when the limit is reached."""
        before, _, reached = _cut(actions, self.after - seen)
        return [*before, Ending.RESET] if reached else before


@dataclass(frozen=True, slots=True)
class Stall:
    """Forward the first `after` bytes of the direction, then read nothing more: the sender meets back-pressure."""

    after: int = 0

    def __post_init__(self) -> None:
        _refuse_negative(after=self.after)

    def apply(self, actions: list[Action], seen: int) -> list[Action]:
        """Hold between what goes through and the rest."""
        before, rest, reached = _cut(actions, self.after - seen)
        return [*before, Hold(), *rest] if reached else before


@dataclass(frozen=True, slots=True)
class Split:
    """Forward in writes of `size` bytes with `pause` seconds between them."""

    size: int = 1
    pause: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1: {self.size!r}")
        _refuse_negative(pause=self.pause)

    def apply(self, actions: list[Action], _seen: int) -> list[Action]:
        """Break each write up."""
        result: list[Action] = []
        for action in actions:
            if isinstance(action, Send):
                for start in range(0, len(action.data), self.size):
                    if result and isinstance(result[-1], Send):
                        result.append(Wait(self.pause))
                    result.append(Send(action.data[start : start + self.size]))
            else:
                result.append(action)
        return result


@dataclass(frozen=True, slots=True)
class Throttle:
    """Forward `bytes_per_second` at most."""

    bytes_per_second: float

    def __post_init__(self) -> None:
        if self.bytes_per_second <= 0:
            raise ValueError(f"bytes_per_second must be positive: {self.bytes_per_second!r}")

    def apply(self, actions: list[Action], _seen: int) -> list[Action]:
        """Break each write up, and let each slice be followed by the time that it takes."""
        size = max(1, round(self.bytes_per_second / SLICES_PER_SECOND))
        result: list[Action] = []
        for action in actions:
            if isinstance(action, Send):
                for start in range(0, len(action.data), size):
                    piece = action.data[start : start + size]
                    result += (Send(piece), Wait(len(piece) / self.bytes_per_second))
            else:
                result.append(action)
        return result


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Change the byte at offset `at` of the direction, by exclusive or with `mask`."""

    at: int
    mask: int = 0xFF

    def __post_init__(self) -> None:
        _refuse_negative(at=self.at)
        if not 0 < self.mask < 256:
            raise ValueError(f"mask must change a byte: {self.mask!r}")

    def apply(self, actions: list[Action], seen: int) -> list[Action]:
        """Replace the byte if it is in this piece."""
        result: list[Action] = []
        offset = seen
        for action in actions:
            if isinstance(action, Send):
                data = bytearray(action.data)
                if offset <= self.at < offset + len(data):
                    data[self.at - offset] ^= self.mask
                offset += len(data)
                result.append(Send(bytes(data)))
            else:
                result.append(action)
        return result


Fault = Delay | Drop | Truncate | Reset | Stall | Split | Throttle | Corrupt


def plan(faults: Iterable[Fault], seen: int, data: bytes) -> list[Action]:
    """Say what is to be done with `data`, which follows `seen` bytes of its direction, under `faults` in order."""
    actions: list[Action] = [Send(data)]
    for fault in faults:
        actions = fault.apply(actions, seen)
    return actions


def _cut(actions: list[Action], length: int) -> tuple[list[Action], list[Action], bool]:
    """Part `actions` after `length` bytes; the flag says whether there was anything at or beyond that point."""
    before: list[Action] = []
    left = max(length, 0)
    for index, action in enumerate(actions):
        if not isinstance(action, Send):
            before.append(action)
        elif len(action.data) < left:
            left -= len(action.data)
            before.append(action)
        else:
            if left:
                before.append(Send(action.data[:left]))
            rest: list[Action] = [Send(action.data[left:])] if len(action.data) > left else []
            return before, rest + actions[index + 1 :], True
    return before, [], False
