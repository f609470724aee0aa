"""The standard streams, in programs of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest


def program(body: str, *, stdin: bytes = b"", timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
    text = "import asyncio, sys\nfrom asyncstore.aio import _stdio as io\n" + textwrap.dedent(body)
    return subprocess.run([sys.executable, "-c", text], input=stdin, capture_output=True, timeout=timeout, check=False)


def test_text_streams_read_lines_and_write():
    done = program(
        """
        async def main():
            first = await io.stdin.readline()
            rest = [line async for line in io.stdin]
            await io.stdout.write(first.upper())
            await io.stdout.writelines(rest)
            await io.stdout.flush()
            await io.stderr.write("done")
        asyncio.run(main())
        """,
        stdin="grüße\nzwei\ndrei".encode(),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "GRÜSSE\nzwei\ndrei".encode(), b"done")


def test_byte_streams_carry_what_is_no_text():
    done = program(
        """
        async def main():
            data = await io.stdin_bytes.read()
            print(io.stdin_bytes.isatty(), io.stdin_bytes.fileno(), file=sys.stderr)
            assert await io.stdout_bytes.write(data[::-1]) == len(data)
            await io.stdout_bytes.flush()
        asyncio.run(main())
        """,
        stdin=bytes(range(256)),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, bytes(range(255, -1, -1)), b"False 0\n")


def test_a_read_that_waits_holds_up_neither_other_work_nor_the_end_of_the_process():
    text = textwrap.dedent("""
        import asyncio
        from asyncstore.aio import _stdio as io
        from asyncstore.pool import default_pool
        async def main():
            waiting = [asyncio.ensure_future(io.stdin.readline()) for _ in range(50)]
            await asyncio.sleep(0.01)
            print(await default_pool().run(int), flush=True)
            await io.stdout.write("still here\\n")
            await io.stdout.flush()
        asyncio.run(main())
    """)
    with subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"0\nstill here\n"  # and nobody has closed stdin
        assert process.wait(30) == 0


def test_a_program_without_the_stream_is_told_so():
    done = program("""
        sys.stdin = None
        async def main():
            try:
                await io.stdin.read()
            except RuntimeError as error:
                print(error)
        asyncio.run(main())
    """)
    assert done.stdout == b"this program has no stdin\n"


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr", "stdin_bytes", "stdout_bytes", "stderr_bytes"])
def test_each_stream_tells_what_it_is(name):
    from asyncstore.aio import _stdio

    assert repr(getattr(_stdio, name)) == f"<StandardStream {name.replace('_', ' ')}>"
