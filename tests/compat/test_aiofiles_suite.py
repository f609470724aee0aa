"""The test suite of aiofiles passes with ours in its place."""

from __future__ import annotations

import os
import re

import pytest

from tests.compat.namesake import run_suite


@pytest.mark.timeout(400)  # seconds: a whole suite, and fetching it
def test_the_suite_of_aiofiles_passes_with_only_its_import_changed(tmp_path):
    # its test of access() expects that permissions bind: for root they do not, with aiofiles either
    options = ["--deselect", "tests/test_os.py::test_access"] if os.geteuid() == 0 else []
    done = run_suite("aiofiles", tmp_path, *options)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found, done.stdout
    assert int(found[1]) > 150, "and it did run"
