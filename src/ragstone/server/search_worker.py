"""One search process: an engine over the service's data directory that only searches, one query after the other.

Run as a program by `search_processes`. It opens what another process has committed with its next search, as every
engine does, and mends nothing: that is the service's own engine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

from ragstone import deadlines, wire
from ragstone.engine import Ragstone
from ragstone.errors import RagstoneError, StoreError
from ragstone.logs import request_id
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.server.search_frames import Found, error_json
from ragstone.server.worker_side import END_S, Link
from ragstone.settings import Settings


def main() -> None:
    """Search until the other side is gone."""
    # A supervisor that tells a whole group to stop must not end the searches that the service lets finish.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    link = Link()
    settings = Settings.model_validate(link.start)
    link.take_log(settings)
    over = threading.Event()
    link.at_end(lambda: _leave(over))
    seen = _Relayed()
    try:
        with Ragstone(settings=settings, monitor=seen) as engine:
            if settings.warm_up:
                engine.warm_up(check=False)
            seen.taken()
            link.send({"ready": True})
            while (asked := link.receive()) is not None:
                if "search" in asked:
                    _search(engine, seen, link, asked)
                else:
                    _forget(engine)
    finally:
        over.set()


def _search(engine: Ragstone, seen: _Relayed, link: Link, asked: wire.Json) -> None:
    """Answer one question: a frame of what is to be noted, and behind it the body, unless it failed."""
    told: wire.Json = {}
    body: bytes | None = None
    known = request_id.set(asked["request_id"])
    try:
        with deadlines.within(asked["ends_s"] - time.monotonic()):
            deadlines.check()
            found = Found.of(engine.search(**asked["search"]))
        body = found.body
        told = {"hits": found.hits, "top_score": found.top_score}
    except RagstoneError as error:
        told = {"error": error_json(error)}
    except Exception:  # noqa: BLE001 - told to the service, which logs it and answers 500
        told = {"unexpected": traceback.format_exc()}
    finally:
        request_id.reset(known)
    figures = wire.plain_json(engine.search_figures())
    link.send({"done": told, "observed": seen.taken(), "figures": figures}, body)


def _forget(engine: Ragstone) -> None:
    with contextlib.suppress(StoreError):  # the shared level: the service's own engine says so
        engine.forget_caches()


def _leave(over: threading.Event) -> None:
    """The end for a search that does not come to its own."""
    if not over.wait(END_S):
        os._exit(1)


class _Relayed(PerformanceMonitor):
    """Keeps what is observed for the service's monitor, which has the figures of all processes."""

    def __init__(self) -> None:
        super().__init__(track_memory=False)
        self._observed: list[list[Any]] = []

    def observe(self, operation: str, took_ms: float, stages_ms: Mapping[str, float] | None = None) -> None:
        """Keep it."""
        self._observed.append([operation, took_ms, dict(stages_ms or {})])

    def record_error(self, op_name: str) -> None:
        """Keep it."""
        self._observed.append([op_name])

    def taken(self) -> list[list[Any]]:
        """What was kept since the last call: `[operation, ms, stages]`, or `[operation]` of one that failed."""
        taken, self._observed = self._observed, []
        return taken


if __name__ == "__main__":
    main()
