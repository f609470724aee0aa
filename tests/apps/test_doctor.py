"""asyncstore doctor: what it says is what was tried, and only what is required fails."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from asyncstore.apps import _probes, doctor
from asyncstore.apps.doctor import Finding, Status, examine
from asyncstore.testing import Unavailable, leak_check, small_tmpfs


def named(findings, name):
    (found,) = (finding for finding in findings if finding.name == name)
    return found


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    return examine(tmp_path_factory.mktemp("probed"))


def test_nothing_that_is_required_is_broken_here(findings):
    assert [finding for finding in findings if finding.status is Status.BROKEN] == []


def test_every_finding_says_what_it_means_and_what_is_missing_how_to_get_it(findings):
    for finding in findings:
        assert finding.value
        assert finding.meaning
        assert finding.remedy if finding.status is Status.MISSING else not finding.remedy


def test_everything_that_was_promised_is_looked_at(findings):
    assert {finding.name for finding in findings} >= {
        "interpreter", "platform", "uvloop", "worker threads", "default pool", "io_uring", "inotify watches",
        "inotify instances", "file system", "RWF_NOWAIT reads", "RWF_NOWAIT writes", "RESOLVE_CACHED opens", "O_DIRECT",
        "berkeleydb", "httptools", "sqlite3", "asyncmy", "asyncpg", "duckdb", "open files", "processors",
    }  # fmt: skip


def test_an_examination_leaves_nothing_behind(tmp_path):
    with leak_check():
        examine(tmp_path)
    assert os.listdir(tmp_path) == []


def test_the_file_system_of_the_named_folder_is_the_one_that_is_examined():
    try:
        with small_tmpfs() as folder:
            found = examine(folder)
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert named(found, "file system").value == "tmpfs"
    assert named(found, "RWF_NOWAIT reads").status is Status.MISSING
    assert "does not support" in named(found, "RWF_NOWAIT reads").value


def test_a_folder_that_cannot_be_written_to_is_told_and_stops_nothing(tmp_path, monkeypatch):
    def refused(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(_probes.tempfile, "mkstemp", refused)
    found = named(examine(tmp_path), "file system")
    assert found.status is Status.MISSING
    assert found.value == "cannot be tried: Permission denied"


def test_a_forbidden_ring_says_why(monkeypatch):
    state = _probes._rings.RingState(usable=False, reason="Operation not permitted")
    monkeypatch.setattr(_probes._rings, "probe", lambda: state)
    monkeypatch.setattr(_probes, "read_number", {"/proc/sys/kernel/io_uring_disabled": 2}.get)
    monkeypatch.setattr(_probes, "_seccomp_hint", lambda: "a seccomp filter is active")
    found = named(examine(), "io_uring")
    assert found.status is Status.MISSING
    assert found.value == (
        "Operation not permitted; kernel.io_uring_disabled is 2 (0 allows it to all); a seccomp filter is active"
    )
    assert "container profile" in found.remedy
    assert named(examine(), "inotify watches").value == "no inotify here"


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EOPNOTSUPP, "this file system does not support it"),
        (errno.EINVAL, "this file system does not support it"),
        (errno.EAGAIN, "it would have waited (EAGAIN)"),
        (errno.EPERM, "it: forbidden, or the kernel is too old (EPERM)"),
        (errno.ENOSYS, "it: forbidden, or the kernel is too old (ENOSYS)"),
        (errno.EIO, "it: Input/output error"),
    ],
)
def test_a_refusal_is_told_in_words(number, sentence):
    assert _probes._refusal("it", OSError(number, os.strerror(number))) == sentence


def test_probes_do_without_what_other_platforms_lack(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)
    monkeypatch.delattr(os, "O_DIRECT", raising=False)
    monkeypatch.setattr(_probes._syscalls, "AVAILABLE", False)
    found = examine(tmp_path)
    for name in ("RWF_NOWAIT reads", "RWF_NOWAIT writes", "RESOLVE_CACHED opens", "O_DIRECT"):
        assert named(found, name).status is Status.MISSING
    assert named(found, "file system").value == "unknown"


def test_a_driver_that_is_not_installed_names_its_extra(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name in {"uvloop", "duckdb"} else find_spec(name))
    found = examine()
    assert named(found, "uvloop").remedy == "pip install 'asyncstore[uvloop]'"
    assert named(found, "duckdb").value == "not installed"


def test_a_binding_that_does_not_import_is_told_with_its_error(monkeypatch):
    def broken():
        raise ImportError("libdb-5.3.so: cannot open shared object file")

    monkeypatch.setattr(doctor, "find_spec", lambda name: object())
    monkeypatch.setattr(doctor, "_libdb", broken)
    found = named(examine(), "berkeleydb")
    assert found.status is Status.MISSING
    assert "libdb-5.3.so" in found.value


def test_no_driver_is_imported_to_be_found():
    code = """
import sys
from asyncstore.apps.doctor import examine
examine()
print(sorted({"uvloop", "httptools", "asyncmy", "asyncpg", "duckdb"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_text_shows_each_finding_under_its_group():
    text = doctor._as_text((
        Finding("One", "a", Status.OK, "works", "good for x"),
        Finding("One", "b", Status.MISSING, "not installed", "good for y", "pip install y"),
        Finding("Two", "c", Status.BROKEN, "gone", "needed"),
    ))  # fmt: skip
    assert text.splitlines()[1:] == [
        "",
        "One",
        "  ok      a                     works - good for x",
        "  missing b                     not installed - good for y",
        "                                to get it: pip install y",
        "",
        "Two",
        "  broken  c                     gone - needed",
    ]


def test_main_prints_for_people_and_succeeds_when_only_options_are_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert doctor.main(["--path", str(tmp_path)]) == 0
    assert f"Files in {tmp_path}" in capsys.readouterr().out


def test_main_prints_json_with_the_same_findings(tmp_path, capsys):
    assert doctor.main(["--json", "--path", str(tmp_path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert [entry["name"] for entry in document["findings"]] == [finding.name for finding in examine(tmp_path)]
    assert {entry["status"] for entry in document["findings"]} <= {"ok", "missing"}


def test_worker_threads_that_do_not_start_are_broken_and_fail_the_command(monkeypatch, capsys):
    def no_more_threads(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", no_more_threads)
    assert doctor.main([]) == 1
    assert "broken  worker threads" in capsys.readouterr().out


def test_an_old_interpreter_is_broken(monkeypatch):
    monkeypatch.setattr(doctor, "_OLDEST_PYTHON", (99, 0))
    found = named(examine(), "interpreter")
    assert found.status is Status.BROKEN
    assert found.remedy == "install Python 99.0 or newer"


def test_a_folder_that_does_not_exist_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        doctor.main(["--path", str(tmp_path / "nowhere")])
    assert exit_.value.code == 2
    assert "is not a folder" in capsys.readouterr().err


def test_few_descriptors_are_told(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    found = named(examine(), "open files")
    assert found.status is Status.MISSING
    assert found.value == "256 of at most unlimited"
    assert found.remedy == "ulimit -n 4096"
