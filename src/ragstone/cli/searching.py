"""`search`: the best passages for a query."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.invocation import AcrossOption, FilterOption, JsonFlag

if TYPE_CHECKING:
    from rich.text import Text

    from ragstone.types import Hit, SearchResult

SNIPPET_CHARS = 280  # about three lines of a terminal
LEAD_CHARS = 60  # shown before the first match, so that it stands in its sentence
LONGEST_SUFFIX = 3  # `index` also marks indexed, indexes; not indexation


class Mode(StrEnum):
    """Ways to search."""

    HYBRID = "hybrid"
    DENSE = "dense"
    KEYWORD = "keyword"


def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="A question or some words.")],
    *,
    top_k: Annotated[int | None, typer.Option("--top-k", "-k", help="Hits to show, 1 to 100.")] = None,
    mode: Annotated[Mode, typer.Option(help="Meaning and words, meaning only, or words only.")] = Mode.HYBRID,
    filter_text: FilterOption = None,
    across: AcrossOption = None,
    graph: Annotated[
        bool | None,
        typer.Option("--graph/--no-graph", help="Follow the names of documents.", show_default="as set"),
    ] = None,
    rerank: Annotated[
        bool | None,
        typer.Option("--rerank/--no-rerank", help="Let the reranker judge the best.", show_default="if set"),
    ] = None,
    json_output: JsonFlag = False,
) -> int:
    """Show the passages that fit a query best."""
    with invocation.of(context).engine(top_k=top_k) as engine:
        result = engine.search(
            query,
            mode=mode.value,
            filter=filter_text,
            collections=invocation.names(across),
            graph=graph,
            rerank=rerank,
        )
    if json_output:
        from ragstone.wire import search_json

        terminal.say_json(search_json(result))
    else:
        show(result, query)
    return 0


def show(result: SearchResult, query: str) -> None:
    """Each hit as number, title and score, place, and a snippet with the query's words in bold."""
    words = word_pattern(" ".join([query, *(found.added for found in result.expansions)]))
    total_ms = result.timings_ms.get("total", 0.0)
    found = terminal.count(len(result.hits), "hit") if result.hits else "nothing found"
    terminal.say(f"{found} in {total_ms:.0f} ms", style="dim")
    for words_added in result.expansions:
        said = "in your synonyms" if words_added.origin == "synonyms" else "as the documents define it"
        line = f"also: {words_added.added}, for {words_added.written} ({said})"
        terminal.say(terminal.one_line(line), style="dim")
    for number, hit in enumerate(result.hits, start=1):
        _show_hit(number, hit, words)
    for part in result.degraded:
        terminal.note(f"without {part.source}: {terminal.one_line(part.reason)}", style="yellow")


def _show_hit(number: int, hit: Hit, words: re.Pattern[str] | None) -> None:
    from rich.text import Text

    title = terminal.one_line(" › ".join([hit.title, *hit.headings]))
    scores = " ".join(f"{name} {score:.2f}" for name, score in hit.sources.items())
    terminal.say()
    terminal.say(Text.assemble(f"{number}  ", (title, "bold"), (f"  {hit.score:.2f} ({scores})", "dim")))
    terminal.say(Text(f"   {located(hit.uri, hit.page, hit.time_s)}", style="cyan"))
    terminal.say(Text("   ").append_text(snippet(hit.text, words)))


def located(uri: str, page: int | None, time_s: float | None) -> str:
    """`path:page`, or `path at 1:02:03` in a recording."""
    if time_s is not None:
        minutes, seconds = divmod(int(time_s), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{terminal.place(uri)} at {hours}:{minutes:02d}:{seconds:02d}"
    return terminal.place(uri) if page is None else f"{terminal.place(uri)}:{page}"


def word_pattern(query: str) -> re.Pattern[str] | None:
    """Matches the query's words and their short inflections; None when it has no word.

    Scripts without spaces are matched as written, two characters at a time.
    """
    parts = []
    for word in dict.fromkeys(re.findall(r"\w+", query.casefold())):
        if word.isascii() or not _unspaced(word):
            parts.append(rf"\b{re.escape(word)}\w{{0,{LONGEST_SUFFIX}}}\b")
        else:
            pairs = {word[at : at + 2] for at in range(max(1, len(word) - 1))}
            parts.extend(re.escape(pair) for pair in sorted(pairs))
    return re.compile("|".join(parts), re.IGNORECASE) if parts else None


def _unspaced(word: str) -> bool:
    # Thai to Hangul and the CJK blocks lie above U+0E00; letters written with spaces mostly below.
    return any("\u0e00" <= character <= "\u0eff" or character >= "\u2e80" for character in word)


def snippet(text: str, words: re.Pattern[str] | None) -> Text:
    """About `SNIPPET_CHARS` of `text` where it holds most different words of the query, those in bold."""
    from rich.text import Text

    flat = terminal.one_line(text)
    matches = [(m.start(), m.group().casefold()) for m in words.finditer(flat)] if words else []
    start = max(0, _best_start(matches) - LEAD_CHARS)
    if len(flat) - start < SNIPPET_CHARS:
        start = max(0, len(flat) - SNIPPET_CHARS)
    if start:
        start = flat.find(" ", start, start + LEAD_CHARS) + 1 or start
    end = start + SNIPPET_CHARS
    if end < len(flat):
        end = flat.rfind(" ", start, end) if " " in flat[start:end] else end
    shown = Text(("… " if start else "") + flat[start:end] + (" …" if end < len(flat) else ""))
    if words:
        shown.highlight_regex(words, "bold")
    return shown


def _best_start(matches: list[tuple[int, str]]) -> int:
    """Where the window with most different words begins; 0 without a match. Linear in matches × window."""
    best, best_words = 0, 0
    for position, (start, _) in enumerate(matches):
        inside = {
            word for at, word in matches[position : position + 40] if at < start + SNIPPET_CHARS - LEAD_CHARS
        }
        if len(inside) > best_words:
            best, best_words = start, len(inside)
    return best
