"""Searches as frames between the service and its search processes: what is asked, what came of it, and errors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragstone import errors, wire
from ragstone.deadlines import DeadlineError
from ragstone.errors import RagstoneError
from ragstone.index.recall_keeper import ObservedRecall
from ragstone.logs import request_id
from ragstone.server.requests import SearchRequest
from ragstone.stats import SearchFigures
from ragstone.types import SearchResult

_KINDS: Mapping[str, type[RagstoneError]] = {
    kind.__name__: kind
    for kind in (*vars(errors).values(), DeadlineError)
    if isinstance(kind, type) and issubclass(kind, RagstoneError)
}


@dataclass(frozen=True, slots=True)
class Found:
    """What a search answers: the reply's body, and what the figures of the service want to know of it."""

    body: bytes
    hits: int
    top_score: float | None  # None without hits

    @classmethod
    def of(cls, result: SearchResult) -> Found:
        """The result as the service sends it."""
        top_score = result.hits[0].score if result.hits else None
        return cls(wire.encode(wire.search_json(result)), len(result.hits), top_score)


def arguments(request: SearchRequest) -> dict[str, Any]:
    """What `Ragstone.search` is called with for a request."""
    return {
        "query": request.q,
        "top_k": request.k,
        "mode": request.mode,
        "filter": request.filter or None,
        "collections": list(request.collection) or None,
        "graph": request.graph,
        "rerank": request.rerank,
    }


def question(request: SearchRequest, *, left_s: float) -> wire.Json:
    """The frame that asks for a search within `left_s`, with the id of the request being served."""
    # A moment, not a duration: both sides read one clock (CLOCK_MONOTONIC), and waiting counts.
    return {
        "search": arguments(request),
        "ends_s": time.monotonic() + left_s,
        "request_id": request_id.get(),
    }


def error_json(error: RagstoneError) -> list[str]:
    """Its nearest class that has a name here, and what it says."""
    kind = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _KINDS)
    return [kind, error.message, error.hint, error.code]


def error_from(found: list[str]) -> RagstoneError:
    """The error of such a list."""
    kind, message, hint, code = found
    return _KINDS[kind](message, hint=hint, code=code)


def figures_from(found: wire.Json) -> SearchFigures:
    """Figures of their `plain_json`."""
    recall = {name: ObservedRecall(**seen) for name, seen in found["recall"].items()}
    return SearchFigures(found["caches"], recall, found["degraded"])
