"""Processes to be killed: forked off one that has imported everything, so that each is at work within a millisecond.

`Nursery(program)` runs the source text `program`, which defines coroutine functions; `nursery.start(name, *arguments)`
runs one of them in a process of its own. What that process writes to descriptor 1 comes back line by line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

__all__ = ("Child", "Nursery", "contents")

PATIENCE = 60.0  # seconds that a child has for whatever it is waited for

# Forks before any environment is open and any thread runs, which is what fork allows.
SERVER = """
import asyncio, json, os, signal, socket, sys, traceback
from asyncstore import bdb

def say(*words):
    os.write(1, " ".join(map(str, words)).encode() + b"\\n")  # in one piece, also when killed

{program}

def serve(control):
    children = set()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 65536, 2)
        if not message:
            break
        pid = os.fork()
        if pid == 0:
            control.close()
            for own, given in enumerate(descriptors):
                os.dup2(given, own)
                os.close(given)
            name, *arguments = json.loads(message)
            try:
                asyncio.run(globals()[name](*arguments))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        for given in descriptors:
            os.close(given)
        children.add(pid)
        control.send(b"%d" % pid)
        for child in list(children - {{pid}}):
            if os.waitpid(child, os.WNOHANG)[0]:
                children.discard(child)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

serve(socket.socket(fileno=int(sys.argv[1])))
"""


class Child:
    """A process of the nursery. Its number stays its own until the next one is started, so that it can be killed."""

    def __init__(self, pid: int, output: int, orders: int) -> None:
        self.pid = pid
        self._output = output
        self._orders = orders
        self._rest = b""
        self.ended = False

    def _read(self, timeout: float) -> list[str]:
        """Return the lines that have come within `timeout` seconds; none when the process has ended."""
        if not select.select([self._output], [], [], timeout)[0]:
            return []
        piece = os.read(self._output, 1 << 16)
        self.ended = not piece
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return [line.decode() for line in lines]

    def lines(self, enough: Callable[[list[str]], bool]) -> list[str]:
        """Return the lines that come until `enough` of them; fail when the process ends, or is silent, before."""
        found: list[str] = []
        deadline = time.monotonic() + PATIENCE
        while not enough(found):
            found += self._read(max(0.0, deadline - time.monotonic()))
            assert not self.ended, f"the process has ended by itself after {found[-3:]}"
            assert time.monotonic() < deadline, f"the process said nothing more after {found[-3:]}"
        return found

    def count(self, number: int) -> list[str]:
        """Return at least `number` lines."""
        return self.lines(lambda found: len(found) >= number)

    def until(self, word: str) -> list[str]:
        """Return the lines up to the one that is `word`, and what came with it."""
        return self.lines(lambda found: word in found)

    def tell(self, word: str) -> None:
        """Write a line to the standard input of the process."""
        os.write(self._orders, word.encode() + b"\n")

    def kill(self) -> list[str]:
        """Kill the process with SIGKILL and return the lines that it had still written."""
        os.kill(self.pid, signal.SIGKILL)
        return self.rest()

    def rest(self) -> list[str]:
        """Return the lines that come until the process has ended."""
        found: list[str] = []
        deadline = time.monotonic() + PATIENCE
        while not self.ended:
            found += self._read(max(0.0, deadline - time.monotonic()))
            assert time.monotonic() < deadline, f"the process does not end; it has said {found[-3:]}"
        return found

    def close(self) -> None:
        """Kill the process unless it has ended, and give its pipes up."""
        if not self.ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        os.close(self._output)
        os.close(self._orders)


class Nursery:
    """See the module. A context manager: what it has started ends with it."""

    def __init__(self, program: str) -> None:
        self._source = SERVER.format(program=textwrap.dedent(program))
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        self._control, theirs = socket.socketpair()
        number = str(theirs.fileno())
        with theirs:
            self._server = subprocess.Popen([sys.executable, "-c", self._source, number], pass_fds=[theirs.fileno()])
        return self

    def start(self, name: str, *arguments: Any) -> Child:
        """Run the coroutine function `name` of the program in a process of its own."""
        output, their_output = os.pipe()
        their_orders, orders = os.pipe()
        message = json.dumps([name, *arguments]).encode()
        socket.send_fds(self._control, [message], [their_orders, their_output])
        os.close(their_output)
        os.close(their_orders)
        child = Child(int(self._control.recv(100)), output, orders)
        self._children.append(child)
        return child

    @contextlib.contextmanager
    def child(self, name: str, *arguments: Any) -> Iterator[Child]:
        """As `start`; the process ends with the block."""
        child = self.start(name, *arguments)
        try:
            yield child
        finally:
            self._children.remove(child)
            child.close()

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.close()
        self._control.close()
        assert self._server.wait(PATIENCE) == 0


def contents(home: Path, *names: str, create: bool = False) -> list[dict[bytes, bytes]]:
    """Open what killed processes have left, and return all records of these databases; `create` those that are gone."""
    from asyncstore import bdb

    async def read() -> list[dict[bytes, bytes]]:
        async with bdb.open(home, cache_size=1 << 20) as env:
            found = []
            for name in names:
                async with env.database(name, create=create) as db:
                    found.append(dict([record async for record in db.range()]))
            return found

    return asyncio.run(read())
