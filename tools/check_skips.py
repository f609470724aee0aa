"""Fail when a test was skipped for a reason that CI can remove: ``python tools/check_skips.py report.xml``.

The report is pytest's ``--junitxml``. What may be skipped is listed here with why; anything else (a server that did not
start, a package that is missing) means that the suite proved less than it says.
"""

from __future__ import annotations

import re
import sys
from xml.etree import ElementTree as ET

ALLOWED = (
    (r"\b(on|in) Python 3\.\d+", "the behaviour exists only on other versions of Python, which CI runs too"),
    (r"\bthis (kernel|file ?system|machine|platform|system)\b", "it cannot do it; the fall-back is tested instead"),
    (r"\bno (io_uring|openat2|O_DIRECT|RWF_NOWAIT|extended attributes|tmpfs)\b", "as above: the kernel or file system"),
    (r"\bdoes not lie on a local disk\b", "as above: there is no disk to be slow"),
)


def surprises(report: str) -> list[str]:
    """The skipped tests of `report` whose reason is not among the allowed ones, one line each."""
    found = []
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - our own report, not foreign XML
        for skipped in case.iter("skipped"):
            reason = f"{skipped.get('message', '')} {skipped.text or ''}"
            if skipped.get("type") != "pytest.xfail" and not any(re.search(text, reason) for text, _ in ALLOWED):
                found.append(f"{case.get('classname')}::{case.get('name')}: {skipped.get('message')}")
    return found


def main() -> int:
    """Print the surprises; return the exit status."""
    found = surprises(sys.argv[1])
    for line in found:
        print(f"skipped without need: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
