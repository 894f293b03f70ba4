"""Who and what is let in, put together from the settings and the address that is listened on."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from dataclasses import dataclass, field

from ragstone.embedding.cores import usable_cores
from ragstone.errors import InputError
from ragstone.keys import KeyStore
from ragstone.server.identity import Identity
from ragstone.server.origins import LOOPBACK_HOSTS, OwnNames
from ragstone.server.rates import Rate, Rates
from ragstone.settings import Settings

MOST_UNASKED = 8  # search processes: 1 GB
REDIS_PREFIX = "ragstone-rate"


@dataclass(frozen=True, slots=True)
class Admission:
    """What `create_app` hands to the boundary; by default this machine only, without keys and limits of rate.

    `names` are answered to, and the sites of `origins` are let in by CORS.
    """

    identity: Identity = field(default_factory=Identity)
    rates: Rates = field(default_factory=lambda: Rates(None))
    names: OwnNames = field(default_factory=OwnNames)
    origins: frozenset[str] = frozenset()


def admission_of(settings: Settings) -> Admission:
    """As the settings say."""
    identity = Identity(
        KeyStore(settings.data_dir),
        require_key=settings.require_key,
        trusted_proxies=tuple(ipaddress.ip_network(entry) for entry in settings.trusted_proxies),
    )
    near = is_loopback(settings.host)
    own_names = () if near else (socket.gethostname().lower(), socket.getfqdn().lower())
    return Admission(
        identity=identity,
        rates=_rates(settings),
        names=OwnNames({*LOOPBACK_HOSTS, *own_names, *settings.allowed_hosts}, any_address=not near),
        origins=frozenset(settings.allowed_origins),
    )


def search_processes_of(settings: Settings) -> int:
    """As set; if not, none on a loopback address, whose one user they would cost 115 MB each, else one a core."""
    if settings.search_processes is not None:
        return settings.search_processes
    return 0 if is_loopback(settings.host) else min(usable_cores(), MOST_UNASKED)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host.lower() == "localhost"


def check_public(host: str, identity: Identity) -> None:
    """Raise `InputError` unless somebody has a key: without keys whoever reaches the address reads the documents."""
    if identity.keys is None or not identity.keys.any_current():
        raise InputError(
            f"ragstone does not listen on {host}: there are no keys, so anyone there could read the documents.",
            hint="Make one first: ragstone keys add NAME. Or use 127.0.0.1, and reach it from elsewhere by: "
            "ssh -L 8000:127.0.0.1:8000 <this machine>",
            code="public_bind",
        )


def _rates(settings: Settings) -> Rates:
    if not settings.rate_per_minute:
        return Rates(None)
    rate = Rate(settings.rate_per_minute, settings.rate_burst)
    url = settings.rate_redis_url or settings.cache_redis_url
    if url is None:
        return Rates(rate)
    from ragstone.cache.redis_cache import RedisCache

    return Rates(rate, shared=RedisCache(url.get_secret_value(), prefix=REDIS_PREFIX))
