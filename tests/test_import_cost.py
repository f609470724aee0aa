"""`import asyncstore` loads no service, and nothing heavy with it.

Modules are counted rather than milliseconds: a count says the same on a busy machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import asyncstore
from tests.conftest import need

PACKAGE = Path(asyncstore.__file__).parent


def loaded_by(statement: str) -> set[str]:
    """The names of the modules that `statement` loads in an interpreter without site-packages."""
    script = (
        f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); before = set(sys.modules)\n"
        f"{statement}\n"
        "names = sorted(set(sys.modules) - before); import json; print(json.dumps(names))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def services() -> list[str]:
    """The public subpackages and modules right below the package, as they lie on disk; programs are not among them."""
    return sorted(
        path.stem
        for path in PACKAGE.iterdir()
        if not path.name.startswith("_")
        and path.stem not in ("apps", "cli")
        and (path.suffix == ".py" or (path / "__init__.py").exists())
    )


def test_importing_the_package_loads_only_its_face():
    assert loaded_by("import asyncstore") == {"__future__", "asyncstore", "asyncstore._run", "asyncstore.errors"}


def test_the_count_sees_a_module_that_loads_more():
    assert "asyncio" in loaded_by("import asyncstore, asyncio")


@pytest.mark.parametrize("name", services())
def test_every_service_is_reachable_as_an_attribute(name):
    assert name in dir(asyncstore)
    try:
        service = asyncstore.__getattr__(name)
    except ImportError as error:
        need(error.name, f"asyncstore.{name}")
        raise
    assert service.__name__ == f"asyncstore.{name}"


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'asyncstore' has no attribute 'nowhere'"):
        _ = asyncstore.nowhere


def test_run_returns_the_result_on_the_loop_that_was_asked_for():
    import asyncio

    made = []

    def factory():
        made.append(asyncio.new_event_loop())
        return made[0]

    async def main():
        return asyncio.get_running_loop(), asyncio.get_running_loop().get_debug()

    assert asyncstore.run(main(), loop_factory=factory, debug=True) == (made[0], True)
    assert made[0].is_closed()
