"""Our modules in the place of their namesakes."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from asyncstore import compat


def run(script: str) -> str:
    """Run `script` in a process of its own: what is imported stays imported."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_module_of_aiofiles_is_replaced():
    assert (
        run("""
            import importlib
            from asyncstore import compat
            from asyncstore.compat._install import NAMESAKES
            compat.install("aiofiles")
            import aiofiles, aiofiles.os, aiofiles.threadpool.binary
            from aiofiles.ospath import exists
            from aiofiles import tempfile
            for name in NAMESAKES["aiofiles"]:
                module = importlib.import_module("aiofiles" + (name and "." + name))
                assert module.__name__.startswith("asyncstore.compat.aiofiles"), module
            assert compat.installed() == {"aiofiles"}
            print(aiofiles.os.stat.__module__, aiofiles.open.__module__)
        """)
        == "posix asyncstore.compat.aiofiles.threadpool"
    )


def test_a_second_install_changes_nothing_and_uninstall_undoes_both():
    run("""
        import sys
        from asyncstore import compat
        compat.install("aiofiles")
        import aiofiles
        ours = aiofiles
        compat.install("aiofiles")
        compat.install()
        assert sys.modules["aiofiles"] is ours
        compat.uninstall("aiofiles")
        assert not [name for name in sys.modules if name.split(".")[0] == "aiofiles"]
        assert compat.installed() == frozenset()
        import aiofiles
        assert aiofiles is not ours and aiofiles.__name__ == "aiofiles"
        compat.uninstall("aiofiles")
        assert sys.modules["aiofiles"] is aiofiles
    """)


def test_an_install_after_the_real_import_is_refused_with_what_to_do():
    run("""
        import sys, aiofiles
        from asyncstore import compat
        real = aiofiles
        try:
            compat.install("aiofiles")
        except compat.AlreadyImported as exc:
            assert isinstance(exc, ImportError) and exc.name == "aiofiles"
            assert real.__file__ in str(exc) and "replace=True" in str(exc)
        else:
            raise SystemExit("not refused")
        assert sys.modules["aiofiles"] is real and compat.installed() == frozenset()
        compat.install("aiofiles", replace=True)
        import aiofiles
        assert aiofiles is not real
        compat.uninstall()
        import aiofiles, aiofiles.os
        assert aiofiles is real and aiofiles.os.__name__ == "aiofiles.os"
    """)


def test_a_name_without_a_replacement_is_refused_before_anything_changes():
    run("""
        from asyncstore import compat
        try:
            compat.install("aiofiles", "aiofile")
        except ValueError as exc:
            assert "'aiofile'" in str(exc) and "aiofiles" in str(exc)
        else:
            raise SystemExit("not refused")
        assert compat.installed() == frozenset()
    """)


def test_uninstall_refuses_an_unknown_name():
    with pytest.raises(ValueError, match="no replacement for 'nothing'"):
        compat.uninstall("nothing")


def test_importing_compat_loads_no_replacement():
    run("""
        import sys
        from asyncstore import compat
        assert "asyncstore.compat.aiofiles" not in sys.modules
        assert "asyncstore.aio" not in sys.modules
    """)
