"""Answers and vectors in the forms of OpenAI's interface.

Citations are said three times, for three kinds of client: as numbered sources at the end of the text, for people; as
`annotations` of the message, OpenAI's own form, which chat pages turn into links; and beside the choices as
`citations`, with page, span and quote.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable, Iterator, Sequence

from ragstone import wire
from ragstone.types import Answer, Citation, Matrix, Usage

SOURCES = "\n\n---\n**Sources**\n"  # begins the numbered sources behind an answer

# Characters that would begin markup in a title taken from a document.
_MARKUP = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>#|~!&"})


class Completion:
    """What the answer, or all chunks of a streamed one, say alike: id, time and model."""

    def __init__(self, model: str, *, ignored: Sequence[str], clock: Callable[[], float] = time.time) -> None:
        self._same = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(clock()), "model": model}
        self._ignored = list(ignored)

    def whole(self, answer: Answer) -> wire.Json:
        """The body of an answer that is not streamed."""
        message = {
            "role": "assistant",
            "content": answer.text + sources_text(answer.citations),
            "refusal": None,
            "annotations": url_citations(answer.text, answer.citations),
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return {
            **self._same,
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage_json(answer.usage),
            **self._beside(answer),
        }

    def chunk(self, delta: wire.Json, *, usage: bool) -> wire.Json:
        """A part of a streamed answer; `usage` says whether tokens used are sent at the end."""
        return self._chunk([_streamed(delta, None)], usage=usage)

    def last_chunks(self, answer: Answer, *, streamed: str, usage: bool) -> Iterator[wire.Json]:
        """What follows the text `streamed`: the sources, the end with what stands beside, the tokens used.

        Where a citation failed its check after it was sent, `answer` beside the choices is the text without it.
        """
        sources = sources_text(answer.citations)
        if sources:
            marks = url_citations(answer.text, answer.citations)
            yield self._chunk([_streamed({"content": sources, "annotations": marks}, None)], usage=usage)
        corrected = {} if streamed.strip() == answer.text.strip() else {"answer": answer.text}
        yield {
            **self._chunk([_streamed({}, "stop")], usage=usage),
            **self._beside(answer),
            **corrected,
        }
        if usage:
            yield {**self._chunk([], usage=True), "usage": usage_json(answer.usage)}

    def _chunk(self, choices: list[wire.Json], *, usage: bool) -> wire.Json:
        chunk = {**self._same, "object": "chat.completion.chunk", "choices": choices}
        return {**chunk, "usage": None} if usage else chunk

    def _beside(self, answer: Answer) -> wire.Json:
        return {
            "citations": [wire.citation_json(citation) for citation in answer.citations],
            "grounded": answer.grounded,
            "degraded": wire.plain_json(answer.degraded),
            "memories": wire.memories_json(answer.memories),
            "ignored": self._ignored,
        }


def _streamed(delta: wire.Json, finish_reason: str | None) -> wire.Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def usage_json(usage: Usage) -> wire.Json:
    """Tokens as OpenAI counts them; zeros where no chat model was called."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def sources_text(citations: Sequence[Citation]) -> str:
    """The numbered sources as Markdown, to stand behind the answer; empty without citations."""
    lines = []
    for citation in sorted(citations, key=lambda citation: citation.n):
        title = " ".join(citation.title.split()).translate(_MARKUP) or "untitled"
        page = "" if citation.page is None else f", page {citation.page}"
        place = " ".join(citation.uri.replace("`", "'").split())
        lines.append(f"- [{citation.n}] {title}{page}: `{place}`")
    return SOURCES + "\n".join(dict.fromkeys(lines)) + "\n" if lines else ""


def without_sources(text: str) -> str:
    """An earlier answer without the sources that `sources_text` put behind it."""
    return text.partition(SOURCES.strip())[0].rstrip() if SOURCES.strip() in text else text


def url_citations(text: str, citations: Sequence[Citation]) -> list[wire.Json]:
    """The citations as OpenAI's `url_citation`s; `start_index` to `end_index` is where `[n]` stands in `text`."""
    found = []
    for citation in citations:
        mark = f"[{citation.n}]"
        start = max(0, text.find(mark))
        cited = {
            "start_index": start,
            "end_index": start + len(mark),
            "title": citation.title or citation.uri,
            "url": wire.link(citation.uri, citation.page),
        }
        found.append({"type": "url_citation", "url_citation": cited})
    return found


def embeddings_body(vectors: Matrix, *, model: str, tokens: int, encoding: str, about: wire.Json) -> bytes:
    """The whole answer of `/v1/embeddings` as bytes, a row at a time.

    One call for all rows would hold the interpreter's lock for as long as it takes, some 100 ms for 1,000 rows.
    """
    rows = []
    for number, vector in enumerate(vectors.astype("<f4", copy=False)):
        embedding = (
            base64.b64encode(vector.tobytes()).decode("ascii") if encoding == "base64" else vector.tolist()
        )
        rows.append(wire.encode({"object": "embedding", "index": number, "embedding": embedding}))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    rest = wire.encode({"object": "list", "model": model, "usage": usage, "ragstone": about})
    return b'{"data":[' + b",".join(rows) + b"]," + rest[1:]


def rerank_json(
    scores: Sequence[tuple[int, float]], *, model: str, tokens: int, texts: Sequence[str] | None
) -> wire.Json:
    """The answer of `/v1/rerank`: (position, score) best first; `texts` are all documents, None to leave them out."""
    results = []
    for position, score in scores:
        result: wire.Json = {"index": position, "relevance_score": round(score, wire.SCORE_DIGITS)}
        if texts is not None:
            result["document"] = {"text": texts[position]}
        results.append(result)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"id": f"rerank-{secrets.token_hex(12)}", "model": model, "results": results, "usage": usage}
