"""Imports go one way: a module imports only from floors below its own, and services do not import each other.

Every import counts, also inside functions, under TYPE_CHECKING and through `importlib.import_module("...")`. Codec
modules (`_codec.py`, `*_codec.py`) turn bytes into events and back: they import nothing that reaches a socket, a thread
or a clock.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import asyncstore

PACKAGE = Path(asyncstore.__file__).parent

FLOORS = {
    "errors": 0, "_opening": 0,
    "loop": 1, "pool": 1, "net": 1,
    "aio": 2, "bdb": 2, "dbi": 2, "memcached": 2,
    "http": 2, "dns": 2, "smtp": 2, "xmpp": 2, "atom": 2, "ping": 2, "mp": 2,
    "compat": 3, "realtime": 3,
    "apps": 4,
    "cli": 5, "__main__": 6,
    # test doubles look at everything that a service opens, and nothing that ships may lean on them
    "testing": 5,
}  # fmt: skip

FACE = ("", "_run")  # the package itself: eager imports from the ground only, lazy ones from anywhere
NOT_IN_A_CODEC = frozenset({"asyncio", "selectors", "socket", "ssl", "threading", "time"})


def imports(tree: ast.Module, package: str) -> Iterator[tuple[str, int, bool]]:
    """Yield (absolute dotted name, line, lazy) for each import in a module of `package`.

    `from a import b` yields "a.b", since b may be a module. Lazy: inside a function or under TYPE_CHECKING.
    """
    lazy_nodes = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found = [alias.name for alias in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                parents = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                base = ".".join([*parents, *([module] if module else [])])
                found = [f"{base}.{alias.name}" for alias in names]
            case ast.Call(args=[ast.Constant(value=str(name)), *_]) if ast.unparse(node.func).endswith(
                ("import_module", "__import__")
            ):
                found = [name]
            case _:
                continue
        for name in found:
            yield name, node.lineno, node in lazy_nodes


def unit(dotted: str, root: Path) -> str:
    """The subpackage or top module that `asyncstore.x.y` belongs to; "" for the package's own names."""
    parts = dotted.split(".")
    if len(parts) < 2:
        return ""
    exists = (root / parts[1]).is_dir() or (root / f"{parts[1]}.py").exists()
    return parts[1] if exists or parts[1] in FLOORS else ""


def edge_is_wrong(source: str, target: str, *, lazy: bool) -> bool:
    if source == target or target in FACE:
        return False
    if source in FACE:
        return not lazy and FLOORS[target] > 0
    return FLOORS[target] >= FLOORS[source]


def violations(root: Path) -> list[str]:
    """All that breaks the rules below the package folder `root`, one sentence each."""
    wrong = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        parts = ("asyncstore", *relative.with_suffix("").parts)
        source = "" if parts[1:] == ("__init__",) else parts[1]
        if source not in FLOORS and source not in FACE:
            wrong.append(f"{relative}: {source!r} stands on no floor; give it one in FLOORS")
            continue
        tree = ast.parse(path.read_bytes(), str(path))
        for name, line, lazy in imports(tree, ".".join(parts[:-1])):
            top = name.split(".")[0]
            if path.name.endswith("_codec.py") and top in NOT_IN_A_CODEC:
                wrong.append(f"{relative}:{line}: a codec imports {top}")
            if top != "asyncstore":
                continue
            target = unit(name, root)
            if target not in FLOORS and target not in FACE:
                wrong.append(f"{relative}:{line}: imports {target!r}, which stands on no floor")
            elif edge_is_wrong(source, target, lazy=lazy):
                wrong.append(f"{relative}:{line}: {source or 'the package'} imports {target}, which is not below it")
    return wrong


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_every_import_goes_down():
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("path", "text", "line", "target"),
    [
        ("pool/_a.py", "from asyncstore.aio import read", 1, "aio"),
        ("pool/_a.py", "from ..aio import read", 1, "aio"),
        ("pool/_a.py", "from .. import aio", 1, "aio"),
        ("pool/_a.py", "import asyncstore.aio", 1, "aio"),
        ("pool/_a.py", "from ..net import connect", 1, "net"),
        ("aio/_a.py", "from asyncstore import bdb", 1, "bdb"),
        ("aio/_a.py", "def f():\n    from asyncstore import bdb", 2, "bdb"),
        ("aio/_a.py", "if TYPE_CHECKING:\n    from .. import testing", 2, "testing"),
        ("aio/a/__init__.py", "from ...bdb import x", 1, "bdb"),
        ("aio/_a.py", "importlib.import_module('asyncstore.cli')", 1, "cli"),
        ("errors.py", "from asyncstore import pool", 1, "pool"),
        ("__init__.py", "from . import aio", 1, "aio"),
    ],
)
def test_an_import_that_climbs_is_found(tmp_path, path, text, line, target):
    write(tmp_path / path, text)
    source = path.split("/")[0].removesuffix(".py").replace("__init__", "the package")
    assert violations(tmp_path) == [f"{path}:{line}: {source} imports {target}, which is not below it"]


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("utils.py", "", "utils.py: 'utils' stands on no floor; give it one in FLOORS"),
        ("aio/_codec.py", "from time import time", "aio/_codec.py:1: a codec imports time"),
        ("aio/_text_codec.py", "import asyncio.streams", "aio/_text_codec.py:1: a codec imports asyncio"),
    ],
)
def test_a_stray_module_and_an_impure_codec_are_found(tmp_path, path, text, complaint):
    write(tmp_path / path, text)
    assert violations(tmp_path) == [complaint]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("aio/_a.py", "from asyncstore.pool import Pool\nfrom ..errors import Error\nfrom . import _b\nimport time"),
        ("aio/__init__.py", "from ._a import x as x\nfrom ..pool import Pool"),
        ("compat/aiofiles/__init__.py", "from asyncstore import aio, __version__\nfrom .os import stat"),
        ("__init__.py", "from ._run import run\nfrom .errors import Error\nif TYPE_CHECKING:\n    from . import aio"),
        ("aio/_codec.py", "import struct\nfrom ._events import Line"),
    ],
)
def test_a_right_import_passes(tmp_path, path, text):
    write(tmp_path / path, text)
    assert violations(tmp_path) == []
