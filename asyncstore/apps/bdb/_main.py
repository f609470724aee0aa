"""What ``asyncstore bdb COMMAND`` does."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from asyncstore import bdb
from asyncstore.apps.bdb._bar import Bar
from asyncstore.apps.bdb._options import parser
from asyncstore.apps.bdb._stat import stat
from asyncstore.errors import Error

__all__ = ("main",)


def main(argv: Sequence[str]) -> int:
    """Carry out a command and return the exit status: 1 for what failed or is damaged."""
    options = parser().parse_args(argv)
    try:
        options.password = _password(options.password_file)
        return asyncio.run(_run(options))
    except BrokenPipeError:
        raise  # the command line knows what to do
    except (Error, OSError, ValueError) as exc:
        print(f"asyncstore bdb {options.command}: {exc}", file=sys.stderr)
        return 1


def _password(path: str | None) -> str | None:
    if path is None:
        return None
    return Path(path).read_text(encoding="utf-8").rstrip("\n")


async def _run(options: argparse.Namespace) -> int:
    if options.command in _OFFLINE:
        return await _OFFLINE[options.command](options)
    # An environment is made where something is loaded into it, and nowhere else.
    async with bdb.open(
        options.home, create=options.command == "load", password=options.password, log_dir=options.log_dir
    ) as env:
        return await _ONLINE[options.command](env, options)


async def _verify(options: argparse.Namespace) -> int:
    with Bar("verify", quiet=options.quiet) as bar:
        verdicts = await bdb.verify(
            options.home, order=not options.no_order, password=options.password, log_dir=options.log_dir, progress=bar
        )
    for verdict in verdicts:
        print(f"{verdict.path}: {'ok' if verdict.sound else verdict.error}")
    return 0 if all(verdict.sound for verdict in verdicts) else 1


async def _restore(options: argparse.Namespace) -> int:
    with Bar("restore", quiet=options.quiet) as bar:
        result = await bdb.restore(
            options.backup, options.home, until=options.until, password=options.password, log_dir=options.log_dir,
            progress=bar,
        )  # fmt: skip
    print(f"{result.databases} database files and {result.logs} log files, {result.bytes:,} bytes")
    return 0


async def _recover(options: argparse.Namespace) -> int:
    await bdb.recover(
        options.home, catastrophic=options.catastrophic, until=options.until, password=options.password,
        log_dir=options.log_dir,
    )  # fmt: skip
    return 0


async def _salvage(options: argparse.Namespace) -> int:
    result = await bdb.salvage(
        options.path, options.output, aggressive=options.aggressive, printable=options.printable,
        password=options.password,
    )  # fmt: skip
    print(f"{result.records:,} records saved{'' if result.sound else '; the file is damaged, others may be lost'}")
    return 0 if result.sound else 1


async def _upgrade(options: argparse.Namespace) -> int:
    await bdb.upgrade(options.path, password=options.password)
    return 0


async def _dump(env: bdb.Environment, options: argparse.Namespace) -> int:
    target = options.output if options.output is not None else sys.stdout.buffer
    async with env.database(options.name, file=options.file, type=None) as database:
        with Bar("dump", quiet=options.quiet) as bar:
            await database.dump(target, printable=options.printable, progress=bar)
    sys.stdout.flush()
    return 0


async def _load(env: bdb.Environment, options: argparse.Namespace) -> int:
    source = options.input if options.input is not None else sys.stdin.buffer
    with Bar("load", quiet=options.quiet) as bar:
        loaded = await env.load(source, options.name, file=options.file, overwrite=not options.keep, progress=bar)
    for one in loaded:
        kept = f", {one.kept:,} kept as they were" if one.kept else ""
        print(f"{one.name or one.file}: {one.records:,} records{kept}")
    return 0


async def _backup(env: bdb.Environment, options: argparse.Namespace) -> int:
    with Bar("backup", quiet=options.quiet) as bar:
        result = await env.backup(os.path.abspath(options.target), update=options.update, progress=bar)
    print(f"{result.databases} database files and {result.logs} log files, {result.bytes:,} bytes")
    return 0


async def _compact(env: bdb.Environment, options: argparse.Namespace) -> int:
    async with env.database(options.name, file=options.file, type=None) as database:
        with Bar("compact", quiet=options.quiet) as bar:
            done = await database.compact(fill_percent=options.fill, progress=bar.compacted)
    print(f"{done.examined:,} pages examined, {done.freed:,} freed, {done.returned:,} returned to the file system")
    return 0


_OFFLINE: dict[str, Callable[[argparse.Namespace], Awaitable[int]]] = {
    "verify": _verify,
    "restore": _restore,
    "recover": _recover,
    "salvage": _salvage,
    "upgrade": _upgrade,
}
_ONLINE: dict[str, Callable[[bdb.Environment, argparse.Namespace], Awaitable[int]]] = {
    "stat": stat,
    "dump": _dump,
    "load": _load,
    "backup": _backup,
    "compact": _compact,
}
