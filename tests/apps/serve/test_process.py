"""The program as an operator runs it: started, told to stop, killed."""

from __future__ import annotations

import http.client
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from tests.services import require

PATIENCE = 60  # seconds: for a start or an end on a machine that does other things as well

needs_keys = pytest.mark.skipif(
    find_spec("berkeleydb") is None and not os.environ.get("CI"), reason="the key store needs berkeleydb"
)


class Running:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(self, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = self.connect()
        try:
            connection.request(method, target, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output + errors


@contextmanager
def started(directory, *options: str) -> Iterator[Running]:
    (directory / "files").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "asyncstore", "serve", "--root", str(directory / "files"), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--data", str(directory / "kv"), *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert match, line + process.communicate(timeout=PATIENCE)[1]
        yield Running(process, int(match[1]))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE)


def received(server: Running) -> int:
    match = re.search(rb"^asyncstore_http_received_bytes_total (\d+)$", server.ask("GET", "/metrics")[1], re.MULTILINE)
    assert match
    return int(match[1])


LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@LOOPS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path, loop, number):
    with started(tmp_path, "--loop", loop) as server:
        assert server.ask("PUT", "/files/x", b"x")[0] == 201
        status, output = server.stop(number)
    assert status == 0
    assert "Traceback" not in output


