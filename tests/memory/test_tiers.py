"""The numbers of document 003, and its formula by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ragstone.errors import InputError
from ragstone.memory.tiers import DAY_S, TIERS, Policy, Tier

# importance, age in days, recalls → .5·importance + .3·max(0, 1 − .1·days) + .2·min(1, recalls/10), by hand.
BY_HAND = (
    (1.0, 0, 0, 0.80),
    (0.5, 0, 5, 0.65),
    (0.5, 2, 5, 0.59),
    (0.0, 10, 0, 0.00),
    (1.0, 30, 50, 0.70),
    (0.8, 5, 3, 0.61),
)


def test_the_tiers_are_the_documented_ones() -> None:
    assert [(tier.name, tier.ttl_s, tier.capacity) for tier in TIERS] == [
        ("working", 900, 15),
        ("short_term", 3_600, 100),
        ("long_term", 2_592_000, 10_000),
        ("episodic", 604_800, 5_000),
        ("semantic", None, 50_000),
    ]
    assert Policy().consolidation_threshold == 0.75


@pytest.mark.parametrize(("importance", "days", "recalls", "relevance"), BY_HAND)
def test_relevance_is_the_documented_formula(
    importance: float, days: int, recalls: int, relevance: float
) -> None:
    found = Policy().relevance(importance, age_s=days * DAY_S, access_count=recalls)
    assert found == pytest.approx(relevance, abs=1e-12)


def test_weights_decay_and_threshold_can_be_set() -> None:
    policy = Policy(
        importance_weight=1.0,
        recency_weight=0.5,
        access_weight=0.0,
        decay_per_day=0.5,
        consolidation_threshold=0.6,
    )
    assert policy.relevance(0.1, age_s=DAY_S, access_count=9) == pytest.approx(0.1 + 0.25)
    assert policy.relevance(1.0, age_s=0, access_count=0) == 1.0  # clamped
    assert policy.deserves_promotion(0.6, 0)
    assert not policy.deserves_promotion(0.59, 0)


def test_five_recalls_lower_the_threshold_to_four_fifths() -> None:
    policy = Policy()
    assert not policy.deserves_promotion(0.65, 4)
    assert policy.deserves_promotion(0.65, 5)
    assert not policy.deserves_promotion(0.59, 50)


@pytest.mark.parametrize(
    "wrong",
    [
        {"importance_weight": 1.5},
        {"consolidation_threshold": -0.1},
        {"decay_per_day": float("nan")},
        {"full_accesses": 0},
        {"tiers": ()},
        {"tiers": (Tier("a", 1, 1), Tier("a", 1, 1))},
        {"tiers": (Tier("a", 0, 1),)},
        {"tiers": (Tier("a", 1, 0),)},
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Policy(**wrong)
