"""Forms with files, whole and cut at every place."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from asyncstore.http import HTTPError, MultipartDecoder, PartBegin, PartData, PartEnd, form_boundary

FIELD = b'Content-Disposition: form-data; name="file"; filename="%b"\r\nContent-Type: text/plain\r\n\r\n'


def form(*files: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"--B\r\n" + FIELD % name + data + b"\r\n" for name, data in files) + b"--B--\r\n"


def decode(pieces: list[bytes]) -> list[tuple[str | None, bytes]]:
    decoder = MultipartDecoder(b"B")
    found: list[tuple[str | None, bytes]] = []
    name, content = None, b""
    for piece in pieces:
        for event in decoder.receive(piece):
            if isinstance(event, PartBegin):
                name, content = event.filename, b""
            elif isinstance(event, PartData):
                content += event.data
            else:
                assert event == PartEnd()
                found.append((name, content))
    decoder.finish()
    return found


CASES = {
    "one file": (form((b"a", b"hello")), [("a", b"hello")]),
    "two files": (form((b"a", b"1"), (b"b", b"2")), [("a", b"1"), ("b", b"2")]),
    "empty file": (form((b"a", b"")), [("a", b"")]),
    "line ends in the content": (form((b"a", b"\r\n--\r\n--b\r\n-")), [("a", b"\r\n--\r\n--b\r\n-")]),
    "preamble and epilogue": (b"hello\r\n" + form((b"a", b"x")) + b"bye", [("a", b"x")]),
    "a field that is no file": (
        b'--B\r\nContent-Disposition: form-data; name="note"\r\n\r\ntext\r\n--B--\r\n',
        [(None, b"text")],
    ),
    "name in UTF-8": (form(("gr\u00fc\u00df".encode(), b"x")), [("gr\u00fc\u00df", b"x")]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_form_means_the_same_however_it_is_cut(name):
    data, expected = CASES[name]
    assert decode([data]) == expected
    assert decode([bytes((byte,)) for byte in data]) == expected
    for place in range(len(data)):
        assert decode([data[:place], data[place:]]) == expected


@pytest.mark.parametrize("name", CASES)
def test_a_form_that_is_cut_off_is_refused(name):
    data, _ = CASES[name]
    end = data.index(b"--B--")
    for place in range(end):
        with pytest.raises(HTTPError) as caught:
            decode([data[:place]])
        assert caught.value.status == 400


@pytest.mark.parametrize(
    "data",
    [
        b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--\r\n",
        b"--B\r\n\r\nx\r\n--B--\r\n",
        b'--B\r\nContent-Disposition: attachment; name="x"\r\n\r\nx\r\n--B--\r\n',
        b"--Bx\r\n",
        b"--B\r\nX: " + b"y" * 10_000,
        b"--B " + b"y" * 10_000,
        b'--B\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n' * 1001,
    ],
)
def test_what_is_no_form_is_refused(data):
    with pytest.raises(HTTPError) as caught:
        decode([data])
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("value", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; Boundary="a b"', b"a b"),
        ("multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk", b"----WebKitFormBoundary7MA4YWxk"),
    ],
)
def test_the_boundary_is_found(value, boundary):
    assert form_boundary(value) == boundary


@pytest.mark.parametrize("value", [None, "", "text/plain", "multipart/form-data", "multipart/mixed; boundary=x"])
def test_a_body_that_is_no_form_is_refused_by_its_type(value):
    with pytest.raises(HTTPError) as caught:
        form_boundary(value)
    assert caught.value.status == 415


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=30).filter(lambda data: b"\r\n--B" not in data), min_size=1, max_size=3), st.data())
def test_content_comes_through_untouched(contents, draw):
    data = form(*((b"f", content) for content in contents))
    place = draw.draw(st.integers(0, len(data)))
    assert decode([data[:place], data[place:]]) == [("f", content) for content in contents]


def test_what_is_kept_does_not_grow_with_the_file():
    decoder = MultipartDecoder(b"B")
    decoder.receive(b"--B\r\n" + FIELD % b"a")
    passed = sum(
        len(event.data) for _ in range(100) for event in decoder.receive(b"x" * 1000) if isinstance(event, PartData)
    )
    assert passed >= 100_000 - 10
