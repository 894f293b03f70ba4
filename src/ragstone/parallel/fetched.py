"""What came of asking all sources, and its documented form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ragstone.parallel.runner import Outcome
from ragstone.parallel.sources import Found, Item
from ragstone.types import Degraded
from ragstone.wire import TIMING_DIGITS, plain_json

Json: TypeAlias = dict[str, Any]

# FEATURES "Parallel sources".
GRAPH_NODES_MAX = 15
GRAPH_CONTEXT_MAX_CHARS = 2000
GRAPH_RULES_MAX = 5
CORPUS_QUOTES_MAX = 8
PERSONA_GROUP_MAX = 5
DOMAIN_KNOWLEDGE_MAX = 5
MERGED_MAX = 20
# Reciprocal rank fusion (Cormack, Clarke, Büttcher 2009) with their constant: what sources of different kinds find has
# ranks in common, but no scores.
_RANK_OFFSET = 60


@dataclass(frozen=True, slots=True)
class Fetched:
    """What each source gave or why not, by name in the order of the sources, the analysis last. `kept`: from memory."""

    outcomes: Mapping[str, Outcome[Found]]
    took_ms: float
    kept: bool = False

    @property
    def found(self) -> dict[str, Found]:
        """What the sources that answered found."""
        return {name: outcome.value for name, outcome in self.outcomes.items() if outcome.value is not None}

    @property
    def degraded(self) -> tuple[Degraded, ...]:
        """Every source that did not answer, and what could not take part inside one that did."""
        missing = []
        for name, outcome in self.outcomes.items():
            if outcome.value is None:
                missing.append(Degraded(name, f"{outcome.status}: {outcome.error}"))
            else:
                inside = outcome.value.degraded
                missing += [Degraded(name, f"{part.source}: {part.reason}") for part in inside]
        return tuple(missing)

    def merged(self) -> list[Merged]:
        """Everything found, each thing once, by how high the sources rank it; does not depend on who was faster.

        Ties: the order of the sources, then that of their items.
        """
        merged: dict[str, Merged] = {}
        for name, found in self.found.items():
            best: set[str] = set()
            for rank, item in enumerate(found.items, start=1):
                if item.id in best:  # a source counts once, with the best place it gives
                    continue
                best.add(item.id)
                entry = merged.setdefault(item.id, Merged(item))
                entry.ranks[name] = rank
        return sorted(merged.values(), key=lambda entry: -entry.score)  # stable

    def to_dict(self) -> Json:
        """The documented keys, always all of them and within their limits, as JSON types; a new object each time.

        `graph_nodes`, `graph_context`, `graph_rules`, `corpus_quotes`, `persona_context` (items by group),
        `domain_knowledge`, `cross_analysis`, `prefetch_time_ms`; and for every source `sources[name]` with `status`,
        `items`, `ms` and `error` (None when there is none), `merged`, `degraded`, and whether it was `kept`.
        """
        nothing = Found()
        found = self.found
        graph, corpus, domain = (found.get(name, nothing) for name in ("graph", "corpus", "domain"))
        return {
            "graph_nodes": _items(graph, GRAPH_NODES_MAX),
            "graph_context": graph.text[:GRAPH_CONTEXT_MAX_CHARS],
            "graph_rules": list(graph.rules[:GRAPH_RULES_MAX]),
            "corpus_quotes": _items(corpus, CORPUS_QUOTES_MAX),
            "persona_context": _grouped(found.get("persona", nothing)),
            "domain_knowledge": _items(domain, DOMAIN_KNOWLEDGE_MAX),
            "cross_analysis": found.get("cross", nothing).text,
            "prefetch_time_ms": round(self.took_ms, TIMING_DIGITS),
            "sources": {name: _source(outcome) for name, outcome in self.outcomes.items()},
            "merged": [entry.to_dict() for entry in self.merged()[:MERGED_MAX]],
            "degraded": [{"source": part.source, "reason": part.reason} for part in self.degraded],
            "kept": self.kept,
        }


@dataclass(frozen=True, slots=True)
class Merged:
    """A thing found and the rank, from 1, that each source gives it."""

    item: Item
    ranks: dict[str, int] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """The sum of reciprocal ranks, higher for better."""
        return sum(1 / (_RANK_OFFSET + rank) for rank in self.ranks.values())

    def to_dict(self) -> Json:
        """The item, its ranks, and the fused score in place of its own."""
        return {**_item(self.item), "score": round(self.score, 6), "ranks": dict(self.ranks)}


def _item(item: Item) -> Json:
    details: Json = plain_json(item.details)
    return {**details, "id": item.id, "text": item.text, "score": round(item.score, 6)}


def _items(found: Found, most: int) -> list[Json]:
    return [_item(item) for item in found.items[:most]]


def _grouped(found: Found) -> dict[str, list[Json]]:
    groups: dict[str, list[Json]] = {}
    for item in found.items:
        group = groups.setdefault(item.group, [])
        if len(group) < PERSONA_GROUP_MAX:
            group.append(_item(item))
    return groups


def _source(outcome: Outcome[Found]) -> Json:
    items = [] if outcome.value is None else [_item(item) for item in outcome.value.items]
    return {
        "status": outcome.status,
        "items": items,
        "ms": round(outcome.took_ms, TIMING_DIGITS),
        "error": outcome.error or None,
    }
