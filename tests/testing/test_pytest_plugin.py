"""The fixtures as a user meets them: in a project of its own, run by a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import asyncstore


@pytest.fixture
def project(tmp_path):
    """Write a test file and run it with the plugin; return the output."""

    def run(text, *arguments, **environment):
        (tmp_path / "test_user.py").write_text(textwrap.dedent(text))
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "asyncstore.testing.pytest_plugin"]
        done = subprocess.run(
            [*command, "-q", "-rs", *arguments],
            cwd=tmp_path,
            env={**{name: value for name, value in os.environ.items() if name != "CI"}, **environment,
                 "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(Path(asyncstore.__file__).parent.parent)},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    return run


def test_the_leak_check_fails_a_test_that_leaks_and_passes_one_that_does_not(project):
    output = project("""
        import os, pytest
        pytestmark = pytest.mark.usefixtures("leak_check")
        def test_clean(): os.close(os.open(os.devnull, os.O_RDONLY))
        def test_leaking(): os.pipe()
    """)
    assert "2 passed, 1 error" in output
    assert "2 leaked: file descriptor" in output


def test_the_doubles_work_on_the_loop_of_the_test(project):
    output = project(
        """
        import asyncio, errno, os, pytest
        pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("leak_check")]

        @pytest.fixture
        def anyio_backend(): return "asyncio"

        async def test_cancel(cancel_everywhere):
            assert (await cancel_everywhere(lambda: asyncio.sleep(0))).points == 1

        async def test_faults(fail_nth, fault_loop):
            with fail_nth(os, "getppid", 1), pytest.raises(OSError):
                os.getppid()
            assert await fault_loop(lambda: os.getppid(), os, "getppid") == 1

        async def test_proxy(chaos_proxy):
            from asyncstore.testing import Reset
            async def hello(reader, writer):
                writer.write(b"hello")
                writer.close()
            server = await asyncio.start_server(hello, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            async with server, chaos_proxy("127.0.0.1", port, to_client=Reset()) as proxy:
                reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
                with pytest.raises(ConnectionResetError):
                    await reader.read()
                writer.close()

        def test_full(full_disk):
            with pytest.raises(OSError), open(full_disk / "x", "wb") as file:
                file.write(bytes(2 << 20))
        """,
        "-p",
        "anyio",
    )
    assert "4 passed" in output


def test_a_missing_memcached_skips_and_with_ci_fails(project, tmp_path):
    text = """
        import pytest
        from asyncstore.testing import _servers
        _servers._SYSTEM_FOLDERS = ()
        def test_server(memcached_server): assert memcached_server.port
    """
    (tmp_path / "empty").mkdir()
    assert "memcached is not installed" in (skipped := project(text, PATH=str(tmp_path / "empty")))
    assert "1 skipped" in skipped
    assert "1 error" in project(text, PATH=str(tmp_path / "empty"), CI="1")


def test_a_project_that_uses_no_fixture_loads_nothing_but_the_plugin(project):
    output = project("""
        import sys
        def test_nothing():
            loaded = {name for name in sys.modules if name.startswith("asyncstore.")}
            assert loaded <= {"asyncstore.errors", "asyncstore._run", "asyncstore.testing",
                              "asyncstore.testing.pytest_plugin"}, loaded
    """)
    assert "1 passed" in output


def test_the_fixtures_are_listed_with_their_description(project):
    output = project("", "--fixtures")
    for name in (
        "cancel_everywhere",
        "chaos_proxy",
        "fail_nth",
        "fault_loop",
        "full_disk",
        "leak_check",
        "small_tmpfs",
    ):
        assert f"\n{name} -- " in output
    assert "memcached_server [session scope] -- " in output