@LOOPS
def test_a_request_that_runs_is_finished_before_the_end(tmp_path, loop):
    with started(tmp_path, "--loop", loop) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
            client.sendall(b"PUT /files/late HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
            while received(server) < 100_000:
                time.sleep(0.001)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.stdout is not None
            assert server.process.stdout.readline() == "stopping\n"
            client.sendall(b"x" * 100_000)
            answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 201 ")
        assert b"connection: close" in answer
        assert server.process.wait(PATIENCE) == 0
    assert (tmp_path / "files" / "late").read_bytes() == b"x" * 200_000


def test_a_request_that_never_ends_does_not_hold_up_the_end(tmp_path):
    with started(tmp_path, "--grace", "0.1") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
            client.sendall(b"PUT /files/never HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
            while received(server) < 100_000:
                time.sleep(0.001)
            status, output = server.stop()
        assert status == 0
        assert "Traceback" not in output
    assert os.listdir(tmp_path / "files") == []


def test_a_second_signal_drops_what_runs(tmp_path):
    with started(tmp_path, "--grace", "1000") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
            client.sendall(b"PUT /files/never HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
            while received(server) < 100_000:
                time.sleep(0.001)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.stdout is not None
            assert server.process.stdout.readline() == "stopping\n"
            status, output = server.stop()
        assert status == 0
        assert "stopped at once" in output
        assert "Traceback" not in output


class Writer(threading.Thread):
    """Writes one version after the other, each recognisable and whole, and remembers which ones were acknowledged."""

    def __init__(self, server: Running, target: str, size: int) -> None:
        super().__init__()
        self.server = server
        self.target = target
        self.size = size
        self.sent = 0
        self.acknowledged = 0

    def content(self, version: int) -> bytes:
        return (b"%08d|" % version * (self.size // 9 + 1))[: self.size]

    def run(self) -> None:
        connection = self.server.connect()
        try:
            while True:
                self.sent += 1
                connection.request("PUT", self.target, self.content(self.sent))
                answer = connection.getresponse()
                answer.read()
                assert answer.status in (201, 204), answer.status
                self.acknowledged = self.sent
        except (OSError, http.client.HTTPException):
            pass  # the server was killed, which is what this is about
        finally:
            connection.close()


@needs_keys
@pytest.mark.parametrize("seed", range(3))
def test_what_was_acknowledged_survives_kill_9(tmp_path, seed):
    with started(tmp_path) as server:
        writers = [
            Writer(server, "/files/small", 900),
            Writer(server, "/files/dir/large", 300_000),
            Writer(server, "/kv/a/one", 900),
            Writer(server, "/kv/a/two", 20_000),
            Writer(server, "/kv/b/three", 90),
        ]
        for writer in writers:
            writer.start()
        while not all(writer.acknowledged >= 2 for writer in writers):
            assert all(writer.is_alive() for writer in writers)
            time.sleep(0.001)
        time.sleep(random.Random(seed).random() * 0.1)  # not to wait for anything: the moment of the kill is the test
        server.process.kill()
        for writer in writers:
            writer.join(PATIENCE)
    with started(tmp_path) as server:
        for writer in writers:
            status, body = server.ask("GET", writer.target)
            assert status == 200
            version = int(body[:8])
            assert body == writer.content(version), "a mix of two versions"
            assert writer.acknowledged <= version <= writer.sent
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and left_over(tmp_path / "files"):
            time.sleep(0.01)
        assert left_over(tmp_path / "files") == []
        assert server.stop()[0] == 0


def left_over(directory) -> list[str]:
    return [name for _, _, names in os.walk(directory) for name in names if name.startswith(".")]


def curl(*arguments: str) -> str:
    result = subprocess.run(
        ["curl", "-sS", "--max-time", str(PATIENCE), *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_curl_and_the_server_understand_each_other(tmp_path):
    require("curl", "curl")
    data = os.urandom(3_000_000)
    (tmp_path / "source").write_bytes(data)
    with started(tmp_path) as server:
        base = f"http://127.0.0.1:{server.port}"
        code = ("-o", os.devnull, "-w", "%{http_code}")
        source, got = str(tmp_path / "source"), str(tmp_path / "got")
        assert curl(*code, "-T", source, f"{base}/files/dir/") == "201"  # asks with Expect: 100-continue
        assert curl(*code, "-T", source, "-H", "Transfer-Encoding: chunked", f"{base}/files/dir/chunked") == "201"
        assert curl(*code, "--http2", "-T", source, f"{base}/files/dir/upgrade") == "201"
        for name in ("source", "chunked", "upgrade"):
            assert (tmp_path / "files" / "dir" / name).read_bytes() == data
        (tmp_path / "got").write_bytes(data[:1_000_000])
        assert curl("-C", "-", "-o", got, "-w", "%{http_code}", f"{base}/files/dir/source") == "206"  # resumes
        assert (tmp_path / "got").read_bytes() == data
        assert curl(*code, "-F", f"file=@{source};filename=form.bin", f"{base}/files/dir/") == "303"
        assert (tmp_path / "files" / "dir" / "form.bin").read_bytes() == data
        assert curl(*code, "--path-as-is", f"{base}/files/../../../etc/passwd") == "400"
        assert curl("--http1.0", f"{base}/files/dir/source", "-o", got, "-w", "%{http_code}") == "200"
        assert curl(*code, "-I", f"{base}/files/dir/source") == "200"
        assert curl(*code, "-X", "DELETE", f"{base}/files/dir/source") == "204"


def test_http_client_keeps_its_connection(tmp_path):
    with started(tmp_path) as server:
        connection = server.connect()
        for number in range(20):
            connection.request("PUT", f"/files/{number}", iter([b"a" * 1000, b"b" * number]), encode_chunked=True,
                               headers={"Transfer-Encoding": "chunked"})  # fmt: skip
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (201, b"")
            if number == 0:
                sock = connection.sock
            assert connection.sock is sock
        connection.close()


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--port", "99999"], 2, "not a port"),
        (["--max-body", "0"], 2, "not a size"),
        (["--idle-timeout", "-1"], 2, "not a time"),
        (["--max-connections", "x"], 2, "not a count"),
        (["--root", "/nonexistent/dir"], 1, "No such file"),
        (["--host", "203.0.113.7", "--port", "0"], 1, "address"),
        (["extra"], 2, "unrecognized arguments"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_sentence(tmp_path, arguments, status, text):
    (tmp_path / "files").mkdir()
    usual = [] if "--root" in arguments else ["--root", str(tmp_path / "files")]
    result = subprocess.run(
        [sys.executable, "-m", "asyncstore", "serve", *usual, "--data", str(tmp_path / "kv"), *arguments],
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert result.returncode == status
    assert text.lower() in result.stderr.lower()
    assert "Traceback" not in result.stderr
