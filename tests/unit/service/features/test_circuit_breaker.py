"""When a store is left alone and when it is tried again; with a clock that the test turns."""

import copy
import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.features.circuit_breaker import CircuitBreaker, State

FAILURES, RETRY = 3, 0.5


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watched(CircuitBreaker):
    """A breaker with its clock and the states that it told of."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[State] = []
        super().__init__(FAILURES, RETRY, self.clock, self.tell)

    def tell(self, state: State) -> None:
        self.told.append(state)

    def attempt(self, outcome: str) -> bool:
        """True if an attempt was allowed; it then ended in `succeeded`, `failed` or `abandoned`."""
        if not self.allows():
            return False
        getattr(self, outcome)()
        return True

    def open(self) -> "Watched":
        for _ in range(FAILURES):
            assert self.attempt("failed")
        assert "open" == self.state
        return self


@pytest.fixture
def breaker() -> Watched:
    return Watched()


def test_it_is_closed_at_first_and_says_nothing(breaker: Watched) -> None:
    assert ("closed", []) == (breaker.state, breaker.told)
    assert breaker.allows()


def test_it_opens_after_that_many_failures_in_a_row(breaker: Watched) -> None:
    for _ in range(FAILURES - 1):
        assert breaker.attempt("failed")
    assert "closed" == breaker.state

    assert breaker.attempt("failed")

    assert ("open", ["open"]) == (breaker.state, breaker.told)
    assert not breaker.allows()


def test_a_success_in_between_starts_the_count_anew(breaker: Watched) -> None:
    for _ in range(3):
        for _ in range(FAILURES - 1):
            assert breaker.attempt("failed")
        assert breaker.attempt("succeeded")

    assert ("closed", []) == (breaker.state, breaker.told)


def test_attempts_that_tell_nothing_neither_open_it_nor_start_the_count_anew(breaker: Watched) -> None:
    for outcome in ("failed", "abandoned", "failed", "abandoned"):
        assert breaker.attempt(outcome)
    assert [] == breaker.told

    assert breaker.attempt("failed")

    assert ["open"] == breaker.told


def test_while_it_is_open_nothing_is_attempted(breaker: Watched) -> None:
    breaker.open()
    breaker.clock.now += RETRY - 0.001

    assert [False] * 5 == [breaker.allows() for _ in range(5)]


def test_after_a_while_exactly_one_attempt_is_let_through(breaker: Watched) -> None:
    breaker.open()
    breaker.clock.now += RETRY

    assert [True, False, False, False] == [breaker.allows() for _ in range(4)]

    breaker.clock.now += 100 * RETRY
    assert not breaker.allows(), "however long that one takes"
    assert ["open", "half_open"] == breaker.told


def test_it_closes_if_that_attempt_succeeds(breaker: Watched) -> None:
    breaker.open()
    breaker.clock.now += RETRY

    assert breaker.attempt("succeeded")

    assert ["open", "half_open", "closed"] == breaker.told
    assert [True] * 3 == [breaker.allows() for _ in range(3)]
    for _ in range(FAILURES - 1):
        breaker.failed()
    assert "closed" == breaker.state, "the failures of before are forgotten"


def test_it_opens_again_if_that_attempt_fails_and_waits_as_long_as_before(breaker: Watched) -> None:
    breaker.open()
    breaker.clock.now += RETRY

    assert breaker.attempt("failed")

    assert ["open", "half_open", "open"] == breaker.told
    breaker.clock.now += RETRY - 0.001
    assert not breaker.allows()
    breaker.clock.now += 0.001
    assert breaker.allows()


def test_if_that_attempt_is_abandoned_the_next_may_try_at_once(breaker: Watched) -> None:
    breaker.open()
    breaker.clock.now += RETRY

    assert breaker.attempt("abandoned")

    assert "open" == breaker.state
    assert [True, False] == [breaker.allows() for _ in range(2)]


def test_an_attempt_from_before_that_succeeds_late_closes_it(breaker: Watched) -> None:
    assert breaker.allows()
    breaker.open()

    breaker.succeeded()

    assert "closed" == breaker.state


def test_attempts_from_before_that_fail_late_do_not_tell_it_twice(breaker: Watched) -> None:
    assert all(breaker.allows() for _ in range(10))

    for _ in range(10):
        breaker.failed()

    assert ["open"] == breaker.told


class Attempts(RuleBasedStateMachine):
    """Attempts that begin and end in any order, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Watched()
        self.running = 0

    @rule(seconds=st.sampled_from([0.0, 0.1, RETRY, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.breaker.clock.now += seconds

    @rule()
    def an_attempt_is_wanted(self) -> None:
        before = self.breaker.state
        allowed = self.breaker.allows()
        self.running += allowed
        assert allowed or before != "closed"
        assert not allowed or before != "half_open"

    @precondition(lambda self: self.running)
    @rule(outcome=st.sampled_from(["succeeded", "failed", "abandoned"]))
    def an_attempt_ends(self, outcome: str) -> None:
        self.running -= 1
        getattr(self.breaker, outcome)()
        if outcome == "succeeded":
            assert "closed" == self.breaker.state

    @invariant()
    def it_never_stays_shut_for_good(self) -> None:
        if self.running == 0:
            later = copy.deepcopy(self.breaker)
            later.clock.now += RETRY
            assert later.allows(), "nothing is under way, so the store would never be asked again"

    @invariant()
    def it_tells_every_change_once(self) -> None:
        told: list[State] = ["closed", *self.breaker.told]
        assert told[-1] == self.breaker.state
        assert all(before != after for before, after in itertools.pairwise(told))


TestAttempts = Attempts.TestCase
TestAttempts.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
