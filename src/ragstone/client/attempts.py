"""Which failed calls are made again, and when. Bounded in number and in length.

Waits grow with each attempt and are spread at random ("full jitter"), so that clients that were refused together do not
come back together: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

from collections.abc import Callable

from ragstone.client.errors import ClientError, ServiceError
from ragstone.client.service import Service
from ragstone.client.steps import Flow, HangUp, Pause, T

FIRST_WAIT_S = 0.25  # a refused search's place is free again after some milliseconds
LONGEST_WAIT_S = 20.0  # a service that asks for more wants to be left alone: its caller decides
# Refused before any work, or by something on the way. 504 is not among them: it took a minute to fail.
AGAIN_STATUSES = frozenset({429, 502, 503})


def attempts(
    service: Service,
    attempt: Callable[[], Flow[T]],
    *,
    idempotent: bool,
    may_repeat: Callable[[], bool] = lambda: True,
) -> Flow[T]:
    """What one of `service.retries + 1` attempts returns; raises the last one's `ClientError`.

    Nothing is repeated once `may_repeat` says no.
    """
    failed = 0
    while True:
        try:
            return (yield from attempt())
        except ClientError as error:
            wait_s = _wait_s(error, failed, idempotent=idempotent, jitter=service.jitter)
            if wait_s is None or failed == service.retries or not may_repeat():
                raise
        failed += 1
        yield HangUp()
        yield Pause(wait_s)


def _wait_s(
    error: ClientError, failed: int, *, idempotent: bool, jitter: Callable[[], float]
) -> float | None:
    """Seconds to the next attempt after `failed` others; None if there should be none."""
    spread_s = jitter() * FIRST_WAIT_S * 2**failed
    if not idempotent and error.code != "unreachable":  # then nothing was sent
        return None
    if isinstance(error, ServiceError):
        wait_s = (error.retry_after_s or 0.0) + spread_s
        return wait_s if error.status in AGAIN_STATUSES and wait_s <= LONGEST_WAIT_S else None
    return spread_s if error.code in {"unreachable", "cut"} else None
