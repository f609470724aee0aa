"""The opening of databases and indices in an environment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from asyncstore.bdb import errors
from asyncstore.bdb._database import Database
from asyncstore.bdb._index import Index, IndexHandles, open_index
from asyncstore.bdb._layout import Description

if TYPE_CHECKING:
    from asyncstore.bdb._core import Core
    from asyncstore.bdb._index import IndexTerms

__all__ = ("open_database", "open_index_of", "title_of")

D = TypeVar("D", bound=Database[Any])
K = TypeVar("K", bytes, int)


def title_of(environment: Core, what: str, name: str) -> str:
    """Return what error messages call something in `environment`."""
    return f"{what} {name!r} in {environment.title.removeprefix('environment ')}"


# Any: handles are the binding's.
async def open_database(
    environment: Core, make: Callable[[Any, Description, Any], D], description: Description, *, create: bool
) -> D:
    """Open a database; see `Environment.database`. `make` makes the object."""
    place, layout, title = description.place, description.layout, description.title
    for other in environment.databases_open.values():
        if other.place == place and isinstance(other, Database) and other.indices:
            detail = "it is open here with indices, which another opening would not keep in step; share that object"
            raise errors.InUse(doing="open", of=title, detail=detail)
    if environment.replication is not None:  # before, a client has not got its files
        await environment.replication.wait_ready(timeout=environment.settings.lock_timeout)
    home = environment.home
    handle = await environment.opened(
        partial(home.open_database, place, layout, create, title), partial(home.close_database, title=title), title
    )
    return environment.enter(make(environment, description, handle))


async def open_index_of(
    environment: Core, primary: Database[K], description: Description, terms: IndexTerms, *, create: bool
) -> Index[K]:
    """Open an index; see `Database.associate`."""
    primary.check_open("associate")
    for other in environment.databases_open.values():
        if other is not primary and other.place == primary.place:
            detail = "it is open here a second time: what is written there would be missing in the index"
            raise errors.Misuse(doing="associate", of=primary.title, detail=detail)
    home, title = environment.home, description.title

    def discard(handles: IndexHandles) -> None:
        for handle in handles:
            home.close_database(handle, title)

    primary.usage.enter()  # it is not closed meanwhile
    try:
        work = partial(open_index, home, primary.handle, terms, description, create=create)
        handles = await environment.opened(work, discard, title)
        return environment.enter(Index(environment, description, handles, primary, terms))
    finally:
        primary.usage.leave()
