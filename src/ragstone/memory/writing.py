"""How a verdict of the gate is carried out: rows, texts and vectors of one transaction. Takes a connection."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

import apsw
import numpy as np

from ragstone.expansions import acronyms_of
from ragstone.memory import entries, promotion
from ragstone.memory.entries import MemoryEntry
from ragstone.memory.gate import ANSWERS_KEPT, Outcome, PairHashes, Verdict, is_answer
from ragstone.memory.statements import Statement
from ragstone.memory.tiers import Policy
from ragstone.store import storing, vectors
from ragstone.store.sql import rows
from ragstone.types import Block, BlockKind, Chunk, ParsedDocument, Vector


@dataclass(frozen=True, slots=True)
class Draft:
    """A text on its way in; `vector` (dim,) unit float32, `signs` of its tokens (empty: none), `importance` 0 to 1."""

    statement: Statement
    vector: Vector
    signs: bytes
    tier: str
    importance: float
    source: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a text. `id` is the entry that stands for it now, None when it was refused.

    `superseded` are entries it contradicts, `evicted` those that the tier had no more room for.
    """

    id: str | None
    outcome: Outcome
    because: str
    superseded: tuple[str, ...] = ()
    evicted: tuple[str, ...] = ()


def carry_out(db: apsw.Connection, verdict: Verdict, draft: Draft, policy: Policy, now_s: float) -> Stored:
    """Refuse, refresh or add, as the verdict says."""
    if verdict.outcome == "refused":
        return Stored(None, "refused", verdict.because)
    if verdict.outcome == "refreshed" and verdict.same is not None:
        _refresh(db, verdict.same, draft.importance, policy, now_s)
        newest = verdict.same.document_id
        evicted: tuple[str, ...] = ()
    else:
        evicted = _make_room(db, draft.tier, policy, now_s)
        newest = insert(db, draft, policy, now_s, loop=verdict.outcome == "marked")
    superseded = [older for older in verdict.superseded if older.id not in evicted]
    for older in superseded:
        entries.update(db, older.document_id, superseded_by=newest)
    contradicted = tuple(older.id for older in superseded)
    return Stored(entries.entry_id(newest), verdict.outcome, verdict.because, contradicted, evicted)


def insert(db: apsw.Connection, draft: Draft, policy: Policy, now_s: float, *, loop: bool = False) -> int:
    """Write text, vector and row of a new entry; its document id. There must be room in the tier."""
    document_id, chunk_id = put_text(db, draft.statement, draft.vector, draft.signs, now_s)
    entry = MemoryEntry(
        id=entries.entry_id(document_id),
        text=draft.statement.text,
        tier=draft.tier,
        importance=min(draft.importance, policy.loop_importance) if loop else draft.importance,
        created_s=now_s,
        last_accessed_s=now_s,
        access_count=0,
        expires_s=policy.expiry(policy.tier(draft.tier), now_s=now_s),
        source=draft.source,
        tags=draft.tags,
        superseded_by=None,
        loop=loop,
        refreshed=0,
        document_id=document_id,
        chunk_id=chunk_id,
    )
    entries.insert(db, entry, words_sha256=words_sha256(draft.statement))
    return document_id


def put_text(
    db: apsw.Connection, statement: Statement, vector: Vector, signs: bytes, now_s: float
) -> tuple[int, int]:
    """Write a text as a document of one chunk, with its vector; the ids of both."""
    data = statement.text.encode()
    source = storing.Source(
        f"memory:{uuid.uuid4().hex}", len(data), int(now_s * 1e9), hashlib.sha256(data).digest()
    )
    length = len(statement.text)
    document = ParsedDocument(statement.text, (Block(BlockKind.PARAGRAPH, 0, length),), "", "text", {})
    chunk = Chunk(0, length, (), None, None, 0, statement.text)
    stored = storing.put_document(db, source, document, [chunk], acronyms=acronyms_of(statement.text))
    vectors.add_vectors(db, stored.new_chunks, [stored.document_id], vector[None], [signs])
    return stored.document_id, stored.new_chunks[0]


def _refresh(
    db: apsw.Connection, entry: MemoryEntry, importance: float, policy: Policy, now_s: float
) -> None:
    """An entry that was said again lives as if it were new, and weighs as much as the weightier of both."""
    tier = policy.tier(entry.tier)
    entries.update(
        db,
        entry.document_id,
        importance=max(entry.importance, importance),
        last_accessed_s=max(entry.last_accessed_s, now_s),
        expires_s=policy.expiry(tier, now_s=now_s, at_least_s=entry.expires_s),
        refreshed=entry.refreshed + 1,
        superseded_by=None,  # what is stated again holds again
    )


def _make_room(db: apsw.Connection, tier: str, policy: Policy, now_s: float) -> tuple[str, ...]:
    """Let the least relevant entries of a full tier go, the older ones of equal ones; their ids."""
    capacity = policy.tier(tier).capacity
    if entries.count(db, tier, now_s) < capacity:
        return ()
    listed = entries.live(db, now_s, tier=tier)
    listed.sort(key=lambda entry: (promotion.relevance(entry, policy, now_s), entry.document_id))
    gone = listed[: len(listed) + 1 - capacity]
    entries.remove(db, [entry.document_id for entry in gone])
    return tuple(entry.id for entry in gone)


def words_sha256(statement: Statement) -> bytes:
    """16 bytes that are equal for texts that differ in case, spacing and punctuation only."""
    return hashlib.sha256(statement.key.encode()).digest()[:16]


# -- answers of ours -----------------------------------------------------------------------------------------


def note_answer(db: apsw.Connection, hashes: PairHashes) -> None:
    """Keep an answer's word pairs as hashes; of the oldest beyond `ANSWERS_KEPT` nothing stays."""
    db.execute("INSERT INTO memory_answers (pairs) VALUES (?)", (hashes.astype("<u8").tobytes(),))
    db.execute("DELETE FROM memory_answers WHERE id <= ?", (db.last_insert_rowid() - ANSWERS_KEPT,))


def answers(db: apsw.Connection) -> list[PairHashes]:
    """The answers kept."""
    return [np.frombuffer(pairs, "<u8") for (pairs,) in rows(db, "SELECT pairs FROM memory_answers")]


def drop_answers(db: apsw.Connection, hashes: PairHashes) -> None:
    """Forget the answers that hold a text."""
    for id_, pairs in list(rows(db, "SELECT id, pairs FROM memory_answers")):
        if is_answer(hashes, [np.frombuffer(pairs, "<u8")]):
            db.execute("DELETE FROM memory_answers WHERE id = ?", (id_,))
