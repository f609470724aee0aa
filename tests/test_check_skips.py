"""CI's reading of the skip report: a skip for want of a server or a package is a failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "tools" / "check_skips.py"


def verdict(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    report = tmp_path / "report.xml"
    report.write_text(
        f'<testsuites><testsuite><testcase classname="c" name="t">{body}</testcase></testsuite></testsuites>'
    )
    return subprocess.run([sys.executable, SCRIPT, report], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "body",
    [
        "",
        '<skipped type="pytest.skip" message="there are no eager tasks on Python 3.11"/>',
        '<skipped type="pytest.skip" message="this kernel has no io_uring"/>',
        '<skipped type="pytest.xfail" message="upstream"/>',
    ],
)
def test_what_the_machine_or_this_python_lacks_may_be_skipped(tmp_path, body):
    assert verdict(tmp_path, body).returncode == 0


@pytest.mark.parametrize("reason", ["no memcached server found", "needs uvloop, which is not installed", ""])
def test_any_other_skip_fails_and_is_named(tmp_path, reason):
    done = verdict(tmp_path, f'<skipped type="pytest.skip" message="{reason}"/>')
    assert done.returncode == 1
    assert f"c::t: {reason}" in done.stderr
