"""Recall kept by small steps: restored under drift, eased when it is over, and still where nothing happens."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.errors import InputError
from ragstone.index.retuning import SAMPLES_MIN, Retuning, retune


def sampled(aim: float, *, drift: float, rng: random.Random) -> list[float]:
    """What 200 searches for ten hits find at `aim`: it loses `drift` times the share that it promises to lose."""
    found = 1 - min(1.0, drift * (1 - aim))
    return [sum(rng.random() < found for _ in range(10)) / 10 for _ in range(200)]


def run(drifts: list[float], *, target: float, aim: float) -> tuple[float, list[Retuning]]:
    rng = random.Random(7)
    log: list[Retuning] = []
    for drift in drifts:
        step = retune(aim, target, sampled(aim, drift=drift, rng=rng))
        if step is not None:
            assert step.before == aim
            aim, log = step.after, [*log, step]
    return aim, log


def test_a_drift_that_costs_recall_is_answered_and_each_step_says_why() -> None:
    aim, log = run([4.0] * 10, target=0.95, aim=0.95)  # the calibration loses .20 where it promised .05
    assert 1 - 4.0 * (1 - aim) >= 0.945
    assert [step.after > step.before for step in log] == [True] * len(log)
    assert 1 <= len(log) <= 3
    assert all("below the 0.95 asked for" in step.reason for step in log)


def test_when_the_drift_is_over_the_aim_returns_to_the_target_and_stays_there() -> None:
    raised, _ = run([4.0] * 10, target=0.95, aim=0.95)
    eased, log = run([0.5] * 10, target=0.95, aim=raised)
    assert eased == 0.95
    assert log and all(step.after < step.before for step in log)


@pytest.mark.parametrize("drift", [0.9, 1.0])
def test_a_calibration_that_holds_is_left_alone(drift: float) -> None:
    assert run([drift] * 20, target=0.95, aim=0.95) == (0.95, [])


def test_searches_that_nothing_helps_stop_at_the_highest_aim_and_do_not_flap() -> None:
    aim, log = run([1e9] * 30, target=0.9, aim=0.9)
    assert 0.999 < aim < 1
    assert len(log) == 8


def test_too_few_samples_move_nothing() -> None:
    assert retune(0.95, 0.95, [0.0] * (SAMPLES_MIN - 1)) is None
    assert retune(0.95, 0.95, [0.0] * SAMPLES_MIN) is not None


@given(st.floats(0.5, 0.99), st.floats(0, 1), st.lists(st.floats(0, 1), min_size=SAMPLES_MIN, max_size=150))
def test_no_step_leaves_the_range_or_stands_still(target: float, up: float, recalls: list[float]) -> None:
    aim = target + up * (1 - target)
    step = retune(aim, target, recalls)
    if step is not None:
        assert target <= step.after <= 1
        assert step.after != step.before == aim


@pytest.mark.parametrize(
    ("aim", "target", "recalls"), [(0.9, 0.95, []), (1.1, 0.9, []), (0.9, 0.0, []), (0.9, 0.9, [1.5])]
)
def test_what_cannot_be_is_refused(aim: float, target: float, recalls: list[float]) -> None:
    with pytest.raises(InputError):
        retune(aim, target, recalls)
