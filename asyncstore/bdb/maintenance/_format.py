"""The text format of db_dump and db_load (VERSION=3), both ways and without any I/O.

A dump is one block after another, each a header of ``name=value`` lines up to ``HEADER=END``, then the records, then
``DATA=END``. A record is a line for its key and a line for its value, each with one space in front; numbered records
may come without their keys, and those of a heap always do. ``format=bytevalue`` writes items in hexadecimal,
``format=print`` leaves printable ASCII as it is and writes the rest as a backslash and two hexadecimal digits.

Source: db_dump(1), db_load(1) of Berkeley DB 5.3, and what these programs write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from asyncstore.bdb import errors
from asyncstore.bdb._layout import TUNERS
from asyncstore.bdb._records import MAX_NUMBER

__all__ = ("Decoder", "End", "Header", "Record", "encode_end", "encode_header", "encode_records")

MAX_LINE = 1 << 30  # bytes: an item of 512 MiB in hexadecimal; a line without an end fills no memory beyond that
NUMBERED = frozenset({"recno", "queue"})
TYPES = frozenset({"btree", "hash", "recno", "queue", "heap"})
DEFAULT_PAD = 0x20  # a space, libdb's own

_FLAGS = {"recnum": "record_numbers", "renumber": "renumber", "chksum": "checksum"}
_NUMBERS = {
    "re_len": "record_length", "extentsize": "extent_pages", "heap_regionsize": "region_pages",
    "db_pagesize": "page_size",
}  # fmt: skip
# What only tunes: taken as it is, and given back.
_TUNING = frozenset(TUNERS) - {"heap_regionsize"}
_ORDER = ("recnum", "renumber", "re_len", "re_pad", "extentsize", "heap_regionsize", "chksum")


@dataclass(frozen=True, slots=True)
class Header:
    """What a dump says of a database before its records."""

    type: str
    printable: bool = False
    database: str | None = None
    duplicates: Literal["sorted", "unsorted"] | None = None
    record_numbers: bool = False
    renumber: bool = False
    record_length: int | None = None
    pad: int = DEFAULT_PAD
    extent_pages: int | None = None
    region_pages: int | None = None
    checksum: bool = False
    page_size: int | None = None
    keys: bool = True
    tuning: tuple[tuple[str, int], ...] = ()

    @property
    def numbered(self) -> bool:
        """Whether keys are record numbers."""
        return self.type in NUMBERED

    @property
    def keyed(self) -> bool:
        """Whether each record comes with its key."""
        return self.type != "heap" and (self.keys or not self.numbered)


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the database whose header came last; `key` is None where the dump has none."""

    key: bytes | int | None
    value: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The end of a database's records."""

    records: int


# Encoding


def encode_header(header: Header) -> bytes:
    """Return the lines from ``VERSION`` to ``HEADER=END``, in db_dump's order."""
    lines = ["VERSION=3", f"format={'print' if header.printable else 'bytevalue'}"]
    if header.database is not None:
        lines.append(f"database={header.database}")
    lines.append(f"type={header.type}")
    given: dict[str, str] = {name: "1" for name, attribute in _FLAGS.items() if getattr(header, attribute)}
    for name, attribute in _NUMBERS.items():
        if getattr(header, attribute) is not None:
            given[name] = str(getattr(header, attribute))
    if header.record_length is not None and header.pad != DEFAULT_PAD:
        given["re_pad"] = f"{header.pad:#x}"
    lines += [f"{name}={given[name]}" for name in _ORDER if name in given]
    if header.duplicates is not None:
        lines.append("duplicates=1")
    if header.duplicates == "sorted":
        lines.append("dupsort=1")
    lines += [f"{name}={value}" for name, value in header.tuning]
    if "db_pagesize" in given:
        lines.append(f"db_pagesize={given['db_pagesize']}")
    if header.numbered and header.keys:
        lines.append("keys=1")
    return "\n".join([*lines, "HEADER=END", ""]).encode()


def encode_records(header: Header, records: Iterable[tuple[Any, bytes]]) -> bytes:
    """Return the lines of `records`, pairs of key and value."""
    encode = _print if header.printable else bytes.hex
    lines: list[str] = []
    for key, value in records:
        if header.keyed:
            lines.append(encode(b"%d" % key if header.numbered else key))
        lines.append(encode(value))
    return "".join([f" {line}\n" for line in lines]).encode()


def encode_end() -> bytes:
    """Return the line behind the last record."""
    return b"DATA=END\n"


def _print(item: bytes) -> str:
    return "".join([_PRINTED[byte] for byte in item])


