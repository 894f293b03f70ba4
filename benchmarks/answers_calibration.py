"""Where grounding's constants come from: questions that a collection can and cannot answer, and a logistic over them.

Positive: each set's questions on its own collection, and on small collections of 20 paragraphs (four xquad articles).
Negative: every set's questions on every other collection; questions about other articles on the small ones; on
xquad-en without the article a question is about; and questions whose names were exchanged. Half of the questions train;
the other half, and the pairs of `HELD_OUT` altogether, confirm.
"""

from __future__ import annotations

import dataclasses
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.answers_data import DataSet, Library
from ragstone.answering.grounding import WEIGHTS, grounding_features
from ragstone.answering.passages import score_passages
from ragstone.answering.terms import analyse_question

FEATURES = tuple(WEIGHTS)
HITS = 4  # the setting `answer_k`
OWN_MAX, OTHER_MAX, SMALL_MAX, SWAPPED_MAX = 300, 100, 30, 200  # questions per pair
HELD_OUT = frozenset(
    {
        ("scifact", "xquad-en-ir"),
        ("xquad-en-ir", "npl-vaswani"),
        ("hotpotqa-300", "scifact"),
        ("xquad-en-ir", "cranfield"),
        ("locomo-ir-a", "hotpotqa-300"),
        ("cranfield", "scifact"),
        ("npl-vaswani", "locomo-ir-a"),
        ("xquad-de-ir", "hotpotqa-300"),
        ("hotpotqa-300", "npl-vaswani"),
    }
)
SAME = frozenset({"xquad-en-ir", "xquad-de-ir"})  # the same paragraphs: no wrong corpus for each other
MISSING_FACT = ("xquad-en-ir", "itself without the paragraph")  # reported, never trained on: best effort
FALSE_REFUSALS = 0.04  # of the training questions, each pair counting the same; the threshold follows
SWAPPED_WEIGHT = (
    4.0  # two pairs of exchanged names stand for what people ask most: the right words, an unknown name
)

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Case:
    """A question on a collection: whether it can be answered there, and its features."""

    pair: tuple[str, str]
    question: str
    answerable: bool
    features: tuple[float, ...]

    @property
    def trains(self) -> bool:
        return (
            self.pair not in HELD_OUT
            and self.pair != MISSING_FACT
            and zlib.crc32(self.question.encode()) % 2 == 0
        )


@dataclass(frozen=True, slots=True)
class Fit:
    weights: tuple[float, ...]
    bias: float
    threshold: float  # probability


def cases(library: Library, sets: Sequence[DataSet]) -> list[Case]:
    """Every case, through the engine's own search."""
    random = np.random.default_rng(5)
    found: list[Case] = []
    for asked in sets:
        for searched in sets:
            if asked is not searched and {asked.name, searched.name} <= SAME:
                continue
            if not asked.questions:
                continue
            own = asked is searched
            chosen = _some(asked.questions, OWN_MAX if own else OTHER_MAX, random)
            found += _ask(library, (asked.name, searched.name), searched.name, chosen, answerable=own)
            print(f"  {asked.name} on {searched.name}: {len(chosen)}", flush=True)
    by_name = {data.name: data for data in sets}
    found += _articles(library, by_name["xquad-en-ir"], random)
    found += _missing_facts(library, by_name["xquad-en-ir"], random)
    found += _swapped(library, by_name["xquad-en-ir"], by_name["hotpotqa-300"], random)
    found += _swapped(library, by_name["hotpotqa-300"], by_name["xquad-en-ir"], random)
    return found


def load(path: Path) -> list[Case]:
    """Cases that `save` wrote."""
    return [
        Case((row["pair"][0], row["pair"][1]), row["question"], row["answerable"], tuple(row["features"]))
        for row in map(json.loads, path.read_text().splitlines())
    ]


def save(found: Sequence[Case], path: Path) -> None:
    """One JSON line per case."""
    path.write_text("".join(json.dumps(dataclasses.asdict(case)) + "\n" for case in found))


def fit(found: Sequence[Case]) -> Fit:
    """A logistic by Newton's method on the training cases, every pair counting the same within its class."""
    train = [case for case in found if case.trains]
    features, answerable, weights = _arrays(train)
    weights = weights * np.array([SWAPPED_WEIGHT if c.pair[1] == "names exchanged" else 1.0 for c in train])
    weights /= weights.sum()
    design = np.c_[features, np.ones(len(train))]
    ridge = 1e-3 * np.diag([1.0] * len(FEATURES) + [0.0])
    solution = np.zeros(design.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ solution))
        gradient = design.T @ (weights * (p - answerable)) + ridge @ solution
        hessian = (design.T * (weights * p * (1 - p))) @ design + ridge
        solution -= np.linalg.solve(hessian, gradient)
    rounded = Fit(tuple(np.round(solution[:-1], 2).tolist()), float(np.round(solution[-1], 2)), 0.5)
    scores = probabilities(rounded, train)
    threshold = _quantile(scores[answerable == 1], _arrays(train)[2][answerable == 1], FALSE_REFUSALS)
    return Fit(rounded.weights, rounded.bias, round(threshold, 3))


def probabilities(model: Fit, found: Sequence[Case]) -> Matrix:
    """(n,) probability of each case that it can be answered."""
    features, _, _ = _arrays(found)
    scores: Matrix = 1 / (1 + np.exp(-(features @ np.array(model.weights) + model.bias)))
    return scores


