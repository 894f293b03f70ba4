"""Any sequence of adding, deleting, indexing, sealing, compacting, purging, changing plans, damaging, reopening,
backing up and restoring equals a dictionary.

The quick tier runs with the suite; `python -m tests.crash.state_machine` has the long one.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from damage import replace_bytes
from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
from ragstone.collection import Collection
from ragstone.errors import InputError
from ragstone.index.plans import make_plan

WORDS = ("amber", "birch", "cobalt", "dune", "ember", "fjord", "granite", "heron", "iris", "jasper")
KEYS = st.integers(0, 11)
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=120).map(" ".join)  # up to two or three chunks
PLANS = ("HNSW,SQ8", "IVF,SQ8", "PQ,FastScan", "SQ8", "Flat,FP16")
LEAST_RECALL = 0.2  # that any of them reaches
COSINE_ERROR = 2e-3  # half-precision vectors of 32 dimensions


@dataclass(frozen=True)
class Saved:
    """What a backup has to bring back."""

    path: Path
    model: dict[str, str]
    ids: dict[int, str]
    plans: list[str]


class Store(RuleBasedStateMachine):
    """The engine against `{uri: text}`."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="ragstone-machine-"))
        self.folder = self.home / "notes"
        self.folder.mkdir()
        self.embedder = HashingEmbedder()
        self.model: dict[str, str] = {}
        self.indexed: set[Path] = set()
        self.ids: dict[int, str] = {}
        self.plans: list[str] = []
        self.marks = 0
        self.gone: set[str] = set()  # marks of texts deleted or replaced
        self.saved: list[Saved] = []
        self.engine = Ragstone(self.home / "data", embedder=self.embedder)

    def teardown(self) -> None:
        self.engine.close()
        shutil.rmtree(self.home)

    @property
    def collection(self) -> Collection:
        """The open collection under the engine."""
        return self.engine._collection()  # the machine also does what only recovery does

    # -- operations --------------------------------------------------------------------------------------

    @rule(entries=st.dictionaries(KEYS, TEXTS, min_size=1, max_size=5))
    def add_or_replace(self, entries: dict[int, str]) -> None:
        marks = {f"note:{key}": self.new_mark() for key in entries}
        texts = {f"note:{key}": f"{marks[f'note:{key}']} {text}" for key, text in entries.items()}
        self.gone |= {self.model[uri].split()[0] for uri in texts.keys() & self.model.keys()}
        self.engine.add(list(texts.values()), uris=list(texts))
        self.model |= texts

    def new_mark(self) -> str:
        """A word that one version of one text begins with."""
        self.marks += 1
        return f"mark{self.marks:06d}"

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        uris = data.draw(st.lists(st.sampled_from(sorted(self.model)), min_size=1, max_size=4, unique=True))
        assert self.engine.delete(uris) == len(uris)
        for uri in uris:
            self.gone.add(self.model.pop(uri).split()[0])

    @rule(key=KEYS, text=TEXTS)
    def write_file(self, key: int, text: str) -> None:
        (self.folder / f"file{key}.txt").write_text(f"{self.new_mark()} {text}")

    @precondition(lambda self: any(self.folder.iterdir()))
    @rule(data=st.data())
    def remove_file(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(sorted(self.folder.iterdir()))).unlink()

    @precondition(lambda self: any(self.folder.iterdir()))
    @rule()
    def index_folder(self) -> None:
        before = len(self.embedder.embedded)
        report = self.engine.index([self.folder])
        assert not report.failed
        assert report.embedded == len(self.embedder.embedded) - before
        on_disk = {str(path): path.read_text() for path in self.folder.iterdir()}
        gone = {uri for uri in self.model if uri.startswith(str(self.folder)) and uri not in on_disk}
        changed = {uri for uri, text in on_disk.items() if uri in self.model and self.model[uri] != text}
        self.gone |= {self.model[uri].split()[0] for uri in gone | changed}
        for uri in gone:
            del self.model[uri]
        self.model |= on_disk
        self.gone -= {
            text.split()[0] for text in on_disk.values()
        }  # deleted before, but its file was still there
        again = self.engine.index([self.folder])
        assert (again.indexed, again.embedded, again.unchanged) == (0, 0, len(on_disk))

    @precondition(lambda self: self.engine.collections())
    @rule()
    def seal(self) -> None:
        with self.collection.writing():
            self.collection.seal()
        assert self.engine.stats().pending == 0

    @precondition(lambda self: self.engine.collections())
    @rule()
    def compact(self) -> None:
        self.engine.compact()
        stats = self.engine.stats()
        assert (stats.pending, stats.tombstones, stats.segments) == (0, 0, int(stats.chunks > 0))

    @precondition(lambda self: self.engine.collections())
    @rule()
    def purge(self) -> None:
        self.engine.purge()
        home = self.collection.folder
        data = b"".join(path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file())
        for mark in self.gone:
            assert mark.encode() not in data

    @precondition(lambda self: self.engine.collections())
    @rule(index_type=st.sampled_from(PLANS))
    def apply_plan(self, index_type: str) -> None:
        plan = make_plan(index_type, dim=self.embedder.dim)
        self.engine.apply_plan(plan, recall=LEAST_RECALL)
        self.plans.append(index_type)
        self.check_plan()

    @precondition(lambda self: self.engine.collections())
    @rule()
    def roll_back_plan(self) -> None:
        if not self.plans:
            with pytest.raises(InputError, match="no plan was applied"):
                self.engine.rollback_plan()
            return
        self.plans.pop()
        restored = self.engine.rollback_plan()
        assert (restored.index_type if restored else None) == (self.plans[-1] if self.plans else None)
        self.check_plan()

    def check_plan(self) -> None:
        for built in self.engine.stats().index_types:
            assert built.startswith(
                (self.plans[-1] if self.plans else "Flat,FP16", "Flat")
            )  # few rows: exact

    @rule()
    def reopen(self) -> None:
        self.engine.close()
        self.engine = Ragstone(self.home / "data", embedder=self.embedder)

    @precondition(lambda self: self.engine.collections())
    @rule()
    def back_up(self) -> None:
        path = self.home / f"{len(self.saved)}.tar"
        self.engine.backup(path)
        self.saved.append(Saved(path, dict(self.model), dict(self.ids), list(self.plans)))

    @precondition(lambda self: self.saved)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        saved = data.draw(st.sampled_from(self.saved))
        self.engine.restore(saved.path, replace=True)
        there = {text.split()[0] for text in saved.model.values()}
        self.gone = (self.gone | {text.split()[0] for text in self.model.values()}) - there
        self.model, self.ids, self.plans = dict(saved.model), dict(saved.ids), list(saved.plans)

    @precondition(lambda self: self.engine.collections())
    @rule(seed=st.integers(0, 2**16))
    def damage_and_repair(self, seed: int) -> None:
        home = self.collection.folder
        files = sorted(p for p in (*home.glob("segments/*/*"), *home.glob("keyword/*")) if p.stat().st_size)
        files = [path for path in files if not path.name.startswith(".")]  # tantivy's own book-keeping
        choice = random.Random(seed)
        path = choice.choice(files)
        data = bytearray(path.read_bytes())
        data[choice.randrange(len(data))] ^= 1 << choice.randrange(8)
        self.engine.close()
        replace_bytes(path, data)
        self.engine = Ragstone(self.home / "data", embedder=self.embedder)
        assert self.engine.repair().ok

    # -- what must hold after each -----------------------------------------------------------------------

    @invariant()
    def documents_are_those_of_the_model(self) -> None:
        if not self.engine.collections():
            return
        assert {info.uri for info in self.engine.documents()} == set(self.model)
        for uri, text in self.model.items():
            assert self.engine.document(uri)[1] == text

    @invariant()
    def every_mode_finds_what_it_must(self) -> None:
        if not self.engine.collections():
            return
        query = "amber fjord iris"
        dense = self.engine.search(query, mode="dense", top_k=1000).hits
        everything = dict(self.model)
        assert {hit.uri for hit in dense} == set(everything)
        wanted = self.embedder.embed_query(query)
        for hit in dense:
            assert everything[hit.uri][hit.start : hit.end] == hit.text
            vector = self.embedder.embed_query(hit.text)  # without title and headings, context is empty
            if hit.uri.startswith("note:"):
                assert abs(float(np.dot(vector, wanted)) - hit.score) < COSINE_ERROR
            assert self.ids.setdefault(hit.id, hit.uri) == hit.uri  # never another document's
        scores = [hit.score for hit in dense]
        assert scores == sorted(scores, reverse=True)
        keyword = {hit.uri for hit in self.engine.search("heron", mode="keyword", top_k=1000).hits}
        assert keyword == {uri for uri, text in everything.items() if "heron" in text.split()}
        hybrid = self.engine.search(query, top_k=5)
        assert len(hybrid.hits) == min(5, len(dense))
        assert not hybrid.degraded

    @invariant()
    def the_store_agrees_with_itself(self) -> None:
        if self.engine.collections():
            assert self.engine.verify().problems == ()


QUICK = settings(
    max_examples=12,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_a_short_life_of_a_store_equals_a_dictionary() -> None:
    run_state_machine_as_test(Store, settings=QUICK)
