"""What `aio.open` tells a developer: where an unclosed file was opened, where an encoding was left to the locale."""

from __future__ import annotations

import subprocess
import sys


def program(text: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, *options, "-c", text], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_development_mode_says_where_an_unclosed_file_was_opened(tmp_path):
    told = program(
        "import asyncio, asyncstore.aio as aio\n"
        "async def main():\n"
        f"    file = await aio.open({str(tmp_path / 'f')!r}, 'w')\n"
        "    await file.write('unsaved')\n"
        "    del file\n"
        "asyncio.run(main())",
        "-X", "dev",
    )  # fmt: skip
    assert "unclosed file" in told
    assert "7 bytes were never written" in told
    assert "opened at <string>:3" in told


def test_an_encoding_left_to_the_locale_warns_where_it_is_asked_for(tmp_path):
    told = program(
        "import asyncio, asyncstore.aio as aio\n"
        "async def main():\n"
        f"    async with aio.open({str(tmp_path / 'f')!r}, 'w'): pass\n"
        "asyncio.run(main())",
        "-X", "warn_default_encoding",
    )  # fmt: skip
    assert told.count("EncodingWarning") == 1
    assert told.startswith("<string>:3")
