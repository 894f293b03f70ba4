"""What is remembered beside a collection, and what people said of its hits."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from ragstone import wire
from ragstone.errors import InputError
from ragstone.memory.audit import AuditLine
from ragstone.memory.recalling import Recalled
from ragstone.memory.store import MemoryStore
from ragstone.server.access import TheCaller, policy
from ragstone.server.change_requests import (
    FeedbackRequest,
    ForgetRequest,
    InCollection,
    MemoryListRequest,
    MemoryRequest,
    MemorySearchRequest,
    UndoRequest,
)
from ragstone.server.more_replies import (
    Audit,
    Consolidated,
    FoundMemories,
    Memories,
    Stored,
    VoteGiven,
    Votes,
)
from ragstone.server.replies import Removed
from ragstone.server.replying import PROBLEMS, TheService, described, large_reply, page, reply

memory = APIRouter(prefix="/api", responses=PROBLEMS)


@memory.post("/memory", summary="Remember a statement", responses=described(Stored))
@policy("write")
async def remember(body: MemoryRequest, service: TheService, caller: TheCaller) -> Response:
    """Unless it is known or an answer of ours; a newer statement supersedes what it contradicts."""
    name = service.named(body.collection, caller)

    def add(store: MemoryStore) -> wire.Json:
        stored = store.add(
            body.text, tier=body.tier, importance=body.importance, source=body.source, tags=body.tags
        )
        found: wire.Json = wire.plain_json(stored)
        return found

    return reply(await service.memories.run(name, add, create=True))


@memory.get("/memory", summary="The memories, a page at a time, oldest first", responses=described(Memories))
@policy("read")
async def memories(
    asked: Annotated[MemoryListRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """Those that have not expired."""
    name = service.named(asked.collection, caller)
    listed = await service.memories.run(name, lambda store: store.entries())
    return await large_reply(
        service,
        lambda: page("memories", listed, wire.memory_json, offset=asked.offset, limit=asked.limit),
    )


@memory.get("/memory/search", summary="The memories that fit best", responses=described(FoundMemories))
@policy("read")
async def search_memory(
    asked: Annotated[MemorySearchRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """By meaning, words and importance; counts none of them as recalled."""
    name = service.named(asked.collection, caller)
    found = await service.memories.run(
        name, lambda store: store.search(asked.q, tier=asked.tier, limit=asked.k)
    )
    return reply({"memories": [_recalled_json(item) for item in found]})


@memory.delete("/memory", summary="Forget memories by id", responses=described(Removed))
@policy("write")
async def forget(
    asked: Annotated[ForgetRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """All of them or, when one is unknown, none. No file holds a byte of them afterwards."""
    name = service.named(asked.collection, caller)
    return reply({"removed": await service.memories.run(name, lambda store: store.forget(asked.id))})


@memory.get("/memory/audit", summary="Every memory and why it is kept", responses=described(Audit))
@policy("read")
async def audit(
    asked: Annotated[MemoryListRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """Duplicates, answers that came back, contradictions, what ends soon. 10,000 memories take seconds."""
    name = service.named(asked.collection, caller)
    report = await service.memories.run(name, lambda store: store.audit())

    def shown() -> wire.Json:
        listed = page("memories", report.lines, _audited_json, offset=asked.offset, limit=asked.limit)
        return {"counts": wire.plain_json(report.counts), **listed}

    return await large_reply(service, shown)


@memory.post(
    "/memory/consolidate",
    summary="Remove what expired, promote what proved useful",
    responses=described(Consolidated),
)
@policy("write")
async def consolidate(body: InCollection, service: TheService, caller: TheCaller) -> Response:
    """One pass; the service does the same at intervals for memories it has open."""
    name = service.named(body.collection, caller)

    def tend(store: MemoryStore) -> wire.Json:
        expired = store.cleanup_expired()
        return {"expired": expired, **wire.plain_json(store.consolidate())}

    return reply(await service.memories.run(name, tend))


@memory.post("/feedback", summary="Say that a hit was right or wrong", responses=described(VoteGiven))
@policy("write")
async def vote(body: FeedbackRequest, service: TheService, caller: TheCaller) -> Response:
    """It moves by at most 15 % of its score, for this question and those that ask the same; it can be taken back."""
    name = service.named(body.collection, caller)
    given = partial(service.engine.vote, body.query, body.id, body.value, collection=name)
    return reply({"vote": await service.changes.run(given)})


@memory.get("/feedback", summary="The votes, oldest first", responses=described(Votes))
@policy("read")
async def votes(asked: Annotated[InCollection, Query()], service: TheService, caller: TheCaller) -> Response:
    """The latest 4,096 count, and are all there are."""
    name = service.named(asked.collection, caller)
    given = await service.read(partial(service.engine.votes, collection=name))
    return await large_reply(service, lambda: {"votes": [asdict(each) for each in given]})


@memory.delete("/feedback", summary="Take votes back", responses=described(Removed))
@policy("write")
async def take_back(
    asked: Annotated[UndoRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """Those of the ids given, or all of them with `all=true`."""
    if bool(asked.id) == asked.all:
        raise InputError("say which votes to take back", hint="ids, or all=true; not both")
    name = service.named(asked.collection, caller)
    undo = partial(service.engine.take_back_votes, None if asked.all else asked.id, collection=name)
    return reply({"removed": await service.changes.run(undo)})


def _recalled_json(item: Recalled) -> wire.Json:
    scores = {"score": round(item.score, wire.SCORE_DIGITS), "sources": wire.plain_json(item.sources)}
    return {**wire.memory_json(item.entry), **scores}


def _audited_json(line: AuditLine) -> wire.Json:
    fields = wire.plain_json(line)
    del fields["entry"]
    return {**wire.memory_json(line.entry), **fields}
