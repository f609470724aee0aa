"""Full disks: ENOSPC on a small tmpfs, EFBIG under a limit, and both gone after the block."""

from __future__ import annotations

import errno
import os
import resource
import subprocess

import pytest

from asyncstore.testing import Unavailable, file_size_limit, full_disk, small_tmpfs

MIB = 1 << 20


def overflow(folder):
    """Write two MiB into `folder`; return the errno that it ended with."""
    with open(folder / "file", "wb", buffering=0) as file:
        for _ in range(32):
            try:
                file.write(bytes(1 << 16))
            except OSError as error:
                return error.errno
    raise AssertionError("all of it fitted")


@pytest.fixture
def mounted():
    """A small tmpfs; a skip where mounting is not allowed."""
    try:
        with small_tmpfs(MIB) as folder:
            yield folder
    except Unavailable as reason:
        pytest.skip(str(reason))


def test_a_small_tmpfs_is_full_after_its_size(mounted):
    assert overflow(mounted) == errno.ENOSPC
    assert os.path.ismount(mounted)
    assert os.statvfs(mounted).f_blocks * os.statvfs(mounted).f_frsize == MIB


def test_a_small_tmpfs_is_gone_after_the_block_also_when_a_file_was_left_open(mounted):
    with small_tmpfs(MIB) as folder:
        kept = open(folder / "file", "wb")
    kept.close()
    assert not folder.exists()


def test_without_the_right_to_mount_it_is_said_to_be_unavailable(monkeypatch):
    def refused(command, **_):
        raise subprocess.CalledProcessError(32, command, stderr="mount: permission denied.\n")

    monkeypatch.setattr("asyncstore.testing._disk.subprocess.run", refused)
    with pytest.raises(Unavailable, match=r"does not let us mount a tmpfs: mount: permission denied\."), small_tmpfs():
        pass


def test_a_file_size_limit_holds_in_the_block_only(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with file_size_limit(MIB):
        assert overflow(tmp_path) == errno.EFBIG
        assert (tmp_path / "file").stat().st_size == MIB
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
    (tmp_path / "file").write_bytes(bytes(2 * MIB))


def test_a_full_disk_falls_back_to_the_limit(monkeypatch):
    def refused(command, **_):
        raise FileNotFoundError("mount")

    with full_disk(MIB) as folder:
        assert overflow(folder) in {errno.ENOSPC, errno.EFBIG}
    monkeypatch.setattr("asyncstore.testing._disk.subprocess.run", refused)
    with full_disk(MIB) as folder:
        assert overflow(folder) == errno.EFBIG
    assert not folder.exists()
