"""Dumps of databases: their records as the text that db_load reads, and this package's `load`."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, BinaryIO

from asyncstore.bdb import errors
from asyncstore.bdb._layout import found_layout
from asyncstore.bdb.maintenance._format import DEFAULT_PAD, Header, encode_end, encode_header, encode_records
from asyncstore.bdb.maintenance._progress import Progress, ProgressCallback

if TYPE_CHECKING:
    from asyncstore.bdb._core import Core
    from asyncstore.bdb._database import Database
    from asyncstore.bdb._transaction import Transaction

__all__ = ("dump", "header_of", "written_whole")

TUNED = {"btree": {"bt_minkey": ("get_bt_minkey", 2)}, "hash": {"h_ffactor": ("get_h_ffactor", 0)}}  # name: default


# Any: the handle is the binding's.
def header_of(handle: Any, database: str | None, *, printable: bool) -> Header:
    """Return the header of the database that `handle` is open on. On a worker."""
    layout = found_layout(handle)
    kind = str(layout.type)
    tuning = []
    for name, (getter, default) in TUNED.get(kind, {}).items():
        if (value := getattr(handle, getter)()) != default:
            tuning.append((name, value))
    return Header(
        kind,
        printable=printable,
        database=database,
        duplicates=layout.duplicates,
        record_numbers=layout.record_numbers,
        renumber=layout.renumber,
        record_length=layout.record_length,
        pad=DEFAULT_PAD if layout.pad is None else layout.pad,
        extent_pages=layout.extent_pages,
        region_pages=handle.get_heap_regionsize() if kind == "heap" else None,
        checksum=layout.checksum,
        page_size=layout.page_size,
        tuning=tuple(tuning),
    )


async def dump(
    database: Database[Any],
    target: str | os.PathLike[str] | BinaryIO,
    *,
    printable: bool,
    progress: ProgressCallback | None,
    txn: Transaction | None,
) -> int:
    """Write a dump of `database`; see `Database.dump`."""
    environment = database.environment
    async with written_whole(environment, target) as write:
        name = database.place.name if database.place.file is not None else None
        header = await environment.run("dump", _header, database, name, printable)
        await write(encode_header(header))
        done = 0
        async with database.range(txn=txn) as records:
            async for batch in records.batches():
                await write(encode_records(header, batch))
                done += len(batch)
                if progress is not None:
                    progress(Progress(database.title, done, None, "records"))
        await write(encode_end())
    return done


def _header(database: Database[Any], name: str | None, printable: bool) -> Header:  # noqa: FBT001 - a job's arguments have no names
    return header_of(database.handle, name, printable=printable)


@contextlib.asynccontextmanager
async def written_whole(
    environment: Core, target: str | os.PathLike[str] | BinaryIO
) -> AsyncIterator[Callable[[bytes], Any]]:
    """Give a coroutine that writes to `target`; a path gets its file when all was written, and only then."""
    if not isinstance(target, (str, os.PathLike)):
        file = target

        async def write(data: bytes) -> None:
            await environment.run("dump", _write_all, file, data)

        yield write
        return
    path = os.path.abspath(os.fspath(target))
    temporary = await environment.run("dump", _temporary, path)

    async def write_there(data: bytes) -> None:
        await environment.run("dump", _write_all, temporary, data)

    try:
        yield write_there
        await environment.run("dump", _finish, temporary, path)
    finally:
        # A synchronous end, for a cancel must leave nothing behind; closing and removing wait for no disk.
        temporary.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary.name)


def _temporary(path: str) -> Any:
    try:
        # delete=False: it is renamed when it is whole, and removed otherwise.
        return tempfile.NamedTemporaryFile(dir=os.path.dirname(path), prefix=".dump-", delete=False)
    except OSError as exc:
        raise _as_ours(exc, path) from exc


def _write_all(file: BinaryIO, data: bytes) -> None:
    try:
        file.write(data)
    except BrokenPipeError:
        raise  # whoever reads has had enough: not a failure to be named
    except OSError as exc:
        raise _as_ours(exc, str(getattr(file, "name", "a dump"))) from exc


def _finish(file: Any, path: str) -> None:
    try:
        file.flush()
        os.fsync(file.fileno())
        os.replace(file.name, path)
    except OSError as exc:
        raise _as_ours(exc, path) from exc


def _as_ours(exc: OSError, path: str) -> errors.Error:
    kind = errors.Error.by_code.get(exc.errno or 0, errors.IOFailure)
    return kind(doing="write", of=repr(path), code=exc.errno or 0, detail=str(exc))
