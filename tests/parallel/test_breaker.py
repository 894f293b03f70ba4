"""What fails again and again is left alone for a while, and then tried once."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parallel.scripted_sources import Clock
from ragstone.parallel.breaker import Breaker

FAILURES, RECOVERY_S = 3, 30.0


def _open(clock: Clock) -> Breaker:
    breaker = Breaker(failures=FAILURES, recovery_s=RECOVERY_S, clock=clock)
    for _ in range(FAILURES):
        breaker.failed(trial=breaker.begin())
    return breaker


def test_it_opens_at_so_many_failures_in_a_row() -> None:
    breaker = Breaker(failures=FAILURES, recovery_s=RECOVERY_S, clock=Clock())
    for _ in range(5):
        for _ in range(FAILURES - 1):
            breaker.failed(trial=breaker.begin())
        assert not breaker.refuses
        breaker.begin()
        breaker.succeeded()
    assert _open(Clock()).state == "open"
    assert _open(Clock()).refuses


def test_one_trial_is_let_through_when_it_is_due_and_closes_it() -> None:
    clock = Clock()
    breaker = _open(clock)
    clock.now_s += RECOVERY_S - 0.1
    assert breaker.refuses
    clock.now_s += 0.1
    assert (breaker.state, breaker.refuses) == ("half-open", False)
    assert breaker.begin()
    assert breaker.refuses  # a second one
    breaker.succeeded()
    assert (breaker.state, breaker.failures) == ("closed", 0)


def test_a_failed_trial_opens_it_for_as_long_again() -> None:
    clock = Clock()
    breaker = _open(clock)
    clock.now_s += RECOVERY_S
    breaker.failed(trial=breaker.begin())
    assert breaker.retry_in_s == RECOVERY_S
    assert breaker.state == "open"


def test_a_trial_whose_caller_went_away_may_be_had_by_the_next() -> None:
    clock = Clock()
    breaker = _open(clock)
    clock.now_s += RECOVERY_S
    breaker.withdrawn(trial=breaker.begin())
    assert not breaker.refuses
    assert breaker.begin()


def test_a_call_from_before_it_opened_does_not_prolong_it() -> None:
    clock = Clock()
    breaker = Breaker(failures=1, recovery_s=RECOVERY_S, clock=clock)
    first, late = breaker.begin(), breaker.begin()
    breaker.failed(trial=first)
    clock.now_s += 10
    breaker.failed(trial=late)
    assert breaker.retry_in_s == RECOVERY_S - 10


class Calls(RuleBasedStateMachine):
    """Calls that overlap and end in any order, against what the states promise."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = Breaker(failures=FAILURES, recovery_s=RECOVERY_S, clock=self.clock)
        self.running: list[bool] = []

    @precondition(lambda self: not self.breaker.refuses)
    @rule()
    def begin(self) -> None:
        self.running.append(self.breaker.begin())

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from(["succeeded", "failed", "withdrawn"]))
    def end(self, data: st.DataObject, outcome: str) -> None:
        trial = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        if outcome == "succeeded":
            self.breaker.succeeded()
            assert self.breaker.state == "closed"
            self.running = [False] * len(self.running)  # a trial under way is one no more
        elif outcome == "failed":
            self.breaker.failed(trial=trial)
            assert not trial or self.breaker.state == "open"
        else:
            self.breaker.withdrawn(trial=trial)

    @rule(seconds=st.sampled_from([1.0, 15.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @invariant()
    def there_is_one_trial_at_most_and_while_it_runs_nothing_else_begins(self) -> None:
        assert sum(self.running) <= 1
        assert not any(self.running) or self.breaker.refuses

    @invariant()
    def it_never_refuses_for_ever(self) -> None:
        assert self.breaker.retry_in_s <= RECOVERY_S
        assert not self.breaker.refuses or any(self.running) or self.breaker.retry_in_s > 0


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=60, deadline=None)
