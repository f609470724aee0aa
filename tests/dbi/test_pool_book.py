"""What a pool decides, step by step and for random programs: nobody is passed over, no connection too many."""

from __future__ import annotations

from collections import deque

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncstore.dbi._pool_book import Book, Limits, Slot


class Waiter:
    def __init__(self, number):
        self.number = number
        self.slot = None
        self.gone = False

    def done(self):
        return self.gone or self.slot is not None


def slot(now=0.0, dies=1e9):
    return Slot("connection", dies, now)


def book(min_size=0, max_size=2, max_idle=10.0, max_lifetime=1e9):
    return Book(Limits(min_size, max_size, max_idle, max_lifetime))


def test_who_finds_nothing_has_one_opened_and_gets_it():
    pool, waiter = book(), Waiter(1)
    assert pool.take() is None
    assert pool.wait(waiter).open == 1
    actions = pool.opened(opened := slot(), 0.0)
    assert actions.hand == [(waiter, opened)]
    assert pool.lent == {opened}


def test_the_one_used_last_is_lent_first():
    pool = book()
    first, second = slot(), slot()
    pool.opening = 2
    pool.opened(first, 0.0)
    pool.opened(second, 1.0)
    assert pool.take() is second


def test_those_who_wait_are_served_in_order_and_nobody_overtakes():
    pool = book(max_size=1)
    pool.opening = 1
    pool.opened(only := slot(), 0.0)
    assert pool.take() is only
    first, second = Waiter(1), Waiter(2)
    assert pool.wait(first).open == pool.wait(second).open == 0
    assert pool.take() is None
    assert pool.returned(only, 1.0).hand == [(first, only)]
    first.slot = only
    assert pool.take() is None, "the second waits"
    assert pool.returned(only, 2.0).hand == [(second, only)]


def test_one_that_gave_up_is_passed_over():
    pool = book(max_size=1)
    pool.opening = 1
    first, second = Waiter(1), Waiter(2)
    pool.wait(first)
    pool.wait(second)
    first.gone = True
    assert pool.opened(only := slot(), 0.0).hand == [(second, only)]


def test_a_lost_connection_makes_the_others_suspect_and_is_replaced_for_who_waits():
    pool = book()
    pool.opening = 2
    pool.opened(first := slot(), 0.0)
    pool.opened(second := slot(), 0.0)
    assert pool.take() is second
    assert pool.lost(second).open == 0
    assert first.suspect
    assert pool.take() is first
    assert pool.wait(Waiter(1)).open == 1


def test_what_is_idle_too_long_is_closed_down_to_the_least_and_what_is_missing_is_opened():
    pool = book(min_size=1, max_size=3)
    slots = [slot(), slot(), slot()]
    pool.opening = 3
    for number, each in enumerate(slots):
        pool.opened(each, float(number))
    assert pool.expire(5.0).close == []
    assert pool.expire(20.0).close == slots[:2], "those at rest for longest"
    assert pool.expire(30.0).close == [], "one is kept"
    taken = pool.take()
    assert pool.dropped(taken).open == 0, "a server that is down is not asked in a loop"
    assert pool.expire(31.0).open == 1


def test_what_is_too_old_is_replaced():
    pool = book(min_size=1)
    pool.opening = 1
    pool.opened(old := slot(dies=10.0), 0.0)
    assert pool.take() is old
    assert pool.returned(old, 11.0).close == [old]
    pool.opening += 1
    pool.opened(other := slot(dies=20.0), 12.0)
    actions = pool.expire(21.0)
    assert actions.close == [other]
    assert actions.open == 1


def test_a_closed_pool_closes_what_comes_back_and_opens_nothing():
    pool = book()
    pool.opening = 2
    pool.opened(idle := slot(), 0.0)
    pool.opened(lent := slot(), 0.0)
    assert pool.take() is lent
    assert pool.close().close == [idle]
    assert pool.returned(lent, 1.0).close == [lent]
    assert pool.expire(2.0).open == 0


class Programs(RuleBasedStateMachine):
    """Callers come, go and give up, connections open, fail, break and age, in any order."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.book = Book(Limits(1, 3, 5.0, 20.0))
        self.queue = deque()  # who waits, as it should be
        self.served = []
        self.number = 0

    def perform(self, actions):
        if actions is None:
            return
        for waiter, given in actions.hand:
            alive = [other for other in self.queue if not other.done()]
            assert alive[0] is waiter, "out of turn"
            waiter.slot = given
            self.queue.remove(waiter)
        assert all(closed not in self.book.lent for closed in actions.close)

    @rule()
    def ask(self):
        if self.book.take() is None:
            self.number += 1
            waiter = Waiter(self.number)
            self.queue.append(waiter)
            self.perform(self.book.wait(waiter))

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def give_up(self, data):
        waiter = data.draw(st.sampled_from(list(self.queue)))
        waiter.gone = True
        self.book.gave_up(waiter)
        self.queue.remove(waiter)

    @precondition(lambda self: self.book.opening)
    @rule()
    def open(self):
        self.number += 1
        self.perform(self.book.opened(Slot(self.number, self.now + 20.0, self.now), self.now))

    @precondition(lambda self: self.book.opening)
    @rule()
    def fail_to_open(self):
        if self.book.waiting:
            told = self.book.waiting.popleft()
            told.gone = True
            self.queue.remove(told)
        self.perform(self.book.open_failed())

    @precondition(lambda self: self.book.lent)
    @rule(data=st.data(), how=st.sampled_from(["returned", "lost", "dropped"]))
    def end(self, data, how):
        held = data.draw(st.sampled_from(sorted(self.book.lent, key=lambda slot: slot.connection)))
        self.perform(self.book.returned(held, self.now) if how == "returned" else getattr(self.book, how)(held))

    @rule(seconds=st.floats(0.1, 10.0))
    def pass_time(self, seconds):
        self.now += seconds
        self.perform(self.book.expire(self.now))

    @invariant()
    def holds(self):
        self.book.check()


Programs.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestPrograms = Programs.TestCase
