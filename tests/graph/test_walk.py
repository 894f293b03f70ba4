"""The walk from a query over names to passages, over links that are written down."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.graph.walk import PASSAGE_SHARE, QUERY_SHARE, STARTS, Link, walk


class WrittenLinks:
    """Links by chunk, those of the query under 0."""

    def __init__(self, links: Mapping[int, Sequence[Link]]) -> None:
        self.links = links
        self.asked: list[list[int]] = []

    def of_query(self, query: str) -> Sequence[Link]:
        return self.links.get(0, ())

    def of_chunks(
        self, chunk_ids: Sequence[int], *, except_names: Collection[str]
    ) -> Mapping[int, Sequence[Link]]:
        self.asked.append(list(chunk_ids))
        found = {id_: self.links.get(id_, ()) for id_ in chunk_ids}
        return {
            id_: [link for link in links if link.name not in except_names] for id_, links in found.items()
        }


def link(name: str, weight: float, *chunk_ids: int) -> Link:
    return Link(name, name.title(), weight, chunk_ids)


def test_a_document_that_the_query_names_is_raised() -> None:
    walked = walk({1: 0.5, 2: 0.4}, "rush", WrittenLinks({0: [link("rush", 0.5, 2)]}))
    assert walked.scores == {1: 0.5, 2: pytest.approx(0.4 + 0.6 * QUERY_SHARE * 0.5)}
    assert walked.lifts == {2: pytest.approx(QUERY_SHARE * 0.5)}


def test_a_document_that_a_good_passage_names_is_raised_by_what_the_passage_is_worth() -> None:
    walked = walk({1: 0.8, 2: 0.2}, "", WrittenLinks({1: [link("rush", 1.0, 2, 3)]}))
    lift = PASSAGE_SHARE * 0.8
    assert walked.scores == {1: 0.8, 2: pytest.approx(0.2 + 0.8 * lift), 3: pytest.approx(0.2 + 0.8 * lift)}
    assert [(step.from_chunk, step.link.name) for step in walked.steps] == [(1, "rush")]


def test_what_the_query_names_decides_where_the_second_step_starts() -> None:
    found = dict.fromkeys(range(1, 10), 0.5)
    links = WrittenLinks({0: [link("rush", 1.0, 9)], 9: [link("moving pictures", 1.0, 4)]})
    assert walk(found, "rush", links).scores[4] > 0.5
    assert links.asked == [[9, 1, 2]]
    assert len(links.asked[0]) == STARTS


def test_a_name_of_the_query_is_not_followed_again_from_a_passage() -> None:
    links = WrittenLinks({0: [link("rush", 1.0, 2)], 1: [link("rush", 1.0, 2)]})
    assert walk({1: 0.5, 2: 0.4}, "rush", links).lifts == {2: pytest.approx(QUERY_SHARE)}


def test_without_anything_found_the_query_alone_leads_somewhere() -> None:
    assert walk({}, "rush", WrittenLinks({0: [link("rush", 1.0, 7)]})).scores == {
        7: pytest.approx(QUERY_SHARE)
    }
    assert walk({}, "rush", WrittenLinks({})).scores == {}


CHUNKS = st.integers(1, 8)
LINKS = st.lists(
    st.builds(
        Link,
        name=st.sampled_from("abcdef"),
        written=st.just("x"),
        weight=st.floats(0, 1),
        chunk_ids=st.lists(CHUNKS, max_size=4),
    ),
    max_size=4,
)


@given(
    found=st.dictionaries(CHUNKS, st.floats(0, 1), max_size=8),
    links=st.dictionaries(st.integers(0, 8), LINKS, max_size=6),
)
def test_scores_only_rise_stay_within_1_and_are_explained_by_the_lifts(
    found: dict[int, float], links: dict[int, list[Link]]
) -> None:
    walked = walk(found, "", WrittenLinks(links))
    lowest = min(found.values(), default=0.0)
    assert set(walked.scores) == set(found) | set(walked.lifts)
    for id_, score in walked.scores.items():
        before = found.get(id_, lowest)
        assert before <= score <= 1
        assert score == pytest.approx(1 - (1 - before) * (1 - walked.lifts.get(id_, 0.0)))
