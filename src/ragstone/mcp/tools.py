"""The tools over one engine: plain blocking calls, each with what it takes, gives and asks of the caller.

Knows neither protocol nor transport. Sizes are bounded in `forms`; errors are ragstone's own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from ragstone.collection import holds_memories
from ragstone.engine import Ragstone
from ragstone.errors import InputError, NotFoundError
from ragstone.mcp import forms
from ragstone.mcp.tool import Cancelled, Tool, Visitor
from ragstone.memory.answering import fitting
from ragstone.memory.opening import open_memory
from ragstone.memory.store import MemoryStore
from ragstone.types import Answer, AnswerDone, Memory
from ragstone.wire import link, plain_json


class Toolbox:
    """The tools of one engine; `writes` says whether those that change something are among them."""

    def __init__(self, engine: Ragstone, *, writes: bool) -> None:
        """The engine stays its owner's; `close` lets go of the memory."""
        self._engine = engine
        self._memory: MemoryStore | None = None
        self._opening = threading.Lock()
        tools = [*self._reading(), *(self._writing() if writes else [])]
        self._tools: Mapping[str, Tool[Any]] = {tool.name: tool for tool in tools}

    @property
    def collection(self) -> str:
        """The collection that is meant where none is named."""
        return self._engine.collection

    def close(self) -> None:
        """Let go of the memory's files; no tool may be running."""
        with self._opening:
            if self._memory is not None:
                self._memory.close()
                self._memory = None

    def tools(self, visitor: Visitor) -> list[Tool[Any]]:
        """The tools that the visitor may call."""
        return [tool for tool in self._tools.values() if visitor.may(tool.needs)]

    def tool(self, name: str, visitor: Visitor) -> Tool[Any] | None:
        """One of `tools`; None where it is not there for this visitor."""
        found = self._tools.get(name)
        return found if found is not None and visitor.may(found.needs) else None

    def _reading(self) -> list[Tool[Any]]:
        return [
            Tool(
                "search",
                "Search the documents",
                "Find passages in the user's own documents by meaning and words, best first, each with its "
                "document, page and span. Use `fetch` with an `id` to read around a passage.",
                "read",
                forms.SearchArguments,
                forms.SearchAnswer,
                self._search,
            ),
            Tool(
                "fetch",
                "Read a document",
                "Read a document's text, from character `start` on. Spans of other tools count in it.",
                "read",
                forms.FetchArguments,
                forms.FetchAnswer,
                self.fetch,
            ),
            Tool(
                "ask",
                "Answer from the documents",
                "Answer a question from the user's own documents, with quotes that were checked against "
                "them. Not `grounded` means that the documents do not say.",
                "read",
                forms.AskArguments,
                forms.AskAnswer,
                self._ask,
                slow=True,
            ),
            Tool(
                "list_documents",
                "List the documents",
                "The documents of a collection, a page at a time.",
                "read",
                forms.ListArguments,
                forms.ListAnswer,
                self.list_documents,
            ),
            Tool(
                "list_collections",
                "List the collections",
                "The names of the collections of documents.",
                "read",
                forms.NoArguments,
                forms.CollectionsAnswer,
                self._collections,
            ),
            Tool(
                "memory_search",
                "Search the memory",
                "Find statements that were remembered for the user.",
                "read",
                forms.MemorySearchArguments,
                forms.MemoriesAnswer,
                self._recall,
            ),
        ]

    def _writing(self) -> list[Tool[Any]]:
        return [
            Tool(
                "memory_add",
                "Remember a statement",
                "Remember a statement for the user, unless it is known; a newer one supersedes what it "
                "contradicts.",
                "write",
                forms.MemoryAddArguments,
                forms.RememberedAnswer,
                self._remember,
            ),
            Tool(
                "add_document",
                "Add a text",
                "Add a text to the documents; it can be found at once. Replaces the one with the same `id`.",
                "write",
                forms.AddArguments,
                forms.AddedAnswer,
                self._add,
                slow=True,
                destructive=True,
            ),
            Tool(
                "delete_document",
                "Delete a document",
                "Take a document out of the collection; a file on disk stays.",
                "write",
                forms.DeleteArguments,
                forms.DeletedAnswer,
                self._delete,
                destructive=True,
            ),
        ]

    # -- read --------------------------------------------------------------------------------------------

    def _search(
        self, given: forms.SearchArguments, visitor: Visitor, _cancelled: Cancelled
    ) -> forms.SearchAnswer:
        found = self._engine.search(
            given.query,
            top_k=given.k,
            mode=given.mode,
            filter=given.filter or None,
            collections=[self._seen(given.collection, visitor)],
        )
        return forms.SearchAnswer(
            results=[forms.passage(hit) for hit in found.hits],
            degraded=[f"{part.source}: {part.reason}" for part in found.degraded],
        )

    def _ask(self, given: forms.AskArguments, visitor: Visitor, cancelled: Cancelled) -> forms.AskAnswer:
        events = self._engine.ask_stream(
            given.question,
            top_k=given.k,
            filter=given.filter or None,
            collections=[self._seen(given.collection, visitor)],
            memories=self._fitting(given.question, visitor) if given.memory else (),
            cancelled=cancelled,
        )
        answer: Answer = next(event.answer for event in events if isinstance(event, AnswerDone))
        return forms.AskAnswer(
            answer=answer.text,
            grounded=answer.grounded,
            citations=[forms.quote(citation) for citation in answer.citations],
            memories=[memory.text for memory in answer.memories],
            degraded=[f"{part.source}: {part.reason}" for part in answer.degraded],
        )

    def _fitting(self, question: str, visitor: Visitor) -> list[Memory]:
        """The memories that fit a question. That they were used is not noted: a tool that reads writes nothing."""
        self._seen("", visitor)
        try:
            return [item.as_memory() for item in fitting(self._remembered(create=False), question)]
        except NotFoundError:  # nothing has been remembered
            return []

    def fetch(
        self, given: forms.FetchArguments, visitor: Visitor, _cancelled: Cancelled | None = None
    ) -> forms.FetchAnswer:
        """A document's text, or a part of it."""
        info, text = self._engine.document(given.id, collection=self._seen(given.collection, visitor))
        if given.start > len(text):
            raise InputError(
                f"start {given.start} is behind the document's {len(text)} characters",
                hint="the document may have changed; search again",
            )
        end = min(len(text), given.start + given.length)
        return forms.FetchAnswer(
            id=info.uri,
            title=info.title,
            url=link(info.uri),
            text=text[given.start : end],
            start=given.start,
            end=end,
            length=len(text),
            next_start=end if end < len(text) else None,
            metadata=plain_json(info.metadata),
        )

    def list_documents(
        self, given: forms.ListArguments, visitor: Visitor, _cancelled: Cancelled | None = None
    ) -> forms.ListAnswer:
        """A page of a collection's documents."""
        every = self._engine.documents(
            filter=given.filter or None, collection=self._seen(given.collection, visitor)
        )
        end = given.offset + given.limit
        return forms.ListAnswer(
            documents=[
                forms.Listed(
                    id=document.uri,
                    title=document.title,
                    format=document.format,
                    size_bytes=document.size_bytes,
                )
                for document in every[given.offset : end]
            ],
            total=len(every),
            next_offset=end if end < len(every) else None,
        )

    def _collections(
        self, _given: forms.NoArguments, visitor: Visitor, _cancelled: Cancelled
    ) -> forms.CollectionsAnswer:
        names = self._engine.collections()
        return forms.CollectionsAnswer(
            collections=[name for name in names if visitor.sees(name)],
            usual=self._engine.collection,
        )

    def _recall(
        self, given: forms.MemorySearchArguments, visitor: Visitor, _cancelled: Cancelled
    ) -> forms.MemoriesAnswer:
        self._seen("", visitor)
        found = self._remembered(create=False).search(given.query, limit=given.k)
        return forms.MemoriesAnswer(
            memories=[
                forms.Memory(
                    id=item.entry.id,
                    text=item.entry.text,
                    score=item.score,
                    tier=item.entry.tier,
                    source=item.entry.source,
                    superseded_by=item.entry.superseded_by,
                )
                for item in found
            ]
        )

    # -- write -------------------------------------------------------------------------------------------

    def _remember(
        self, given: forms.MemoryAddArguments, visitor: Visitor, _cancelled: Cancelled
    ) -> forms.RememberedAnswer:
        self._seen("", visitor)
        stored = self._remembered(create=True).add(
            given.text, tier=given.tier, importance=given.importance, source="user"
        )
        return forms.RememberedAnswer(outcome=stored.outcome, because=stored.because, id=stored.id)

    def _add(self, given: forms.AddArguments, visitor: Visitor, _cancelled: Cancelled) -> forms.AddedAnswer:
        self._seen("", visitor)
        (uri,) = self._engine.add(
            [given.text], uris=[given.id] if given.id else None, titles=[given.title] if given.title else None
        )
        return forms.AddedAnswer(id=uri)

    def _delete(
        self, given: forms.DeleteArguments, visitor: Visitor, _cancelled: Cancelled
    ) -> forms.DeletedAnswer:
        self._seen("", visitor)
        return forms.DeletedAnswer(deleted=self._engine.delete([given.id]))

    def _seen(self, collection: str, visitor: Visitor) -> str:
        """The collection named, or the engine's own, if it is the visitor's; one of others does not exist."""
        name = collection or self._engine.collection
        if not visitor.sees(name) or holds_memories(name):
            raise NotFoundError(f"no collection {name!r}", hint="list_collections says which there are")
        return name

    def _remembered(self, *, create: bool) -> MemoryStore:
        with self._opening:
            if self._memory is not None and not self._memory.is_there:  # it was restored or dropped
                self._memory.close()
                self._memory = None
            if self._memory is None:
                self._memory = open_memory(
                    self._engine.settings, embedder=self._engine.embedder(), create=create
                )
            return self._memory
