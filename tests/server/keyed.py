"""A service that asks for keys, over two collections with words of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hashing_embedder import HashingEmbedder
from ragstone.answering.chat_model import ChatModel
from ragstone.engine import Ragstone
from ragstone.keys import Granted, KeyStore
from ragstone.server.admission import Admission, admission_of
from ragstone.settings import Settings
from server.live import LiveService, Reply, running

HOURS = "The observatory opens at nine. "


@dataclass(frozen=True)
class Keyed:
    """The service, its engine and its keys."""

    live: LiveService
    keys: KeyStore
    engine: Ragstone

    def key(self, name: str, *, may: Granted = "read", only: Sequence[str] | None = None) -> str:
        """A new key's secret."""
        return self.keys.add(name, permission=may, collections=only)[1]

    def get(self, path: str, secret: str = "", **headers: str) -> Reply:
        return self.live.get(path, **_with(secret), **headers)

    def post(self, path: str, body: object, secret: str = "", **headers: str) -> Reply:
        return self.live.post(path, body, **_with(secret), **headers)


def _with(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"} if secret else {}


@contextmanager
def keyed(
    data_dir: Path,
    *,
    chat_model: ChatModel | None = None,
    admission: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Keyed]:
    """Running, warm, with one admin key called `first` so that it is closed to others. `admission` replaces fields of
    what the settings give, `options` go to `running`."""
    given = Settings(data_dir=data_dir, **{"rate_per_minute": 0, **settings})
    keys = KeyStore(data_dir)
    if not keys.in_use:
        keys.add("first", permission="admin")
    with Ragstone(settings=given, embedder=HashingEmbedder(), chat_model=chat_model) as engine:
        admitted: Admission = replace(admission_of(given), **(admission or {}))
        with running(engine, admission=admitted, **(options or {})) as live:
            live.wait_ready()
            yield Keyed(live, keys, engine)


def fill(data_dir: Path, texts: Mapping[str, Sequence[str]]) -> None:
    """Collections with these texts."""
    for name, given in texts.items():
        with Ragstone(data_dir, collection=name, embedder=HashingEmbedder()) as engine:
            engine.add(list(given), uris=[f"{name}/{number}" for number in range(len(given))])
