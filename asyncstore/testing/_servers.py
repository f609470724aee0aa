"""Real servers for the length of a test: started on a free loopback port, in a folder of their own, and gone after.

`ServerProgram` says how a program is started; `TemporaryServer` does it. Both are synchronous, because a server is
mostly shared by a whole test session and started outside any loop; on a loop, call them through ``asyncio.to_thread``.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from asyncstore.testing.errors import ServerFailed, Unavailable

HOST = "127.0.0.1"
START_TIMEOUT = 30.0  # seconds until it accepts: databases initialise a folder first, on a busy machine
STOP_TIMEOUT = 10.0  # seconds between SIGTERM and SIGKILL
PORT_ATTEMPTS = 5  # a port that was free may be taken before the server binds it; each attempt takes another
_FIRST_PORT = 10240  # those below are well known, or likely to be configured
_PROBES = 100  # ports tried for a free one, before the kernel is asked for any: arbitrary
_PAUSE = 0.01  # seconds between two attempts to connect
_SHOWN = 4000  # bytes of the server's output in an error: its last words
_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")  # where servers live, and PATH of a user often leaves out


@dataclass(frozen=True, slots=True)
class ServerProgram:
    """How to start a server: `program` is what to run, `package` what to install for it.

    ``command(path, port, folder)`` returns the whole command line, for the program found at `path`, listening on
    `port` of 127.0.0.1 and keeping all its files below `folder`. It may prepare the folder.

    `folders` is a pattern of places where the program is that are not on PATH. ``ready(path, port)`` tells whether it
    would answer, where it accepts connections before that. `stop` is the signal that ends it in order. For one that
    refuses to run as root, `users` are those that root runs it as, the first that exists. `url` is where it is to be
    found, with ``{host}`` and ``{port}``.
    """

    program: str
    package: str
    command: Callable[[str, int, Path], Sequence[str]]
    folders: str = ""
    ready: Callable[[str, int], bool] | None = None
    stop: signal.Signals = signal.SIGTERM
    users: tuple[str, ...] = ()
    url: str = ""

    def find(self) -> str:
        """Return the path of the program; `Unavailable`, with what to install, when it is not there."""
        more = sorted(glob(self.folders), reverse=True) if self.folders else []
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS, *more))
        found = shutil.which(self.program, path=path)
        if found is None:
            raise Unavailable(f"{self.program} is not installed; install the package {self.package}")
        return found


def named_user(*names: str) -> tuple[int | None, int | None]:
    """Return the ids of the first user of these that there is, and of its group; None for both unless we are root."""
    if os.geteuid() == 0:
        for name in names:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return entry.pw_uid, entry.pw_gid
    return None, None


class TemporaryServer:
    """A running server, from `start` (or ``with``) to `stop`.

    `arguments` follow the program's own. `timeout` is how many seconds it may take until it accepts connections. After
    the start, `host` and `port` are where it listens, `folder` holds its files until the stop, and `output()` is what
    it printed so far.
    """

    host = HOST

    def __init__(
        self, program: ServerProgram, *, arguments: Sequence[str] = (), timeout: float = START_TIMEOUT
    ) -> None:
        self._program = program
        self._arguments = tuple(arguments)
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._log: IO[bytes] | None = None
        self.port = 0

    def __repr__(self) -> str:
        state = f"pid {self._process.pid} at {self.host}:{self.port}" if self._process else "not running"
        return f"<TemporaryServer {self._program.program}, {state}>"

    @property
    def folder(self) -> Path:
        """Where its files are; `RuntimeError` when it is not running."""
        if self._folder is None:
            raise RuntimeError(f"{self!r} has no folder")
        return Path(self._folder.name)

    @property
    def url(self) -> str:
        """Where it is to be found, user and password included; "" for one that has no URL."""
        return self._program.url.format(host=self.host, port=self.port)

    @property
    def pid(self) -> int:
        """Its process id; `RuntimeError` when it is not running."""
        return self._running().pid

    def start(self) -> None:
        """Start it and return when it accepts connections.

        Raises `Unavailable` when the program is not installed; `ServerFailed`, with what it printed, when it ends early
        or does not accept in time; `RuntimeError` when it runs already. After a failure nothing is left.
        """
        if self._process is not None:
            raise RuntimeError(f"{self!r} was started already")
        path = self._program.find()
        # the last part alone: with a path in front the folder would lie beside the program, not among temporary ones
        prefix = f"{Path(self._program.program).name}-"
        self._folder = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
        try:
            for attempt in range(1, PORT_ATTEMPTS + 1):
                self.port = _free_port()
                try:
                    self._launch(path)
                except ServerFailed as failure:
                    if attempt == PORT_ATTEMPTS or "in use" not in str(failure).lower():
                        raise
                else:
                    return
        except BaseException:
            self._clean_up()
            raise

    def stop(self) -> None:
        """End it, by its signal and after a while by SIGKILL, and remove its folder; further calls do nothing."""
        try:
            self._end(self._program.stop)
        finally:
            self._clean_up()

    def kill(self) -> None:
        """End it and its children by SIGKILL, as a crash would; its folder stays, for `restart`."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start it again on the same port and the same files, after `kill` or in the place of what runs.

        Raises what `start` does; somebody else may have taken the port meanwhile.
        """
        self._end(self._program.stop)
        if self._folder is None:
            raise RuntimeError(f"{self!r} was not started yet, or was stopped")
        self._launch(self._program.find())

    def pause(self) -> None:
        """Stop it and its children where they stand (SIGSTOP): the kernel accepts connections, and nothing answers."""
        _signal_children(self.pid, signal.SIGSTOP)
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._running().send_signal(signal.SIGCONT)
        _signal_children(self.pid, signal.SIGCONT)

    def output(self) -> str:
        """What it has printed so far, on both streams; empty after the stop."""
        if self._folder is None:
            return ""
        return (self.folder / "output.log").read_text(errors="replace")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=1)
            self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self!r} is not running")
        return self._process

    def _launch(self, path: str) -> None:
        """Start the process and wait until it accepts; on failure the process is gone, the folder stays."""
        if _accepts(self.port):  # what accepts there is not ours, and would be taken for it
            raise ServerFailed(f"port {self.port} is in use by another program")
        if self._log is None:
            self._log = open(self.folder / "output.log", "ab", buffering=0)
        command = [*self._program.command(path, self.port, self.folder), *self._arguments]
        user, group = named_user(*self._program.users)
        # a session of its own: Ctrl-C in the terminal is for the tests, which then stop the server in order
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            start_new_session=True,
            user=user,
            group=group,
        )
        try:
            self._wait_until_it_accepts(command, path)
        except BaseException:
            self._end(signal.SIGKILL)
            raise

    def _wait_until_it_accepts(self, command: Sequence[str], path: str) -> None:
        deadline = time.monotonic() + self._timeout
        process = self._running()
        ready = self._program.ready
        while True:
            accepted = _accepts(self.port) and (ready is None or ready(path, self.port))
            # asked after the connect: whoever accepted may have taken the port just before ours could
            if process.poll() is not None:
                raise self._failure(command, f"ended with status {process.returncode}")
            if accepted:
                return
            if time.monotonic() > deadline:
                raise self._failure(command, f"accepts no connection on port {self.port} after {self._timeout} s")
            time.sleep(_PAUSE)

    def _failure(self, command: Sequence[str], what: str) -> ServerFailed:
        said = self.output()[-_SHOWN:].strip() or "nothing"
        return ServerFailed(f"{self._program.program} {what}; command: {' '.join(command)}; it printed: {said}")

    def _end(self, with_signal: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if with_signal is signal.SIGKILL:
            _signal_children(process.pid, signal.SIGKILL)
        process.send_signal(with_signal)
        process.send_signal(signal.SIGCONT)  # a paused one would not see SIGTERM
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            _signal_children(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()

    def _clean_up(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            log.close()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()


def _signal_children(pid: int, number: signal.Signals) -> None:
    """Send a signal to the children of a process: those of PostgreSQL are sessions of their own, and outlive it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return  # not Linux, or it has ended
    for child in children:
        try:
            os.kill(int(child), number)
        except ProcessLookupError:
            continue


def _free_port() -> int:
    """Return a port that nothing is bound to, below those that the kernel gives out by itself.

    Among those, another program's ``bind(0)`` may take it before the server does, and a connection to it while nobody
    listens may be given the same port for its own end, and so reach itself. Not from `random`: test suites seed it, and
    then their parallel processes would all try the same ports.
    """
    choice = _first_ephemeral_port() - _FIRST_PORT
    for _ in range(_PROBES if choice > 0 else 0):
        port = _FIRST_PORT + secrets.randbelow(choice)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT does not count
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        given: int = probe.getsockname()[1]
        return given


def _first_ephemeral_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return 32768  # Linux's default, and below what other systems use


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            return bool(connection.getsockname() != connection.getpeername())  # equal: it reached itself
    except OSError:
        return False
