"""The command line: what it offers, what it loads, what it returns."""

from __future__ import annotations

import subprocess
import sys

import pytest

import asyncstore
from asyncstore import cli


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"asyncstore {asyncstore.__version__}\n"


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "serve" in text
    assert "doctor" in text


def test_the_help_of_a_command_is_its_own(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in ("--root", "--data", "--host", "--port", "--loop", "--read-only", "--max-body", "--idle-timeout"):
        assert option in text


@pytest.mark.parametrize("arguments", [[], ["brew"], ["--frob"], ["--frob", "serve"]])
def test_what_is_no_command_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_arguments_of_a_command_reach_it_untouched(monkeypatch):
    got = []
    monkeypatch.setattr(cli, "_load", lambda command: lambda argv: got.append((command, list(argv))) or 7)
    assert cli.main(["serve", "--port", "0", "--", "-x"]) == 7
    assert got == [("serve", ["--port", "0", "--", "-x"])]


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130)])
def test_an_interrupted_command_says_so_by_its_status(monkeypatch, error, status):
    def program(_):
        raise error

    monkeypatch.setattr(cli, "_load", lambda _: program)
    assert cli.main(["serve"]) == status


def test_a_command_whose_packages_are_missing_says_which_to_install(monkeypatch, capsys):
    def load(_):
        raise ModuleNotFoundError("No module named 'httptools'", name="httptools")

    monkeypatch.setattr(cli, "_load", load)
    assert cli.main(["serve"]) == 1
    assert "httptools" in capsys.readouterr().err


def test_looking_at_the_version_loads_no_service():
    code = (
        "import sys; from asyncstore import cli\n"
        "try: cli.main(['--version'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('asyncio', 'httptools', 'asyncstore.http', 'asyncstore.bdb') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_the_module_is_the_command():
    result = subprocess.run(
        [sys.executable, "-m", "asyncstore", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout == f"asyncstore {asyncstore.__version__}\n"
