"""Every public name of aiofiles is there, is the same kind of thing and takes the same parameters."""

from __future__ import annotations

import importlib
import inspect

import pytest

from asyncstore.compat._install import NAMESAKES

aiofiles = pytest.importorskip("aiofiles")

MODULES = NAMESAKES["aiofiles"]


def pair(name: str):
    path = name and f".{name}"
    return importlib.import_module(f"aiofiles{path}"), importlib.import_module(f"asyncstore.compat.aiofiles{path}")


def own(module, value) -> bool:
    """Whether a name is of the package itself, and not something that it imports for its own use."""
    return getattr(value, "__module__", "").startswith("aiofiles")


def public_names(module):
    listed = getattr(module, "__all__", None)
    found = {name for name, value in vars(module).items() if not name.startswith("_") and own(module, value)}
    return sorted(found | set(listed or ()))


def parameters(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_of_the_module_is_there(name):
    theirs, ours = pair(name)
    assert [n for n in public_names(theirs) if not hasattr(ours, n)] == []
    if hasattr(theirs, "__all__"):
        assert set(theirs.__all__) <= set(ours.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_functions_have_the_same_parameters_and_are_awaited_alike(name):
    theirs, ours = pair(name)
    compared = 0
    for n in public_names(theirs):
        their, our = getattr(theirs, n), getattr(ours, n)
        if inspect.isfunction(their):
            compared += 1
            assert parameters(our) == parameters(their), n
            assert inspect.iscoroutinefunction(our) == inspect.iscoroutinefunction(their), n
    assert compared or name in {"", "base", "tempfile.temptypes", "threadpool.binary", "threadpool.text"}


@pytest.mark.parametrize("name", MODULES)
def test_classes_have_the_same_methods_and_bases(name):
    theirs, ours = pair(name)
    for n in public_names(theirs):
        their, our = getattr(theirs, n), getattr(ours, n)
        if not inspect.isclass(their):
            continue
        bases = [base.__name__ for base in their.__mro__ if base.__module__.startswith("aiofiles")]
        assert set(bases) <= {base.__name__ for base in our.__mro__}, n
        for method, value in vars(their).items():
            if method.startswith("_") and method not in {"__aiter__", "__anext__", "__await__", "__aenter__"}:
                continue
            mine = inspect.getattr_static(our, method)
            assert isinstance(value, property) == isinstance(mine, property), f"{n}.{method}"
            if callable(value) and method != "__anext__":  # ours hands on an awaitable without a coroutine between
                assert inspect.iscoroutinefunction(value) == inspect.iscoroutinefunction(mine), f"{n}.{method}"


def test_the_files_of_each_mode_are_of_the_same_class(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x")

    async def classes(package):
        found = {}
        for mode in ("r", "w", "a", "r+", "w+", "rb", "wb", "ab", "rb+", "wb+", "ab+"):
            for buffering in (-1, 0) if "b" in mode else (-1,):
                async with package.open(path, mode, buffering) as file:
                    found[mode, buffering] = (type(file).__name__, file.mode, file.name)
        return found

    import asyncio

    from asyncstore.compat import aiofiles as ours

    async def both():
        return await classes(aiofiles), await classes(ours)

    theirs, mine = asyncio.run(both())
    assert mine == theirs
