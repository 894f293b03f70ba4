"""The collections of a data directory, each opened by the first call that needs it and kept open."""

from __future__ import annotations

import errno
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ragstone.collection import MEMORY_SUFFIX, Collection, documents_only, holds_memories
from ragstone.durable import sync
from ragstone.errors import InputError, NoCollectionError, engine_closed
from ragstone.index.recall_keeper import ObservedRecall, RecallKeeper
from ragstone.monitoring.records import Gauge
from ragstone.stats import recall_gauges
from ragstone.store import documents
from ragstone.store.exchange import exchange
from ragstone.store.lock import WriterLock

COLLECTION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # a folder's name on every file system


def require_name(name: str) -> None:
    """Raise `InputError` for what is no name of a collection, or of its memory."""
    if not COLLECTION_NAME.fullmatch(name.removesuffix(MEMORY_SUFFIX)):
        raise InputError(f"{name!r} is no name for a collection", hint="letters, digits, dots, - and _")


class OpenCollections:
    """What is open in one data directory, with what watches the recall of each. Thread-safe."""

    def __init__(self, data_dir: Path, *, default: str, recall: float) -> None:
        """`default` is meant where no name is given; `recall` is the share of the true nearest chunks to find."""
        self._data_dir = data_dir
        self.folder = data_dir / "collections"
        self._default = default
        self._recall = recall
        self._open: dict[str, Collection] = {}
        self._keepers: dict[str, RecallKeeper] = {}
        self._changing = threading.RLock()
        self._closed = False

    def names(self) -> list[str]:
        """The names of the collections of documents, open or not; memories are not among them."""
        if not self.folder.is_dir():
            return []
        return sorted(
            path.name
            for path in self.folder.iterdir()
            if COLLECTION_NAME.fullmatch(path.name)
            and not holds_memories(path.name)
            and (path / "catalog.sqlite").is_file()
        )

    def get(self, name: str | None = None, *, create: bool = False) -> Collection:
        """The collection, opened if it was not. Raises `InputError` for what is no name, `NoCollectionError`."""
        name = name or self._default
        require_name(name)
        with self._changing:
            if self._closed:
                raise engine_closed()
            known = self._open.get(name)
            if known is not None and not known.is_there:  # another process dropped it
                known.catalog.close()
                del self._open[name]
            if name not in self._open:
                folder = self.folder / name
                if not create and not (folder / "catalog.sqlite").is_file():
                    raise self.missing(name)
                self._open[name] = Collection(folder)
            return self._open[name]

    def of_documents(self, name: str | None = None, *, create: bool = False) -> Collection:
        """A collection that is no memory: what documents go into. Raises as `get`."""
        return self.get(documents_only(name or self._default), create=create)

    def chosen(self, names: Sequence[str] | None) -> list[str]:
        """The names given, the default's where none are."""
        return list(names) if names else [self._default]

    def versions(self, names: Sequence[str]) -> tuple[tuple[str, int], ...]:
        """What differs from before whenever anybody has written to one of the collections; microseconds each."""
        return tuple((name, self.get(name).catalog.version()) for name in names)

    def missing(self, name: str) -> NoCollectionError:
        """What is raised for a collection that is not there."""
        return NoCollectionError(
            f"no collection {name!r} in {self._data_dir}",
            hint="make one with: ragstone index FOLDER",
        )

    def drop(self, name: str) -> int:
        """Remove a collection with its folder; how many documents it had. Raises as `get`, and `LockedError`."""
        home = self.get(name)
        for left in home.folder.parent.glob(".*.dropped-*"):  # by a process that was killed here
            shutil.rmtree(left, ignore_errors=True)
        with home.writing(), self._changing:
            with home.catalog.reading() as db:
                count = documents.counts(db).documents
            aside = home.folder.with_name(f".{name}.dropped-{secrets.token_hex(4)}")
            home.folder.rename(aside)  # from here on the name is free, in every process
            close = self._let_go(name)
        close()
        shutil.rmtree(aside)
        return count

    def holds(self, name: str) -> bool:
        """Whether there is something under this name, whole or not. Raises `InputError` for what is no name."""
        require_name(name)
        return (self.folder / name).exists()

    def put(self, name: str, folder: Path, *, replace: bool) -> bool:
        """Give a collection that is whole in `folder`, below ours, a name; whether it took another's place, which then
        lies in `folder`. In one step: killed at any moment, the name is that of the one or the other.

        Searches that run in the other meanwhile may fail with `StoreError`. Raises `InputError` when the name is taken
        and nothing is to be replaced, `LockedError`.
        """
        require_name(name)
        place = self.folder / name
        if replace and place.exists():
            # Its own lock, not that of the open collection: the old one may be too damaged to be opened.
            with WriterLock(place / "lock").held(), self._changing:
                exchange(folder, place)
                close = self._let_go(name)
            close()
            return True
        try:
            folder.rename(place)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise
            raise InputError(f"there is a collection {name!r} already", hint="choose another name") from error
        sync(self.folder)
        return False

    def _let_go(self, name: str) -> Callable[[], None]:
        """Forget a collection whose folder is no longer its own; what closes it, for when nothing is held any more."""
        home, keeper = self._open.pop(name, None), self._keepers.pop(name, None)

        def close() -> None:
            if keeper is not None:
                keeper.wait()
            if home is not None:
                home.catalog.close()

        return close

    def recall_keeper(self, name: str) -> RecallKeeper:
        """What watches how much the collection's searches find."""
        return self._keepers.setdefault(name, RecallKeeper(name, self._recall))

    def observed(self) -> dict[str, ObservedRecall]:
        """What was watched, by collection; without those that were not checked."""
        summaries = {name: keeper.summary() for name, keeper in self._keepers.copy().items()}
        return {name: found for name, found in summaries.items() if found is not None}

    def gauges(self) -> list[Gauge]:
        """What was watched, as figures."""
        return recall_gauges(self.observed(), wanted=self._recall)

    def close(self) -> None:
        """Let go of all files; nothing can be opened afterwards."""
        with self._changing:
            self._closed = True
        for keeper in self._keepers.values():
            keeper.wait()
        with self._changing:
            for collection in self._open.values():
                collection.close()
            self._open.clear()
