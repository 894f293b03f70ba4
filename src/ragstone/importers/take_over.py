"""Import a foreign store, top to bottom: look, compare, check, add in batches, report.

Vectors come over as they are: nothing is embedded unless the caller asks for it. Every batch is durable when it is
acknowledged, and each document carries a fingerprint of what it was made of, so the same call again adds what is
missing and touches nothing else. The source is only read.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from ragstone.embedding import load_embedder
from ragstone.embedding.load import DEFAULT_MODEL, HTTP_PREFIX
from ragstone.engine import Ragstone
from ragstone.errors import CancelledError, DiskFullError, MismatchError
from ragstone.importers.import_report import ImportReport, Tally, notes, report
from ragstone.importers.records import ForeignStore, LeftOut, Record, fingerprint, printable
from ragstone.types import Metadata

# Rows in one acknowledged batch: 32 MB at 1,024 dimensions. Each batch ends in a segment that later ones are merged
# with, so smaller ones write vectors more often (30,000 rows: 2,000 at a time 3.1 times, 8,000 at a time 1.8 times).
BATCH = 8_000
# Names of the metadata that tell where a document came from; ours win over the source's.
FROM_KEY, ID_KEY, FINGERPRINT_KEY = "imported_from", "imported_id", "imported_fingerprint"
# A collection and its keyword index take up to the source's size; sealing writes its vectors a second time.
SPACE_FACTOR = 2
_LEAST_SPACE_BYTES = 64 << 20
# Squares of lengths in between are float32 numbers, so that scaling to unit length is exact.
SHORTEST, LONGEST = 1e-18, 1e18

logger = logging.getLogger("ragstone.importers")


def take_over(
    engine: Ragstone,
    store: ForeignStore,
    *,
    data_dir: Path,
    model: NamedModel | None = None,
    reembed: bool = False,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ImportReport:
    """Bring the records of a foreign store into the engine's collection, and say what came over and what did not.

    `model` is what made the vectors (`named_model`); without it what the store says, else `external:<format>`.
    `reembed` embeds the texts instead of carrying vectors over. `progress` gets the number of records done. Calling
    again completes what was stopped and leaves the rest alone. Raises `MismatchError` (the collection has another
    model or dim) and `DiskFullError` before anything is written, `CancelledError` once `cancelled()` is true, and
    what reading the source raises.
    """
    started_s = time.monotonic()
    if not dry_run:
        logger.info("Detected %s index at %s", store.layout, store.place)
        require_room(store.files, data_dir)
    known = _known(engine)
    tally = Tally(known, store.dim, with_vectors=not reembed)
    records = store.read(tally.losses)
    if not reembed:
        tally.dim, records = _usual_dim(store, records)
    name = _identity(store, model, tally.dim)
    if not reembed:
        _check_identity(engine, name, tally.dim)
    for batch in _batches(_usable(records, tally, origin(store))):
        if cancelled is not None and cancelled():
            raise CancelledError("the import was stopped", hint="the same command goes on from here")
        if not dry_run:
            _add(engine, batch, name, with_vectors=not reembed)
        _count(batch, tally)
        if progress is not None:
            progress(tally.records)
    embedded = 0
    if not dry_run and reembed:
        embedded = tally.added + tally.replaced
        if engine.stats().unembedded:  # texts that a killed import committed and did not embed
            embedded += engine.embed_waiting()
    if not dry_run and tally.added + tally.replaced:
        logger.info("Created FAISS-backed vector index of %d imported records", tally.added + tally.replaced)
    searchable = model is not None and (model.dim is not None or name.startswith(HTTP_PREFIX))
    said = tuple(notes(store, tally, name, searchable=searchable, dry_run=dry_run))
    return report(engine.stats(), store, tally, name, said, embedded, started_s, dry_run=dry_run)


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model as collections know it. `dim` is None where only its name is known, and it cannot be asked."""

    id: str
    dim: int | None


def named_model(name: str, *, models_dir: Path) -> NamedModel:
    """The model called `name`, in the form by which its vectors can be searched later.

    The built-in model and folders are opened to see their id and dim (nothing is embedded); other names stay as they
    are. Raises `ModelError` for a folder that holds no model.
    """
    if name != DEFAULT_MODEL and not Path(name).expanduser().is_dir():
        return NamedModel(name, None)
    embedder = load_embedder(name, cache_dir=models_dir, threads=1)
    try:
        return NamedModel(embedder.model_id, embedder.dim)
    finally:
        embedder.close()


def origin(store: ForeignStore) -> str:
    """What marks a document as come from this store: its format and place."""
    return f"{store.format} {printable(store.place)}"


def require_room(files: Sequence[Path], folder: Path) -> None:
    """Raise `DiskFullError` unless twice the bytes of `files` are free where `folder` is or will be."""
    needed = SPACE_FACTOR * sum(file.stat().st_size for file in files) + _LEAST_SPACE_BYTES
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise DiskFullError(
            f"an import of this size needs {needed:,} free bytes, {place} has {free:,}",
            hint="free some space, or choose another disk with --data-dir; nothing was changed",
        )


