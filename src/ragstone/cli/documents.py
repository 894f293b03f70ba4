"""`list`, `delete`, `stats`: what a collection holds."""

from __future__ import annotations

import difflib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.invocation import FilterOption, JsonFlag
from ragstone.errors import NotFoundError

if TYPE_CHECKING:
    from ragstone.stats import Stats


def list_documents(
    context: typer.Context, *, filter_text: FilterOption = None, json_output: JsonFlag = False
) -> int:
    """List the documents, one a line: place, format, chunks, size, date."""
    with invocation.of(context).engine() as engine:
        listed = engine.documents(filter=filter_text)
    if json_output:
        from ragstone.wire import document_json

        terminal.say_json({"documents": [document_json(document) for document in listed]})
        return 0
    if not terminal.out_is_terminal():  # for programs: no padding, a tab between columns, the full path
        for document in listed:
            changed = _day(document.modified_s)
            row = (document.uri, document.format, document.chunks, document.size_bytes, changed)
            terminal.say_raw("\t".join(map(str, row)))
        return 0
    terminal.say(terminal.count(len(listed), "document"), style="bold")
    places = [terminal.place(document.uri) for document in listed]
    widest = min(70, max(map(terminal.width, places), default=0))
    for document, place in zip(listed, places, strict=True):
        padding = " " * max(0, widest - terminal.width(place))
        terminal.say(
            f"{place}{padding}  {document.format:<10} {document.chunks:>5,}  "
            f"{terminal.size(document.size_bytes):>9}  {_day(document.modified_s)}"
        )
    return 0


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d}" if seconds > 0 else "-"


def delete(
    context: typer.Context,
    documents: Annotated[list[str], typer.Argument(metavar="DOC...", help="Paths or uris, as `list` shows.")],
    *,
    json_output: JsonFlag = False,
) -> int:
    """Remove documents from the index. Their files stay as they are."""
    with invocation.of(context).engine() as engine:
        known = {document.uri for document in engine.documents()}
        uris = list(dict.fromkeys(meant(document, known) for document in documents))
        deleted = engine.delete(uris)
    if json_output:
        terminal.say_json({"deleted": deleted, "uris": uris})
        return 0
    terminal.say(f"{terminal.count(deleted, 'document')} removed from the index", style="bold")
    kept = [uri for uri in uris if Path(uri).is_file()]
    if kept:
        subject = "its file is" if len(kept) == 1 else f"{len(kept)} files are"
        terminal.note(
            f"note: {subject} still there; indexing the folder brings it back unless .ragstoneignore lists it"
        )
    return 0


def meant(document: str, known: set[str]) -> str:
    """The uri, of those `known`, that a uri or a path means. Raises `NotFoundError` with the nearest there is."""
    candidates = (
        document,
        str(Path(document).expanduser().absolute()),
        str(Path(document).expanduser().resolve()),
    )
    for candidate in candidates:
        if candidate in known:
            return candidate
    listed = sorted(known)
    same_name = [uri for uri in listed if uri.endswith(f"/{Path(document).name}")]
    near = same_name or difflib.get_close_matches(candidates[1], listed[:10_000], n=1)
    hint = f"did you mean {terminal.place(near[0])}?" if near else "`ragstone list` shows what there is"
    raise NotFoundError(f"no document {document} in the index; nothing was changed", hint=hint)


def stats(context: typer.Context, *, json_output: JsonFlag = False) -> int:
    """Show how large the collection is and what it is made of."""
    with invocation.of(context).engine() as engine:
        found = engine.stats()
    if json_output:
        from ragstone.wire import plain_json

        terminal.say_json(plain_json(found))
        return 0
    terminal.say(
        f"{found.collection}: {terminal.count(found.documents, 'document')}, "
        f"{terminal.count(found.chunks, 'chunk')}, {terminal.size(found.bytes)}",
        style="bold",
    )
    for name, value in _details(found):
        terminal.say(f"{name:<12} {value}")
    return 0


def _details(found: Stats) -> list[tuple[str, str]]:
    model = f"{found.model}, {found.dim} dimensions" if found.model else "none yet"
    waiting = f"{found.unembedded:,} chunks to embed, {found.pending:,} vectors to seal"
    recall = (
        f"{found.recall.mean:.3f} of the nearest found, {found.recall.samples} checked"
        if found.recall
        else ""
    )
    return [
        ("model", model),
        ("segments", f"{found.segments:,} ({', '.join(found.index_types) or 'none'})"),
        ("waiting", waiting),
        *([("recall", recall)] if recall else []),
        ("tombstones", f"{found.tombstones:,}"),
        ("graph", f"{terminal.count(found.graph_nodes, 'name')}, {found.graph_edges:,} edges to documents"),
        ("collections", ", ".join(found.collections) or "none yet"),
        *([("caches", caches)] if (caches := _caches(found)) else []),
        *_latencies(found),
    ]


def _latencies(found: Stats) -> list[tuple[str, str]]:
    if not found.latencies_ms:
        return [("latencies", "none in this process; those of a running service: GET /api/stats")]
    return [
        (
            name,
            f"p50 {latency.p50:.2f}, p90 {latency.p90:.2f}, p95 {latency.p95:.2f}, p99 {latency.p99:.2f} ms; "
            f"{latency.count:,} measured",
        )
        for name, latency in found.latencies_ms.items()
    ]


def _caches(found: Stats) -> str:
    """What is kept, and whether the Redis that is set answers; nothing for a process that has just begun."""
    kept = [
        f"{cache['entries']:,} {name.replace('_', ' ')}"
        for name, cache in found.caches.items()
        if cache.get("entries")
    ]
    shared = found.caches.get("shared")
    if shared is not None:
        kept.append("shared through Redis" if shared["reachable"] else "Redis does not answer")
    return ", ".join(kept)
