"""Moving queries from one index to another by degrees, both compared."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from ragstone import Rollout
from ragstone.errors import InputError

QUERIES = [f"question {number}" for number in range(2_000)]


def old(query: str, top_k: int) -> Sequence[str]:
    return [f"d{number}" for number in range(top_k)]


def new(query: str, top_k: int) -> Sequence[str]:
    return [f"d{number + 2}" for number in range(top_k)]  # eight of the ten are the same


def by_new(rollout: Rollout[str]) -> set[str]:
    return {query for query in QUERIES if rollout.search(query)[0] == "d2"}


def test_a_share_of_the_queries_is_answered_by_the_new_index_always_the_same_ones() -> None:
    with Rollout(old, new) as rollout:
        assert not by_new(rollout)
        rollout.share = 0.25
        quarter = by_new(rollout)
        assert 400 < len(quarter) < 600
        assert by_new(rollout) == quarter
        rollout.share = 0.5
        assert by_new(rollout) > quarter
        rollout.share = 1
        assert by_new(rollout) == set(QUERIES)
        report = rollout.report()
        assert report.answered_by_old + report.answered_by_new == 5 * len(QUERIES)
        assert report.compared == 0


@pytest.mark.parametrize("share", [0, 1])
def test_in_the_shadow_both_are_asked_and_the_overlap_is_reported(share: float) -> None:
    rollout = Rollout(old, new, share=share, shadow=True)
    for query in QUERIES[:50]:
        assert rollout.search(query, 10)[0] == ("d2" if share else "d0")
    rollout.close()
    report = rollout.report()
    assert report.compared + report.not_compared == 50
    assert report.compared >= 32
    assert report.overlap_at_10 == pytest.approx(0.8)
    assert report.old_p50_ms is not None
    assert report.new_p50_ms is not None


def test_the_old_index_answers_where_the_new_one_fails() -> None:
    def broken(query: str, top_k: int) -> Sequence[str]:
        raise OSError("gone")

    with Rollout(old, broken, share=1) as rollout:
        assert rollout.search("anything", 3) == ["d0", "d1", "d2"]
        assert (rollout.report().fallbacks, rollout.report().failures) == (1, 1)
    with Rollout(old, broken, shadow=True) as rollout:
        rollout.search("anything", 3)
    assert (rollout.report().failures, rollout.report().not_compared) == (1, 1)
    with Rollout(broken, new) as rollout, pytest.raises(OSError, match="gone"):
        rollout.search("anything")


def test_a_slow_shadow_never_holds_up_an_answer() -> None:
    go = threading.Event()

    def slow(query: str, top_k: int) -> Sequence[str]:
        assert go.wait(30)
        return new(query, top_k)

    rollout = Rollout(old, slow, shadow=True)
    for query in QUERIES[:100]:
        rollout.search(query)
    report = rollout.report()
    assert report.answered_by_old == 100
    assert report.not_compared >= 60  # those that found no room to wait
    go.set()
    rollout.close()
    assert rollout.report().compared == 100 - report.not_compared
    assert not [thread for thread in threading.enumerate() if "shadow" in thread.name]


def test_results_are_compared_by_their_key() -> None:
    with Rollout(
        lambda query, top_k: [{"uri": "a", "score": 1.0}],
        lambda query, top_k: [{"uri": "a", "score": 0.5}],
        shadow=True,
        key=lambda hit: str(hit["uri"]),
    ) as rollout:
        rollout.search("anything")
    assert rollout.report().overlap_at_10 == 1.0


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="share is"):
        Rollout(old, new, share=share)
    with Rollout(old, new, share=0.5) as rollout:
        with pytest.raises(InputError):
            rollout.share = share
        assert rollout.share == 0.5
