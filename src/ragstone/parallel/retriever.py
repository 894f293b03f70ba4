"""Asking several sources at once.

    with Ragstone("my-index") as engine, ParallelRetriever([PassageSource(engine), DomainSource(engine)]) as retriever:
        data = await retriever.fetch_all_rag_data("how are backups made?")      # or retriever.fetch(…), without a loop
        print(data["corpus_quotes"], data["degraded"])

Whatever a source does, an answer is there after `total_timeout_s`: what was late or failed is named in it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol, TypeAlias

from ragstone.cache_levels import LRUCache
from ragstone.errors import InputError
from ragstone.parallel.fetched import Fetched
from ragstone.parallel.runner import CLOSE_GRACE_S, FAILURES, RECOVERY_S, Outcome, Runner
from ragstone.parallel.sources import Analysis, Facts, Found, Request, Source, prepare

# FEATURES "Parallel sources" and document 001.
WORKERS = 4
SOURCE_TIMEOUT_S = 5.0
TOTAL_TIMEOUT_S = 10.0
KEPT = 256
KEPT_S = 300.0
DEFAULT_LOCALE = "en"
# A lane for asking sources whether what is kept still holds; no source has such a name.
_VERSIONS = "(versions)"
_VERSIONS_TIMEOUT_S = 0.5

# Told what each step or source took in ms, and whether it failed, in the thread of the caller: `prepare`, then sources.
Observe: TypeAlias = Callable[[str, float, bool], None]

logger = logging.getLogger("ragstone.parallel")


class Closeable(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Let go of everything."""


@dataclass(frozen=True, slots=True)
class _Versioned:
    """What a source found, and its version from before it looked."""

    found: Found
    version: Hashable | None


@dataclass(frozen=True, slots=True)
class _KeptResult:
    fetched: Fetched
    versions: Sequence[Hashable]


