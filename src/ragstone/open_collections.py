"""The collections of a data directory, each opened by the first call that needs it and kept open."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from pathlib import Path

from ragstone.collection import Collection, holds_memories
from ragstone.errors import InputError, NoCollectionError
from ragstone.index.recall_keeper import RecallKeeper
from ragstone.monitoring.records import Gauge
from ragstone.stats import recall_gauges
from ragstone.store import documents

COLLECTION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # a folder's name on every file system


class OpenCollections:
    """What is open in one data directory, with what watches the recall of each. Thread-safe."""

    def __init__(self, data_dir: Path, *, recall: float) -> None:
        """`recall` is the share of the true nearest chunks that searches are to find."""
        self._data_dir = data_dir
        self._recall = recall
        self._open: dict[str, Collection] = {}
        self._keepers: dict[str, RecallKeeper] = {}
        self._changing = threading.RLock()
        self._closed = False

    def names(self) -> list[str]:
        """The names of the collections of documents, open or not; memories are not among them."""
        home = self._data_dir / "collections"
        if not home.is_dir():
            return []
        return sorted(
            path.name
            for path in home.iterdir()
            if COLLECTION_NAME.fullmatch(path.name)
            and not holds_memories(path.name)
            and (path / "catalog.sqlite").is_file()
        )

    def get(self, name: str, *, create: bool = False) -> Collection:
        """The collection, opened if it was not. Raises `InputError` for what is no name, `NoCollectionError`."""
        if not COLLECTION_NAME.fullmatch(name):
            raise InputError(f"{name!r} is no name for a collection", hint="letters, digits, dots, - and _")
        with self._changing:
            if self._closed:
                raise InputError("this engine is closed", hint="open another one")
            known = self._open.get(name)
            if known is not None and not known.is_there:  # another process dropped it
                known.catalog.close()
                del self._open[name]
            if name not in self._open:
                folder = self._data_dir / "collections" / name
                if not create and not (folder / "catalog.sqlite").is_file():
                    raise self.missing(name)
                self._open[name] = Collection(folder)
            return self._open[name]

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
            self._open.pop(name, None)
            keeper = self._keepers.pop(name, None)
        if keeper is not None:
            keeper.wait()
        home.catalog.close()
        shutil.rmtree(aside)
        return count

    def recall_keeper(self, name: str) -> RecallKeeper:
        """What watches how much the collection's searches find."""
        return self._keepers.setdefault(name, RecallKeeper(name, self._recall))

    def gauges(self) -> list[Gauge]:
        """What was watched, as figures."""
        observed = {name: keeper.summary() for name, keeper in self._keepers.copy().items()}
        return recall_gauges(observed, wanted=self._recall)

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
