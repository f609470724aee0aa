"""``asyncstore doctor``: what this machine offers, what each thing is good for, and how to get what is missing.

Everything that can be tried is tried; drivers are only looked for, since importing some of them takes long. `examine`
returns the findings, `main` prints them.
"""

from __future__ import annotations

import argparse
import asyncio
import enum
import inspect
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from asyncstore import __version__
from asyncstore.apps import _probes

__all__ = ("Finding", "Status", "examine", "main")

_OLDEST_PYTHON = (3, 11)  # asyncio.timeout, TaskGroup and Runner came with it
_FEW_DESCRIPTORS = 4096  # below it a server meets EMFILE before it meets its own limits; arbitrary
_POOL_TIMEOUT = 10.0  # seconds for one job on a worker thread; it takes less than a millisecond


class Status(enum.Enum):
    """What a finding means for the exit status: only BROKEN makes it 1."""

    OK = "ok"
    MISSING = "missing"
    """Optional: something is slower or cannot be used."""

    BROKEN = "broken"
    """Required: asyncstore does not work here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    `value` is what was found, `meaning` what it is good for, `remedy` how to get it where it is missing.
    """

    group: str
    name: str
    status: Status
    value: str
    meaning: str
    remedy: str = ""


def examine(folder: str | os.PathLike[str] = ".") -> tuple[Finding, ...]:
    """Look at this machine, and at the file system of `folder`; returns the findings in the order to read them.

    Blocks for some milliseconds, and writes a small file into `folder` that it removes again. Where that is not
    possible, a finding says so; nothing is raised.
    """
    return (*_interpreter(), *_engine(), *_kernel(), *_file_system(Path(folder)), *_packages(), *_limits())