def rates(model: Fit, found: Sequence[Case], threshold: float) -> dict[str, dict[str, float]]:
    """Per pair the share refused at `threshold`: wanted where there is no answer, false where there is one."""
    scores = probabilities(model, found)
    table: dict[str, dict[str, float]] = {"refused": {}, "false_refusals": {}}
    for pair in dict.fromkeys(case.pair for case in found):
        chosen = [i for i, case in enumerate(found) if case.pair == pair]
        side = "false_refusals" if found[chosen[0]].answerable else "refused"
        table[side][" on ".join(pair)] = round(float((scores[chosen] < threshold).mean()), 3)
    return table


def curve(model: Fit, found: Sequence[Case]) -> list[dict[str, float]]:
    """Refused and falsely refused shares, each a mean over pairs, at thresholds from .02 to .98."""
    points = []
    for threshold in np.arange(0.02, 0.99, 0.04):
        table = rates(model, found, float(threshold))
        points.append(
            {
                "threshold": round(float(threshold), 2),
                "refused": round(float(np.mean(list(table["refused"].values()))), 4),
                "false_refusals": round(float(np.mean(list(table["false_refusals"].values()))), 4),
            }
        )
    return points


def _ask(
    library: Library,
    pair: tuple[str, str],
    collection: str,
    questions: Sequence[tuple[str, str]],
    *,
    answerable: bool,
    without: Callable[[str], str] | None = None,
) -> list[Case]:
    """Cases of (id, text) questions; `without` gives a question's filter."""
    found = []
    idf = library.idf(collection)
    for key, text in questions:
        hits = library.engine.search(
            text, top_k=HITS, collections=[collection], filter=without(key) if without else None
        ).hits
        question = analyse_question(text, idf=idf)
        ranked = score_passages(question, hits, embedder=library.embedder)
        if ranked:
            features = grounding_features(question, hits, ranked)
            found.append(Case(pair, key, answerable, tuple(features[name] for name in FEATURES)))
    return found


def _articles(library: Library, xquad: DataSet, random: np.random.Generator) -> list[Case]:
    """Small collections of four articles, and the whole without a question's article."""
    articles = list(dict.fromkeys(xquad.article_of.values()))
    found: list[Case] = []
    for first in range(0, len(articles) - 3, 4):
        group = set(articles[first : first + 4])
        name = library.part(xquad, first, group)
        for inside in (True, False):
            chosen = [
                q for q in xquad.questions if (xquad.article_of[xquad.gold[q[0]][0]] in group) == inside
            ]
            pair = ("xquad-en-ir", "20 paragraphs with it" if inside else "20 paragraphs without it")
            found += _ask(library, pair, name, _some(chosen, SMALL_MAX, random), answerable=inside)

    def without_article(key: str) -> str:
        return f"-article:{articles.index(xquad.article_of[xquad.gold[key][0]])}"

    chosen = _some(xquad.questions, OWN_MAX, random)
    pair = ("xquad-en-ir", "itself without the article")
    found += _ask(library, pair, xquad.name, chosen, answerable=False, without=without_article)
    return found


def _missing_facts(library: Library, xquad: DataSet, random: np.random.Generator) -> list[Case]:
    """The right subject without the one paragraph that has the answer."""
    return _ask(
        library,
        MISSING_FACT,
        xquad.name,
        _some(xquad.questions, OWN_MAX, random),
        answerable=False,
        without=lambda key: f"-paragraph:{xquad.gold[key][0]}",
    )


_NAME = re.compile(
    r"(?<=\s)[A-Z][\w’'-]+(?:\s+(?:of|the|de|von|[A-Z][\w’'-]+))*\s+[A-Z][\w’'-]+|(?<=\s)[A-Z][\w’'-]+"
)


def _swapped(library: Library, asked: DataSet, donor: DataSet, random: np.random.Generator) -> list[Case]:
    """Questions on their own collection, every name in them replaced by one from another set."""
    names = [m.group() for _, text in donor.questions for m in _NAME.finditer(text) if len(m.group()) > 4]
    changed = []
    for key, text in _some(asked.questions, len(asked.questions), random):
        other = _NAME.sub(lambda _: names[int(random.integers(len(names)))], text)
        if other != text:
            changed.append((key, other))
    return _ask(library, (asked.name, "names exchanged"), asked.name, changed[:SWAPPED_MAX], answerable=False)


def _some(
    questions: Sequence[tuple[str, str]], count: int, random: np.random.Generator
) -> list[tuple[str, str]]:
    return [questions[i] for i in random.permutation(len(questions))[:count]]


def _arrays(found: Sequence[Case]) -> tuple[Matrix, Matrix, Matrix]:
    """(n, features), (n,) 1 where answerable, (n,) weights that make the pairs of a class count the same."""
    per_pair = Counter(case.pair for case in found)
    per_class = Counter({pair: case.answerable for case in found for pair in [case.pair]}.values())
    weights = np.array([1 / (per_pair[c.pair] * per_class[c.answerable]) for c in found])
    return np.array([c.features for c in found]), np.array([float(c.answerable) for c in found]), weights


def _quantile(values: Matrix, weights: Matrix, share: float) -> float:
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][np.searchsorted(cumulative, share)])
