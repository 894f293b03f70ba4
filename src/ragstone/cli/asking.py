"""`ask` and `chat`: answers with numbered, checked sources."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.invocation import AcrossOption, FilterOption, JsonFlag
from ragstone.cli.memory import opened, remember, show_memory
from ragstone.cli.searching import located
from ragstone.errors import RagstoneError

if TYPE_CHECKING:
    from ragstone.memory.store import MemoryStore
    from ragstone.settings import Settings
    from ragstone.types import Answer, AnswerEvent, Turn

HISTORY_TURNS = 20  # ten questions and answers; what packing keeps of it is less

TopK = Annotated[int | None, typer.Option("--top-k", "-k", help="Passages to answer from, 1 to 10.")]


def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="A question.")],
    *,
    top_k: TopK = None,
    filter_text: FilterOption = None,
    across: AcrossOption = None,
    json_output: JsonFlag = False,
) -> int:
    """Answer a question from the documents, with sources.

    Without a chat model the answer is quoted sentences. On a terminal it appears while it is written; a pipe
    gets the whole, after every citation was checked.
    """
    current = invocation.of(context)
    live = _live(current.settings(), json_output=json_output)
    with current.engine(answer_k=top_k) as engine:
        events = engine.ask_stream(question, filter=filter_text, collections=invocation.names(across))
        answer, written = _follow(events, live=live)
    _show(answer, written, json_output=json_output)
    return 0


def chat(
    context: typer.Context,
    *,
    top_k: TopK = None,
    filter_text: FilterOption = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="Use what is remembered too; /remember adds to it.")
    ] = False,
    json_output: JsonFlag = False,
) -> int:
    """Ask one question after the other; each knows those before. /new starts over, /exit ends.

    Questions are read from standard input, one a line; with --json each answer is one line. With --memory,
    /remember STATEMENT keeps it for later; what fits a question is used, and shown after the answer's sources.
    """
    current = invocation.of(context)
    live = _live(current.settings(), json_output=json_output)
    history: list[Turn] = []
    with ExitStack() as open_, current.engine(answer_k=top_k) as engine:
        store = open_.enter_context(opened(context)) if memory else None
        for line in _questions(talk=sys.stdin.isatty() and terminal.out_is_terminal() and not json_output):
            if line == "/exit":
                break
            if line == "/new":
                history.clear()
                continue
            if store is not None and line.startswith("/remember "):
                remember(store, line.removeprefix("/remember "), json_output=json_output)
                continue
            ask = partial(engine.ask_stream, line, filter=filter_text, history=tuple(history))
            events = ask() if store is None else _with_memory(line, history, store, ask)
            try:
                answer, written = _follow(events, live=live)
            except KeyboardInterrupt:
                terminal.note("\nstopped")
                continue
            _show(answer, written, json_output=json_output)
            _remember(history, line, answer)
    return 0


def _with_memory(
    question: str,
    history: Sequence[Turn],
    store: MemoryStore,
    ask: Callable[..., Generator[AnswerEvent, None, None]],
) -> Generator[AnswerEvent, None, None]:
    from ragstone.memory.answering import answer_with_memory

    return answer_with_memory(
        question, history, opened=lambda: store, ask=lambda memories: ask(memories=memories)
    )


def _remember(history: list[Turn], question: str, answer: Answer) -> None:
    from ragstone.types import Turn

    history += [Turn("user", question), Turn("assistant", answer.text)]
    del history[:-HISTORY_TURNS]


def _live(settings: Settings, *, json_output: bool) -> bool:
    """Whether to show an answer while it is written: a pipe or a program wants the checked whole."""
    return settings.enable_streaming and terminal.out_is_terminal() and not json_output


def _questions(*, talk: bool) -> Iterator[str]:
    """Lines that hold something, until the end of the input; with a prompt and line editing on a terminal."""
    if talk:
        import readline  # noqa: F401 - gives input() history and editing

        terminal.say("/new starts over, /exit ends", style="dim")
    while True:
        try:
            line = input("> ") if talk else sys.stdin.readline()
        except EOFError:
            terminal.say()
            return
        if not talk and not line:
            return
        if line.strip():
            yield line.strip()


def _follow(events: Iterator[AnswerEvent], *, live: bool) -> tuple[Answer, str]:
    """The finished answer and what of it was written out on the way (nothing unless `live`).

    However it ends, the events are closed, which stops the model.
    """
    from ragstone.types import AnswerDone, AnswerToken

    written = ""
    try:
        for event in events:
            if isinstance(event, AnswerDone):
                return event.answer, written
            if live and isinstance(event, AnswerToken):
                written += event.text
                sys.stdout.write(terminal.clean(event.text))
                sys.stdout.flush()
    finally:
        if isinstance(events, Generator):
            events.close()
    raise RagstoneError("the answer ended before it was finished", hint="ask again")


def _show(answer: Answer, written: str, *, json_output: bool) -> None:
    """The answer, unless it is on the screen already, and its sources: place, then the quoted words.

    Memories come after them as sources of their own kind, without numbers.
    """
    from rich.text import Text

    if json_output:
        from ragstone.wire import answer_json

        terminal.say_json(answer_json(answer))
        return
    if written:
        terminal.say()
    if written.strip() != answer.text.strip():
        if written:
            terminal.say("after checking the citations:", style="dim")
        terminal.say(terminal.clean(answer.text))
    terminal.say()
    for citation in answer.citations:
        where = located(citation.uri, citation.page, citation.time_s)
        terminal.say(Text.assemble((f"[{citation.n}] ", "bold"), (where, "cyan")))
        terminal.say(Text(f"    “{terminal.one_line(citation.quote)}”"))
    for memory in answer.memories:
        show_memory(memory)
    terminal.say(f"{answer.model} · {answer.timings_ms.get('total', 0.0):.0f} ms", style="dim")
    for part in answer.degraded:
        terminal.note(f"without {part.source}: {terminal.one_line(part.reason)}", style="yellow")
