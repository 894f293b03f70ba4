"""Whether the hits hold an answer at all: a calibrated probability and its threshold.

A logistic over what the best sentences show. It tells that a collection is about something else, small or large; that a
collection on the right subject lacks one particular fact it can only suspect (half of such questions pass).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragstone.answering.passages import Passage
from ragstone.answering.terms import Question, stems
from ragstone.types import Hit

# Hits whose words count: an answer rarely stands further down, while generic words gather with depth.
HITS_READ = 4
# Below this share of the question's names and numbers the rest of them counts against an answer; German, where every
# noun looks like a name, stays above it 19 times in 20.
NAMES_EXPECTED = 0.5

# Fitted by `benchmarks/answers.py --calibrate` on seven sets asked against each other, collections of 20 to
# 11,429 documents, and questions whose names were exchanged; `benchmarks/results/answers.json` has the numbers.
BIAS = -4.29
WEIGHTS: Mapping[str, float] = {"sentence": 6.92, "agreement": 6.08, "unknown_names": -2.81}
# Refuses 4 % of the training questions that could be answered, and 96 % of those kept aside that could not.
THRESHOLD = 0.456


@dataclass(frozen=True, slots=True)
class Grounding:
    """`probability` in [0, 1] that the hits answer the question, and the features it came from."""

    probability: float
    features: Mapping[str, float]

    @property
    def answerable(self) -> bool:
        """Whether to answer; below the threshold the honest reply is that the documents do not say."""
        return self.probability >= THRESHOLD


def ground(question: Question, hits: Sequence[Hit], ranked: Sequence[Passage]) -> Grounding:
    """How likely `hits` answer `question`; `ranked` are their scored sentences. No hits: probability 0."""
    if not hits or not ranked:
        return Grounding(0.0, {})
    features = grounding_features(question, hits, ranked)
    logit = BIAS + sum(weight * features[name] for name, weight in WEIGHTS.items())
    return Grounding(1.0 / (1.0 + math.exp(-logit)), features)


def grounding_features(
    question: Question, hits: Sequence[Hit], ranked: Sequence[Passage]
) -> dict[str, float]:
    """The measurements behind `Grounding`, each in [0, 1].

    `sentence` is the highest cosine between question and sentence, `agreement` that times the weighted share of the
    question's terms in the hit that holds most (the share alone is 1 for "What is the country known for?" wherever
    there is a country), `unknown_names` how far the share of its names found in any hit falls short
    of `NAMES_EXPECTED`.
    """
    words = [set(stems(" ".join((hit.title, *hit.headings, hit.text)))) for hit in hits[:HITS_READ]]
    everything = set().union(*words)
    names = {term: weight for term, weight in question.terms.items() if term in question.names}
    total = sum(names.values())
    known = sum(weight for term, weight in names.items() if term in everything) / total if total else 1.0
    sentence = max(s.cosine for s in ranked)
    return {
        "sentence": sentence,
        "agreement": sentence * max(question.coverage(own) for own in words),
        "unknown_names": max(0.0, NAMES_EXPECTED - known) / NAMES_EXPECTED,
    }
