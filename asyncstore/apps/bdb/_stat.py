"""``asyncstore bdb stat``: counts of an environment and of its databases, for people or for programs."""

from __future__ import annotations

import argparse
import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from asyncstore.bdb import Environment, errors
from asyncstore.bdb.maintenance import database_files

__all__ = ("stat",)


async def stat(env: Environment, options: argparse.Namespace) -> int:
    """Print what there is to know."""
    found: dict[str, Any] = {}
    if not options.name:
        found["environment"] = asdict(await env.stat())
    for label, name, file in await _wanted(env, options):
        async with env.database(name, file=file, type=None) as database:
            found[label] = asdict(await database.stat(fast=options.fast))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n\n".join(f"{label}\n{_table(counts)}" for label, counts in found.items()))
    return 0


async def _wanted(env: Environment, options: argparse.Namespace) -> list[tuple[str, str | None, str | None]]:
    """Return a label, the name and the file of each database that is asked for."""
    if options.name:
        return [(f"{options.file}: {name}" if options.file else name, name, options.file) for name in options.name]
    assert env.path is not None, "an environment in memory has no command line"
    wanted: list[tuple[str, str | None, str | None]] = []
    for file in database_files(Path(env.path)):
        if options.file not in (None, file):
            continue
        try:
            names = await env.databases(file)
        except errors.InvalidArgument:  # a single database
            wanted.append((file, None, file))
        else:
            wanted += [(f"{file}: {name}", name, file) for name in names]
    return wanted


def _table(counts: dict[str, Any]) -> str:
    rows = list(_rows("", counts))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:{width}}  {value}" for name, value in rows)


def _rows(prefix: str, counts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in counts.items():
        if isinstance(value, dict):
            yield from _rows(f"{prefix}{name} ", value)
        elif value is not None:
            yield prefix + name.replace("_", " "), _text(name, value)


def _text(name: str, value: object) -> str:
    if name.endswith("_time") and isinstance(value, int):
        return dt.datetime.fromtimestamp(value).astimezone().isoformat()
    return f"{value:,}" if isinstance(value, int) else str(value)
