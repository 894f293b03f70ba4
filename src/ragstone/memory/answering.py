"""Answers that know what is remembered: the memories that fit a question go to the engine beside it.

Fits is what lies near the question in meaning and still holds. What was used counts as recalled, and the answer is
noted, so that the gate knows it when it comes back as a fact.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

from ragstone.answering.answer import EXTRACTIVE
from ragstone.answering.prompt import standalone_question
from ragstone.errors import NotFoundError, RagstoneError
from ragstone.memory.recalling import Recalled
from ragstone.memory.store import MemoryStore
from ragstone.types import Answer, AnswerDone, AnswerEvent, Degraded, Memory, Turn

MEMORIES_MAX = 3
# Below it two short texts are about different things: unrelated turns of conversations lie under .25 (MiniLM).
COSINE_MIN = 0.3
SOURCE = "memory"  # the name of a memory that failed, in `degraded`


def answer_with_memory(
    question: str,
    history: Sequence[Turn],
    *,
    opened: Callable[[], MemoryStore],
    ask: Callable[[Sequence[Memory]], Generator[AnswerEvent, None, None]],
) -> Generator[AnswerEvent, None, None]:
    """The events of `ask`, given the memories of `opened()` that fit; its last one names them.

    Where nothing has been remembered there are none. A memory that fails costs the memories, not the answer, which then
    says so. Raises what `ask` raises.
    """
    store: MemoryStore | None = None
    found: list[Recalled] = []
    degraded: list[Degraded] = []
    try:
        store = opened()
        found = fitting(store, standalone_question(question, history))
    except NotFoundError:
        pass  # nothing has been remembered
    except RagstoneError as error:
        degraded.append(Degraded(SOURCE, error.message))
    events = ask([item.as_memory() for item in found])
    with contextlib.closing(events):
        for event in events:
            if not isinstance(event, AnswerDone):
                yield event
                continue
            if store is not None and not degraded:
                degraded += _noted(store, found, event.answer)
            yield AnswerDone(replace(event.answer, degraded=(*event.answer.degraded, *degraded)))


def fitting(store: MemoryStore, question: str) -> list[Recalled]:
    """The memories that fit a question and that no newer statement supersedes, best first; counts none of them."""
    found = store.search(question, limit=2 * MEMORIES_MAX)
    near = [
        item
        for item in found
        if item.sources.get("dense", 0.0) >= COSINE_MIN and item.entry.superseded_by is None
    ]
    return near[:MEMORIES_MAX]


def _noted(store: MemoryStore, found: Sequence[Recalled], answer: Answer) -> list[Degraded]:
    used = {memory.id for memory in answer.memories}
    try:
        store.count_recall([item for item in found if item.entry.id in used])
        if answer.grounded or answer.model != EXTRACTIVE:  # neither a refusal nor a memory said again
            store.note_answer(answer.text)
    except RagstoneError as error:
        return [Degraded(SOURCE, error.message)]
    return []
