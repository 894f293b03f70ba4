"""A real HTTP server on loopback that speaks `/rerank`, or plays one that fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from loopback_server import Post, loopback_server
from reranking.overlap_model import overlap

Answer = Callable[[dict[str, Any]], tuple[int, bytes]]


def well(body: dict[str, Any]) -> tuple[int, bytes]:
    """The overlap of each document, best first, as the services send it."""
    scores = [overlap(body["query"], document) / 100 for document in body["documents"]]
    order = sorted(range(len(scores)), key=lambda n: -scores[n])[: body["top_n"]]
    return results([(n, scores[n]) for n in order])


def results(found: list[tuple[object, object]]) -> tuple[int, bytes]:
    """An answer with these indices and scores."""
    entries = [{"index": index, "relevance_score": score} for index, score in found]
    return 200, json.dumps({"id": "x", "results": entries}).encode()


@dataclass
class RerankServer:
    """Answers as `answer` says; `hang`: not before `release` is set."""

    url: str = ""
    answer: Answer = well
    hang: bool = False
    release: threading.Event = field(default_factory=threading.Event)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


@contextmanager
def rerank_server() -> Iterator[RerankServer]:
    """A server for the block."""
    seen = RerankServer()

    def answer(post: Post) -> tuple[int, dict[str, str], bytes]:
        body = json.loads(post.body)
        seen.paths.append(post.path)
        seen.bodies.append(body)
        seen.keys.append(post.headers.get("authorization"))
        if seen.hang:
            seen.release.wait(20)
        status, content = seen.answer(body)
        return status, {}, content

    with loopback_server(answer) as address:
        seen.url = f"{address}/v1"
        try:
            yield seen
        finally:
            seen.release.set()