class ParallelRetriever:
    """Asks all sources at once. Thread-safe; `close` when done, or use it as a context manager."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        analysis: Analysis | None = None,
        themes: Mapping[str, str] | None = None,
        workers: int | None = None,
        source_timeout_s: float = SOURCE_TIMEOUT_S,
        total_timeout_s: float = TOTAL_TIMEOUT_S,
        failures: int = FAILURES,
        recovery_s: float = RECOVERY_S,
        kept: int = KEPT,
        kept_s: float = KEPT_S,
        disabled: bool = False,
        observe: Observe = lambda step, took_ms, failed: None,
        owned: Sequence[Closeable] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`sources` answer in this order, `analysis` after them. `themes` adds words to the query made from facts.

        `workers` calls run at once, 4 or one a source if not given. A source is `late` after `source_timeout_s`, and
        everything after `total_timeout_s`. After `failures` in a row a source is not asked for `recovery_s` seconds.
        Complete results are `kept` (0: none), as many for `kept_s` seconds, while no source's version changes. When
        `disabled`, nothing is asked. `owned` is closed with it. Raises `InputError`.
        """
        names = [source.name for source in sources] + ([analysis.name] if analysis is not None else [])
        if len(set(names)) < len(names):
            raise InputError(f"sources share a name: {', '.join(names)}", hint="give each one its own")
        if workers is not None and workers < 1:
            raise InputError(f"workers is {workers}, the least is 1")
        if not (source_timeout_s > 0 and total_timeout_s > 0):
            raise InputError(f"timeouts are {source_timeout_s} s and {total_timeout_s} s, they are above 0")
        if failures < 1 or kept < 0:
            raise InputError(f"failures is {failures}, the least is 1; kept is {kept}, the least is 0")
        if workers is not None and workers < len(sources):
            logger.warning(
                "%d workers for %d sources: some wait for others; set executor_workers to %d or more",
                workers,
                len(sources),
                len(sources),
            )
        self._sources = tuple(sources)
        self._analysis = analysis
        self._themes = dict(themes or {})
        self.workers = max(WORKERS, len(sources)) if workers is None else workers
        self._source_timeout_s = min(source_timeout_s, total_timeout_s)
        self._total_timeout_s = total_timeout_s
        self._kept: LRUCache[str, _KeptResult] = LRUCache(kept, ttl_s=kept_s, clock=clock)
        self._disabled = disabled
        self._observe = observe
        self._owned = tuple(owned)
        self._runner = Runner(
            [*names, _VERSIONS],
            workers=self.workers,
            share=self.workers if len(names) == 1 else None,
            failures=failures,
            recovery_s=recovery_s,
            clock=clock,
        )

    # -- ask ---------------------------------------------------------------------------------------------

    async def fetch_all_rag_data(
        self,
        facts: str | Facts,
        other_facts: Facts | None = None,
        theme: str = "",
        locale: str = DEFAULT_LOCALE,
    ) -> dict[str, Any]:
        """The documented keys, see `Fetched.to_dict`, for a question or for facts, as nested as they come, which the
        analysis compares with `other_facts`. From any event loop.

        Raises `InputError`, `CancelledError` when closed meanwhile; never for what a source did.
        """
        return (await self.fetch_async(facts, other_facts, theme, locale)).to_dict()

    async def fetch_async(
        self,
        facts: str | Facts,
        other_facts: Facts | None = None,
        theme: str = "",
        locale: str = DEFAULT_LOCALE,
    ) -> Fetched:
        """`fetch` for coroutines; cancelling the caller leaves the sources to themselves."""
        return self._observed(await self._runner.wait_async(self._begin(facts, other_facts, theme, locale)))

    def fetch(
        self,
        facts: str | Facts,
        other_facts: Facts | None = None,
        theme: str = "",
        locale: str = DEFAULT_LOCALE,
    ) -> Fetched:
        """What all sources found, and what became of those that found nothing; as `fetch_all_rag_data`.

        From any thread, with no event loop, or inside a running one, which it holds up meanwhile.
        """
        return self._observed(self._runner.wait(self._begin(facts, other_facts, theme, locale)))

    def close(self, grace_s: float = CLOSE_GRACE_S) -> None:
        """End the threads and close what is owned; calls at work get `grace_s` seconds. Calling it again does nothing.

        Callers that wait get a `CancelledError`. While a call that was left behind might use it, nothing is closed.
        """
        if self._runner.close(grace_s):
            return
        owned, self._owned = self._owned, ()
        for part in owned:
            part.close()

    def __enter__(self) -> ParallelRetriever:
        """The retriever itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """`close`."""
        self.close()

    # -- one fetch ---------------------------------------------------------------------------------------

    def _begin(
        self, facts: str | Facts, other_facts: Facts | None, theme: str, locale: str
    ) -> Future[Fetched]:
        started_s = time.perf_counter()
        request = prepare(
            facts,
            other_facts,
            theme=theme,
            locale=locale,
            concepts=self._themes,
            timeout_s=self._source_timeout_s,
        )
        self._observe("prepare", (time.perf_counter() - started_s) * 1e3, False)  # noqa: FBT003
        return self._runner.start(partial(self._fetch, request))

    def _observed(self, fetched: Fetched) -> Fetched:
        if not fetched.kept:
            for name, outcome in fetched.outcomes.items():
                self._observe(name, outcome.took_ms, outcome.status != "ok")
        return fetched

    async def _fetch(self, request: Request) -> Fetched:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        deadline_s = started_s + self._total_timeout_s
        if self._disabled:
            return Fetched(self._refused(), 0.0)
        key = _key(request)
        if (kept := await self._still_valid(key, deadline_s)) is not None:
            return replace(kept, took_ms=(loop.time() - started_s) * 1e3, kept=True)
        versions, outcomes = await self._ask_sources(request, deadline_s)
        if self._analysis is not None:
            found = Fetched(outcomes, 0.0).found
            outcomes[self._analysis.name] = await self._runner.call(
                self._analysis.name,
                partial(self._analysis.analyse, request, found),
                timeout_s=self._source_timeout_s,
                deadline_s=deadline_s,
            )
        fetched = Fetched(outcomes, (loop.time() - started_s) * 1e3)
        if key is not None and not fetched.degraded and None not in versions:
            self._kept.put(key, _KeptResult(fetched, versions))
        return fetched

    async def _ask_sources(
        self, request: Request, deadline_s: float
    ) -> tuple[list[Hashable | None], dict[str, Outcome[Found]]]:
        """Each source's version and outcome, in the order of the sources."""
        answers = await asyncio.gather(
            *(
                self._runner.call(
                    source.name,
                    partial(_ask, source, request),
                    timeout_s=self._source_timeout_s,
                    deadline_s=deadline_s,
                )
                for source in self._sources
            )
        )
        versions = [None if answer.value is None else answer.value.version for answer in answers]
        outcomes = {
            source.name: Outcome(
                answer.status,
                None if answer.value is None else answer.value.found,
                answer.took_ms,
                answer.error,
            )
            for source, answer in zip(self._sources, answers, strict=True)
        }
        return versions, outcomes

    async def _still_valid(self, key: str | None, deadline_s: float) -> Fetched | None:
        """What is kept, if no source has changed since; None when it must be fetched."""
        kept = None if key is None else self._kept.get(key, None)
        if kept is None:
            return None
        now = await self._runner.call(
            _VERSIONS,
            lambda: [_version(source) for source in self._sources],
            timeout_s=_VERSIONS_TIMEOUT_S,
            deadline_s=deadline_s,
        )
        return kept.fetched if now.value == kept.versions else None

    def _refused(self) -> dict[str, Outcome[Found]]:
        names = [source.name for source in self._sources]
        names += [self._analysis.name] if self._analysis is not None else []
        return {name: Outcome("refused", None, 0.0, "switched off (disable_sources)") for name in names}


def _ask(source: Source, request: Request) -> _Versioned:
    version = _version(
        source
    )  # before it looks: what changes meanwhile makes the result old, not wrong for long
    return _Versioned(source.fetch(request), version)


def _version(source: Source) -> Hashable | None:
    try:
        return source.version()
    except Exception:  # noqa: BLE001 - not known; if something is wrong with the source, `fetch` says so
        return None


def _key(request: Request) -> str | None:
    """Equal for equal requests; None for facts that are not JSON, whose results are not kept."""
    parts = [request.query, request.facts, request.other_facts, request.theme, request.locale]
    try:
        text = json.dumps(parts, sort_keys=True)
    except (TypeError, ValueError):
        return None
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
