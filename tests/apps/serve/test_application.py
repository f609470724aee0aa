"""The front page, health and metrics."""

from __future__ import annotations

import errno
import json
import re

import pytest

from asyncstore.apps.serve import Options, Service
from asyncstore.testing import leak_check
from tests.http_wire import Wire, ask


@pytest.fixture
async def service(tmp_path):
    (tmp_path / "files").mkdir()
    async with Service(Options(root=str(tmp_path / "files"), data=str(tmp_path / "kv"), port=0)) as running:
        yield running


@pytest.fixture
def address(service):
    return service.server.addresses[0]


async def test_the_front_page_says_what_is_here(address):
    answer = await ask(address, "GET", "/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = answer.body.decode()
    for part in ('href="/files/"', 'enctype="multipart/form-data"', 'href="/healthz"', 'href="/metrics"', "curl -T"):
        assert part in text
    assert '<html lang="en">' in text
    assert "<script" not in text
    assert not re.search(r'(?:src|href|action)="(?!/|#|data:,")', text)  # nothing from elsewhere
    # with "no-referrer" a browser's form would name no origin, and its upload be refused
    assert answer.headers["referrer-policy"] == "same-origin"
    assert text.count("<h1>") == 1


async def test_the_front_page_does_not_trust_the_host_it_is_asked_for(address):
    async with Wire(address) as wire:
        await wire.send(b"GET / HTTP/1.1\r\nHost: a'b&c\r\n\r\n")
        assert b"a'b&c" not in (await wire.answer()).body


async def test_the_style_is_the_one_that_the_policy_allows(address):
    import base64
    import hashlib

    answer = await ask(address, "GET", "/")
    style = answer.body.decode().split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["content-security-policy"]


async def test_what_is_not_there_is_not_found(address):
    assert (await ask(address, "GET", "/nothing")).status == 404
    assert (await ask(address, "GET", "//files/")).status == 404


async def test_health_tells_each_check(address):
    answer = await ask(address, "GET", "/healthz")
    assert answer.status == 200
    assert json.loads(answer.body)["status"] == "ok"


async def test_health_fails_when_the_files_cannot_be_reached(address, monkeypatch):
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("asyncstore.apps.serve._tree.Tree.list", broken)
    answer = await ask(address, "GET", "/healthz")
    assert answer.status == 503
    assert json.loads(answer.body) == {
        "status": "failing",
        "checks": {"files": "Input/output error", "keys": json.loads(answer.body)["checks"]["keys"]},
    }


async def test_metrics_are_what_prometheus_reads(address):
    await ask(address, "PUT", "/files/x", b"x")
    await ask(address, "GET", "/nothing")
    async with Wire(address) as wire:
        await wire.send(b"nonsense\r\n\r\n")
        await wire.answer()
    answer = await ask(address, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer.body.decode()
    samples = {}
    typed = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in typed, f"{name} is there twice"
            typed.add(name)
        elif not line.startswith("#"):
            match = re.fullmatch(r'([a-z_]+)(\{(?:[a-z]+="[^"\\]*",?)*\})? ([0-9.e+-]+)', line)
            assert match, line
            family = re.sub(r"_(bucket|sum|count)$", "", match[1])
            assert family in typed or match[1] in typed, line
            samples[match[1] + (match[2] or "")] = float(match[3])
    requests = "asyncstore_http_requests_total"
    assert samples[requests + '{method="PUT",route="files",status="201"}'] == 1
    assert samples[requests + '{method="GET",route="unknown",status="404"}'] == 1
    assert samples[requests + '{method="-",route="malformed",status="400"}'] == 1
    assert samples['asyncstore_http_request_seconds_count{route="files"}'] == 1
    assert samples['asyncstore_http_request_seconds_bucket{route="files",le="+Inf"}'] == 1
    assert samples["asyncstore_http_connections"] == 1
    for name in ("asyncstore_pool_done_total", "asyncstore_pool_wakeups_total", "process_cpu_seconds_total",
                 "process_resident_memory_bytes", "asyncstore_http_received_bytes_total"):  # fmt: skip
        assert samples[name] > 0


async def test_the_number_of_labels_is_bounded_whatever_clients_ask_for(address):
    for number in range(20):
        await ask(address, "GET", f"/nothing/{number}")
        await ask(address, "MKCOL", f"/files/{number}")
    text = (await ask(address, "GET", "/metrics")).body.decode()
    assert len(re.findall("^asyncstore_http_requests_total", text, re.MULTILINE)) == 2


async def test_a_root_that_is_missing_is_an_error_and_the_default_one_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        async with Service(Options(root="typing-error", port=0)):
            pass
    async with Service(Options(port=0)) as service:
        assert (await ask(service.server.addresses[0], "PUT", "/files/x", b"x")).status == 201
    assert (tmp_path / "data" / "files" / "x").read_bytes() == b"x"


async def test_an_address_that_is_taken_is_an_error_and_leaves_nothing_open(service, address, tmp_path):
    (tmp_path / "other").mkdir()
    options = Options(root=str(tmp_path / "other"), data=str(tmp_path / "kv2"), port=address[1])
    async with leak_check():
        with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
            async with Service(options):
                pass
