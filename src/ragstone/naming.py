"""What documents are called beside their titles, as a chat model reads it off them: the queue, one call at a time.

The catalog is the queue, as it is for vectors: documents that this extractor has not been asked about. Names and the
note that it was asked are one transaction for each document, so that a killed run goes on where it was. A model that
fails leaves a document the names it had, those of its title, and its place in the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ragstone.answering.chat_model import ChatModel, Message
from ragstone.collection import Collection
from ragstone.errors import CancelledError, ModelError
from ragstone.graph.extraction import (
    REPLY_CHARS_MAX,
    REPLY_TOKENS_MAX,
    extractor_name,
    names_in_reply,
    request,
)
from ragstone.links import name_keys
from ragstone.store import documents, names
from ragstone.types import Degraded, IndexProgress

# A model that fails so often in a row is down: the rest waits for the next run instead of a timeout each.
FAILURES_MAX = 3
_WINDOW = 256  # ids read from the queue at once


def name_documents(
    collection: Collection,
    model: ChatModel,
    *,
    timeout_s: float,
    progress: Callable[[IndexProgress], None],
    cancelled: Callable[[], bool],
) -> tuple[Degraded, ...]:
    """Ask `model` for the names of each document that it has not been asked about; what could not be asked.

    `timeout_s` bounds each call. The caller holds the lock. Raises `CancelledError`.
    """
    extractor = extractor_name(model.name)
    with collection.catalog.reading() as db:
        total = names.count_unnamed(db, extractor)
    done, in_row, reason = 0, 0, ""
    for document_id in _queue(collection, extractor):
        if cancelled():
            raise CancelledError("indexing was stopped", hint="the same command goes on from here")
        with collection.catalog.reading() as db:
            title = documents.document_info(db, document_id).title
            text = documents.document_text(db, document_id)
        try:
            reply = _reply(model, title, text, timeout_s, cancelled)
        except ModelError as error:
            in_row, reason = in_row + 1, error.message
            if in_row == FAILURES_MAX:
                break
            continue
        in_row = 0
        found = names_in_reply(reply, title, text)
        with collection.catalog.transaction() as db:
            names.put_extraction(db, document_id, extractor, found)
            names.put_names(db, document_id, name_keys(title, found))
        done += 1
        progress(IndexProgress("names", done, total))
    if done == total:
        return ()
    left = f"{total - done:,} of {total:,} documents keep the names that they had: {reason}"
    return (Degraded("names", left),)


def forget_names(collection: Collection) -> None:
    """Leave documents the names of their titles. The caller holds the lock."""
    with collection.catalog.reading() as db:
        extracted = names.extracted(db)
    if extracted:
        with collection.catalog.transaction() as db:
            for document_id, title in extracted:
                names.drop_extraction(db, document_id)
                names.put_names(db, document_id, name_keys(title))


def _queue(collection: Collection, extractor: str) -> Iterator[int]:
    """The ids of documents that the extractor was not asked about; each once, also when asking fails."""
    last_id = 0
    while True:
        with collection.catalog.reading() as db:
            ids = names.unnamed(db, extractor, last_id, _WINDOW)
        if not ids:
            return
        yield from ids
        last_id = ids[-1]


def _reply(model: ChatModel, title: str, text: str, timeout_s: float, cancelled: Callable[[], bool]) -> str:
    rules, document = request(title, text)
    messages = [Message("system", rules), Message("user", document)]
    stream = model.stream(messages, timeout_s=timeout_s, max_tokens=REPLY_TOKENS_MAX, cancelled=cancelled)
    reply = ""
    for delta in stream:
        reply += delta.text
        if len(reply) > REPLY_CHARS_MAX:  # a model that does not stop by itself
            break
    return reply