_PRINTED = [chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\{byte:02x}" for byte in range(256)]
_PRINTED[0x5C] = "\\\\"


# Decoding

_ESCAPE = re.compile(rb"\\(\\|[0-9a-fA-F]{2})?")


@dataclass
class Decoder:
    """Turns the bytes of a dump, cut anywhere, into headers, records and ends.

    What cannot be raises `errors.BadDump`, which names the line.
    """

    line: int = 0  # the number of the last line taken
    _rest: bytes = b""
    _fields: dict[str, str] | None = None
    _header: Header | None = None
    _key: bytes | int | None = None
    _has_key: bool = False
    _records: int = 0
    _begun: bool = field(default=False)

    def feed(self, data: bytes) -> Iterator[Header | Record | End]:
        """Yield what `data` completes."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_LINE:
            raise self._bad(f"a line of more than {MAX_LINE} bytes", self.line + 1)
        for line in lines:
            self.line += 1
            event = self._head(line) if self._header is None else self._data(self._header, line)
            if event is not None:
                yield event

    def close(self) -> None:
        """Raise `errors.BadDump` unless the dump was complete."""
        if self._rest:
            raise self._bad("the last line has no end")
        if self._header is not None or self._fields is not None:
            raise self._bad("the dump ends in the middle of a database: DATA=END is missing")
        if not self._begun:
            raise self._bad("there is nothing in it")

    def _bad(self, detail: str, line: int | None = None) -> errors.BadDump:
        return errors.BadDump(doing="load", of="a dump", detail=f"line {line or self.line}: {detail}")

    def _head(self, line: bytes) -> Header | None:
        try:
            name, equals, value = line.decode().partition("=")
        except UnicodeDecodeError as exc:
            raise self._bad("a header line that is no text") from exc
        if not equals:
            raise self._bad(f"a header line is name=value, not {line[:60]!r}")
        if self._fields is None:
            if (name, value) != ("VERSION", "3"):
                raise self._bad(f"a dump begins with VERSION=3, not with {line[:60]!r}")
            self._fields, self._begun = {}, True
            return None
        if (name, value) != ("HEADER", "END"):
            if name in self._fields:
                raise self._bad(f"{name} is given twice")
            self._fields[name] = value
            return None
        fields, self._fields = self._fields, None
        self._header, self._records, self._has_key = self._header_of(fields), 0, False
        return self._header

    def _header_of(self, fields: dict[str, str]) -> Header:
        kind, form = fields.pop("type", ""), fields.pop("format", "bytevalue")
        if kind not in TYPES:
            raise self._bad(f"the type of a database is one of {', '.join(sorted(TYPES))}, not {kind!r}")
        if form not in ("bytevalue", "print"):
            raise self._bad(f"the format is bytevalue or print, not {form!r}")
        header = Header(kind, printable=form == "print", database=fields.pop("database", None))
        duplicates, dupsort = self._flag(fields, "duplicates"), self._flag(fields, "dupsort")
        keys = self._flag(fields, "keys")
        given: dict[str, Any] = {attribute: self._flag(fields, name) for name, attribute in _FLAGS.items()}
        for name, attribute in _NUMBERS.items():
            if name in fields:
                given[attribute] = self._number(name, fields.pop(name))
        if "re_pad" in fields:
            given["pad"] = self._number("re_pad", fields.pop("re_pad"))
        tuning = tuple((name, self._number(name, fields.pop(name))) for name in list(fields) if name in _TUNING)
        if fields:
            raise self._bad(f"a header with {', '.join(map(repr, sorted(fields)))}, which this does not know")
        return replace(
            header,
            duplicates="sorted" if dupsort else "unsorted" if duplicates else None,
            keys=keys if header.numbered else True,
            tuning=tuning,
            **given,
        )

    def _flag(self, fields: dict[str, str], name: str) -> bool:
        value = fields.pop(name, "0")
        if value not in ("0", "1"):
            raise self._bad(f"{name} is 0 or 1, not {value[:60]!r}")
        return value == "1"

    def _number(self, name: str, text: str) -> int:
        try:
            number = int(text, 0)
        except ValueError:
            number = -1
        if not 0 <= number < 1 << 32:
            raise self._bad(f"{name} is a number of 0 to {(1 << 32) - 1}, not {text[:60]!r}")
        return number

    def _data(self, header: Header, line: bytes) -> Record | End | None:
        if not line.startswith(b" "):
            if line != b"DATA=END":
                raise self._bad(f"a record begins with a space, not {line[:60]!r}")
            if self._has_key:
                raise self._bad("the last key has no value")
            self._header = None
            return End(self._records)
        item = self._item(header, line[1:])
        if header.keyed and not self._has_key:
            self._key, self._has_key = self._number_key(item) if header.numbered else item, True
            return None
        key, self._key, self._has_key = self._key, None, False
        self._records += 1
        return Record(key, item)

    def _number_key(self, item: bytes) -> int:
        # db_load takes a space in front, which db_dump's format=print has.
        if not item.strip().isdigit() or not 1 <= (number := int(item)) <= MAX_NUMBER:
            raise self._bad(f"a record number is 1 to {MAX_NUMBER}, not {item[:60]!r}")
        return number

    def _item(self, header: Header, text: bytes) -> bytes:
        if not header.printable:
            try:
                return bytes.fromhex(text.decode("ascii"))
            except ValueError as exc:
                raise self._bad(f"no pairs of hexadecimal digits: {text[:60]!r}") from exc
        return _ESCAPE.sub(self._unescape, text) if b"\\" in text else text

    def _unescape(self, match: re.Match[bytes]) -> bytes:
        code = match.group(1)
        if code is None:
            raise self._bad("a backslash stands before another or two hexadecimal digits")
        return b"\\" if code == b"\\" else bytes([int(code, 16)])
