"""What keeps an engine's collections whole: checked and mended, compacted, copied, and gone when they are to go."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ragstone import filling, maintenance, naming
from ragstone.backup.restoring import RestoreReport, restore
from ragstone.backup.writing import BackupReport, back_up
from ragstone.caches import EngineCaches
from ragstone.collection import MEMORY_SUFFIX, documents_only
from ragstone.engine_models import EngineModels
from ragstone.errors import RagstoneError
from ragstone.index.plans import Plan
from ragstone.maintenance import VerifyReport
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.monitoring.timing import timed
from ragstone.open_collections import OpenCollections
from ragstone.settings import Settings
from ragstone.store import documents
from ragstone.types import Degraded

logger = logging.getLogger("ragstone")


class Care:
    """Care for collections, at once or in the background; `closing`, once set, stops what takes long. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        models: EngineModels,
        collections: OpenCollections,
        caches: EngineCaches,
        monitor: PerformanceMonitor,
    ) -> None:
        self._settings = settings
        self._models = models
        self._collections = collections
        self._caches = caches
        self.monitor = monitor
        self.closing = threading.Event()
        self._checker: threading.Thread | None = None
        self._starting = threading.Lock()

    # -- check and mend ----------------------------------------------------------------------------------

    @timed
    def verify(self) -> VerifyReport:
        """As `Ragstone.verify`."""
        return maintenance.verify(self._collections.get())

    @timed
    def repair(self) -> VerifyReport:
        """As `Ragstone.repair`."""
        collection = self._collections.get()
        report = maintenance.repair(collection)
        with collection.catalog.reading() as db:
            waiting = documents.counts(db).unembedded
        if waiting:
            self.embed_waiting()
        return report

    @timed
    def embed_waiting(self) -> int:
        """As `Ragstone.embed_waiting`."""
        collection, embedder = self._collections.get(), self._models.embedder()
        with collection.writing():
            collection.catalog.settle_identity(filling.identity_of(embedder))
            return filling.embed_queue(
                collection, embedder, progress=lambda _: None, cancelled=self.closing.is_set
            )

    @timed
    def name_documents(self) -> tuple[Degraded, ...]:
        """As `Ragstone.name_documents`."""
        collection, namer = self._collections.get(), self._models.namer()
        with collection.writing():
            return naming.name_documents(
                collection,
                namer,
                timeout_s=self._settings.chat_timeout_s,
                progress=lambda _: None,
                cancelled=self.closing.is_set,
            )

    def check_in_background(self) -> None:
        """Verify the collection in a thread, once, and repair what is wrong."""
        with self._starting:
            if self._checker is None and not self.closing.is_set():
                self._checker = threading.Thread(target=self._check, name="ragstone-verify", daemon=True)
                self._checker.start()

    def close(self) -> None:
        """Stop what takes long, and wait for the check in the background."""
        with self._starting:  # a warm-up in another thread may be about to start it
            self.closing.set()
        if self._checker is not None:
            self._checker.join()

    def _check(self) -> None:
        try:
            report = maintenance.verify(self._collections.get(), stopped=self.closing)
            if report.problems and not self.closing.is_set():
                for problem in report.problems:
                    logger.warning("%s: %s", problem.where, problem.message)
                self.repair()
        except RagstoneError as error:
            logger.warning("the background check stopped: %s", error)

    # -- rewrite -----------------------------------------------------------------------------------------

    @timed
    def compact(self) -> None:
        """As `Ragstone.compact`."""
        collection = self._collections.get()
        with collection.writing():
            collection.compact()

    @timed
    def purge(self) -> None:
        """As `Ragstone.purge`."""
        collection = self._collections.get()
        with collection.writing():
            collection.purge()
        self._caches.forget()

    @timed
    def apply_plan(self, plan: Plan, *, recall: float, collection: str | None) -> None:
        """As `Ragstone.apply_plan`."""
        home = self._collections.of_documents(collection)
        with home.writing():
            home.apply_plan(plan, recall=recall)

    def rollback_plan(self, *, collection: str | None) -> Plan | None:
        """As `Ragstone.rollback_plan`."""
        home = self._collections.of_documents(collection)
        with home.writing():
            return home.roll_back_plan()

    # -- whole collections -------------------------------------------------------------------------------

    @timed
    def drop(self, collection: str) -> int:
        """As `Ragstone.drop`."""
        name = documents_only(collection)
        self._collections.get(name)
        self._caches.forget()
        return self._collections.drop(name)

    @timed
    def backup(
        self,
        path: str | Path,
        *,
        collections: Sequence[str] | None,
        progress: Callable[[int, int], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> BackupReport:
        """As `Ragstone.backup`."""
        names = list(dict.fromkeys(map(documents_only, self._collections.chosen(collections))))
        memories = [name + MEMORY_SUFFIX for name in names]
        kept = [name for name in memories if (self._collections.folder / name / "catalog.sqlite").is_file()]
        return back_up(
            [self._collections.get(name) for name in (*names, *kept)],
            Path(path).expanduser().absolute(),
            progress=progress or (lambda done, total: None),
            cancelled=cancelled or (lambda: False),
        )

    @timed
    def restore(
        self,
        path: str | Path,
        *,
        collection: str | None,
        replace: bool,
        progress: Callable[[int, int], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> RestoreReport:
        """As `Ragstone.restore`."""
        return restore(
            Path(path).expanduser().absolute(),
            self._collections,
            collection=collection,
            replace=replace,
            progress=progress or (lambda done, total: None),
            cancelled=cancelled or (lambda: False),
        )
