"""Clients that misbehave, against a service in this process (RELIABILITY B2, B3, B4, B5).

    python -m tests.load.attacks [--tries 1000] [--seconds 600] [--kind vanish] [--slack-s 0]

Each try is one of: a client that leaves in the middle of a stream (its model call ends within a second, its slot comes
back); a deadline (kept within 100 ms); a crowd of slow heads, bodies and readers (closed, and others are served
meanwhile); a SIGTERM-like stop with streams open (each ends with a last event).
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path

from crash.command import Attempt, BrokenPromiseError, Try, main
from ragstone.server.connections import ConnectionLimits
from server.keyed import HOURS, Keyed, fill, keyed
from server.live import DrippingModel, wait_until

ASK = {"question": "The observatory opens at nine"}
KINDS = ("vanish", "deadline", "slow", "stop")
LIMITS = ConnectionLimits(head_s=0.5, reader_s=0.5, refused_body_s=0.5, connections=100)
CLOSED_S, DEADLINE_S, SERVED_S = 1.0, 0.1, 1.0


def prepare(shared: Path, given: argparse.Namespace) -> Attempt:
    """A store for all tries."""
    fill(shared, {"default": [HOURS, "Long. " + "word " * 60_000]})

    def attempt(this: Try) -> Iterable[str]:
        kind = given.kind or KINDS[this.number % len(KINDS)]
        model = DrippingModel(text="The observatory opens at nine [1].", repeat=100, pause_s=0.01)
        with keyed(shared, chat_model=model, require_key=False, options={"limits": LIMITS}) as service:
            attack = {"vanish": _vanish, "deadline": _deadline, "slow": _slow, "stop": _stop}[kind]
            attack(this, service, model, given.slack_s)
        return [kind]

    return attempt


def _vanish(this: Try, service: Keyed, model: DrippingModel, slack_s: float) -> None:
    model.stopped.clear()
    with closing(_stream(service)) as connection:
        response = connection.getresponse()
        while b"event: token" not in response.readline():
            pass
        for _ in range(this.choice.randrange(1, 60)):
            response.readline()
        response.close()
    took_s = wait_until(model.stopped.is_set, "the model call ends", timeout_s=5)
    _check(took_s <= CLOSED_S + slack_s, f"the model call went on for {took_s:.2f} s")
    answering = service.live.app.state.service._answering
    free = wait_until(lambda: answering.taken == 0, "the slot is back", timeout_s=5)
    _check(free <= CLOSED_S + slack_s, "the slot came back late")


def _deadline(this: Try, service: Keyed, model: DrippingModel, slack_s: float) -> None:
    asked_s = this.choice.uniform(0.02, 0.8)
    path = this.choice.choice(["/api/ask", "/api/ask/stream"])
    started_s = time.monotonic()
    reply = service.post(path, ASK, **{"X-Request-Timeout": f"{asked_s:.3f}"})
    late_s = time.monotonic() - started_s - asked_s
    ended = reply.status == 504 or (path.endswith("stream") and reply.events()[-1][1]["status"] == 504)
    _check(ended, f"answered {reply.status} after {late_s:+.3f} s")
    _check(late_s <= DEADLINE_S + slack_s, f"{late_s * 1e3:.0f} ms late")


def _slow(this: Try, service: Keyed, model: DrippingModel, slack_s: float) -> None:
    head = b"POST /api/ask HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    sent = [b"", b"G", head, head + b"X-Request-Timeout: 0.5\r\nContent-Length: 900\r\n\r\n{"]
    reading = b"GET /api/document?uri=default/1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 10  # 3 MB
    with ExitStack() as stack:
        crowd = []
        for number in range(LIMITS.connections * 2):
            raw = stack.enter_context(closing(socket.socket()))
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(("127.0.0.1", service.live.port))
            try:
                # Few readers: their documents are real work, which the others rightly wait for.
                raw.sendall(reading if number % 50 == 0 else this.choice.choice(sent))
            except OSError:
                continue  # closed already, to make room
            crowd.append(raw)
        slowest_s = 0.0
        for _ in range(10):
            started_s = time.monotonic()
            _check(service.get("/api/search?q=nine").status in {200, 503}, "refused")
            slowest_s = max(slowest_s, time.monotonic() - started_s)
        _check(slowest_s < SERVED_S + slack_s, f"a search took {slowest_s:.2f} s beside the crowd")
        connections = service.live.server.server_state.connections
        wait_until(lambda: not connections, "the crowd is closed", timeout_s=10)


def _stop(this: Try, service: Keyed, model: DrippingModel, slack_s: float) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(closing(_stream(service))) for _ in range(this.choice.randrange(1, 8))]
        responses = [stream.getresponse() for stream in streams]
        for response in responses:
            response.readline()
        running = service.live.app.state.service
        running.loop.call_soon_threadsafe(lambda: running.stop_soon(grace_s=0.2))
        wait_until(
            lambda: service.get("/health/ready").status == 503, "it is not ready", timeout_s=1 + slack_s
        )
        for response in responses:
            last = response.read().decode().strip().split("\n\n")[-1]
            _check(last.startswith(("event: done\n", "event: error\n")), f"a stream ended with {last[:40]!r}")


def _stream(service: Keyed) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", service.live.port, timeout=20)
    connection.request("POST", "/api/ask/stream", json.dumps(ASK), {"Content-Type": "application/json"})
    return connection


def _check(holds: bool, otherwise: str) -> None:  # noqa: FBT001
    if not holds:
        raise BrokenPromiseError(otherwise)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", choices=KINDS, default=None)
    parser.add_argument("--slack-s", type=float, default=0.0, help="added to each limit, for a busy machine")


if __name__ == "__main__":
    sys.exit(main(__doc__, prepare, tries=1000, add_options=_options))
