"""`explain`: why a document is, or is not, among a query's hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.documents import meant
from ragstone.cli.invocation import FilterOption, JsonFlag
from ragstone.cli.searching import SNIPPET_CHARS, located, snippet, word_pattern

if TYPE_CHECKING:
    from ragstone.explaining import Explanation, Stage, Standing

_STAGES = {
    "sources": "meaning and words, fused and compared",
    "graph": "then names followed",
    "reranker": "then the reranker",
}


def explain(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="A question or some words.")],
    *,
    expect: Annotated[
        str | None, typer.Option(metavar="DOC", help="A path or uri, as `list` shows. Else the first hits.")
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", "-k", help="Hits that count as found.")] = None,
    filter_text: FilterOption = None,
    json_output: JsonFlag = False,
) -> int:
    """Say why a document is, or is not, among the hits of a query: what each source and stage made of it.

    Exit status 0 also for a document that is not found: saying why is what was asked.
    """
    from ragstone.explaining import explain as explain_document
    from ragstone.explaining import explain_hits

    with invocation.of(context).engine(top_k=top_k) as engine:
        wanted = engine.settings.top_k
        if expect is None:
            found = explain_hits(engine, query, top_k=wanted, filter=filter_text)
        else:
            uri = meant(expect, {document.uri for document in engine.documents()})
            found = (explain_document(engine, query, uri, top_k=wanted, filter=filter_text),)
    if json_output:
        terminal.say_json(_json(query, found))
    else:
        _show(query, found, with_above=expect is not None)
    return 0


def _json(query: str, found: Sequence[Explanation]) -> dict[str, Any]:
    """`{"query","explanations":[…]}`, each as `GET /api/explain` gives it."""
    from ragstone.wire import document_json, hit_json, plain_json

    return {
        "query": query,
        "explanations": [
            {
                **plain_json(one),
                "document": document_json(one.document),
                "best": None if one.best is None else hit_json(one.best),
            }
            for one in found
        ],
    }


def _show(query: str, found: Sequence[Explanation], *, with_above: bool) -> None:
    if not found:
        terminal.say("nothing found", style="dim")
        return
    for added in found[0].expansions:
        terminal.say(terminal.one_line(f"also searched for: {added}"), style="dim")
    for place, one in enumerate(found):
        if place:
            terminal.say()
        _show_one(query, one)
        if with_above and one.above:
            terminal.say("above it:" if one.best else "the first hits:")
            for hit in one.above:
                shown = f"{terminal.one_line(hit.title)}  {terminal.place(hit.uri)}"
                terminal.say(f"  {hit.rank:>4}  {hit.score:7.3f}  {shown}")
    for part in found[0].degraded:
        terminal.note(f"without {part.source}: {terminal.one_line(part.reason)}", style="yellow")


def _show_one(query: str, one: Explanation) -> None:
    from rich.text import Text

    best = one.best
    where = terminal.place(one.document.uri) if best is None else located(best.uri, best.page, best.time_s)
    terminal.say(Text(where, style="bold cyan"))
    terminal.say(one.because, style="bold")
    if best is not None:
        text = snippet(best.text, word_pattern(" ".join([query, *one.expansions])))
        terminal.say(Text("  ").append_text(text))
    for standing in one.standings:
        other = best is not None and standing.chunk_id not in {None, best.id}
        terminal.say(f"  {standing.mode:<38} {_placed(standing)}{', by another passage' if other else ''}")
    for stage in one.stages:
        terminal.say(f"  {_STAGES[stage.name]:<38} {_placed(stage)}")
    if one.names:
        terminal.say(f"  names that lead to it: {terminal.one_line(', '.join(one.names))}")
    if best is not None:
        scores = " · ".join(f"{source} {score:.3f}" for source, score in best.sources.items())
        terminal.say(f"  {'what each source gave this passage':<38} {scores}")
    for vote in one.votes:
        terminal.say(f"  vote {vote.id}: {vote.value:+g} for {terminal.one_line(vote.query)[:SNIPPET_CHARS]}")


def _placed(found: Standing | Stage) -> str:
    return "not among them" if found.rank is None else f"rank {found.rank:>4}  score {found.score:.3f}"
