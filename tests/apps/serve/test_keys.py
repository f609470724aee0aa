"""``/kv/`` over the wire, on Berkeley DB."""

from __future__ import annotations

import asyncio
import base64
import json
import sys

import pytest

import asyncstore
from asyncstore.apps.serve import Options, Service
from tests.conftest import need
from tests.http_wire import ask


@pytest.fixture
async def service(tmp_path):
    need("berkeleydb", "the key store")
    (tmp_path / "files").mkdir()
    options = Options(root=str(tmp_path / "files"), data=str(tmp_path / "kv"), port=0, max_value=1 << 20)
    async with Service(options) as running:
        yield running


@pytest.fixture
def address(service):
    return service.server.addresses[0]


async def listed(address, target: str) -> dict:
    answer = await ask(address, "GET", target)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    return json.loads(answer.body)


async def test_a_key_is_stored_read_replaced_and_removed(address):
    created = await ask(address, "PUT", "/kv/notes/first", b"one")
    assert (created.status, created.headers["location"]) == (201, "/kv/notes/first")
    answer = await ask(address, "GET", "/kv/notes/first")
    assert (answer.status, answer.body) == (200, b"one")
    assert answer.headers["etag"] == created.headers["etag"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await ask(address, "PUT", "/kv/notes/first", b"two")).status == 204
    assert (await ask(address, "HEAD", "/kv/notes/first")).headers["content-length"] == "3"
    assert (await ask(address, "DELETE", "/kv/notes/first")).status == 204
    assert (await ask(address, "DELETE", "/kv/notes/first")).status == 404
    assert (await ask(address, "GET", "/kv/notes/first")).status == 404


@pytest.mark.parametrize("value", [b"", b"\0", bytes(range(256)), b"x" * 1_000_000])
async def test_any_bytes_are_a_value(address, value):
    await ask(address, "PUT", "/kv/a/k", value)
    assert (await ask(address, "GET", "/kv/a/k")).body == value


@pytest.mark.parametrize("key", ["%00", "%FF%FE", "a/b/c", "a%2Fb", "%2E%2E", "sp%20ace", "gr%C3%BC%C3%9F", "k" * 1024])
async def test_any_bytes_are_a_key(address, key):
    created = await ask(address, "PUT", f"/kv/a/{key}", key.encode())
    assert created.status == 201
    assert (await ask(address, "GET", f"/kv/a/{key}")).body == key.encode()
    assert (await ask(address, "GET", created.headers["location"])).body == key.encode()
    item = (await listed(address, "/kv/a"))["items"][0]
    assert (await ask(address, "GET", f"/kv/a/{item['path']}")).body == key.encode()


async def test_keys_that_are_no_text_come_as_base64(address):
    await ask(address, "PUT", "/kv/a/%FF%00", b"\xfe")
    await ask(address, "PUT", "/kv/a/text", "gr\u00fc\u00df".encode())
    items = (await listed(address, "/kv/a?values=1"))["items"]
    assert items == [
        {"key": "text", "path": "text", "size": 6, "value": "gr\u00fc\u00df"},
        {
            "key_base64": base64.b64encode(b"\xff\0").decode(),
            "path": "%FF%00",
            "size": 1,
            "value_base64": base64.b64encode(b"\xfe").decode(),
        },
    ]


async def test_a_range_of_keys_comes_in_pages(address):
    names = [f"{letter}{number:02}" for letter in "ab" for number in range(20)]
    await asyncio.gather(*(ask(address, "PUT", f"/kv/a/{name}", name.encode()) for name in names))
    assert [item["key"] for item in (await listed(address, "/kv/a"))["items"]] == names
    target, got, pages = "/kv/a?prefix=b&limit=7&values=1", [], 0
    while target:
        page = await listed(address, target)
        got += [item["value"] for item in page["items"]]
        target = page["next"]
        pages += 1
    assert got == names[20:]
    assert pages == 3
    assert [item["key"] for item in (await listed(address, "/kv/a?after=a18&limit=2"))["items"]] == ["a19", "b00"]
    assert await listed(address, "/kv/a?prefix=nothing") == {"database": "a", "items": [], "next": None}
    assert (await listed(address, "/kv")) == {"databases": ["a"]}


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/kv/nothing", 404),
        ("GET", "/kv/nothing/k", 404),
        ("DELETE", "/kv/nothing/k", 404),
        ("GET", "/kv/../k", 400),
        ("GET", "/kv/%2e%2e/k", 400),
        ("PUT", "/kv/a%2Fb/k", 400),
        ("PUT", "/kv/.hidden/k", 400),
        ("PUT", "/kv/" + "x" * 65 + "/k", 400),
        ("PUT", "/kv/a/" + "k" * 1025, 414),
        ("PUT", "/kv/a/%zz", 400),
        ("PUT", "/kv/a", 405),
        ("DELETE", "/kv/a/", 405),
        ("POST", "/kv/a/k", 405),
        ("GET", "/kvx", 404),
    ],
)
async def test_what_makes_no_sense_is_refused(address, method, target, status):
    assert (await ask(address, method, target, b"x")).status == status


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=100000", "prefix=a&prefix=b", "limit=-1"])
async def test_a_query_that_makes_no_sense_is_refused(address, query):
    await ask(address, "PUT", "/kv/a/k", b"x")
    assert (await ask(address, "GET", f"/kv/a?{query}")).status == 400


