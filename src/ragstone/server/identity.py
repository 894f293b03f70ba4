"""Whose request it is: the key that it carries, or the address that it comes from.

Nothing here looks at a body. A key stands in `Authorization: Bearer`, in `X-API-Key`, or, since a browser can give a
WebSocket no headers, among its subprotocols as `ragstone-key.<key>`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from starlette.datastructures import Headers
from starlette.types import Scope

from ragstone.errors import StoreError
from ragstone.keys import Key, KeyStore
from ragstone.server.access import LOCAL, Caller

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

SUBPROTOCOL = "ragstone-key."
MAX_FORWARDS = 20  # proxies in a row; a longer header is nonsense and costs time


@dataclass(frozen=True, slots=True)
class Identity:
    """Finds the caller of a request, or nobody.

    As long as no key was ever made, whoever connects from this machine is `LOCAL`; afterwards too, without a key, if
    `require_key` is off. What a proxy of `trusted_proxies` says about where a request comes from is believed.
    """

    keys: KeyStore | None = None
    require_key: bool = True
    trusted_proxies: tuple[Network, ...] = field(default=())

    def caller(self, scope: Scope) -> Caller | None:
        """Who it is; None for nobody who may come in. Raises `StoreError` when the keys cannot be read."""
        if self.keys is None or not self.keys.in_use:
            return LOCAL if self._is_near(scope) else None
        given = _given_keys(Headers(scope=scope), websocket=scope["type"] == "websocket")
        if not given:
            return LOCAL if not self.require_key and self._is_near(scope) else None
        if len(given) > 1:
            return None  # which of them a proxy in front has checked is not to be known
        key = self.keys.find(given.pop())
        return None if key is None else _caller(self.keys, key)

    def address(self, scope: Scope) -> str:
        """Whom to count where there is no key: an IPv4 address, or an IPv6 network of 64 bits, which one host has."""
        found = self._origin(scope)
        if found is None:
            return "local"
        if isinstance(found, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((found, 64), strict=False))
        return str(found)

    def _is_near(self, scope: Scope) -> bool:
        """Whether it comes from this machine, and not through a proxy from somewhere else."""
        client = scope.get("client")  # none on a socket of this machine's file system
        hops = [_address(entry) for entry in [*_forwards(scope), *([client[0]] if client else [])]]
        return all(hop is not None and hop.is_loopback for hop in hops)

    def _origin(self, scope: Scope) -> Address | None:
        """The last address that no trusted proxy vouches for; None for a socket without addresses."""
        peer = _address((scope.get("client") or ("",))[0])
        for entry in reversed(_forwards(scope)):
            if peer is None or not any(peer in network for network in self.trusted_proxies):
                break
            peer = _address(entry) or peer
        return peer


def _caller(keys: KeyStore, key: Key) -> Caller:
    bound = None if key.collections is None else frozenset(key.collections)
    return Caller(key.name, key.permission, bound, id=key.id, current=partial(_is_current, keys, key.id))


def _is_current(keys: KeyStore, key_id: str) -> bool:
    try:
        return keys.is_current(key_id)
    except StoreError:
        return False


def _forwards(scope: Scope) -> list[str]:
    headers = Headers(scope=scope)
    entries = ",".join(headers.getlist("x-forwarded-for")).split(",")[-MAX_FORWARDS:]
    return [entry.strip() for entry in entries if entry.strip()]


def _address(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def _given_keys(headers: Headers, *, websocket: bool) -> set[str]:
    """Every key in the request, most often one; an `Authorization` of another kind counts as a wrong one."""
    given = set(headers.getlist("x-api-key"))
    for authorization in headers.getlist("authorization"):
        scheme, _, credentials = authorization.partition(" ")
        given.add(credentials.strip() if scheme.lower() == "bearer" else "")
    if websocket:
        for entry in ",".join(headers.getlist("sec-websocket-protocol")).split(","):
            if entry.strip().startswith(SUBPROTOCOL):
                given.add(entry.strip().removeprefix(SUBPROTOCOL))
    return given
