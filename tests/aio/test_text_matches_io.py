"""A text file behaves as `io.TextIOWrapper`, operation by operation (Hypothesis)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis.strategies import binary, integers, just, lists, one_of, sampled_from, text, tuples

from asyncstore.aio import _text, _text_core
from tests.aio.file_oracle import run_pair

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "shift_jis", "ascii", "cp1252"]
ERRORS = ["strict", "replace", "ignore", "surrogateescape"]
NEWLINES = [None, "", "\n", "\r", "\r\n"]

characters = text(alphabet=sampled_from("ab \r\n\u00e9\u65e5\U0001f600x\t"), max_size=40)
many = integers(0, 60)
READS = one_of(
    tuples(just("read"), integers(-1, 50)),
    tuples(just("read")),
    tuples(just("readline")),
    tuples(just("readline"), integers(-1, 20).filter(bool)),  # 0: io reads a chunk first, and may fail at that
    tuples(just("readlines"), integers(-1, 30)),
    tuples(just("iterate"), integers(1, 4)),
    tuples(just("tell")),
    tuples(just("seek"), many),
    tuples(just("end")),
)
WRITES = one_of(tuples(just("write"), characters), tuples(just("flush")))


common = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.mark.parametrize("padding", [0, 8190, 70_000], ids=["small", "across io's chunk", "across our buffer"])
@common
@given(
    content=one_of(characters.map(lambda s: s.encode("utf-8")), binary(max_size=60)),
    encoding=sampled_from(ENCODINGS),
    errors=sampled_from(ERRORS),
    newline=sampled_from(NEWLINES),
    steps=lists(READS, max_size=10),
)
@example(content=b"a\r\nb", encoding="utf-8", errors="strict", newline=None, steps=[("read", 2), ("tell",), ("read",)])
@example(content=b"\r\r\n", encoding="utf-8", errors="strict", newline="", steps=[("readline",), ("readline",)])
def test_reading(  # noqa: PLR0917  # what Hypothesis varies
    tmp_path, padding, content, encoding, errors, newline, steps
):
    padded = b"x" * padding + content
    run_pair(tmp_path, padded, "r", steps, small=not padding, encoding=encoding, errors=errors, newline=newline)


@common
@given(
    written=lists(characters, max_size=6),
    encoding=sampled_from(ENCODINGS),
    newline=sampled_from(NEWLINES),
    mode=sampled_from(["w", "a", "x", "w+", "a+"]),
    steps=lists(WRITES, max_size=8),
    content=one_of(just(None), characters.map(lambda s: s.encode("utf-8"))),
)
def test_writing(  # noqa: PLR0917  # as above
    tmp_path, written, encoding, newline, mode, steps, content
):
    if mode == "x":
        content = None
    if mode.startswith("a") and encoding not in ("utf-8", "latin-1"):
        content = None  # what is there already would not be in that encoding
    all_steps = [("write", part) for part in written] + steps
    run_pair(tmp_path, content, mode, all_steps, encoding=encoding, errors="replace", newline=newline)


@common
@given(
    content=characters.map(lambda s: s.encode("utf-8")),
    newline=sampled_from(NEWLINES),
    mode=sampled_from(["r+", "w+", "a+"]),
    steps=lists(
        one_of(
            tuples(just("move"), many, one_of(READS, WRITES)),  # reading and writing in turns: a seek comes between
            tuples(just("move"), many, tuples(just("truncate"), integers(0, 20))),
        ),
        max_size=8,
    ),
)
def test_reading_and_writing_in_turns(tmp_path, content, newline, mode, steps):
    flat = []
    for _, where, step in steps:
        flat += [("flush",), ("seek", 0) if where % 2 else ("end",), step]
    run_pair(tmp_path, content, mode, flat, encoding="utf-8", errors="replace", newline=newline)


SMALL_CHUNK = 7  # bytes: characters, line ends and shift sequences all come to lie across chunks
STATEFUL = ["iso2022_jp", "utf-7", "hz", "shift_jis", "gb18030", "utf-16", "utf-8-sig", "utf-8"]


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(_text, "CHUNK", SMALL_CHUNK)
    monkeypatch.setattr(_text_core, "CHUNK", SMALL_CHUNK)


wide = text(alphabet=sampled_from("ab \r\n\u00e9\u65e5\u3042x\t\x0b\x85\u2028"), max_size=40)


@common
@given(
    content=wide,
    encoding=sampled_from(STATEFUL),
    errors=sampled_from(ERRORS),
    newline=sampled_from(NEWLINES),
    steps=lists(READS, max_size=12),
)
def test_reading_across_many_chunks(  # noqa: PLR0917  # as above
    tmp_path, small_chunks, content, encoding, errors, newline, steps
):
    run_pair(
        tmp_path, content.encode(encoding, "replace"), "r", steps,
        small=False, chunk=SMALL_CHUNK, encoding=encoding, errors=errors, newline=newline,
    )  # fmt: skip


@common
@given(
    content=wide,
    encoding=sampled_from(["utf-8", "utf-16", "latin-1", "utf-8-sig"]),
    newline=sampled_from(NEWLINES),
    mode=sampled_from(["r+", "w+", "a+"]),
    steps=lists(one_of(READS, tuples(just("write"), wide), tuples(just("truncate"), integers(0, 20))), max_size=10),
)
def test_reading_and_writing_without_a_seek_between(  # noqa: PLR0917  # as above
    tmp_path, small_chunks, content, encoding, newline, mode, steps
):
    flushed = []
    for step in steps:  # io reads past what is written and not flushed: ours does not, and need not agree
        flushed += [step, ("flush",)] if step[0] in {"write", "truncate"} else [step]
    run_pair(
        tmp_path, content.encode(encoding, "replace"), mode, flushed,
        small=False, chunk=SMALL_CHUNK, encoding=encoding, errors="replace", newline=newline,
    )  # fmt: skip