async def test_conditions_guard_a_key(address):
    first = await ask(address, "PUT", "/kv/a/k", b"1", if_none_match="*")
    assert first.status == 201
    assert (await ask(address, "PUT", "/kv/a/k", b"2", if_none_match="*")).status == 412
    assert (await ask(address, "GET", "/kv/a/k", if_none_match=first.headers["etag"])).status == 304
    assert (await ask(address, "PUT", "/kv/a/k", b"2", if_match=first.headers["etag"])).status == 204
    assert (await ask(address, "PUT", "/kv/a/k", b"3", if_match=first.headers["etag"])).status == 412
    assert (await ask(address, "DELETE", "/kv/a/k", if_match=first.headers["etag"])).status == 412
    assert (await ask(address, "GET", "/kv/a/k")).body == b"2"


async def test_of_many_that_change_the_same_state_one_wins(address):
    etag = (await ask(address, "PUT", "/kv/a/k", b"start")).headers["etag"]
    answers = await asyncio.gather(
        *(ask(address, "PUT", "/kv/a/k", b"%d" % number, if_match=etag) for number in range(16))
    )
    assert sorted(answer.status for answer in answers) == [204] + [412] * 15


async def test_writes_that_meet_share_a_commit(service, address):
    await asyncio.gather(*(ask(address, "PUT", f"/kv/a/{number}", b"x") for number in range(100)))
    text = (await ask(address, "GET", "/metrics")).body.decode()
    counts = dict(line.split() for line in text.splitlines() if line.startswith("asyncstore_bdb_"))
    assert int(counts["asyncstore_bdb_writes_total"]) == 100
    assert int(counts["asyncstore_bdb_commits_total"]) <= 100


async def test_keys_outlive_the_server(tmp_path):
    need("berkeleydb", "the key store")
    (tmp_path / "files").mkdir()
    options = Options(root=str(tmp_path / "files"), data=str(tmp_path / "kv"), port=0)
    async with Service(options) as service:
        await ask(service.server.addresses[0], "PUT", "/kv/a/k", b"kept")
    async with Service(options) as service:
        assert (await ask(service.server.addresses[0], "GET", "/kv/a/k")).body == b"kept"


async def test_without_berkeley_db_the_rest_works_and_keys_say_what_is_missing(tmp_path, monkeypatch, caplog):
    monkeypatch.delitem(vars(asyncstore), "bdb", raising=False)
    monkeypatch.setitem(sys.modules, "asyncstore.bdb", None)
    (tmp_path / "files").mkdir()
    async with Service(Options(root=str(tmp_path / "files"), data=str(tmp_path / "kv"), port=0)) as service:
        address = service.server.addresses[0]
        for method, target in (("GET", "/kv/a/k"), ("PUT", "/kv/a/k"), ("GET", "/kv/a"), ("GET", "/kv")):
            answer = await ask(address, method, target, b"x")
            assert answer.status == 503
            assert b"pip install 'asyncstore[bdb]'" in answer.body
        assert (await ask(address, "PUT", "/files/x", b"x")).status == 201
        assert b"pip install" in (await ask(address, "GET", "/")).body
        health = await ask(address, "GET", "/healthz")
        assert (health.status, json.loads(health.body)["checks"]["keys"]) == (200, "not installed")
    assert "pip install" in caplog.text


async def test_values_beyond_the_limit_are_refused(tmp_path):
    need("berkeleydb", "the key store")
    (tmp_path / "files").mkdir()
    options = Options(root=str(tmp_path / "files"), data=str(tmp_path / "kv"), port=0, max_value=10)
    async with Service(options) as service:
        address = service.server.addresses[0]
        assert (await ask(address, "PUT", "/kv/a/b", bytes(10))).status == 201
        assert (await ask(address, "PUT", "/kv/a/b", bytes(11))).status == 413
