"""What a chat model wrote, kept under all that it was made of: asked the same over the same chunks, it is not called.

The key is a digest of the question, the conversation, the models, the instructions and the very texts given to the
chat model. So an answer is out of reach as soon as one chunk that it used changes, moves or gives way to another,
whoever commits that and wherever, and stays while only other chunks change. Nothing has to be invalidated.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragstone.answering.citations import citation
from ragstone.answering.templates import Templates
from ragstone.cache.shared_results import SharedResults
from ragstone.cache_levels import LRUCache, SharedCache
from ragstone.types import Answer, Citation, Hit, Turn
from ragstone.version import __version__

# An answer and its key take some 3 KB.
CAPACITY = 1_000


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A whole answer; `cited` holds (n, start, end) of each citation, in characters of source n's document."""

    text: str
    model: str
    cited: tuple[tuple[int, int, int], ...]

    def citations(self, sources: Sequence[Hit]) -> tuple[Citation, ...]:
        """The citations with their quotes, from the sources; raises `ValueError` where one lies outside its source."""
        return tuple(_citation(sources, *place) for place in self.cited)


class KeptAnswers:
    """Answers of the last `ttl_s` seconds: the latest 1,000 here, and on a second level if one is given.

    Thread-safe.
    """

    def __init__(
        self,
        ttl_s: float,
        *,
        of: str = "",
        shared: SharedCache | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`of` tells apart what answers under the same model's name. Raises `InputError` unless `ttl_s` is above 0."""
        self._here: LRUCache[str, KeptAnswer] = LRUCache(CAPACITY, ttl_s=ttl_s, clock=clock)
        self._shared = (
            None
            if shared is None
            else SharedResults(shared, namespace=f"answers of {of}", ttl_s=ttl_s, wall_clock=wall_clock)
        )
        self._shared_hits = 0

    def find(self, key: str, sources: Sequence[Hit]) -> tuple[KeptAnswer | None, str | None]:
        """The answer under `key` if it is kept, and what `keep` wants to be told of the second level."""
        found = self._here.get(key, None)
        if found is not None or self._shared is None:
            return found, None
        shared, generation = self._shared.find(key, None)
        if shared is None or (found := _read(shared.value, sources)) is None:
            return None, generation
        self._shared_hits += 1
        self._here.put(key, found, ttl_s=shared.ttl_s)
        return found, generation

    def keep(self, key: str, answer: Answer, generation: str | None) -> None:
        """Keep an answer that is whole and not degraded; `generation` as `find` gave it."""
        cited = tuple((citation.n, citation.start, citation.end) for citation in answer.citations)
        self._here.put(key, KeptAnswer(answer.text, answer.model, cited))
        if self._shared is not None and generation is not None:
            record = {"text": answer.text, "model": answer.model, "cited": [list(place) for place in cited]}
            self._shared.keep(key, None, record, (), generation)

    def clear(self) -> None:
        """Drop what this process keeps."""
        self._here.clear()

    def stats(self) -> Mapping[str, int]:
        """As `LRUCache.stats`, and of the misses here how many were `shared_hits`."""
        return {**self._here.stats(), "shared_hits": self._shared_hits}


def answer_key(
    question: str,
    sources: Sequence[Hit],
    *,
    history: Sequence[Turn],
    templates: Templates,
    chat_model: str,
    embedder: str,
) -> str:
    """A hexadecimal digest of all that decides an answer; ids and scores of the sources do not."""
    made_of = {
        "ragstone": __version__,
        "question": question,
        "history": [[turn.role, turn.text] for turn in history],
        "templates": [templates.system, dict(templates.by_type)],
        "models": [chat_model, embedder],
        "sources": [
            [
                *(hit.collection, hit.uri, hit.title, hit.headings, hit.page, hit.time_s, hit.start, hit.end),
                hit.text,
            ]
            for hit in sources
        ],
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _read(value: Any, sources: Sequence[Hit]) -> KeptAnswer | None:
    """An answer from the second level, if it is one and its citations lie in their sources."""
    try:
        cited = tuple((int(n), int(start), int(end)) for n, start, end in value["cited"])
        text, model = value["text"], value["model"]
        if not isinstance(text, str) or not isinstance(model, str):
            return None
        kept = KeptAnswer(text, model, cited)
        kept.citations(sources)
    except (ValueError, LookupError, TypeError, OverflowError):
        return None
    return kept


def _citation(sources: Sequence[Hit], n: int, start: int, end: int) -> Citation:
    source = sources[n - 1]
    if n < 1 or not source.start <= start < end <= source.start + len(source.text):
        raise ValueError(f"{start} to {end} is not in source {n}")
    return citation(source, n, start, end)
