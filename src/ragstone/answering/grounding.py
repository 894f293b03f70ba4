"""Whether the hits hold an answer at all: a calibrated probability and its threshold.

A logistic over what search and the best sentences show. It can tell that a collection is about something else; that a
collection on the right subject lacks one particular fact it can only suspect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragstone.answering.passages import Sentence
from ragstone.answering.terms import Question
from ragstone.store.analysis import analyse
from ragstone.types import Hit

# Hits whose words count: an answer rarely stands further down, while generic words gather with depth.
HITS_READ = 4

# Provisional until fitted by `benchmarks/answers.py --calibrate`.
WEIGHTS: Mapping[str, float] = {"dense": 4.0, "sentence": 4.0, "coverage": 3.0, "names": 1.5}
BIAS = -6.5
THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Grounding:
    """`probability` in [0, 1] that the hits answer the question, and the features it came from."""

    probability: float
    features: Mapping[str, float]

    @property
    def answerable(self) -> bool:
        """Whether to answer; below the threshold the honest reply is that the documents do not say."""
        return self.probability >= THRESHOLD


def ground(question: Question, hits: Sequence[Hit], ranked: Sequence[Sentence]) -> Grounding:
    """How likely `hits` answer `question`; `ranked` are their scored sentences. No hits: probability 0."""
    if not hits or not ranked:
        return Grounding(0.0, {})
    features = grounding_features(question, hits, ranked)
    logit = BIAS + sum(weight * features[name] for name, weight in WEIGHTS.items())
    return Grounding(1.0 / (1.0 + math.exp(-logit)), features)


def grounding_features(
    question: Question, hits: Sequence[Hit], ranked: Sequence[Sentence]
) -> dict[str, float]:
    """The measurements behind `Grounding`, each in [0, 1]."""
    words = [set(analyse(" ".join((hit.title, *hit.headings, hit.text)))) for hit in hits[:HITS_READ]]
    everything = set().union(*words)
    names = {term: weight for term, weight in question.terms.items() if term in question.names}
    total = sum(names.values())
    return {
        "dense": max((_source(hit, "dense") for hit in hits), default=0.0),
        "keyword": max((_source(hit, "keyword") for hit in hits), default=0.0),
        "sentence": max((s.cosine for s in ranked), default=0.0),
        "coverage": max(question.coverage(w) for w in words),
        "context": max(s.context for s in ranked),
        "all_coverage": question.coverage(everything),
        "names": sum(w for t, w in names.items() if t in everything) / total if total else 1.0,
    }


def _source(hit: Hit, name: str) -> float:
    """A source's score of a hit, clipped to [0, 1]; 0 where the source did not score it."""
    value = hit.sources.get(name, 0.0)
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0
