"""Telling another service what has happened: signed, tried again, never in a request's way.

The form is that of Standard Webhooks (https://www.standardwebhooks.com/): headers `webhook-id`, `webhook-timestamp` and
`webhook-signature`, an HMAC-SHA256 of `id.timestamp.body`; receivers have libraries for it. Events wait in a bounded
queue, one thread sends them. Redirects are not followed: where a message goes is what the setting says, not what the
receiver, or whoever answers in its place, would like it to be.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from ragstone import wire
from ragstone.errors import RagstoneError, SettingsError
from ragstone.http_stream import Patience, post

logger = logging.getLogger("ragstone.server")

MAX_WAITING = 256  # events of some KB; a receiver that is away for longer loses the newest, counted
ATTEMPTS = 6
FIRST_PAUSE_S = 1.0  # then twice as long each time: 31 s in all
TIMEOUT_S = 5.0  # a receiver only has to take note
SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret begins with, not one
MIN_KEY_BYTES = 16  # 24 to 64 are recommended; shorter ones can be guessed
MAKE_SECRET = 'make one with: echo "whsec_$(openssl rand -base64 32)"'  # noqa: S105 - says how, is none
# What another attempt may mend; any other refusal is final.
PASSING_STATUS = frozenset({408, 409, 425, 429})

Outcome = Callable[[str], None]


@dataclass(slots=True)
class _Delivery:
    """One event, and when to try (again)."""

    id: str
    body: bytes
    due_s: float
    attempts: int = 0


class Webhooks:
    """Sends events to one address. `start` it, and `stop` it at the end: no thread is left."""

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        outcome: Outcome = lambda outcome: None,
        first_pause_s: float = FIRST_PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`outcome` is told what became of each event: `delivered`, `failed`, `dropped`. Raises `SettingsError`."""
        self._url = url
        self._key = signing_key(secret)
        self._outcome = outcome
        self._first_pause_s = first_pause_s
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[_Delivery] = deque()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to send."""
        self._thread = threading.Thread(target=self._run, name="ragstone-webhooks")
        self._thread.start()

    def stop(self) -> None:
        """Stop at once, also in the middle of an attempt; what still waits is dropped and counted."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        for _ in self._waiting:
            self._outcome("dropped")
        self._waiting.clear()

    def send(self, kind: str, data: wire.Json) -> None:
        """Queue an event; returns at once, whatever the receiver does."""
        happened = datetime.now(UTC).isoformat(timespec="milliseconds")
        body = wire.encode({"type": kind, "timestamp": happened, "data": data})
        with self._changed:
            full = self._stopping or len(self._waiting) >= MAX_WAITING
            if not full:
                self._waiting.append(_Delivery(f"msg_{secrets.token_hex(12)}", body, self._clock()))
                self._changed.notify()
        if full:
            self._outcome("dropped")

    def _run(self) -> None:
        while (delivery := self._next()) is not None:
            delivery.attempts += 1
            wrong = self._attempt(delivery)
            if wrong is None:
                self._outcome("delivered")
            elif not wrong.may_pass or delivery.attempts == ATTEMPTS:
                logger.warning(
                    "webhook %s was not delivered after %d attempts: %s",
                    delivery.id,
                    delivery.attempts,
                    wrong.why,
                )
                self._outcome("failed")
            else:
                delivery.due_s = self._clock() + self._first_pause_s * 2 ** (delivery.attempts - 1)
                with self._changed:
                    self._waiting.append(delivery)

    def _next(self) -> _Delivery | None:
        """The delivery that is due first, when it is; None at the end."""
        with self._changed:
            while not self._stopping:
                first = min(self._waiting, key=lambda delivery: delivery.due_s, default=None)
                left_s = None if first is None else first.due_s - self._clock()
                if first is not None and left_s is not None and left_s <= 0:
                    self._waiting.remove(first)
                    return first
                self._changed.wait(left_s)
            return None

    def _stopped(self) -> bool:
        return self._stopping

    def _attempt(self, delivery: _Delivery) -> _Refused | None:
        sent_s = int(time.time())  # signed anew each time: receivers refuse what is old
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "ragstone",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(sent_s),
            "webhook-signature": signature(self._key, delivery.id, sent_s, delivery.body),
        }
        patience = Patience(
            deadline=time.monotonic() + TIMEOUT_S, read_timeout_s=TIMEOUT_S, cancelled=self._stopped
        )
        try:
            with post(
                self._url, delivery.body, headers, connect_timeout_s=TIMEOUT_S, patience=patience
            ) as response:
                status = response.status
        except RagstoneError as error:
            return _Refused(error.code, may_pass=True)
        if 200 <= status < 300:
            return None
        return _Refused(f"status {status}", may_pass=status >= 500 or status in PASSING_STATUS)


@dataclass(frozen=True, slots=True)
class _Refused:
    """Why an attempt failed, and whether another may do better."""

    why: str
    may_pass: bool


def signing_key(secret: str) -> bytes:
    """The key in a secret: base64 after `whsec_`, else the text's own bytes. Raises `SettingsError` for a weak one."""
    try:
        key = (
            base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
            if secret.startswith(SECRET_PREFIX)
            else secret.encode()
        )
    except ValueError as error:
        raise SettingsError("webhook_secret is no base64 after whsec_", hint=MAKE_SECRET) from error
    if len(key) < MIN_KEY_BYTES:
        raise SettingsError(f"webhook_secret has fewer than {MIN_KEY_BYTES} bytes", hint=MAKE_SECRET)
    return key


def signature(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """`v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
