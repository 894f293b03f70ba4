"""What requests took and searches found, for Prometheus: by route template, so that series stay few.

The engine's monitor knows its own operations; this knows HTTP. Both are one text at `/metrics`.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragstone.monitoring.durations import BUCKETS_MS, Rows, Window
from ragstone.monitoring.prometheus import Sample, family, number_text
from ragstone.types import Answer

# Scores of hybrid search are 0 to 1; those of other modes and sources may lie above.
SCORE_BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
RESULT_BOUNDS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
NO_ROUTE = "(none)"  # what no route matched: addresses of strangers must not become series


class ServiceMetrics:
    """Counts and histograms of one service. Thread-safe; a request costs some microseconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()  # method, route, status
        self._durations: dict[tuple[str, str], Rows] = {}
        self._scores: dict[str, Rows] = {}
        self._results: dict[str, Rows] = {}
        self._tokens: Counter[str] = Counter()
        self._webhooks: Counter[str] = Counter()
        self.in_flight = 0

    def request(self, method: str, route: str, status: int, took_ms: float) -> None:
        """Note a request that has ended, a stream with its last byte."""
        with self._lock:
            self._requests[method, route, status] += 1
            if (series := self._durations.get((method, route))) is None:
                series = self._durations[method, route] = _series(BUCKETS_MS)
            series.add([took_ms])

    def search(self, mode: str, *, hits: int, top_score: float | None) -> None:
        """Note how many hits a search had, and the score of the first, if there was one."""
        with self._lock:
            self._results.setdefault(mode, _series(RESULT_BOUNDS)).add([hits])
            if top_score is not None:
                self._scores.setdefault(mode, _series(SCORE_BOUNDS)).add([top_score])

    def answer(self, answer: Answer) -> None:
        """Note the tokens that an answer took."""
        with self._lock:
            self._tokens["prompt"] += answer.usage.prompt_tokens
            self._tokens["completion"] += answer.usage.completion_tokens

    def webhook(self, outcome: str) -> None:
        """Note what became of a webhook: `delivered`, `failed` or `dropped`."""
        with self._lock:
            self._webhooks[outcome] += 1

    def text(self) -> str:
        """Every family, in Prometheus's text format."""
        with self._lock:
            lines = list(self._families())
        return "\n".join(lines) + "\n"

    def _families(self) -> Iterator[str]:
        requests: list[Sample] = [
            ("", {"method": method, "route": route, "status": str(status)}, count)
            for (method, route, status), count in self._requests.items()
        ]
        yield from family("ragstone_http_requests_total", "counter", "Requests answered.", requests)
        yield from family(
            "ragstone_http_request_duration_seconds",
            "histogram",
            "From a request's headers to the last byte of its answer.",
            _histograms(
                (
                    ({"method": method, "route": route}, rows)
                    for (method, route), rows in self._durations.items()
                ),
                BUCKETS_MS,
                scale=1e-3,
            ),
        )
        yield from family(
            "ragstone_http_requests_in_flight",
            "gauge",
            "Requests being answered.",
            [("", {}, self.in_flight)],
        )
        yield from family(
            "ragstone_search_top_score",
            "histogram",
            "Score of the first hit.",
            _histograms((({"mode": mode}, rows) for mode, rows in self._scores.items()), SCORE_BOUNDS),
        )
        yield from family(
            "ragstone_search_results",
            "histogram",
            "Hits of a search.",
            _histograms((({"mode": mode}, rows) for mode, rows in self._results.items()), RESULT_BOUNDS),
        )
        yield from family(
            "ragstone_answer_tokens_total",
            "counter",
            "Tokens that the chat model counted.",
            [("", {"kind": kind}, count) for kind, count in self._tokens.items()],
        )
        yield from family(
            "ragstone_webhooks_total",
            "counter",
            "Webhooks by outcome.",
            [("", {"outcome": outcome}, count) for outcome, count in self._webhooks.items()],
        )


class Measured:
    """Tells `metrics` of every HTTP request; ASGI, outermost."""

    def __init__(self, app: ASGIApp, *, metrics: ServiceMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 499  # the client left before there was an answer

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started_s = time.perf_counter()
        self._metrics.in_flight += 1  # on the loop's thread only
        try:
            await self._app(scope, receive, watched_send)
        finally:
            self._metrics.in_flight -= 1
            route = scope.get("state", {}).get("route", NO_ROUTE)  # as the door has found
            method = scope["method"] if route != NO_ROUTE else NO_ROUTE
            self._metrics.request(method, route, status, (time.perf_counter() - started_s) * 1e3)


def _series(bounds: Sequence[float]) -> Rows:
    return Rows([Window(bounds)])


def _histograms(
    series: Iterable[tuple[Mapping[str, str], Rows]], bounds: Iterable[float], *, scale: float = 1.0
) -> Iterator[Sample]:
    named = [number_text(bound * scale) for bound in (*bounds, math.inf)]
    for labels, rows in series:
        (window,) = rows.fold()
        for bound, count in zip(named, accumulate(window.buckets), strict=True):
            yield "_bucket", {**labels, "le": bound}, count
        yield "_sum", labels, window.total * scale
        yield "_count", labels, window.count
