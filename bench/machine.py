"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def describe(data: Path, packages: list[str]) -> str:
    """Return a paragraph: processor, kernel, filesystem under `data`, Python and package versions."""
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    system = f"{platform.system()} {platform.release()}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    where = f"{os.cpu_count()} processors ({_processor()}), {system}, data on {filesystem(data)}"
    return f"{where}, {python}; {', '.join(versions)}."


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    except OSError:
        pass  # no procfs: the platform module knows less, but something
    return platform.processor() or platform.machine()


def filesystem(path: Path) -> str:
    """Return the type of the filesystem that holds `path`, as the kernel's mount table has it."""
    best, kind = "", "an unknown filesystem"
    try:
        mounts = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return kind
    where = str(path.resolve())
    for line in mounts:
        _, mount, fstype, *_ = line.split()
        if (where + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(best):
            best, kind = mount, fstype
    return kind
