"""Where a service is, the key for it, and how patient its client is."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ragstone.errors import InputError

USUAL_PORTS = {"http": 80, "https": 443}
CONNECT_TIMEOUT_S = 5.0  # a machine that is up answers within a round trip, or a retransmission or two
TIMEOUT_S = 75.0  # the service itself gives an answer up after 60 s and says so
RETRIES = (
    3  # with the pauses of `attempts` about a second in all; longer outages are the caller's to wait for
)


@dataclass(frozen=True, slots=True)
class Service:
    """An address and the manners towards it; made by `service_at`.

    `timeout_s` bounds a call, and the silence between two arrivals of a stream. `retries` are made beside the first
    attempt. `clock` gives seconds, `jitter` a number in [0, 1).
    """

    scheme: str
    host: str
    port: int
    base_path: str
    key: str = field(repr=False)
    timeout_s: float
    retries: int
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    jitter: Callable[[], float] = field(default=random.random, repr=False)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host and port as in a Host header; without the port where it is the scheme's own."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == USUAL_PORTS[self.scheme] else f"{name}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port, for messages."""
        return f"{self.scheme}://{self.authority}"


def service_at(url: str, *, key: str | None, timeout_s: float, retries: int) -> Service:
    """The service at an http(s) address, which may end in a path. Raises `InputError` for what cannot be one."""
    hint = "for example http://127.0.0.1:8000"
    try:
        parts = urlsplit(url)
        port = parts.port or USUAL_PORTS[parts.scheme]
    except (ValueError, KeyError) as error:
        raise InputError("not an http(s) address", hint=hint) from error
    if (
        parts.scheme not in USUAL_PORTS
        or not parts.hostname
        or parts.username
        or parts.query
        or parts.fragment
    ):
        raise InputError("an address is http(s)://host:port, and a path if there is one", hint=hint)
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError("the key holds characters that no key has", hint="was it copied with its line end?")
    if not timeout_s > 0 or retries < 0:
        raise InputError(f"timeout_s must be above 0 and retries at least 0, not {timeout_s} and {retries}")
    return Service(parts.scheme, parts.hostname, port, parts.path.rstrip("/"), key or "", timeout_s, retries)


class ServiceClient:
    """What the blocking and the asynchronous client are given; `tls` is None for the system's trusted certificates."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.service = service_at(url, key=key, timeout_s=timeout_s, retries=retries)
        self._tls = tls
