"""What each fault makes of a piece of a stream, as a table; and what holds for all of them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from asyncstore.testing import Corrupt, Delay, Drop, Reset, Split, Stall, Throttle, Truncate
from asyncstore.testing._chaos_plan import Ending, Hold, Send, Wait, plan

CASES = [
    # faults, bytes seen before, data, actions
    ((), 0, b"abc", [Send(b"abc")]),
    ((Delay(2),), 0, b"abc", [Wait(2), Send(b"abc")]),
    ((Drop(),), 0, b"abc", []),
    ((Drop(2),), 0, b"abc", [Send(b"ab")]),
    ((Drop(2),), 3, b"abc", []),
    ((Drop(9),), 0, b"abc", [Send(b"abc")]),
    ((Truncate(0),), 0, b"abc", [Ending.CLOSE]),
    ((Truncate(2),), 0, b"abc", [Send(b"ab"), Ending.CLOSE]),
    ((Truncate(3),), 0, b"abc", [Send(b"abc"), Ending.CLOSE]),
    ((Truncate(5),), 0, b"abc", [Send(b"abc")]),
    ((Truncate(5),), 3, b"abc", [Send(b"ab"), Ending.CLOSE]),
    ((Reset(),), 0, b"abc", [Ending.RESET]),
    ((Reset(1),), 0, b"abc", [Send(b"a"), Ending.RESET]),
    ((Reset(1),), 1, b"abc", [Ending.RESET]),
    ((Stall(),), 0, b"abc", [Hold(), Send(b"abc")]),
    ((Stall(2),), 0, b"abc", [Send(b"ab"), Hold(), Send(b"c")]),
    ((Stall(9),), 0, b"abc", [Send(b"abc")]),
    ((Split(2),), 0, b"abcde", [Send(b"ab"), Wait(0), Send(b"cd"), Wait(0), Send(b"e")]),
    ((Split(2, pause=1),), 0, b"abc", [Send(b"ab"), Wait(1), Send(b"c")]),
    ((Throttle(100),), 0, b"abcd", [Send(b"ab"), Wait(0.02), Send(b"cd"), Wait(0.02)]),
    ((Throttle(1),), 0, b"ab", [Send(b"a"), Wait(1), Send(b"b"), Wait(1)]),
    ((Corrupt(1),), 0, b"\0\0\0", [Send(b"\0\xff\0")]),
    ((Corrupt(4, mask=1),), 3, b"\0\0\0", [Send(b"\0\1\0")]),
    ((Corrupt(9),), 0, b"abc", [Send(b"abc")]),
    ((Split(1), Delay(3)), 0, b"ab", [Wait(3), Send(b"a"), Wait(0), Send(b"b")]),
    ((Drop(), Delay(3)), 0, b"ab", []),
    ((Split(2), Reset(3)), 0, b"abcd", [Send(b"ab"), Wait(0), Send(b"c"), Ending.RESET]),
    ((Stall(1), Truncate(2)), 0, b"abc", [Send(b"a"), Hold(), Send(b"b"), Ending.CLOSE]),
    ((Split(2), Corrupt(2)), 0, b"\0\0\0", [Send(b"\0\0"), Wait(0), Send(b"\xff")]),
]


@pytest.mark.parametrize(("faults", "seen", "data", "actions"), CASES, ids=lambda value: str(value)[:60])
def test_a_fault_turns_a_piece_into_actions(faults, seen, data, actions):
    assert plan(faults, seen, data) == actions


@pytest.mark.parametrize(
    ("fault", "arguments"),
    [
        (Delay, (-1,)), (Drop, (-1,)), (Truncate, (-1,)), (Reset, (-1,)), (Stall, (-1,)), (Split, (0,)),
        (Split, (1, -1)), (Throttle, (0,)), (Corrupt, (-1,)), (Corrupt, (0, 0)), (Corrupt, (0, 256)),
    ],
)  # fmt: skip
def test_a_fault_that_makes_no_sense_is_refused(fault, arguments):
    with pytest.raises(ValueError, match="must"):
        fault(*arguments)


STREAM = bytes(range(30))
HARMLESS = st.lists(
    st.one_of(
        st.builds(Delay, st.just(1)), st.builds(Stall, st.integers(0, 40)),
        st.builds(Split, st.integers(1, 9)), st.builds(Throttle, st.integers(1, 900)),
    ),
    max_size=3,
)  # fmt: skip


@given(HARMLESS, st.integers(0, 30))
def test_faults_that_lose_nothing_keep_every_byte_in_order(faults, cut):
    pieces = ((0, STREAM[:cut]), (cut, STREAM[cut:]))
    actions = [action for seen, data in pieces if data for action in plan(faults, seen, data)]
    assert b"".join(action.data for action in actions if isinstance(action, Send)) == STREAM


@given(st.sampled_from([Truncate, Reset, Drop]), st.integers(0, 40), st.integers(0, 30))
def test_a_limit_is_kept_to_the_byte_however_the_stream_is_cut(fault, after, cut):
    sent = b""
    for seen, data in ((0, STREAM[:cut]), (cut, STREAM[cut:])):
        actions = plan((fault(after),), seen, data) if data else []
        sent += b"".join(action.data for action in actions if isinstance(action, Send))
        if any(isinstance(action, Ending) for action in actions):
            break
    assert sent == STREAM[:after]
