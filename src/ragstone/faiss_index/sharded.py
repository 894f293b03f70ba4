"""Several `FAISSIndex`es as one: each id lives in the shard that its hash says, searches ask all at once.

A shard is chosen by the highest hash of (shard, id), so adding one moves only the ids that are now its own, and
removing one moves only those that were.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from ragstone.durable import sync
from ragstone.errors import InputError, NotFoundError
from ragstone.faiss_index.columns import Identifier
from ragstone.faiss_index.hits import VectorHit
from ragstone.faiss_index.index import FAISSIndex
from ragstone.faiss_index.input import (
    checked_ids,
    checked_metadata,
    checked_query,
    checked_vectors,
    identifiers,
)
from ragstone.faiss_index.manifest import read_manifest, write_manifest
from ragstone.faiss_index.snapshot import Filter, Record
from ragstone.types import Ids

_Result = TypeVar("_Result")

_NAMES = "shards.json"
_SHARDS_MAX = 256  # each has a thread of its own


class ShardedFAISSIndex:
    """Shards named by the caller, all of one kind. Thread-safe; `close` (or a `with` block) ends its threads.

    Additions and removals are all or nothing within a shard. A search sees each shard at one moment, and while ids
    move between shards it sees each of them once.
    """

    def __init__(self, shards: Sequence[str], make_index: Callable[[], FAISSIndex]) -> None:
        """Empty shards with distinct names, each made by `make_index`. Raises `InputError` for names that are not."""
        if not shards or len(set(shards)) != len(shards) or len(shards) > _SHARDS_MAX:
            raise InputError(f"shards are {list(shards)!r:.200}", hint=f"1 to {_SHARDS_MAX} distinct names")
        self._make_index = make_index
        self._shards: Mapping[str, FAISSIndex] = {name: make_index() for name in shards}
        self._writing = threading.RLock()
        self._moves = 0
        self._threads = ThreadPoolExecutor(_SHARDS_MAX, thread_name_prefix="ragstone-shard")
        first = next(iter(self._shards.values())).get_stats()
        self._dim, self._metric = first["dimension"], first["metric"]

    def __enter__(self) -> Self:
        """This index."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """`close`."""
        self.close()

    def close(self) -> None:
        """End the threads; searches still running finish first."""
        self._threads.shutdown()

    def __len__(self) -> int:
        """Vectors that a search can return."""
        return sum(len(shard) for shard in self._shards.values())

    @property
    def shards(self) -> tuple[str, ...]:
        """The shards' names."""
        return tuple(self._shards)

    def add_embeddings(
        self,
        embeddings: npt.ArrayLike,
        ids: Iterable[Identifier],
        metadata: Sequence[Record | None] | Mapping[Identifier, Record] | None = None,
    ) -> None:
        """As `FAISSIndex.add_embeddings`; everything is checked before the first shard changes."""
        checked_vectors(embeddings, dim=self._dim, metric=self._metric)
        vectors = checked_vectors(
            embeddings, dim=self._dim, metric="ip"
        )  # normalised, if at all, by the shard
        names = checked_ids(ids, len(vectors))
        records = checked_metadata(metadata, names)
        with self._writing:
            homes = np.array([_home(name, self._shards) for name in names])
            self._each(
                lambda name, shard: _add_part(shard, vectors, names, records, np.flatnonzero(homes == name))
            )

    def remove(self, ids: Iterable[Identifier] | Identifier) -> int:
        """As `FAISSIndex.remove`."""
        names = identifiers(ids)
        with self._writing:
            return sum(self._each(lambda _, shard: shard.remove(names)))

    def search(
        self,
        query: npt.ArrayLike,
        k: int = 10,
        threshold: float = 0.0,
        *,
        filter: Filter | None = None,  # noqa: A002  - the documented name
        recall: float | None = None,
    ) -> list[VectorHit]:
        """As `FAISSIndex.search`, of all shards at once; ties by shard, then by insertion."""
        # Not normalised here: every shard does it.
        asked = checked_query(query, dim=self._dim, metric="ip")

        def ask(_: str, shard: FAISSIndex) -> list[VectorHit]:
            return shard.search(asked, k, threshold, filter=filter, recall=recall)

        moves = self._moves
        parts = self._each(ask)
        if (
            self._moves != moves
        ):  # an id may have left one shard before, and come to another after, it was asked
            with self._writing:
                parts = self._each(ask)
        return _best(parts, k)

    def add_shard(self, name: str) -> int:
        """Add a shard and move to it the ids that are its own now; how many."""
        with self._writing:
            if name in self._shards or len(self._shards) == _SHARDS_MAX:
                raise InputError(
                    f"no shard {name!r} can be added", hint=f"at most {_SHARDS_MAX} distinct names"
                )
            shards = {**self._shards, name: self._make_index()}
            leaving = {
                other: [id_ for id_ in shard.id_map.values() if _home(id_, shards) == name]
                for other, shard in self._shards.items()
            }
            for other, ids in leaving.items():
                _copy(shards[other], shards[name], ids)
            self._shards = shards
            self._moves += 1
            return sum(shards[other].remove(ids) for other, ids in leaving.items())

    def remove_shard(self, name: str) -> int:
        """Move a shard's ids to the others and drop it; how many."""
        with self._writing:
            if name not in self._shards:
                raise NotFoundError(f"no shard {name!r}", hint="one of " + ", ".join(self._shards))
            left = {other: shard for other, shard in self._shards.items() if other != name}
            if not left:
                raise InputError(f"{name!r} is the last shard", hint="add another first")
            leaving = self._shards[name]
            by_home: dict[str, list[Identifier]] = {}
            for id_ in leaving.id_map.values():
                by_home.setdefault(_home(id_, left), []).append(id_)
            for home, ids in by_home.items():
                _copy(leaving, left[home], ids)
            self._shards = left
            return len(leaving)

    def get_stats(self) -> dict[str, dict[str, Any]]:
        """`FAISSIndex.get_stats` of each shard, by name."""
        return {name: shard.get_stats() for name, shard in self._shards.items()}

    def save_index(self, path: str | os.PathLike[str]) -> None:
        """Save all shards as one: after a crash the old state of all is there, or the new one of all."""
        root = Path(path)
        folder = root / f"shards-{uuid.uuid4().hex}"
        with self._writing:
            folder.mkdir(parents=True)
            numbers = {name: str(number) for number, name in enumerate(self._shards)}
            self._each(lambda name, shard: shard.save_index(folder / numbers[name]))
            sync(root)
            write_manifest(root / _NAMES, {"folder": folder.name, "shards": numbers})
            for other in root.glob("shards-*"):
                if other != folder:
                    shutil.rmtree(other, ignore_errors=True)

    def load_index(self, path: str | os.PathLike[str]) -> None:
        """Take over what was saved at `path`, with its shards; errors as for `FAISSIndex.load_index`."""
        root = Path(path)
        fields = read_manifest(root / _NAMES)
        saved = {name: root / fields["folder"] / number for name, number in fields["shards"].items()}
        loaded = {name: self._make_index() for name in saved}
        for name, shard in loaded.items():
            shard.load_index(saved[name])
        with self._writing:
            self._shards = loaded

    def _each(self, work: Callable[[str, FAISSIndex], _Result]) -> list[_Result]:
        """What `work` gives for each shard, all at once; raises the first error once all have ended."""
        futures = [self._threads.submit(work, name, shard) for name, shard in self._shards.items()]
        return [future.result() for future in futures]


