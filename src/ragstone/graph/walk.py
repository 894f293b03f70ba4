"""The walk from a query over names to passages: two steps, each raising what it reaches.

First from the query to the documents that it names. Then from the best passages to the documents that these name:
the second of two facts often stands in a document that the first one names and the query does not. A longer walk and
a personalised PageRank over the same edges found less (LAB, "The graph of names"). Plain numbers; knows no store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

# How far towards 1 a name raises a passage: .3 to .6 and .4 to .7 lie within .008 nDCG@10 on the development sets.
QUERY_SHARE = 0.4
PASSAGE_SHARE = 0.5
# Passages that the second step starts from: 2 to 12 are alike, 20 and 1 slightly worse.
STARTS = 3


@dataclass(frozen=True, slots=True)
class Link:
    """A name, as written where it was found, and the chunks of the documents that bear it.

    `weight` in [0, 1]: less the more common its words are, and the more chunks share it.
    """

    name: str
    written: str
    weight: float
    chunk_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Step:
    """A link that was walked: from a passage, or from the query where `from_chunk` is None."""

    link: Link
    from_chunk: int | None


@dataclass(frozen=True, slots=True)
class Walk:
    """Scores in [0, 1] after the walk, of every chunk given and every one reached; `lifts` in [0, 1] of those reached:
    the share of the way to 1 that each was raised by."""

    scores: Mapping[int, float]
    lifts: Mapping[int, float]
    steps: Sequence[Step]


class Links(Protocol):
    """The edges of a graph, looked up as they are walked."""

    def of_query(self, query: str) -> Sequence[Link]:
        """The names of documents in a query."""

    def of_chunks(
        self, chunk_ids: Sequence[int], *, except_names: Collection[str]
    ) -> Mapping[int, Sequence[Link]]:
        """The names of other documents in the texts of chunks."""


def walk(found: Mapping[int, float], query: str, links: Links) -> Walk:
    """Walk from `query` and the best of the chunks `found`, whose scores lie in [0, 1].

    A chunk that was not found starts from the lowest score of those that were.
    """
    lowest = min(found.values(), default=0.0)
    scores, lifts = dict(found), dict[int, float]()
    named = links.of_query(query)
    steps = [Step(link, None) for link in named]
    _raise(scores, lifts, _strongest((link, 1.0) for link in named), QUERY_SHARE, lowest)
    starts = sorted(scores, key=lambda id_: (-scores[id_], id_))[:STARTS]
    onwards = links.of_chunks(starts, except_names={link.name for link in named})
    steps += [Step(link, start) for start in starts for link in onwards.get(start, ())]
    reached = _strongest(
        ((link, scores[start]) for start in starts for link in onwards.get(start, ())),
    )
    _raise(scores, lifts, reached, PASSAGE_SHARE, lowest)
    return Walk(scores, lifts, steps)


def _strongest(links: Iterable[tuple[Link, float]]) -> dict[int, float]:
    """For each chunk the strongest of the links to it: weight times what the place it comes from is worth."""
    reached: dict[int, float] = {}
    for link, worth in links:
        strength = link.weight * worth
        for id_ in link.chunk_ids:
            reached[id_] = max(reached.get(id_, 0.0), strength)
    return reached


def _raise(
    scores: dict[int, float],
    lifts: dict[int, float],
    reached: Mapping[int, float],
    share: float,
    lowest: float,
) -> None:
    """Move each chunk reached part of its way to 1, so that scores stay in [0, 1] and those not reached stay."""
    for id_, strength in reached.items():
        score = scores.get(id_, lowest)
        scores[id_] = score + (1.0 - score) * share * strength
        lifts[id_] = 1.0 - (1.0 - lifts.get(id_, 0.0)) * (1.0 - share * strength)
