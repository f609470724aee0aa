"""What a pool counts: histograms with power-of-two buckets, and the snapshot that `Pool.stats()` returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# bucket k counts values v with v.bit_length() == k, so bucket k holds 2**(k-1) <= v < 2**k; 64 bits of ns are 584
# years
BUCKETS = 64


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in buckets that double in width.

    `unit` is what one step of a value is worth: 1e-9 for nanoseconds shown in seconds, 1 for plain numbers.
    """

    counts: tuple[int, ...]
    unit: float = 1.0

    @classmethod
    def merge(cls, parts: Iterable[list[int]], unit: float = 1.0) -> Histogram:
        """Add up several bucket lists, each `BUCKETS` long."""
        total = [0] * BUCKETS
        for part in parts:
            for index, count in enumerate(part):
                total[index] += count
        return cls(tuple(total), unit)

    @property
    def total(self) -> int:
        """The number of values counted."""
        return sum(self.counts)

    def buckets(self) -> Iterator[tuple[float, int]]:
        """Yield (exclusive upper bound in units, count) for each bucket up to the highest one that is not empty."""
        last = max((index for index, count in enumerate(self.counts) if count), default=-1)
        for index in range(last + 1):
            yield (1 << index) * self.unit, self.counts[index]

    def quantile(self, fraction: float) -> float:
        """Return an upper bound, at most twice too high, of the value that `fraction` (0..1) lie below; 0 if empty."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction must lie in 0..1, not {fraction!r}")
        need = fraction * self.total
        seen = 0
        for bound, count in self.buckets():
            seen += count
            if count and seen >= need:
                return bound
        return 0.0


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A snapshot of a pool's counters. Taken without stopping the workers, so sums can be a few jobs apart.

    queued: jobs handed over and not begun. waiting: jobs of submitters that wait for a place in the queue.
    running: jobs that a worker is inside of. done: jobs that returned or raised. dropped: cancelled before they began.
    discarded: finished, but nobody took the result. workers/idle: threads, and those of them that are parked.
    wakeups: times a loop was woken. batch_sizes: results taken home per wake-up. wait_time: hand-over to begin, in
    seconds. run_time: begin to end, in seconds.
    """

    queued: int
    waiting: int
    running: int
    done: int
    dropped: int
    discarded: int
    workers: int
    idle: int
    wakeups: int
    batch_sizes: Histogram
    wait_time: Histogram
    run_time: Histogram


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What an observer is told of one job that came home.

    `wait` and `run` are seconds. `outcome` is one of "returned", "raised", "discarded", "dropped" and "refused".
    `lane` is the lane's name, None for the shared queue.
    """

    name: str
    lane: str | None
    wait: float
    run: float
    outcome: str


class Counters:
    """The counters that one worker writes alone; others only read them, so they need no lock."""

    __slots__ = ("begun", "discarded", "done", "dropped", "run_time", "wait_time")

    def __init__(self) -> None:
        self.begun = self.done = self.dropped = self.discarded = 0
        self.wait_time = [0] * BUCKETS
        self.run_time = [0] * BUCKETS

    def absorb(self, other: Counters) -> None:
        """Add another worker's counters to these; that worker has ended."""
        self.begun += other.begun
        self.done += other.done
        self.dropped += other.dropped
        self.discarded += other.discarded
        for mine, theirs in ((self.wait_time, other.wait_time), (self.run_time, other.run_time)):
            for index, count in enumerate(theirs):
                mine[index] += count
