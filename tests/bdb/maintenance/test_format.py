"""The text of a dump is what db_dump writes, and what is no dump is refused by its line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.bdb.binding import bdb

FORMAT: Any = pytest.importorskip("asyncstore.bdb.maintenance._format") if bdb else None

SAMPLE = b"""VERSION=3
format=print
database=people
type=btree
recnum=1
chksum=1
db_pagesize=4096
HEADER=END
 k1
 v\\\\1\\0a
 \\00
 \\ff
DATA=END
"""


def decoded(*pieces: bytes) -> list[Any]:
    decoder = FORMAT.Decoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    decoder.close()
    return events


def encoded(header: Any, records: list[tuple[Any, bytes]]) -> bytes:
    return FORMAT.encode_header(header) + FORMAT.encode_records(header, records) + FORMAT.encode_end()


def test_a_dump_is_read_and_written_to_the_byte():
    header, *records, end = decoded(SAMPLE)
    assert header == FORMAT.Header(
        "btree", printable=True, database="people", record_numbers=True, checksum=True, page_size=4096
    )
    pairs = [(record.key, record.value) for record in records]
    assert pairs == [(b"k1", b"v\\1\n"), (b"\0", b"\xff")]
    assert end == FORMAT.End(2)
    assert encoded(header, pairs) == SAMPLE


@given(st.integers(0, len(SAMPLE)), st.integers(0, len(SAMPLE)))
def test_it_may_come_in_any_pieces(one, other):
    first, second = sorted((one, other))
    assert decoded(SAMPLE[:first], SAMPLE[first:second], SAMPLE[second:]) == decoded(SAMPLE)


def test_byte_by_byte_too():
    assert decoded(*(bytes([byte]) for byte in SAMPLE)) == decoded(SAMPLE)


def headers() -> Any:
    common = {
        "printable": st.booleans(),
        "database": st.none() | st.text("abc xyz", min_size=1),
        "checksum": st.booleans(),
        "page_size": st.none() | st.sampled_from([512, 4096, 65536]),
    }
    build = FORMAT.Header
    return st.one_of(
        st.builds(
            build, st.just("btree"), duplicates=st.sampled_from([None, "sorted", "unsorted"]), **common,
            tuning=st.sampled_from([(), (("bt_minkey", 4),)]),
        ),
        st.builds(build, st.just("btree"), record_numbers=st.booleans(), **common),
        st.builds(build, st.just("hash"), duplicates=st.sampled_from([None, "sorted", "unsorted"]), **common),
        st.builds(
            build, st.just("recno"), renumber=st.booleans(), keys=st.booleans(), pad=st.integers(0, 255),
            record_length=st.integers(1, 99), **common,
        ),
        st.builds(build, st.just("queue"), record_length=st.integers(1, 9), extent_pages=st.integers(1, 9), **common),
        st.builds(build, st.just("heap"), region_pages=st.integers(1, 9), **common),
    )  # fmt: skip


@given(st.data())
def test_every_database_survives_its_dump(data):
    blocks = data.draw(
        st.lists(
            headers().flatmap(
                lambda header: st.tuples(
                    st.just(header),
                    st.lists(st.tuples(st.integers(1, 2**32 - 1) if header.numbered else st.binary(), st.binary())),
                )
            ),
            min_size=1,
            max_size=3,
        )
    )
    expected = []
    for header, records in blocks:
        expected.append(header)
        expected += [FORMAT.Record(key if header.keyed else None, value) for key, value in records]
        expected.append(FORMAT.End(len(records)))
    assert decoded(b"".join(encoded(header, records) for header, records in blocks)) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "line 0: there is nothing in it"),
        (b"VERSION=2\n", "line 1: a dump begins with VERSION=3"),
        (b"garbage\n", "line 1: a header line is name=value"),
        (b"\xff\xfe\n", "line 1: a header line that is no text"),
        (b"VERSION=3\ntype=tree\nHEADER=END\n", "line 3: the type of a database is one of"),
        (b"VERSION=3\ntype=btree\nformat=xml\nHEADER=END\n", "line 4: the format is bytevalue or print"),
        (b"VERSION=3\ntype=btree\ntype=hash\n", "line 3: type is given twice"),
        (b"VERSION=3\ntype=btree\nkeys=2\nHEADER=END\n", "line 4: keys is 0 or 1"),
        (b"VERSION=3\ntype=btree\ndb_pagesize=big\nHEADER=END\n", "line 4: db_pagesize is a number"),
        (b"VERSION=3\ntype=btree\ncolour=red\nHEADER=END\n", "line 4: a header with 'colour'"),
        (b"VERSION=3\ntype=btree\nHEADER=END\n", "line 3: the dump ends in the middle"),
        (b"VERSION=3\ntype=btree\nHEADER=END\n 6\n", "line 4: no pairs of hexadecimal digits"),
        (b"VERSION=3\ntype=btree\nHEADER=END\n 6g\n", "line 4: no pairs of hexadecimal digits"),
        (b"VERSION=3\ntype=btree\nHEADER=END\n61\n", "line 4: a record begins with a space"),
        (b"VERSION=3\ntype=btree\nHEADER=END\n 61\nDATA=END\n", "line 5: the last key has no value"),
        (b"VERSION=3\ntype=btree\nformat=print\nHEADER=END\n a\\g\n", "line 5: a backslash"),
        (b"VERSION=3\ntype=recno\nkeys=1\nformat=print\nHEADER=END\n 0\n", "line 6: a record number is 1 to"),
        (b"VERSION=3\ntype=recno\nkeys=1\nformat=print\nHEADER=END\n one\n", "line 6: a record number is 1 to"),
        (SAMPLE[:-1], "line 12: the last line has no end"),
    ],
)
def test_what_is_no_dump_is_refused_by_its_line(text, said):
    with pytest.raises(bdb.errors.BadDump) as caught:
        decoded(text)
    assert said in str(caught.value)


def test_a_line_without_an_end_fills_no_memory(monkeypatch):
    monkeypatch.setattr(FORMAT, "MAX_LINE", 1000)
    with pytest.raises(bdb.errors.BadDump, match="line 1: a line of more than 1000 bytes"):
        decoded(b"V" * 1001)


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_never_anything_else(garbage):
    with pytest.raises(bdb.errors.BadDump):
        decoded(garbage)


@given(st.binary(max_size=60), st.integers(0, len(SAMPLE)))
def test_garbage_in_the_middle_raises_nothing_else(garbage, place):
    try:
        decoded(SAMPLE[:place] + garbage + SAMPLE[place:])
    except bdb.errors.BadDump:
        pass
