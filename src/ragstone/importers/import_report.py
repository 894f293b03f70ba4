"""What an import did: counted while it runs, told at its end, with what the user should know of the vectors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ragstone.embedding.load import DEFAULT_MODEL
from ragstone.importers.records import ForeignStore, LeftOut, Losses
from ragstone.stats import Stats

_BUILT_IN_DIM = 384  # of the built-in model


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do where `dry_run`.

    Counts are records of the source: `added`, `replaced` (changed since an earlier import) and `unchanged` come to
    what the collection now holds of it; `left_out` are listed by id with the reason; `not_carried` counts
    what has no place here. `gone` are documents of an earlier import that the source no longer has; they are kept.
    `embedded` is the number of texts embedded, 0 unless that was asked for.
    """

    format: str
    layout: str
    source: str
    collection: str
    model: str
    dim: int | None
    metric: str
    dry_run: bool
    records: int
    added: int
    replaced: int
    unchanged: int
    gone: int
    left_out: tuple[LeftOut, ...]
    not_carried: dict[str, int]
    notes: tuple[str, ...]
    embedded: int
    seconds: float


@dataclass(slots=True)
class Tally:
    """What a run has seen so far."""

    known: dict[str, str]
    dim: int | None
    with_vectors: bool
    losses: Losses = field(default_factory=Losses)
    seen: set[str] = field(default_factory=set)
    records: int = 0
    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    longest: float = 0.0
    shortest: float = np.inf


def report(
    stats: Stats,
    store: ForeignStore,
    tally: Tally,
    model: str,
    said: Sequence[str],
    embedded: int,
    started_s: float,
    *,
    dry_run: bool,
) -> ImportReport:
    """What a run that began at `started_s` (monotonic) did; `said` are `notes`, `stats` the collection's now."""
    return ImportReport(
        format=store.format,
        layout=store.layout,
        source=store.place,
        collection=stats.collection,
        model=model if tally.with_vectors else stats.model or "the configured model",
        dim=tally.dim if tally.with_vectors else stats.dim,
        metric=store.metric,
        dry_run=dry_run,
        records=tally.records,
        added=tally.added,
        replaced=tally.replaced,
        unchanged=tally.unchanged,
        gone=sum(bool(mark) and uri not in tally.seen for uri, mark in tally.known.items()),
        left_out=tuple(tally.losses.records),
        not_carried=dict(tally.losses.parts),
        notes=(*store.notes, *said),
        embedded=embedded,
        seconds=time.monotonic() - started_s,
    )


def notes(store: ForeignStore, tally: Tally, model: str, *, searchable: bool, dry_run: bool) -> Iterator[str]:
    """What changes in ranking, and how to search by meaning; `searchable`: the model can be loaded."""
    if not tally.with_vectors or tally.longest == 0:
        return
    if tally.longest - tally.shortest > 1e-3 * tally.longest and store.metric in {
        "l2",
        "ip",
    }:  # 1e-3: float16's step
        yield (
            f"the source ranks by {'distance (L2)' if store.metric == 'l2' else 'inner product'} and its vectors"
            f" differ in length ({tally.shortest:.3g} to {tally.longest:.3g}); here they are ranked by cosine, so"
            " the order of hits can differ"
        )
    if searchable:
        return
    again = "import" if dry_run else "roll back and import"
    if model.startswith("external:"):
        built_in = f" ({DEFAULT_MODEL}, if all-MiniLM-L6-v2 made them)" if tally.dim == _BUILT_IN_DIM else ""
        yield (
            "the store does not say which model made its vectors: texts are found by keyword, and by meaning with a"
            f" query's own vector; {again} with --model NAME{built_in}, or with --reembed to embed the texts with"
            " your own model"
        )
    else:
        yield (
            f"the vectors are of {model}: to search by meaning, get that model as an ONNX folder, {again} with"
            " --model FOLDER, or use --reembed to embed the texts with your own model"
        )
