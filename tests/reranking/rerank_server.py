"""A real HTTP server on loopback that speaks `/rerank`, or plays one that fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.paths.append(self.path)
            seen.bodies.append(body)
            seen.keys.append(self.headers["Authorization"])
            if seen.hang:
                seen.release.wait(20)
            status, content = seen.answer(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that gave up is part of the tests."""

    with Server(("127.0.0.1", 0), Handler) as server:
        seen.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield seen
        finally:
            seen.release.set()
            server.shutdown()
            thread.join()
