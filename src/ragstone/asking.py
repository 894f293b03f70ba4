"""Questions to an engine: a search, and from its hits an answer with checked citations, as events."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing

import numpy as np

from ragstone import deadlines
from ragstone.answering.answer import answer_events
from ragstone.answering.kept_answers import KeptAnswers
from ragstone.answering.prompt import standalone_question
from ragstone.engine_models import EngineModels
from ragstone.expansions import reworded
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.monitoring.timing import PerformanceTimer
from ragstone.open_collections import OpenCollections
from ragstone.searches import Searches
from ragstone.settings import Settings
from ragstone.types import AnswerDone, AnswerEvent, Memory, Scores, Turn


class Asking:
    """What `settings` say of answers, put to searches and models. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        models: EngineModels,
        collections: OpenCollections,
        searches: Searches,
        kept: KeptAnswers | None,
        monitor: PerformanceMonitor,
    ) -> None:
        self._settings = settings
        self._models = models
        self._collections = collections
        self._searches = searches
        self._kept = kept
        self._monitor = monitor

    def events(
        self,
        question: str,
        *,
        top_k: int | None,
        filter: str | None,  # noqa: A002  - the word users know
        collections: Sequence[str] | None,
        history: Sequence[Turn],
        memories: Sequence[Memory],
        cancelled: Callable[[], bool] | None,
    ) -> Generator[AnswerEvent, None, None]:
        """As `Ragstone.ask_stream`."""
        with PerformanceTimer("ask", self._monitor) as timer:
            asked = standalone_question(question, history)
            found = self._searches.search(
                asked, top_k=top_k or self._settings.answer_k, filter=filter, collections=collections
            )
            events = answer_events(
                question,
                hits=found.hits,
                degraded=found.degraded,
                search_timings_ms=found.timings_ms,
                chat_model=self._models.chat_model(),
                embedder=self._models.embedder(),
                idf=self._idf(self._collections.chosen(collections)),
                history=history,
                memories=memories,
                reworded=reworded(asked, found.expansions) if found.expansions else None,
                templates=self._models.templates(),
                timeout_s=deadlines.left_s(self._settings.chat_timeout_s),
                max_context_tokens=self._settings.max_context_length,
                kept=self._kept,
                cancelled=cancelled,
            )
            with closing(events):
                for event in events:
                    if isinstance(event, AnswerDone):
                        timer.stages_ms = _beside(found.timings_ms, event.answer.timings_ms)
                        break
                    yield event
        yield event  # who has the whole answer stops reading: it is recorded by then

    def _idf(self, names: Sequence[str]) -> Callable[[Sequence[str]], Scores]:
        """How rare words are in the collections searched: the mean of what each says."""
        indexes = [
            index for name in names if (index := self._collections.get(name).snapshot().keyword) is not None
        ]

        def idf(terms: Sequence[str]) -> Scores:
            found = [index.idf(terms) for index in indexes]
            mean: Scores = np.mean(found, axis=0) if found else np.ones(len(terms), np.float32)
            return mean

        return idf


def _beside(search_ms: Mapping[str, float], answer_ms: Mapping[str, float]) -> Mapping[str, float]:
    """The stages of an answer: its search as one of them, and what came after it."""
    after_ms = {stage: ms for stage, ms in answer_ms.items() if stage not in search_ms}
    return {"search": search_ms["total"], **after_ms}
