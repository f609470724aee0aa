"""A SQLite database that can be connected to."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from asyncstore.dbi._lane_session import LaneSession, open_lane
from asyncstore.dbi._session import Dialect
from asyncstore.dbi._url import Location, Make
from asyncstore.dbi.sqlite._dialect import SQLiteDialect
from asyncstore.dbi.sqlite._engine import Engine
from asyncstore.dbi.sqlite._settings import MEMORY, Settings
from asyncstore.pool import Pool

if TYPE_CHECKING:
    from asyncstore.dbi.sqlite._lanes import SQLiteLanes

__all__ = ("SQLiteDatabase", "database")


class SQLiteDatabase:
    """A SQLite file, or a database in memory."""

    shared = True
    remote = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.title = settings.title
        self.dialect: Dialect = SQLiteDialect()

    async def connect(
        self, *, lock_timeout: float, workers: Pool | None, read_only: bool = False
    ) -> LaneSession[Engine]:
        make = partial(Engine, self.settings, read_only=read_only)
        return await open_lane(make, self.dialect, self.title, lock_timeout=lock_timeout, workers=workers)

    async def lanes(self, *, size: int, lock_timeout: float, workers: Pool | None, make: Make) -> SQLiteLanes:
        from asyncstore.dbi.sqlite._lanes import SQLiteLanes

        if self.settings.in_memory:
            self.settings = self.settings.shared()
        lanes = SQLiteLanes(self, size=size, lock_timeout=lock_timeout, workers=workers, make=make)
        await lanes.open()
        return lanes


# Any: options are checked by the settings that they become.
def database(location: Location, options: dict[str, Any]) -> SQLiteDatabase:
    """Return the database at `location`. Raises ValueError and TypeError for what cannot be."""
    if location.driver:
        raise ValueError(f"there is one driver for SQLite, and it is not called {location.driver!r}")
    if location.host or location.user is not None or location.port is not None:
        raise ValueError(f"a SQLite database is a file, after three slashes or four, not on the host {location.host!r}")
    given = {**location.converted({"cached_statements"}, {"foreign_keys"}), **options}
    known = set(Settings.__dataclass_fields__) - {"path", "name"}
    for name in given:
        if name not in known:
            raise TypeError(f"a SQLite database has no option {name!r}, but {', '.join(sorted(known))}")
    return SQLiteDatabase(Settings(path=location.path or MEMORY, **given))
