"""The public surface is written down: `tests/public_api.txt` lists every public name with its parameters.

A change of the API therefore shows in the diff. After a wanted change, write the list anew on the oldest Python::

    python tests/test_public_api.py
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

import asyncstore

PACKAGE = Path(asyncstore.__file__).parent
LISTED = Path(__file__).with_name("public_api.txt")
OLDEST = (3, 11)  # what the list is written on; a newer Python may add to it (pathlib does), never take away

# what a public module may fail to import where its extra is not installed
EXTRAS = {
    "asyncstore.apps.bdb": "berkeleydb",
    "asyncstore.apps": "httptools",
    "asyncstore.bdb": "berkeleydb",
    "asyncstore.http": "httptools",
    "asyncstore.testing.pytest_plugin": "pytest",
}


def public_modules() -> Iterator[str]:
    """Dotted names of all modules without a leading underscore on their way, from the files on disk."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if parts[0:1] == ("compat",) and parts[1:2] not in ((), ("errors",)):
            continue  # the surface is the namesake's, and tests/compat compares it with that
        if not any(part.startswith("_") for part in parts):
            yield ".".join(("asyncstore", *parts))


MODULES = tuple(public_modules())


def missing_extra(module: str) -> str | None:
    """The package that `module` needs and that is not installed, if any."""
    for prefix, needed in EXTRAS.items():
        if f"{module}.".startswith(f"{prefix}.") and find_spec(needed) is None:
            return needed
    return None


def load(module: str) -> ModuleType:
    if needed := missing_extra(module):
        pytest.skip(f"{module} needs {needed}, which is not installed")
    return importlib.import_module(module)


def bound_in_public(tree: ast.Module) -> set[str]:
    """Names that a module's top level binds for others: definitions, assignments and `import x as x`."""
    names: set[str] = set()
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names.update(target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names.update(alias.name for alias in aliases if alias.asname == alias.name)
    return {name for name in names if not name.startswith("_") and name != "TYPE_CHECKING"}


def parameters(function: object) -> str:
    """The parameters of a callable without `self` and annotations; a default shows only as `=`."""
    try:
        signature = inspect.signature(function)  # type: ignore[arg-type]  # not callable: TypeError, caught below
    except (TypeError, ValueError):  # built-in without a signature
        return ""
    shown = []
    before = None
    for name, parameter in signature.parameters.items():
        if name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and before not in (
            parameter.KEYWORD_ONLY,
            parameter.VAR_POSITIONAL,
        ):
            shown.append("*")
        before = parameter.kind
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        shown.append(f"{star}{name}{'' if parameter.default is parameter.empty else '='}")
    return f"({', '.join(shown)})"


def members(cls: type, name: str) -> Iterator[str]:
    """The public methods and properties of `cls`, its own and those of our bases; exceptions show their own only."""
    seen: set[str] = set()
    for base in (cls,) if issubclass(cls, BaseException) else cls.__mro__:
        if not base.__module__.startswith("asyncstore"):
            continue
        for attribute in sorted(vars(base)):
            if attribute.startswith("_") or attribute in seen:
                continue
            seen.add(attribute)
            value = inspect.getattr_static(cls, attribute)
            value = getattr(value, "__func__", value)
            yield f"{name}.{attribute}{parameters(value) if callable(value) else ''}"


def surface(module: ModuleType) -> Iterator[str]:
    for name in module.__all__:
        value = getattr(module, name)
        dotted = f"{module.__name__}.{name}"
        if isinstance(value, type):
            # the constructors of exceptions, enums and protocols come from Python and differ between its versions
            foreign = issubclass(value, BaseException | Enum) or getattr(value, "_is_protocol", False)
            yield dotted if foreign else f"{dotted}{parameters(value)}"
            yield from members(value, dotted)
        else:
            yield f"{dotted}{parameters(value) if callable(value) else ''}"


def as_text(modules: tuple[str, ...]) -> list[str]:
    return sorted({line for name in modules for line in surface(importlib.import_module(name))})


@pytest.mark.parametrize("name", MODULES)
def test_all_is_a_sorted_tuple_of_names_that_exist(name):
    module = load(name)
    assert isinstance(module.__all__, tuple)
    assert list(module.__all__) == sorted(set(module.__all__))
    assert [entry for entry in module.__all__ if not hasattr(module, entry)] == []


@pytest.mark.parametrize("name", MODULES)
def test_no_public_name_is_left_out_of_all(name):
    module = load(name)
    bound = bound_in_public(ast.parse(Path(module.__file__).read_bytes()))
    # what is made for annotations only (TypeVar and its kin) is nobody's API
    bound -= {entry for entry in bound if type(getattr(module, entry)).__module__ == "typing"}
    assert sorted(bound - set(module.__all__)) == []


@pytest.mark.skipif(not LISTED.exists(), reason="the package was installed without its tests")
@pytest.mark.skipif(sys.version_info[:2] != OLDEST, reason="pathlib and typing differ: the list is that on Python 3.11")
def test_the_public_surface_is_the_one_that_is_written_down():
    absent = tuple(name for name in MODULES if missing_extra(name))
    here = set(as_text(tuple(name for name in MODULES if name not in absent)))
    listed = {
        line
        for line in LISTED.read_text().splitlines()
        if not any(line.startswith(f"{name}.") for name in absent)
    }  # fmt: skip
    changes = [f"- {line}" for line in sorted(listed - here)]
    changes += [f"+ {line}" for line in sorted(here - listed)]
    assert not changes, "\n".join(("if this is meant, run: python tests/test_public_api.py", *changes))


def test_an_import_without_a_marker_is_no_public_name():
    tree = ast.parse("import os\nfrom x import a as a, b\nC: int = 1\nd = _e = 2\ndef f(): ...\nclass _G: ...")
    assert bound_in_public(tree) == {"a", "C", "d", "f"}


def test_parameters_show_kinds_and_which_have_a_default():
    def function(a, b=1, *rest, c, d=2, **more): ...
    def keywords(*, a, b): ...  # fmt: skip

    assert parameters(function) == "(a, b=, *rest, c, d=, **more)"
    assert parameters(keywords) == "(*, a, b)"


if __name__ == "__main__":
    if sys.version_info[:2] != OLDEST:
        sys.exit(f"the list is written on Python {'.'.join(map(str, OLDEST))}, this is {sys.version.split()[0]}")
    LISTED.write_text("\n".join(as_text(MODULES)) + "\n")