def _home(id_: Identifier, shards: Iterable[str]) -> str:
    """The shard an id lives in (rendezvous hashing: Thaler and Ravishankar 1998)."""
    key = json.dumps(id_).encode()
    return max(shards, key=lambda name: hashlib.blake2b(key, key=name.encode()[:64], digest_size=8).digest())


def _best(parts: Sequence[Sequence[VectorHit]], k: int) -> list[VectorHit]:
    """The best `k` of the shards' hits, each id once."""
    ranked = sorted((hit for hits in parts for hit in hits), key=lambda hit: hit.distance)
    once: dict[Identifier, VectorHit] = {}
    for hit in ranked:
        once.setdefault(hit.id, hit)
    return list(once.values())[:k]


def _add_part(
    shard: FAISSIndex, vectors: Any, names: Sequence[Identifier], records: Sequence[Record], rows: Ids
) -> None:
    chosen = rows.tolist()
    if chosen:
        shard.add_embeddings(vectors[rows], [names[row] for row in chosen], [records[row] for row in chosen])


def _copy(source: FAISSIndex, target: FAISSIndex, ids: Sequence[Identifier]) -> None:
    metadata = source.metadata
    if ids:
        target.add_embeddings(source.vectors(ids), ids, [metadata[id_] for id_ in ids])
