"""What every test of the suite can ask for: the event loops that it runs on."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

# on top of Hypothesis's own profile (it has one for CI): how long an example takes is the machine's affair
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def need(module: str, what: str) -> None:
    """Skip the running test because `module` cannot be imported; fail it on CI, where nothing may be missing."""
    if find_spec(module) is not None:
        return
    reason = f"{what} needs {module}, which is not installed"
    if os.environ.get("CI"):
        pytest.fail(reason + " (on CI it must be)")
    pytest.skip(reason)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Every `async def` test runs on the stock loop and on uvloop."""
    name, options = request.param
    if options["use_uvloop"]:
        need("uvloop", "the second loop")
    return name, options
