"""Loads of dumps: databases made from the text that db_dump, and this package's `dump`, write."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from asyncstore.bdb import errors
from asyncstore.bdb.maintenance._format import Decoder, End, Header, Record
from asyncstore.bdb.maintenance._progress import Progress, ProgressCallback

if TYPE_CHECKING:
    from asyncstore.bdb._database import Database
    from asyncstore.bdb._environment import Environment

__all__ = ("Loaded", "load")

CHUNK = 1 << 20  # bytes read at a time
BATCH = 512  # records stored together


@dataclass(frozen=True, slots=True)
class Loaded:
    """A database that was loaded: its `name` and `file`, how many `records` were stored, and how many `kept`.

    Kept are those that were there already, when nothing was to be overwritten.
    """

    name: str | None
    file: str | None
    records: int
    kept: int


async def load(
    environment: Environment,
    source: str | os.PathLike[str] | BinaryIO,
    name: str | None,
    *,
    file: str | None,
    overwrite: bool,
    progress: ProgressCallback | None,
) -> list[Loaded]:
    """Load a dump; see `Environment.load`."""
    reader = _Reader(environment, source)
    loaded: list[Loaded] = []
    try:
        decoder = Decoder()
        loading: _Loading | None = None
        async for chunk in reader.chunks():
            for events in _batches(decoder.feed(chunk)):
                if isinstance(events, Header):
                    if loaded and (file is None or name is not None):
                        detail = "the dump has several databases: name a file for them, and none of them"
                        raise errors.InvalidArgument(doing="load", of=environment.title, detail=detail)
                    loading = await _Loading.begin(environment, events, name, file, overwrite=overwrite)
                elif loading is not None and isinstance(events, End):
                    loaded.append(await loading.end())
                    loading = None
                elif loading is not None and isinstance(events, list):
                    await loading.store(events)
                if progress is not None:
                    progress(Progress(environment.title, reader.taken, reader.size, "bytes"))
        decoder.close()
    finally:
        reader.close()
    return loaded


def _batches(events: Iterator[Header | Record | End]) -> Iterator[Header | End | list[Record]]:
    """Yield headers and ends as they are, and the records between them in lists."""
    batch: list[Record] = []
    for event in events:
        if isinstance(event, Record):
            batch.append(event)
            if len(batch) < BATCH:
                continue
        if batch:
            yield batch
            batch = []
        if not isinstance(event, Record):
            yield event
    if batch:
        yield batch


class _Loading:
    """The loading of one database."""

    # Any: the class of the database follows from its type.
    def __init__(self, header: Header, database: Database[Any], name: str | None, file: str | None) -> None:
        self.header = header
        self.database: Any = database
        self.name, self.file = name, file
        self.overwrite = True
        self.records = self.kept = 0

    @classmethod
    async def begin(
        cls, environment: Environment, header: Header, name: str | None, file: str | None, *, overwrite: bool
    ) -> _Loading:
        """Open or make the database of a header."""
        name = header.database if name is None else name
        if name is None and file is None:
            detail = "the dump names no database: give a name"
            raise errors.InvalidArgument(doing="load", of=environment.title, detail=detail)
        tuning = header.tuning
        if header.region_pages is not None:
            tuning += (("heap_regionsize", header.region_pages),)
        options: dict[str, Any] = {"checksum": header.checksum, "page_size": header.page_size, "tuning": tuning}
        if header.type in ("btree", "hash"):
            options["duplicates"] = header.duplicates
        if header.type == "btree":
            options["record_numbers"] = header.record_numbers
        if header.type in ("recno", "queue") and header.record_length is not None:
            options |= {"record_length": header.record_length, "pad": header.pad}
        if header.type == "recno":
            options["renumber"] = header.renumber
        if header.type == "queue":
            options["extent_pages"] = header.extent_pages
        kind: Any = header.type  # Any: its overloads want a literal
        loading = cls(header, await environment.database(name, type=kind, file=file, **options), name, file)
        loading.overwrite = overwrite
        return loading

    async def store(self, records: list[Record]) -> None:
        """Store some records, in their order."""
        database = self.database
        if not self.header.keyed:
            await asyncio.gather(*(database.append(record.value) for record in records))
        elif self.overwrite or self.header.duplicates is not None:
            await database.put_many((record.key, record.value) for record in records)
        else:
            outcomes = await asyncio.gather(
                *(database.put(record.key, record.value, overwrite=False) for record in records),
                return_exceptions=True,
            )
            self.kept += sum(isinstance(outcome, errors.KeyExists) for outcome in outcomes)
            for outcome in outcomes:
                if isinstance(outcome, BaseException) and not isinstance(outcome, errors.KeyExists):
                    raise outcome
        self.records += len(records)

    async def end(self) -> Loaded:
        """Close the database and return what was done."""
        await self.database.aclose()
        return Loaded(self.name, self.file, self.records - self.kept, self.kept)


class _Reader:
    """The bytes of a dump, read on a worker."""

    def __init__(self, environment: Environment, source: str | os.PathLike[str] | BinaryIO) -> None:
        self._environment = environment
        self._source = source
        self._file: BinaryIO | None = None
        self.taken = 0
        self.size: int | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield all of it."""
        if isinstance(self._source, (str, os.PathLike)):
            self._file = await self._environment.run("load", _open, os.fspath(self._source))
            self.size = os.fstat(self._file.fileno()).st_size
        file = self._source if self._file is None else self._file
        assert not isinstance(file, (str, os.PathLike)), "opened above"
        while chunk := await self._environment.run("load", file.read, CHUNK):
            self.taken += len(chunk)
            yield chunk

    def close(self) -> None:
        """Close what was opened here."""
        if self._file is not None:
            self._file.close()


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as exc:
        kind = errors.Error.by_code.get(exc.errno or 0, errors.IOFailure)
        raise kind(doing="read", of=repr(path), code=exc.errno or 0, detail=str(exc)) from exc
