"""A binary file behaves as the buffered files of `io`, operation by operation (Hypothesis)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import binary, integers, just, lists, none, one_of, sampled_from, tuples

from tests.aio.file_oracle import run_pair

content = binary(max_size=40).map(lambda data: data.replace(b"\x00", b"\n"))
STEPS = one_of(
    tuples(just("read"), integers(-1, 30)),
    tuples(just("read")),
    tuples(just("readline")),
    tuples(just("readline"), integers(-1, 20).filter(bool)),  # 0: a write-only file of io answers b""
    tuples(just("readlines"), integers(-1, 30)),
    tuples(just("iterate"), integers(1, 4)),
    tuples(just("tell")),
    tuples(just("do_seek"), integers(0, 70), just(0)),
    tuples(just("do_seek"), integers(-10, 10), sampled_from([1, 2])),
    tuples(just("write"), content),
    tuples(just("truncate"), one_of(none(), integers(0, 60))),
    tuples(just("flush")),
)


@pytest.mark.parametrize("padding", [0, 8190, 70_000], ids=["small", "across io's buffer", "across our buffer"])
@pytest.mark.parametrize("mode", ["rb", "r+b", "wb", "w+b", "ab", "a+b"])
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(content=content, steps=lists(STEPS, max_size=12))
def test_any_sequence_of_operations(tmp_path, padding, mode, content, steps):
    calls = []
    for step in steps:
        calls.append(("seek_raw", *step[1:]) if step[0] == "do_seek" else step)
        if step[0] == "write" and mode == "a+b":
            calls.append(("seek_raw", 0, 2))  # io keeps a wrong position after a write that the kernel appended
    run_pair(tmp_path, b"x" * padding + content, mode, calls)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=lists(STEPS, max_size=8))
def test_exclusive_creation(tmp_path, steps):
    calls = [("seek_raw", *step[1:]) if step[0] == "do_seek" else step for step in steps]
    run_pair(tmp_path, None, "x+b", calls)
    run_pair(tmp_path, b"there already", "xb", calls)
