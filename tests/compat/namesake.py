"""The source distribution of a package that we stand in for: its own test suite runs against ours.

It is fetched once, for the version that is installed here, and kept in the user's cache folder. Nothing of it is ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asyncstore-tests"
FETCH_TIMEOUT = 60  # seconds: below the time that a test has


def source(package: str) -> Path:
    """Return the unpacked source of `package`; skip the test when it cannot be had, fail it on CI."""
    name = f"{package}-{version(package)}"
    folder = CACHE / name
    if not folder.is_dir():
        try:
            _fetch(package, name)
        except (OSError, subprocess.SubprocessError) as exc:
            reason = f"the source of {name} cannot be fetched: {exc}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
    return folder


def _fetch(package: str, name: str) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        subprocess.run(
            # this one as source, but not what pip builds its metadata with: that takes minutes
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", package, "--dest", scratch,
             f"{package}=={version(package)}"],
            check=True, timeout=FETCH_TIMEOUT, capture_output=True,
        )  # fmt: skip
        (archive,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            # Python 3.11.4 brought filters; Debian 12 has 3.11.2
            packed.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
            packed.extractall(scratch)
        try:
            (Path(scratch) / name).rename(CACHE / name)
        except OSError:  # another run was faster
            if not (CACHE / name).is_dir():
                raise


def run_suite(package: str, scratch: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of `package`, copied to `scratch`, with ours installed in its place; return how that ended."""
    shutil.copytree(source(package) / "tests", scratch / "tests")
    (scratch / "conftest.py").write_text(
        "import sys\n"
        "from asyncstore import compat\n"
        f"compat.install({package!r})\n"
        f"import {package}\n"
        f"assert {package}.__name__ == 'asyncstore.compat.{package}', {package}\n"
    )
    (scratch / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "tests", "-q", "-p", "no:cacheprovider", "--timeout", "60", *options],
        cwd=scratch, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
