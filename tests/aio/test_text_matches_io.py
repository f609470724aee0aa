"""A text file behaves as `io.TextIOWrapper`, operation by operation (Hypothesis)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis.strategies import binary, integers, just, lists, one_of, sampled_from, text, tuples

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


common = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


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
