"""The seam: what the connections of all databases have in common, and what each brings along.

A `Dialect` knows how one kind of database is talked to and holds nothing; a `Session` is one connection to it. What is
above (`Connection`, `Transaction`, `Rows`, `Pool`) knows of nothing else, so a database is added by a folder with these
two. What is to be done travels as a `Request` whose `apply` takes the driver's own connection: a plain function, called
on a worker thread, where the driver blocks, and a coroutine function where it does not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from asyncstore.dbi._request import Request, Sort

__all__ = ("Apply", "Dialect", "Isolation", "Mode", "Operations", "Options", "Parameters", "Session", "Stream")

# Any, in all that follows: values, connections and outcomes are the driver's.
Parameters = Sequence[Any] | Mapping[str, Any]
Apply = Callable[[Any], Any]
Isolation = Literal["read uncommitted", "read committed", "repeatable read", "serializable"]
Mode = Literal["deferred", "immediate", "exclusive"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a transaction is begun; see `Connection.transaction`."""

    isolation: Isolation | None = None
    read_only: bool = False
    mode: Mode | None = None

    def check(self) -> None:
        """Raise ValueError and TypeError for what no database knows."""
        for name, value, allowed in (("isolation", self.isolation, Isolation), ("mode", self.mode, Mode)):
            if value is not None and value not in get_args(allowed):
                raise ValueError(f"{name} is one of {', '.join(map(repr, get_args(allowed)))}, not {value!r}")
        if not isinstance(self.read_only, bool):
            raise TypeError(f"read_only is True or False, not {self.read_only!r}")


class Operations(Protocol):
    """What is done with the driver's connection; its functions return their outcome, or a coroutine of it."""

    def execute(self, connection: Any, sql: str, parameters: Any) -> Any:
        """Carry a statement out; the outcome is a `Result`."""

    def fetch_all(self, connection: Any, sql: str, parameters: Any) -> Any:
        """Return all rows."""

    def fetch_one(self, connection: Any, sql: str, parameters: Any) -> Any:
        """Return the first row or None."""

    def fetch_value(self, connection: Any, sql: str, parameters: Any) -> Any:
        """Return the first value of the first row or None."""

    def execute_many(self, connection: Any, sql: str, sets: Any) -> Any:
        """Carry a statement out for each of `sets`, all or none; the outcome is a `Result`."""

    def execute_script(self, connection: Any, text: str) -> Any:
        """Carry several statements out, one after the other."""


class Stream(Protocol):
    """A result that is read batch by batch."""

    @property
    def open(self) -> bool:
        """Whether the database keeps something for it."""

    def fetch(self, connection: Any, count: int) -> Any:
        """Return the next `count` rows; fewer are the last, and close it."""

    def close(self, connection: Any) -> Any:
        """Give it up. Idempotent."""


class Dialect(Protocol):
    """How one kind of database is talked to. Pure: nothing here waits or remembers."""

    kind: str  # "sqlite", "postgresql", "mysql", "duckdb", or what `wrap` was told
    operations: Operations
    # What an iteration takes of its connection outside of a transaction: nothing, or all of it until its end.
    stream_alone: bool

    def sort_of(self, sql: str) -> Sort:
        """Return how a statement may travel with others."""

    def prepare(self, sql: str, parameters: Parameters) -> tuple[str, Any]:
        """Return a statement and its parameters as the driver takes them; copies, so that nobody changes them.

        Raises TypeError for a value that has no place in a database, `ProgrammingError` for a wrong number.
        """

    def prepare_many(self, sql: str, sets: Iterable[Parameters]) -> tuple[str, list[Any]]:
        """Return a statement and its many sets of parameters as the driver takes them; see `prepare`."""

    def leaves_traces(self, sql: str) -> bool:
        """Return whether a statement may change the session for those that come after it: SET, a temporary table."""

    def check(self, options: Options) -> None:
        """Raise `NotSupportedError` when a transaction cannot be begun so."""


class Session(Protocol):
    """One connection to a database. Requests are carried out in the order in which they were submitted."""

    title: str  # what messages call it; holds no password
    dialect: Dialect

    @property
    def ended(self) -> str:
        """Why the caller's transaction has ended by itself, "" while it has not."""

    @property
    def broken(self) -> bool:
        """Whether the connection is lost: nothing can be done with it any more."""

    @property
    def busy(self) -> bool:
        """Whether something is under way, if only what a cancelled statement has left."""

    def submit(self, request: Request) -> Awaitable[Any]:
        """Have `request` carried out in its turn and return its outcome. A cancel leaves the session sound."""

    def stop(self, request: Request) -> None:
        """Stop `request`, whose caller has gone, where it is."""

    def begin(self, options: Options) -> Apply:
        """Return what begins a transaction."""

    def end(self, word: Literal["COMMIT", "ROLLBACK"]) -> Apply:
        """Return what ends it: afterwards it has ended even when this raises, unless that is `Locked`."""

    def stream(self, sql: str, parameters: Any) -> Stream:
        """Return a result to be read in batches."""

    def reset(self) -> Apply | None:
        """Return what takes back all that statements have left in the session, None when only closing it does."""

    async def aclose(self) -> None:
        """Undo what was not committed and close; what is under way has ended before."""

    def abort(self) -> None:
        """Close without waiting for anything; any thread may call it, also without a loop. Idempotent."""
