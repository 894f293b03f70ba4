"""A knowledge graph as a source."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ragstone.parallel.sources import Found, Item, Request

# FEATURES "Parallel sources": 15 nodes are shown; some more are asked for, as document 001's service did.
GRAPH_TOP_K = 20


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node that fits a query. `details` are JSON values: its kind, what it is tied to."""

    id: str
    text: str
    score: float
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GraphAnswer:
    """Nodes, best first; `context` puts them and their ties into sentences; `rules` are those that apply to them."""

    nodes: Sequence[GraphNode] = ()
    context: str = ""
    rules: Sequence[str] = ()


class Graph(Protocol):
    """What can be asked for the nodes that fit a query."""

    def search(self, query: str, top_k: int) -> GraphAnswer:
        """At most `top_k` nodes, best first, ties by id."""


class GraphSource:
    """Asks a graph; its nodes are the items."""

    def __init__(
        self,
        graph: Graph,
        *,
        name: str = "graph",
        top_k: int = GRAPH_TOP_K,
        version: Callable[[], Hashable | None] = lambda: None,
    ) -> None:
        """`version` is the graph's; without one nothing that it took part in is kept."""
        self._graph = graph
        self.name = name
        self._top_k = top_k
        self.version = version

    def fetch(self, request: Request) -> Found:
        """The nodes that fit the query, which holds the theme where the request was made from facts."""
        answer = self._graph.search(request.query, self._top_k)
        items = tuple(Item(node.id, node.text, node.score, details=node.details) for node in answer.nodes)
        return Found(items, answer.context, tuple(answer.rules))