def main(argv: Sequence[str] | None = None) -> int:
    """Print the findings; return 0, or 1 when something that is required is broken.

    `argv` are the arguments after the command's name (default: the process' own). Exits with 2 for arguments that make
    no sense, as argparse does.
    """
    parser = argparse.ArgumentParser(
        prog="asyncstore doctor", description="Say what this machine offers to asyncstore, and how to get the rest."
    )
    parser.add_argument(
        "--path", default=".", metavar="DIR", help="the folder whose file system is examined (default: .)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(argv)
    if not os.path.isdir(options.path):
        parser.error(f"--path: {options.path!r} is not a folder")
    findings = examine(options.path)
    print(_as_json(findings) if options.json else _as_text(findings))
    return 1 if any(finding.status is Status.BROKEN for finding in findings) else 0


def _as_json(findings: Sequence[Finding]) -> str:
    """The findings as one JSON document: a list under ``findings``, and ``ok`` as for the exit status."""
    document = {
        "asyncstore": __version__,
        "ok": all(finding.status is not Status.BROKEN for finding in findings),
        "findings": [asdict(finding) | {"status": finding.status.value} for finding in findings],
    }
    return json.dumps(document, indent=2)


def _as_text(findings: Sequence[Finding]) -> str:
    """The findings for people: one line each, below it the way to get what is missing."""
    lines = [f"asyncstore {__version__}"]
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            lines += ("", group)
        lines.append(f"  {finding.status.value:8}{finding.name:22}{finding.value} - {finding.meaning}")
        if finding.remedy:
            lines.append(f"{'':32}to get it: {finding.remedy}")
    return "\n".join(lines)


def _optional(group: str, name: str, obstacle: str, meaning: str, remedy: str = "", *, value: str = "works") -> Finding:
    """A finding about something that works unless there is an `obstacle`."""
    status = Status.MISSING if obstacle else Status.OK
    return Finding(group, name, status, obstacle or value, meaning, remedy if obstacle else "")


def _interpreter() -> Iterator[Finding]:
    group = "Python"
    right = sys.version_info[:2] >= _OLDEST_PYTHON
    wanted = ".".join(map(str, _OLDEST_PYTHON))
    yield Finding(
        group,
        "interpreter",
        Status.OK if right else Status.BROKEN,
        f"{platform.python_implementation()} {platform.python_version()}",
        f"asyncstore needs Python {wanted} or newer",
        "" if right else f"install Python {wanted} or newer",
    )
    yield Finding(group, "platform", Status.OK, platform.platform(), "Linux has the fastest paths; others use threads")
    yield Finding(group, "event loop", Status.OK, _loop_class(), "what asyncstore.run() makes")
    yield _package(
        group, "uvloop", "a faster event loop: asyncstore.run(main(), loop_factory=uvloop.new_event_loop)", "uvloop"
    )


def _loop_class() -> str:
    loop = asyncio.new_event_loop()
    loop.close()
    return f"{type(loop).__module__}.{type(loop).__qualname__}"


def _engine() -> Iterator[Finding]:
    group = "Engine"
    from asyncstore.pool import Pool

    async def ask() -> str:
        async with asyncio.timeout(_POOL_TIMEOUT):
            pool = Pool(max_workers=1)
            try:
                return await pool.run(_thread_name)
            finally:
                await pool.aclose()

    try:
        name = asyncio.run(ask())
    except (OSError, RuntimeError, TimeoutError) as error:
        yield Finding(
            group, "worker threads", Status.BROKEN, str(error), "blocking calls run on them",
            "raise the limit of threads (ulimit -u, or the container's pids limit)",
        )  # fmt: skip
    else:
        yield Finding(group, "worker threads", Status.OK, f"a job ran on {name}", "blocking calls run on them")
    workers = inspect.signature(Pool).parameters["max_workers"].default
    yield Finding(group, "default pool", Status.OK, f"{workers} workers at most", "Pool(max_workers=...) makes another")


def _thread_name() -> str:
    import threading

    return threading.current_thread().name


def _kernel() -> Iterator[Finding]:
    group = "Kernel"
    yield _optional(
        group, "io_uring", _probes.io_uring(),
        "cold reads and many writes go to the kernel in batches; without it worker threads make them",
        "Linux 6.2 or newer, sysctl kernel.io_uring_disabled=0, and a container profile that allows io_uring_setup",
    )  # fmt: skip
    for short, name, what in (
        ("watches", "max_user_watches", "folders and files watched"),
        ("instances", "max_user_instances", "watchers"),
    ):
        found = _probes.read_number(f"/proc/sys/fs/inotify/{name}")
        yield _optional(
            group, f"inotify {short}", "" if found is not None else "no inotify here",
            f"{what} at once by aio.watch; without inotify it compares listings", value=str(found),
        )  # fmt: skip


def _file_system(folder: Path) -> Iterator[Finding]:
    group = f"Files in {folder.resolve()}"
    try:
        with _probes.probe_file(folder) as (fd, path):
            yield Finding(group, "file system", Status.OK, _probes.file_system(fd), "what the following was tried on")
            yield _optional(
                group, "RWF_NOWAIT reads", _probes.nowait_read(fd),
                "what the page cache holds is read at once; without, other ways or worker threads read it",
                "a folder on ext4, xfs or btrfs",
            )  # fmt: skip
            yield _optional(
                group, "RWF_NOWAIT writes", _probes.nowait_write(fd),
                "writes into the page cache are made at once; without, worker threads or io_uring make them",
                "a folder on xfs",
            )  # fmt: skip
            yield _optional(
                group, "RESOLVE_CACHED opens", _probes.open_cached(path),
                "names that the kernel has cached are opened at once; without, worker threads open them",
                "Linux 5.12 or newer, and a container profile that allows openat2",
            )  # fmt: skip
            yield _optional(
                group, "O_DIRECT", _probes.direct_read(path),
                "reads past the page cache, for programs with a cache of their own", "a folder on a disk file system",
            )  # fmt: skip
    except OSError as error:
        yield Finding(
            group, "file system", Status.MISSING, f"cannot be tried: {error.strerror}",
            "a small file is written to find out", "name a folder that you may write to: --path DIR",
        )  # fmt: skip


def _packages() -> Iterator[Finding]:
    group = "Packages"
    yield _package(group, "berkeleydb", "Berkeley DB: asyncstore.bdb, and keys in asyncstore serve", "bdb", _libdb)
    yield _package(group, "httptools", "HTTP: asyncstore.http and asyncstore serve", "http")
    yield _package(group, "sqlite3", "the database in a file", "", _sqlite)
    yield _package(group, "asyncmy", "driver for MySQL and MariaDB", "mysql")
    yield _package(group, "asyncpg", "driver for PostgreSQL", "postgresql")
    yield _package(group, "duckdb", "driver for DuckDB", "duckdb")


def _package(group: str, module: str, meaning: str, extra: str, version: Callable[[], str] | None = None) -> Finding:
    """A finding about an importable module; `version` imports it and tells more, an ImportError is an obstacle."""
    remedy = f"pip install 'asyncstore[{extra}]'" if extra else f"a Python that was built with {module}"
    if find_spec(module) is None:
        return _optional(group, module, "not installed", meaning, remedy)
    try:
        value = version() if version is not None else metadata.version(module)
    except metadata.PackageNotFoundError:
        value = "installed, version unknown"
    except ImportError as error:
        return _optional(group, module, f"cannot be imported: {error}", meaning, remedy)
    return _optional(group, module, "", meaning, value=value)


def _libdb() -> str:
    from berkeleydb import db  # type: ignore[import-untyped]  # a C extension without types

    major, minor, patch = db.version()
    return f"{metadata.version('berkeleydb')}, libdb {major}.{minor}.{patch}"


def _sqlite() -> str:
    import sqlite3

    return f"SQLite {sqlite3.sqlite_version}"


def _limits() -> Iterator[Finding]:
    group = "Limits"
    try:
        import resource
    except ImportError:
        yield _optional(group, "open files", "this platform has no such limit", "descriptors of this process")
    else:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        enough = soft == resource.RLIM_INFINITY or soft >= _FEW_DESCRIPTORS
        yield Finding(
            group, "open files", Status.OK if enough else Status.MISSING, f"{_amount(soft)} of at most {_amount(hard)}",
            "files and connections that can be open at once", "" if enough else f"ulimit -n {_FEW_DESCRIPTORS}",
        )  # fmt: skip
    count = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else count
    yield Finding(
        group, "processors", Status.OK, f"{usable} of {count} usable", "one is the loop's, the rest the workers'"
    )


def _amount(limit: int) -> str:
    return "unlimited" if limit < 0 or limit >= 1 << 63 else str(limit)
