"""One import from first look to last move: journal, backup, records, comparison, and the source's folder aside.

The order is what makes it safe to kill: the journal is on disk before the first document, a copy is whole before the
journal is followed, and the source moves only after every record has been acknowledged.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ragstone.engine import Ragstone
from ragstone.errors import DiskFullError, StoreError
from ragstone.importers import journal as journals
from ragstone.importers.import_report import ImportReport
from ragstone.importers.journal import COPY, Journal
from ragstone.importers.records import ForeignStore
from ragstone.importers.shadow import Overlap, compare
from ragstone.importers.take_over import NamedModel, named_model, require_room, take_over


@dataclass(frozen=True, slots=True)
class Options:
    """How to import. `model` is a name as a user gives it; `shadow` a number of queries, 0 for none."""

    model: str | None = None
    reembed: bool = False
    dry_run: bool = False
    backup: bool = False
    in_place: bool = False
    shadow: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """An import's report; where the source was copied or moved to, and how alike both answer, if asked for."""

    report: ImportReport
    copied_to: Path | None = None
    moved_to: Path | None = None
    overlap: Overlap | None = None


def run_import(
    engine: Ragstone,
    store: ForeignStore,
    options: Options,
    *,
    data_dir: Path,
    progress: Callable[[int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Outcome:
    """Import a store and keep what is needed to undo it. Raises as `take_over`, `journal.begin` and `compare` do."""
    model = named_model(options.model, models_dir=data_dir / "models") if options.model else None
    if options.dry_run:
        return Outcome(
            take_over(engine, store, data_dir=data_dir, model=model, reembed=options.reembed, dry_run=True)
        )
    require_room(store.files, data_dir)
    with _disk_errors_reported():
        return _run(engine, store, options, model, data_dir, progress, cancelled)


def _run(
    engine: Ragstone,
    store: ForeignStore,
    options: Options,
    model: NamedModel | None,
    data_dir: Path,
    progress: Callable[[int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> Outcome:
    collection = engine.stats().collection
    folder, entry = journals.begin(
        data_dir,
        collection,
        store,
        collection_exists=collection in engine.collections(),
        in_place=options.in_place,
        backup=options.backup,
    )
    report = take_over(
        engine,
        store,
        data_dir=data_dir,
        model=model,
        reembed=options.reembed,
        progress=progress,
        cancelled=cancelled,
    )
    entry = journals.finish(folder, entry)
    overlap = compare(engine, store, queries=options.shadow) if options.shadow else None
    if options.in_place:
        entry = journals.move_source(folder, entry)
    return Outcome(
        report,
        copied_to=folder / COPY if options.backup else None,
        moved_to=Path(entry.moved_to) if entry.moved_to else None,
        overlap=overlap,
    )


def already_moved(data_dir: Path, collection: str, path: Path) -> Journal | None:
    """The finished in-place import whose source was at `path`; None where there is none.

    One that was killed while it moved its source is finished first.
    """
    if path.exists():
        return None
    for folder, entry in reversed(journals.journals(data_dir, collection)):
        if entry.source == str(path.absolute()) and entry.moved_to is not None:
            with _disk_errors_reported():
                return entry if entry.state == "moved" else journals.move_source(folder, entry)
    return None


@contextmanager
def _disk_errors_reported() -> Iterator[None]:
    """Raise what the disk says to the journal, a copy or a move as an error of ours."""
    try:
        yield
    except OSError as error:
        kind = DiskFullError if error.errno in {errno.ENOSPC, errno.EDQUOT} else StoreError
        raise kind(
            f"the import was stopped by the disk: {error}",
            hint="see to the disk and run the same command again: it goes on from here",
        ) from error
