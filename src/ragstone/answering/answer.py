"""From hits to an answer, as events: sources, tokens while they arrive, and the checked whole.

The straight line of answering; each step is a module beside this one. Synchronous and without state: every call
works on its own arguments, so any number may run at once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from ragstone.answering.chat_model import ChatModel
from ragstone.answering.citations import check_citations
from ragstone.answering.extractive import extract
from ragstone.answering.grounding import Grounding, ground
from ragstone.answering.kept_answers import KeptAnswer, KeptAnswers, answer_key
from ragstone.answering.packing import pack
from ragstone.answering.passages import Passage, score_passages
from ragstone.answering.prompt import NO_ANSWER, Prompt, build_prompt, standalone_question
from ragstone.answering.templates import BUILT_IN, Templates
from ragstone.answering.terms import Idf, analyse_question
from ragstone.errors import CancelledError, ModelError
from ragstone.types import (
    Answer,
    AnswerDone,
    AnswerEvent,
    AnswerSources,
    AnswerToken,
    Citation,
    Degraded,
    Embedder,
    Hit,
    Memory,
    Turn,
    Usage,
)

EXTRACTIVE = "extractive"
MAX_CONTEXT_TOKENS = 8000
# 60 s: what people wait for a whole answer; the stream limit of the service.
TIMEOUT_S = 60.0
# 1024 tokens are some 700 words, more than any template asks for.
MAX_ANSWER_TOKENS = 1024

NOTHING_FOUND = "The documents do not seem to answer this question."
# What models put around the one word they were asked for.
_AROUND = " \n\t*_`'\""
NOTHING_INDEXED = "There is nothing to answer from: no document matched."
FROM_MEMORY = "From memory, not from the documents: "


@dataclass(slots=True)
class _Run:
    """What one answer gathers on its way to `AnswerDone`."""

    embedder: Embedder
    hits: tuple[Hit, ...]
    memories: tuple[Memory, ...]
    degraded: list[Degraded]
    timings_ms: dict[str, float]
    from_memory: bool = False  # no document holds the answer, a memory does
    started: float = field(default_factory=time.perf_counter)

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings_ms[stage] = (time.perf_counter() - start) * 1000

    def done(
        self, text: str, citations: Sequence[Citation], *, model: str, usage: Usage | None = None
    ) -> AnswerDone:
        self.timings_ms["answer"] = (time.perf_counter() - self.started) * 1000
        answer = Answer(
            text=text,
            citations=tuple(citations),
            grounded=bool(citations),
            model=model,
            hits=self.hits,
            degraded=tuple(self.degraded),
            usage=usage or Usage(),
            timings_ms=self.timings_ms,
            memories=self.memories,
        )
        return AnswerDone(answer)


def answer_events(
    question: str,
    *,
    hits: Sequence[Hit],
    degraded: Sequence[Degraded] = (),
    search_timings_ms: Mapping[str, float] | None = None,
    chat_model: ChatModel | None,
    embedder: Embedder,
    idf: Idf | None = None,
    history: Sequence[Turn] = (),
    memories: Sequence[Memory] = (),
    reworded: str | None = None,
    max_context_tokens: int = MAX_CONTEXT_TOKENS,
    templates: Templates = BUILT_IN,
    timeout_s: float = TIMEOUT_S,
    max_answer_tokens: int = MAX_ANSWER_TOKENS,
    kept: KeptAnswers | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Generator[AnswerEvent, None, None]:
    """`AnswerSources`, any number of `AnswerToken`, then `AnswerDone`; closing it stops the chat model.

    `hits` are best first, found with `standalone_question(question, history)`; `reworded` is that in other words of the
    same meaning, if there are some: the documents may answer either. `idf` gives the collection's term weights.
    `max_context_tokens` bounds the whole prompt as the embedder counts tokens. What the chat model wrote for the same
    question over the same texts comes from `kept`, as one token and without usage. `memories`, best first, go to the
    chat model beside the hits, without numbers; such an answer is not kept. Without `chat_model`, and when it fails
    before its first token, the answer is quoted sentences, or a memory where that alone holds it. Hits and memories
    that do not hold an answer give an honest refusal without any model call. Raises `ModelError` if the chat model
    fails after its first token, `CancelledError` once `cancelled()` is true, and `InputError` if the question leaves no
    room for a source.
    """
    run = _Run(embedder, (), tuple(memories), list(degraded), dict(search_timings_ms or {}))
    if memories:
        kept = None  # what is forgotten must not live on in a cache
    if not hits and not memories:
        yield AnswerSources(())
        yield from _refusal(run, NOTHING_INDEXED)
        return
    with run.timed("pack"):
        prompt = _packed(
            run, question, hits, history, templates, max_context_tokens, chat=chat_model is not None
        )
    yield AnswerSources(run.hits)
    keep: Callable[[Answer], None] | None = None
    if kept is not None and chat_model is not None:
        with run.timed("kept"):
            found, keep = _looked_up(run, question, history, templates, chat_model, kept)
        if found is not None:
            yield AnswerToken(found.text)
            yield run.done(found.text, found.citations(run.hits), model=found.model)
            return
    with run.timed("ground"):
        asked = [standalone_question(question, history), *([] if reworded is None else [reworded])]
        grounding, ranked = _grounded(asked, run.hits, run, idf)
        quoted = partial(_extractive, run, ranked)
        if not grounding.answerable and run.memories:
            grounding, recalled = _grounded(asked, [_as_hit(memory) for memory in run.memories], run, idf)
            quoted = partial(_remembered, run, recalled)
            run.from_memory = grounding.answerable
    if cancelled is not None and cancelled():
        raise CancelledError("stopped before the answer")
    if not grounding.answerable:
        yield from _refusal(run, NOTHING_FOUND if hits else NOTHING_INDEXED)
    elif chat_model is None or prompt is None:
        yield from quoted()
    else:
        yield from _noted(
            _generated(
                run,
                prompt,
                quoted,
                chat_model,
                timeout_s=timeout_s,
                max_tokens=max_answer_tokens,
                cancelled=cancelled,
            ),
            keep,
        )


def _packed(
    run: _Run,
    question: str,
    hits: Sequence[Hit],
    history: Sequence[Turn],
    templates: Templates,
    max_tokens: int,
    *,
    chat: bool,
) -> Prompt | None:
    """What is put to a chat model, if there is one; either way the run has what fits into the budget."""

    def count_tokens(
        text: str,
    ) -> int:  # as the embedder's tokenizer splits it, never cut off at the model's limit
        return len(run.embedder.token_spans(text))

    if not chat:
        run.hits = pack(hits, budget=max_tokens, count_tokens=count_tokens, overhead=lambda hit: hit.title)
        return None
    prompt = build_prompt(
        question,
        hits,
        history=history,
        templates=templates,
        max_tokens=max_tokens,
        count_tokens=count_tokens,
        memories=run.memories,
    )
    run.hits, run.memories = prompt.sources, prompt.memories
    return prompt


def _looked_up(
    run: _Run,
    question: str,
    history: Sequence[Turn],
    templates: Templates,
    chat_model: ChatModel,
    kept: KeptAnswers,
) -> tuple[KeptAnswer | None, Callable[[Answer], None]]:
    """What is kept for the same question over the same texts, and how to keep what will be written."""
    key = answer_key(
        question,
        run.hits,
        history=history,
        templates=templates,
        chat_model=chat_model.name,
        embedder=run.embedder.model_id,
    )
    found, generation = kept.find(key, run.hits)
    return found, partial(kept.keep, key, generation=generation)


def _noted(
    answer: Generator[AnswerEvent, None, None], keep: Callable[[Answer], None] | None
) -> Generator[AnswerEvent, None, None]:
    """The events as they are; an answer that lacks nothing is kept before it is handed on."""
    with contextlib.closing(answer):
        for event in answer:
            if keep is not None and isinstance(event, AnswerDone) and not event.answer.degraded:
                keep(event.answer)
            yield event


def _grounded(
    questions: Sequence[str], hits: Sequence[Hit], run: _Run, idf: Idf | None
) -> tuple[Grounding, list[Passage]]:
    """Whether the hits answer a question, in the wording they answer best, and their sentences, best first."""
    found = []
    for question in questions:
        asked = analyse_question(question, idf=idf)
        ranked = score_passages(asked, hits, embedder=run.embedder)
        found.append((ground(asked, hits, ranked), ranked))
    return max(found, key=lambda each: each[0].probability)


def _as_hit(memory: Memory) -> Hit:
    """A memory as what grounding reads; it never leaves this module, so nothing can cite it."""
    return Hit(
        id=0,
        uri=memory.id,
        title="",
        text=memory.text,
        score=memory.score,
        start=0,
        end=len(memory.text),
        page=None,
        time_s=None,
        headings=(),
        sources={},
        metadata={},
        collection="",
    )


def _remembered(run: _Run, ranked: Sequence[Passage]) -> Iterator[AnswerEvent]:
    text = FROM_MEMORY + run.memories[ranked[0].hit].text
    yield AnswerToken(text)
    yield run.done(text, (), model=EXTRACTIVE)


def _extractive(run: _Run, ranked: Sequence[Passage]) -> Iterator[AnswerEvent]:
    with run.timed("extract"):
        text, citations = extract(run.hits, ranked)
    yield AnswerToken(text)
    yield run.done(text, citations, model=EXTRACTIVE)


def _generated(
    run: _Run,
    prompt: Prompt,
    quoted: Callable[[], Iterator[AnswerEvent]],
    chat_model: ChatModel,
    *,
    timeout_s: float,
    max_tokens: int,
    cancelled: Callable[[], bool] | None,
) -> Generator[AnswerEvent, None, None]:
    """The chat model's words as they come, then the text with checked citations; quoted sentences if it fails first."""
    usage: Usage | None = None
    text, shown = "", 0
    start = time.perf_counter()
    stream = chat_model.stream(
        prompt.messages, timeout_s=timeout_s, max_tokens=max_tokens, cancelled=cancelled
    )
    try:
        for delta in stream:
            usage = delta.usage or usage
            text += delta.text
            # The word that means "no answer" is not shown; a beginning that may become it waits.
            if shown < len(text) and not NO_ANSWER.startswith(text.strip()[: len(NO_ANSWER)]):
                if not shown:
                    run.timings_ms["first_token"] = (time.perf_counter() - start) * 1000
                yield AnswerToken(text[shown:])
                shown = len(text)
        if not text.strip():
            raise ModelError(f"the chat model {chat_model.name} sent an empty answer", code="model_empty")
    except ModelError as error:
        if shown:
            raise
        run.degraded.append(Degraded("chat_model", f"{error.message}; the answer is quoted sentences"))
        yield from quoted()
        return
    finally:
        run.timings_ms["generate"] = (time.perf_counter() - start) * 1000
        if isinstance(stream, Generator):
            stream.close()  # now, not when it is collected: the model stops with the answer
    if text.strip(_AROUND).startswith(NO_ANSWER):
        yield from _refusal(run, NOTHING_FOUND, model=chat_model.name, usage=usage)
        return
    if shown < len(text):
        yield AnswerToken(text[shown:])
    with run.timed("cite"):
        checked = check_citations(text, prompt.sources, embedder=run.embedder)
    run.degraded += [Degraded("citations", f"removed {reason}") for reason in checked.removed]
    if not (checked.citations or checked.removed or run.from_memory):
        run.degraded.append(Degraded("citations", "the answer cites no source"))
    yield run.done(checked.text, checked.citations, model=chat_model.name, usage=usage)


def _refusal(
    run: _Run, text: str, *, model: str = EXTRACTIVE, usage: Usage | None = None
) -> Iterator[AnswerEvent]:
    yield AnswerToken(text)
    yield run.done(text, (), model=model, usage=usage)
