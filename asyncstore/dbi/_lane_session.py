"""A connection whose driver blocks: it is used on worker threads, by one batch of statements at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Generic, Literal, Protocol, TypeVar

from asyncstore.dbi import errors
from asyncstore.dbi._request import Request
from asyncstore.dbi._session import Apply, Dialect, Options, Parameters, Stream
from asyncstore.pool import Gatherer, Lane, Pool, PoolClosed, default_pool, heeded

__all__ = ("Engine", "LaneSession", "open_lane")

BATCH = 1024  # statements of one job; those that change something share a commit
BATCH_BYTES = 8 * 1024 * 1024
OPEN_PAUSE = 0.02  # seconds until a database that somebody has locked is opened again


class Engine(Protocol):
    """The worker's side of a connection."""

    @property
    def ended(self) -> str:
        """Why the caller's transaction has ended by itself, "" while it has not."""

    @property
    def broken(self) -> bool:
        """Whether nothing can be done with the connection any more."""

    def __call__(self, requests: list[Request]) -> None:
        """Carry out `requests` and store each one's outcome in it."""

    def stop(self, request: Request) -> None:
        """Stop `request`, if it is being carried out; called on the loop's thread."""

    def begin(self, options: Options) -> None:
        """Begin a transaction of the caller's."""

    def end(self, word: Literal["COMMIT", "ROLLBACK"]) -> None:
        """End it."""

    def stream(self, sql: str, parameters: Parameters) -> Stream:
        """Return a result to be read in batches."""

    def close(self) -> None:
        """Undo what was not committed and close. Idempotent."""


E = TypeVar("E", bound=Engine)


class LaneSession(Generic[E]):
    """A session on a lane; the engine is what its worker calls."""

    def __init__(self, dialect: Dialect, title: str, engine: E, lane: Lane, lock_timeout: float) -> None:
        self.dialect = dialect
        self.title = title
        self.engine = engine
        self._lane = lane
        self._gatherer: Gatherer[Request] = Gatherer(
            lane, engine, width=1, max_requests=BATCH, max_bytes=BATCH_BYTES, patience=lock_timeout, ordered=True,
            eager=True,
        )  # fmt: skip
        self.submit = self._gatherer.add  # a future at once: no coroutine in between
        self.stop = engine.stop

    @property
    def ended(self) -> str:
        return self.engine.ended

    @property
    def broken(self) -> bool:
        return self.engine.broken

    @property
    def busy(self) -> bool:
        """Whether a batch is on a worker: what is asked for now waits for its end."""
        return self._gatherer.busy

    @property
    def since(self) -> float:
        """When the last batch was handed over, of the loop's clock."""
        return self._gatherer.since

    def begin(self, options: Options) -> Apply:
        return lambda _: self.engine.begin(options)

    def end(self, word: Literal["COMMIT", "ROLLBACK"]) -> Apply:
        return lambda _: self.engine.end(word)

    def stream(self, sql: str, parameters: Any) -> Stream:  # Any: as the driver takes them
        return self.engine.stream(sql, parameters)

    def reset(self) -> Apply | None:
        return None

    async def aclose(self) -> None:
        try:
            await self._lane.run(self.engine.close)
        except PoolClosed:
            if self._gatherer.left_behind:
                raise  # a statement may be under way on a worker that the pool did not wait for
            async with Pool(max_workers=1) as rescue:
                await rescue.run(self.engine.close)
        finally:
            await self._lane.aclose()

    def abort(self) -> None:
        if not self._gatherer.busy:
            self.engine.close()
            return
        # A worker is inside, and may never come back: who waits is told, and the connection is closed behind it.
        self._gatherer.fail(errors.ConnectionLost("it was given up with a statement under way", of=self.title))
        with contextlib.suppress(Exception):  # a pool that is closed: then nobody comes back
            self._lane.submit_nowait(self.engine.close).add_done_callback(heeded)


async def open_lane(
    make: Callable[[], E], dialect: Dialect, title: str, *, lock_timeout: float, workers: Pool | None
) -> LaneSession[E]:
    """Open a session whose engine `make` makes on a worker. A database that is locked is waited for.

    Raises what `make` does. A cancel closes what was opened meanwhile.
    """
    lane = (workers or default_pool()).lane(name=f"dbi {title}")
    deadline = time.monotonic() + lock_timeout
    try:
        while True:
            try:
                engine = await lane.run(make, on_discard=_close)
            except errors.Locked:
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(OPEN_PAUSE)
            else:
                return LaneSession(dialect, title, engine, lane, lock_timeout)
    except BaseException:
        await lane.aclose()
        raise


def _close(engine: Engine) -> None:
    engine.close()
