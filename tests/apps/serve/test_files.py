"""``/files/`` over the wire."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
from contextlib import AsyncExitStack

import pytest

from asyncstore.apps.serve import Options, Service
from tests.http_wire import Wire, ask

BIG = os.urandom(1_000_003)


@pytest.fixture
async def service(tmp_path):
    root = tmp_path / "files"
    (root / "dir").mkdir(parents=True)
    (root / "hello.txt").write_bytes(b"0123456789")
    (root / "big.bin").write_bytes(BIG)
    (root / "empty").write_bytes(b"")
    (root / "dir" / "page.html").write_bytes(b"<script>alert(1)</script>")
    (tmp_path / "secret").write_bytes(b"outside")
    (root / "out").symlink_to(tmp_path / "secret")
    async with Service(Options(root=str(root), data=str(tmp_path / "kv"), port=0)) as running:
        yield running


@pytest.fixture
def root(tmp_path):
    return tmp_path / "files"


@pytest.fixture
def address(service):
    return service.server.addresses[0]


async def test_a_file_comes_with_everything_that_a_cache_needs(address, root):
    answer = await ask(address, "GET", "/files/hello.txt")
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == "10"
    etag = answer.headers["etag"]
    assert re.fullmatch(r'"[^"]+"', etag)
    again = await ask(address, "GET", "/files/hello.txt", if_none_match=etag)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
    since = answer.headers["last-modified"]
    assert (await ask(address, "GET", "/files/hello.txt", if_modified_since=since)).status == 304
    head = await ask(address, "HEAD", "/files/hello.txt")
    assert (head.status, head.body) == (200, b"")
    assert {**head.headers, "date": ""} == {**answer.headers, "date": ""}
    assert (await ask(address, "GET", "/files/hello.txt", if_match='"other"')).status == 412


async def test_what_was_stored_by_another_program_is_seen_at_once(address, root):
    first = await ask(address, "GET", "/files/hello.txt")
    (root / "hello.txt").write_bytes(b"changed behind the server")
    second = await ask(address, "GET", "/files/hello.txt", if_none_match=first.headers["etag"])
    assert second.body == b"changed behind the server"


async def test_large_and_empty_files_come_whole(address):
    assert (await ask(address, "GET", "/files/big.bin")).body == BIG
    empty = await ask(address, "GET", "/files/empty")
    assert (empty.status, empty.body, empty.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    ("wanted", "status", "body", "extent"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-1", 206, b"9", "bytes 9-9/10"),
        ("bytes=0-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=nonsense", 200, b"0123456789", None),
        ("items=0-1", 200, b"0123456789", None),
    ],
)
async def test_a_range_of_a_file(address, wanted, status, body, extent):
    answer = await ask(address, "GET", "/files/hello.txt", range=wanted)
    assert answer.status == status
    assert body is None or answer.body == body
    assert answer.headers.get("content-range") == extent


async def test_several_ranges_come_as_parts(address):
    answer = await ask(address, "GET", "/files/big.bin", range="bytes=5-9,500000-900000,-3")
    assert answer.status == 206
    boundary = answer.headers["content-type"].removeprefix("multipart/byteranges; boundary=")
    parts = answer.body.split(f"--{boundary}".encode())
    bodies = [part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for part in parts[1:-1]]
    assert bodies == [BIG[5:10], BIG[500000:900001], BIG[-3:]]
    assert parts[-1] == b"--\r\n"


async def test_a_range_of_a_file_that_has_changed_is_the_whole_file(address):
    etag = (await ask(address, "GET", "/files/hello.txt")).headers["etag"]
    assert (await ask(address, "GET", "/files/hello.txt", range="bytes=0-1", if_range=etag)).status == 206
    assert (await ask(address, "GET", "/files/hello.txt", range="bytes=0-1", if_range='"old"')).status == 200
    assert (await ask(address, "HEAD", "/files/hello.txt", range="bytes=0-1")).status == 200


async def test_a_file_that_shrinks_while_it_is_sent_never_looks_whole(address, root):
    size = 64 * 2**20
    (root / "shrinking").write_bytes(b"")
    os.truncate(root / "shrinking", size)
    async with Wire(address, receive_buffer=4096) as wire:
        await wire.send(b"GET /files/shrinking HTTP/1.1\r\nHost: a\r\n\r\n")
        await wire.reader.readexactly(1000)
        os.truncate(root / "shrinking", 10)
        received = 1000
        try:
            while data := await wire.reader.read(2**20):
                received += len(data)
        except ConnectionError:
            pass  # a reset is as plain as an early end
        assert received < size


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 3_000_000])
async def test_what_is_stored_is_what_comes_back(address, root, size):
    data = os.urandom(size)
    created = await ask(address, "PUT", "/files/new/deep/file.bin", data)
    assert (created.status, created.headers["location"]) == (201, "/files/new/deep/file.bin")
    answer = await ask(address, "GET", "/files/new/deep/file.bin")
    assert answer.body == data
    assert answer.headers["etag"] == created.headers["etag"]
    assert (root / "new/deep/file.bin").read_bytes() == data
    assert (await ask(address, "PUT", "/files/new/deep/file.bin", b"2")).status == 204
    assert (await ask(address, "DELETE", "/files/new/deep/file.bin")).status == 204
    assert (await ask(address, "GET", "/files/new/deep/file.bin")).status == 404
    assert (await ask(address, "DELETE", "/files/new/deep/file.bin")).status == 404


async def test_a_body_in_chunks_is_stored_too(address, root):
    async with Wire(address) as wire:
        await wire.send(b"PUT /files/chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            await wire.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await wire.send(b"0\r\n\r\n")
        assert (await wire.answer()).status == 201
    assert (root / "chunked").read_bytes() == b"x" * 102400


@pytest.mark.parametrize("size", [5, 200_000], ids=["held in memory", "on its way to the disk"])
async def test_a_body_with_too_many_trailers_is_refused_once_and_not_stored(address, root, size):
    async with Wire(address) as wire:
        await wire.send(b"PUT /files/trailed HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await wire.send(b"%x\r\n%b\r\n0\r\n" % (size, b"x" * size) + b"A: b\r\n" * 200 + b"\r\n")
        assert (await wire.answer()).status == 431
        assert await wire.rest() == b""
    assert not (root / "trailed").exists()


@pytest.mark.parametrize("size", [5, 200_000], ids=["held in memory", "on its way to the disk"])
async def test_a_path_through_a_file_is_a_conflict(address, root, size):
    for target in ("/files/hello.txt/below", "/files/hello.txt/far/below"):
        answer = await ask(address, "PUT", target, b"x" * size)
        assert (answer.status, answer.body) == (409, b"the path goes through a file\n")
        assert (await ask(address, "GET", target)).status == 404
    assert (root / "hello.txt").read_bytes() == b"0123456789"


async def test_an_upload_that_breaks_off_leaves_the_old_content_and_no_trace(service, address, root):
    async with Wire(address) as wire:
        await wire.send(b"PUT /files/hello.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + bytes(300_000))
        async with asyncio.timeout(20):
            while service.server.statistics.bytes_received < 300_000:
                await asyncio.sleep(0.001)
        wire.reset()
    async with asyncio.timeout(20):
        while service.server.statistics.connections:
            await asyncio.sleep(0.001)
    assert (root / "hello.txt").read_bytes() == b"0123456789"
    assert (await ask(address, "GET", "/healthz")).status == 200
    assert not [name for name in os.listdir(root) if name.startswith(".")]


async def test_conditions_guard_what_is_stored(address):
    assert (await ask(address, "PUT", "/files/hello.txt", b"x", if_none_match="*")).status == 412
    assert (await ask(address, "PUT", "/files/fresh", b"x", if_match="*")).status == 412
    created = await ask(address, "PUT", "/files/fresh", b"1", if_none_match="*")
    assert created.status == 201
    replaced = await ask(address, "PUT", "/files/fresh", b"2", if_match=created.headers["etag"])
    assert replaced.status == 204
    assert (await ask(address, "PUT", "/files/fresh", b"3", if_match=created.headers["etag"])).status == 412
    assert (await ask(address, "DELETE", "/files/fresh", if_match=created.headers["etag"])).status == 412
    assert (await ask(address, "DELETE", "/files/fresh", if_match=replaced.headers["etag"])).status == 204


async def test_of_many_that_create_the_same_file_one_wins(address):
    answers = await asyncio.gather(
        *(ask(address, "PUT", "/files/race", b"%d" % number, if_none_match="*") for number in range(16))
    )
    assert sorted(answer.status for answer in answers) == [201] + [412] * 15


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/files/../secret", 400),
        ("/files/../../etc/passwd", 400),
        ("/files/dir/../../secret", 400),
        ("/files/%2e%2e/secret", 400),
        ("/files/%2E%2e/secret", 400),
        ("/files/.%2e/secret", 400),
        ("/files/..%2fsecret", 400),
        ("/files/dir%2f..%2f..%2fsecret", 400),
        ("/files/%2fetc%2fpasswd", 400),
        ("/files//etc/passwd", 400),
        ("/files/%252e%252e/secret", 404),
        ("/files/%252e%252e%252fsecret", 404),
        ("/files/..%5csecret", 404),
        ("/files/..\\secret", 404),
        ("/files/%5c..%5csecret", 404),
        ("/files/hello.txt%00", 400),
        ("/files/hello.txt%00.html", 400),
        ("/files/%c0%ae%c0%ae/secret", 404),
        ("/files/%e0%80%ae%e0%80%ae/secret", 404),
        ("/files/%u002e%u002e/secret", 400),
        ("/files/%", 400),
        ("/files/%2", 400),
        ("/files/./hello.txt", 400),
        ("/files/out", 404),
        ("/files/hello.txt/", 404),
        ("/files/hello.txt/x", 404),
        ("/files/" + "a/" * 65 + "x", 400),
        ("/files/" + "a" * 300, 404),
        ("/files/.hidden", 404),
        ("http://elsewhere/files/../secret", 400),
    ],
)
async def test_no_spelling_leads_out_of_the_root(address, tmp_path, root, target, status):
    async with Wire(address) as wire:
        got = await wire.ask("GET", target)
        assert got.status == status
        assert b"outside" not in got.body
        assert b"root:" not in got.body
        for method in ("PUT", "DELETE"):
            answer = await wire.ask(method, target, b"overwritten" if method == "PUT" else None)
            if answer.status == 201:  # a name that merely looks odd is a name: it must have landed inside
                assert b"overwritten" not in (tmp_path / "secret").read_bytes()
    assert (tmp_path / "secret").read_bytes() == b"outside"
    assert (root / "hello.txt").read_bytes() == b"0123456789"
    assert sorted(os.listdir(tmp_path)) == ["files", "kv", "secret"]


async def test_odd_names_are_names(address, root):
    for name, target in (
        (b"a b", "a%20b"),
        (b"\xff", "%FF"),
        (b"100%", "100%25"),
        (b"a:b?#", "a:b%3F%23"),
        (b"\\", "%5C"),
    ):
        created = await ask(address, "PUT", f"/files/{target}", b"x")
        assert created.headers["location"] == f"/files/{target}"
        assert name in os.listdir(os.fsencode(root))
        listing = await ask(address, "GET", "/files/")
        assert f'href="./{target}"'.encode() in listing.body
        assert (await ask(address, "GET", f"/files/{target}")).body == b"x"


async def test_a_listing_for_people_and_for_programs(address):
    page = await ask(address, "GET", "/files/", accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for part in (b'href="./dir/"', b'href="./hello.txt"', b'<html lang="en">', b"<title>", b"<h1>", b'for="file"'):
        assert part in page.body
    assert b"out" not in re.findall(rb'href="./([^"]*)"', page.body)
    listing = json.loads((await ask(address, "GET", "/files/", accept="application/json")).body)
    assert [(entry["name"], entry["type"], entry["size"]) for entry in listing["entries"]] == [
        ("big.bin", "file", len(BIG)),
        ("dir", "directory", None),
        ("empty", "file", 0),
        ("hello.txt", "file", 10),
    ]
    assert listing["entries"][1]["href"] == "/files/dir/"


async def test_a_listing_comes_in_pages(address):
    target, names = "/files/?format=json&limit=3", []
    while target:
        page = json.loads((await ask(address, "GET", target, accept="application/json")).body)
        names += [entry["name"] for entry in page["entries"]]
        target = page["next"]
    assert names == ["big.bin", "dir", "empty", "hello.txt"]
    for bad in ("0", "-1", "x", "999999", "1e3"):
        assert (await ask(address, "GET", f"/files/?limit={bad}")).status == 400


async def test_a_name_with_markup_in_it_is_shown_as_text(address):
    await ask(address, "PUT", "/files/%3Cscript%3Ealert(1)%3C%2Fscript%3E".replace("%2F", "%5C"), b"x")
    await ask(address, "PUT", "/files/%22onmouseover=x%20'", b"x")
    body = (await ask(address, "GET", "/files/")).body
    assert b"<script>" not in body
    assert b'"onmouseover' not in body


async def test_a_directory_without_its_slash_leads_to_it(address):
    answer = await ask(address, "GET", "/files/dir?x=y")
    assert (answer.status, answer.headers["location"]) == (308, "/files/dir/?x=y")
    assert (await ask(address, "GET", "/files")).headers["location"] == "/files/"


async def test_an_uploaded_page_runs_no_scripts(address):
    answer = await ask(address, "GET", "/files/dir/page.html")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("sandbox;")


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("POST", "/files/hello.txt", "GET, HEAD, OPTIONS, PUT, DELETE"),
        ("PUT", "/files/dir/", "GET, HEAD, OPTIONS, POST, DELETE"),
        ("PATCH", "/files/hello.txt", "GET, HEAD, OPTIONS, PUT, DELETE"),
        ("PROPFIND", "/files/", "GET, HEAD, OPTIONS, POST, DELETE"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("PUT", "/metrics", "GET, HEAD, OPTIONS"),
    ],
)
async def test_what_is_not_possible_says_what_is(address, method, target, allow):
    answer = await ask(address, method, target, b"")
    assert (answer.status, answer.headers["allow"]) == (405, allow)


async def test_options_tell_what_is_possible(address):
    answer = await ask(address, "OPTIONS", "/files/hello.txt")
    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, PUT, DELETE")
    assert (await ask(address, "OPTIONS", "*")).status == 204


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("PUT", "/files/dir", 409),
        ("PUT", "/files/hello.txt/below", 409),
        ("PUT", "/files/out", 409),
        ("PUT", "/files/.hidden", 403),
        ("PUT", "/files/.asyncstore-x", 403),
        ("DELETE", "/files/dir/", 409),
        ("DELETE", "/files/", 403),
    ],
)
async def test_what_cannot_be_written_is_refused(address, method, target, status):
    assert (await ask(address, method, target, b"x")).status == status


async def test_a_part_of_a_file_cannot_be_stored(address):
    assert (await ask(address, "PUT", "/files/hello.txt", b"x", content_range="bytes 0-0/10")).status == 400


def form(*files: tuple[str, bytes]) -> bytes:
    parts = [
        f'--XX\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + data + b"\r\n"
        for name, data in files
    ]
    return b"".join(parts) + b"--XX--\r\n"


FORM = {"content_type": "multipart/form-data; boundary=XX"}


async def test_a_browser_uploads_with_a_form(address, root):
    body = form(("one.txt", b"1"), ("gr\u00fc\u00df.bin", BIG), ("C:\\Users\\me\\three.txt", b"3"))
    answer = await ask(address, "POST", "/files/dir/", body, **FORM)
    assert (answer.status, answer.headers["location"]) == (303, "/files/dir/")
    assert (root / "dir" / "one.txt").read_bytes() == b"1"
    assert (root / "dir" / "gr\u00fc\u00df.bin").read_bytes() == BIG
    assert (root / "dir" / "three.txt").read_bytes() == b"3"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (form(("..", b"x")), 400),
        (form(("../../secret", b"x")), 303),
        (form(("/etc/passwd", b"x")), 303),
        (form((".hidden", b"x")), 403),
        (form(("", b"")), 400),
        (form(("x" * 300, b"x")), 400),
        (b"nonsense", 400),
        (form(("cut", b"x" * 1000))[:-20], 400),
    ],
)
async def test_a_form_cannot_write_elsewhere(address, tmp_path, root, body, status):
    assert (await ask(address, "POST", "/files/", body, **FORM)).status == status
    assert (tmp_path / "secret").read_bytes() == b"outside"
    assert not (root / "cut").exists()
    assert sorted(os.listdir(tmp_path)) == ["files", "kv", "secret"]


async def test_a_form_of_another_kind_is_refused(address):
    assert (
        await ask(address, "POST", "/files/", b"a=b", content_type="application/x-www-form-urlencoded")
    ).status == 415


async def test_pages_of_other_sites_cannot_change_anything(address):
    for origin in ("http://evil.example", "null", "http://test.evil"):
        assert (await ask(address, "PUT", "/files/x", b"x", origin=origin)).status == 403
        assert (await ask(address, "POST", "/files/", form(("x", b"x")), origin=origin, **FORM)).status == 403
    assert (await ask(address, "PUT", "/files/x", b"x", origin="http://test")).status == 201
    assert (await ask(address, "GET", "/files/x", origin="http://evil.example")).status == 200


async def test_a_full_disk_is_the_clients_business_and_an_io_error_is_not(address, monkeypatch, caplog):
    for number, status in ((errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EMFILE, 503), (errno.EIO, 500)):

        def broken(*_: object, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr("asyncstore.apps.serve._tree.Upload.write", broken)
            for size in (10, 100_000):
                answer = await ask(address, "PUT", "/files/full", bytes(size))
                assert answer.status == status
                assert b"Traceback" not in answer.body
    assert (await ask(address, "GET", "/files/full")).status == 404


async def test_read_only_means_read_only(tmp_path):
    root = tmp_path / "r"
    root.mkdir()
    (root / "page.html").write_bytes(b"x")
    options = Options(root=str(root), data=str(tmp_path / "kv"), port=0, read_only=True)
    async with Service(options) as service:
        address = service.server.addresses[0]
        for method, target in (
            ("PUT", "/files/x"),
            ("DELETE", "/files/page.html"),
            ("POST", "/files/"),
            ("PUT", "/kv/a/b"),
        ):
            answer = await ask(address, method, target, b"x")
            assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        answer = await ask(address, "GET", "/files/page.html")
        assert "content-security-policy" not in answer.headers
        assert b"<form" not in (await ask(address, "GET", "/files/")).body
        assert b"<form" not in (await ask(address, "GET", "/")).body


async def test_uploads_beyond_the_limit_are_refused(tmp_path):
    (tmp_path / "r").mkdir()
    options = Options(root=str(tmp_path / "r"), data=str(tmp_path / "kv"), port=0, max_body=1000)
    async with Service(options) as service:
        address = service.server.addresses[0]
        assert (await ask(address, "PUT", "/files/x", bytes(1000))).status == 201
        assert (await ask(address, "PUT", "/files/x", bytes(1001))).status == 413
    assert os.path.getsize(tmp_path / "r" / "x") == 1000


async def test_no_descriptor_is_left_behind(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "f").write_bytes(BIG)
    options = Options(root=str(tmp_path / "r"), data=str(tmp_path / "kv"), port=0)
    async with Service(options) as service:
        address = service.server.addresses[0]

        async def rounds() -> None:
            for target in ("/files/f", "/files/", "/files/nothing", "/files/f?x"):
                for method in ("GET", "HEAD"):
                    await ask(address, method, target)
            await ask(address, "GET", "/files/f", range="bytes=0-9")
            await ask(address, "GET", "/files/f", if_none_match="*")
            await ask(address, "GET", "/files/f", if_match='"x"')
            await ask(address, "GET", "/files/f", range="bytes=9999999-")
            await ask(address, "PUT", "/files/g", BIG)
            await ask(address, "PUT", "/files/g", BIG, if_none_match="*")
            await ask(address, "PUT", "/files/f/x", BIG)
            await ask(address, "DELETE", "/files/g")
            async with AsyncExitStack() as stack:
                for _ in range(5):
                    wire = await stack.enter_async_context(Wire(address, receive_buffer=4096))
                    await wire.send(b"GET /files/f HTTP/1.1\r\nHost: a\r\n\r\n")
                    await wire.reader.readexactly(100)
                    wire.reset()
            async with asyncio.timeout(20):
                while service.server.statistics.connections:
                    await asyncio.sleep(0.001)

        await rounds()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            await rounds()
        async with asyncio.timeout(20):
            while len(os.listdir("/proc/self/fd")) > before:
                await asyncio.sleep(0.001)
