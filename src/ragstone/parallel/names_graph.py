"""The engine's graph of names as the graph of a retriever: passages that names lead to, and which names they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ragstone.engine import Ragstone
from ragstone.parallel.graph import GraphAnswer, GraphNode
from ragstone.types import Hit, SearchResult
from ragstone.wire import hit_json


class NamesGraph:
    """Follows the names of documents in collections of one engine. The engine is closed by its owner."""

    def __init__(self, engine: Ragstone, *, collections: Sequence[str] | None = None) -> None:
        """`collections` default to the engine's own."""
        self._engine = engine
        self._collections = None if collections is None else list(collections)

    def search(self, query: str, top_k: int) -> GraphAnswer:
        """Passages of documents that the query names, or that the passages which fit it best name; best first."""
        found = self._engine.graph_search(query, top_k=top_k, collections=self._collections)
        nodes = [GraphNode(_id(hit), hit.text, hit.score, _details(hit)) for hit in found.hits]
        return GraphAnswer(nodes, "\n".join(_ties(found)))


def _id(hit: Hit) -> str:
    return f"{hit.collection}/{hit.id}"


def _details(hit: Hit) -> dict[str, object]:
    return {key: value for key, value in hit_json(hit).items() if key not in {"id", "text", "score"}}


def _ties(found: SearchResult) -> Iterator[str]:
    """A line for each name that led to a passage found: where it is written, and what bears it."""
    hits = {(hit.collection, hit.id): hit for hit in found.hits}
    for name in found.names:
        bearers = dict.fromkeys(
            hit.title or hit.uri for id_ in name.chunk_ids if (hit := hits.get((name.collection, id_)))
        )
        if bearers:
            start = None if name.from_chunk is None else hits.get((name.collection, name.from_chunk))
            written = "in the question" if name.from_chunk is None else "in a passage that fits"
            written = written if start is None else f"in {start.title or start.uri}"
            yield f"“{name.name}”, {written}: {', '.join(bearers)}"
