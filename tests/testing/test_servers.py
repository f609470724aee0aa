"""TemporaryServer: a real server, started, crashed, paused and gone; and what is said when it does not come up."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from asyncstore.testing import (
    MARIADB,
    MEMCACHED,
    POSTGRESQL,
    ServerFailed,
    ServerProgram,
    TemporaryServer,
    Unavailable,
    leak_check,
)
from asyncstore.testing._servers import _accepts, _first_ephemeral_port, _free_port
from tests.services import require, require_server

ECHO = """
import os, socketserver, sys
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline())
socketserver.TCPServer.allow_reuse_address = True
print("listening", flush=True)
with socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    server.serve_forever()
"""


def python(script, *more):
    """A server program that is a Python script, called with the port and the folder."""
    return ServerProgram(
        sys.executable, "python3", lambda path, port, folder: [path, "-c", script, str(port), str(folder), *more]
    )


def ask(port, line=b"hello\n", *, timeout=10.0):
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(line)
        return connection.recv(100)


def test_a_server_answers_in_the_block_and_nothing_is_left_after_it():
    with leak_check(children=True):
        with TemporaryServer(python(ECHO)) as server:
            assert ask(server.port) == b"hello\n"
            assert "listening" in server.output()
            folder, pid = server.folder, server.pid
            assert folder.is_dir()
            assert folder.parent == Path(tempfile.gettempdir())  # although the program was named by its path
            assert f"pid {pid} at 127.0.0.1:{server.port}" in repr(server)
        assert not folder.exists()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert "not running" in repr(server)


def test_memcached_speaks_its_protocol():
    require(MEMCACHED.program, MEMCACHED.package)
    with TemporaryServer(MEMCACHED, arguments=["-c", "100"]) as server:
        assert ask(server.port, b"version\r\n").startswith(b"VERSION ")


def count_in_postgresql(server):
    """Insert a row, and return how many there are."""
    import psycopg

    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t (a int)")
        connection.execute("INSERT INTO t VALUES (1)")
        return connection.execute("SELECT count(*) FROM t").fetchone()[0]


def count_in_mariadb(server):
    """As above."""
    import pymysql

    connection = pymysql.connect(
        host=server.host, port=server.port, user="tester", password="open sesame", database="test"
    )
    try:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE IF NOT EXISTS t (a int)")
        cursor.execute("INSERT INTO t VALUES (1)")
        connection.commit()
        cursor.execute("SELECT count(*) FROM t")
        return cursor.fetchone()[0]
    finally:
        connection.close()


@pytest.mark.parametrize(("program", "count"), [(POSTGRESQL, count_in_postgresql), (MARIADB, count_in_mariadb)])
def test_a_database_server_answers_and_keeps_what_was_committed_when_it_is_killed(program, count):
    require_server(program)
    with leak_check(children=True):
        with TemporaryServer(program) as server:
            assert count(server) == 1
            server.kill()
            server.restart()
            assert count(server) == 2
            folder = server.folder
        assert not folder.exists()


def test_a_server_is_looked_for_where_its_package_puts_it(tmp_path):
    (tmp_path / "15" / "bin").mkdir(parents=True)
    program = tmp_path / "15" / "bin" / "a server of ours"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    there = ServerProgram(program.name, "it", lambda *_: [], folders=f"{tmp_path}/*/bin")
    assert there.find() == str(program)


def test_a_killed_server_comes_back_on_the_same_port_with_its_files():
    with TemporaryServer(python(ECHO)) as server:
        port, folder = server.port, server.folder
        (folder / "kept").write_text("x")
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            ask(port)
        with pytest.raises(RuntimeError, match="not running"):
            _ = server.pid
        server.restart()
        assert ask(port) == b"hello\n"
        assert (folder / "kept").exists()


def test_a_paused_server_accepts_and_does_not_answer_until_it_is_resumed():
    with TemporaryServer(python(ECHO)) as server:
        server.pause()
        os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WNOWAIT)
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(b"hello\n")
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):
                connection.recv(100)
            connection.settimeout(10)
            server.resume()
            assert connection.recv(100) == b"hello\n"


def test_a_paused_server_can_be_stopped():
    with leak_check(children=True), TemporaryServer(python(ECHO)) as server:
        server.pause()


def test_a_server_that_ends_early_is_reported_at_once_with_what_it_printed():
    script = "import sys; print('cannot open the ledger', file=sys.stderr); sys.exit(3)"
    with (
        leak_check(children=True),
        pytest.raises(ServerFailed, match=r"(?s)ended with status 3.*cannot open the ledger"),
    ):
        TemporaryServer(python(script)).start()


def test_a_server_that_never_accepts_is_reported_and_killed(monkeypatch):
    script = "import sys; print('thinking', flush=True); sys.stdin.read(); import time; time.sleep(600)"
    with socket.socket() as held:  # nobody else's server comes up on a port that is bound and does not listen
        held.bind(("127.0.0.1", 0))
        monkeypatch.setattr("asyncstore.testing._servers._free_port", lambda: held.getsockname()[1])
        with leak_check(children=True), pytest.raises(ServerFailed, match=r"(?s)accepts no connection .* after 0.3 s"):
            TemporaryServer(python(script), timeout=0.3).start()


def test_a_server_that_ignores_sigterm_is_killed(monkeypatch):
    monkeypatch.setattr("asyncstore.testing._servers.STOP_TIMEOUT", 0.05)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + ECHO
    with leak_check(children=True), TemporaryServer(python(deaf)) as server:
        os.kill(server.pid, signal.SIGTERM)
        assert ask(server.port) == b"hello\n"


def test_a_port_that_is_taken_meanwhile_is_replaced_by_another(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = iter([taken, _free_port()])
        monkeypatch.setattr("asyncstore.testing._servers._free_port", lambda: next(ports))
        with TemporaryServer(python(ECHO)) as server:
            assert server.port != taken
            assert ask(server.port) == b"hello\n"


def test_a_port_is_none_of_those_that_the_kernel_gives_out():
    """A client's end, or another program's ``bind(0)``, could take one of them before the server does."""
    first = _first_ephemeral_port()
    assert all(port < first for port in (_free_port() for _ in range(20)))


def test_processes_that_seed_their_random_numbers_alike_try_different_ports():
    tried = []
    for _ in range(2):
        random.seed(0)
        tried.append([_free_port() for _ in range(3)])
    assert tried[0] != tried[1]


def test_a_port_that_somebody_is_bound_to_is_passed_over(monkeypatch):
    with socket.socket() as held:
        held.bind(("127.0.0.1", port := _free_port()))
        offsets = iter([port - 10240, free := _free_port() - 10240])
        monkeypatch.setattr("asyncstore.testing._servers.secrets.randbelow", lambda _: next(offsets))
        assert _free_port() == free + 10240


def test_where_the_kernel_gives_out_every_port_it_is_asked_for_one(monkeypatch):
    monkeypatch.setattr("asyncstore.testing._servers._first_ephemeral_port", lambda: 1024)
    with socket.create_server(("127.0.0.1", _free_port())):
        pass


def test_a_connection_that_reached_itself_is_no_server(monkeypatch):
    """While nobody listens, the kernel may give a client the very port that it connects to: TCP's simultaneous open."""
    address, reached_itself, connect = ("127.0.0.1", _free_port()), [], socket.create_connection

    def unlucky(address, timeout):
        connection = connect(address, timeout=timeout, source_address=address)
        reached_itself.append(connection.getpeername() == connection.getsockname())
        return connection

    monkeypatch.setattr("asyncstore.testing._servers.socket.create_connection", unlucky)
    assert not _accepts(address[1])
    assert reached_itself == [True]


def test_a_missing_program_says_what_to_install():
    program = ServerProgram("no-such-server", "the-package", lambda path, port, folder: [path])
    with pytest.raises(Unavailable, match="no-such-server is not installed; install the package the-package"):
        TemporaryServer(program).start()


def test_a_missing_program_skips_the_test_on_a_users_machine_and_fails_it_on_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="the-package"):
        require("no-such-server", "the-package")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="the-package"):
        require("no-such-server", "the-package")
    assert require("sh", "dash").endswith("/sh")


def test_misuse_is_refused():
    server = TemporaryServer(python(ECHO))
    for misuse in (server.pause, server.resume, server.restart, lambda: server.folder):
        with pytest.raises(RuntimeError):
            misuse()
    assert server.output() == ""
    server.stop()
    with server, pytest.raises(RuntimeError, match="already"):
        server.start()
    server.stop()


def test_a_server_that_nobody_stopped_warns_and_is_stopped():
    server = TemporaryServer(python(ECHO))
    server.start()
    pid = server.pid
    with pytest.warns(ResourceWarning, match=re.escape(f"unclosed {server!r}")):
        del server
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