# -- compare -------------------------------------------------------------------------------------------------


def _known(engine: Ragstone) -> dict[str, str]:
    """Fingerprints of earlier imports, by uri; an empty one for documents that came otherwise."""
    if engine.stats().collection not in engine.collections():
        return {}
    return {info.uri: str(info.metadata.get(FINGERPRINT_KEY, "")) for info in engine.documents()}


def _identity(store: ForeignStore, model: NamedModel | None, dim: int | None) -> str:
    if model is None:
        return store.model or f"external:{store.format}"
    if model.dim is not None and dim is not None and model.dim != dim:
        raise MismatchError(
            f"{model.id} makes vectors of {model.dim} dimensions, the source's have {dim}",
            hint="name the model that made them with --model, or embed the texts anew with --reembed",
        )
    if model.id.startswith(HTTP_PREFIX) and dim is not None and not model.id.endswith(f":{dim}"):
        return f"{model.id}:{dim}"  # as the embedder of such an endpoint calls itself
    return model.id


def _check_identity(engine: Ragstone, model: str, dim: int | None) -> None:
    """Refuse another model or dim before the first write, and in a dry run too."""
    stats = engine.stats()
    if stats.model is None or (stats.model == model and dim in {None, stats.dim}):
        return
    raise MismatchError(
        f"collection {stats.collection!r} holds vectors of {stats.model} with {stats.dim} dimensions,"
        f" the source's are of {model} with {dim}",
        hint="choose another --collection; to give an imported one another --model, roll it back first",
    )


def _usual_dim(store: ForeignStore, records: Iterator[Record]) -> tuple[int | None, Iterator[Record]]:
    """The dim the store says, else the most frequent one of its first batch; and all records."""
    if store.dim is not None:
        return store.dim, records
    first = list(islice(records, BATCH))
    dims = Counter(len(record.vector) for record in first if record.vector is not None and len(record.vector))
    usual = dims.most_common(1)[0][0] if dims else None
    return usual, chain(first, records)


def _usable(
    records: Iterator[Record], tally: Tally, came_from: str
) -> Iterator[tuple[Record, Metadata, str]]:
    """The records to add, with metadata and what they are: `added`, `replaced` or `unchanged`."""
    for record in records:
        tally.records += 1
        fault = _fault(record, tally)
        if fault:
            tally.losses.records.append(LeftOut(record.id, fault))
            continue
        tally.seen.add(record.uri)
        mark = fingerprint(record, with_vector=tally.with_vectors)
        before = tally.known.get(record.uri)
        state = "added" if before is None else "unchanged" if before == mark else "replaced"
        own = {FROM_KEY: came_from, ID_KEY: printable(record.id), FINGERPRINT_KEY: mark}
        yield record, {**record.metadata, **own}, state


def _fault(record: Record, tally: Tally) -> str | None:
    """Why a record cannot be carried over; None if it can."""
    if record.uri in tally.seen:
        return "its id occurs twice; the first one is carried over"
    if not record.text.strip():
        return "its text is empty"
    if not tally.with_vectors:
        return None
    if record.vector is None or not len(record.vector):
        return "it has no vector of numbers (--reembed embeds the texts instead)"
    if len(record.vector) != tally.dim:
        return f"its vector has {len(record.vector)} dimensions, the others have {tally.dim}"
    length = float(np.linalg.norm(record.vector.astype(np.float64)))
    if not np.isfinite(length):
        return "its vector holds numbers that are not finite"
    if length == 0:
        return "its vector is zero"
    if not SHORTEST <= length <= LONGEST:
        return f"its vector has length {length:.3g}, which float32 cannot square"
    tally.longest, tally.shortest = max(tally.longest, length), min(tally.shortest, length)
    return None


def _batches(items: Iterator[tuple[Record, Metadata, str]]) -> Iterator[list[tuple[Record, Metadata, str]]]:
    while batch := list(islice(items, BATCH)):
        yield batch


def _add(
    engine: Ragstone, batch: Sequence[tuple[Record, Metadata, str]], model: str, *, with_vectors: bool
) -> None:
    new = [(record, metadata) for record, metadata, state in batch if state != "unchanged"]
    if not new:
        return
    texts = [printable(record.text) for record, _ in new]
    uris = [record.uri for record, _ in new]
    titles = [record.title for record, _ in new]
    metadata = [about for _, about in new]
    if not with_vectors:
        engine.add(texts, uris=uris, titles=titles, metadata=metadata)
        return
    rows = np.array([record.vector for record, _ in new], dtype=np.float32)
    # float32: the ranking is then the source's own, to the last bit that float32 holds.
    engine.add(
        texts, uris=uris, titles=titles, metadata=metadata, vectors=rows, model=model, precision="float32"
    )


def _count(batch: Sequence[tuple[Record, Metadata, str]], tally: Tally) -> None:
    states = Counter(state for _, _, state in batch)
    tally.added += states["added"]
    tally.replaced += states["replaced"]
    tally.unchanged += states["unchanged"]
