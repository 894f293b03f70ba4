"""The memory of one collection: add through the write gate, recall, search, promote, forget.

A memory is a document of one chunk in a Ragstone collection of its own, and a row beside it in the same catalog: one
transaction writes both. So an entry is there whole or not at all, and what keeps, verifies, mends, backs up and purges
collections does the same for memories. Thread-safe; several processes may use one memory, they write by turns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import apsw
import numpy as np

from ragstone.collection import Collection
from ragstone.errors import InputError, LockedError, NotFoundError
from ragstone.filling import identity_of, seal_tail
from ragstone.memory import entries, gate, promotion, recalling, writing
from ragstone.memory.audit import Audit, audit
from ragstone.memory.entries import MemoryEntry
from ragstone.memory.promotion import Promotion
from ragstone.memory.recalling import Recalled
from ragstone.memory.statements import Statement
from ragstone.memory.tiers import Clock, Policy
from ragstone.memory.writing import Draft, Stored
from ragstone.store import vectors
from ragstone.types import Embedder, Ids, Matrix, SearchMode, TokenEmbedder, Vector

MAX_CHARS = 10_000  # an entry is a statement or a passage; `ingest_document` cuts what is longer
LOCK_WAIT_S = 5.0  # another process stores in milliseconds; a purge of 10,000 entries takes a second
_LOCK_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Consolidated:
    """What one pass did; `no_room` deserved promotion and found its next tier full."""

    promoted: tuple[Promotion, ...]
    no_room: int
    seconds: float


class MemoryStore:
    """The entries of one memory. Use as a context manager, or call `close`."""

    def __init__(
        self, folder: Path, *, embedder: Embedder, policy: Policy | None = None, clock: Clock = time.time
    ) -> None:
        """Open the memory in a collection's `folder`, making an empty one where there is none.

        `embedder` is closed by its owner. Raises as `Collection` does, and `MismatchError` for another model's memory.
        """
        self.policy = policy or Policy()
        self._embedder = embedder
        self._clock = clock
        self._adding = threading.RLock()  # a text is judged and stored before the next one is judged
        self._columns: recalling.Columns | None = None  # replaced whole, so that threads need no lock
        self._collection = Collection(folder)
        try:
            self._prepare()
        except BaseException:
            self._collection.close()
            raise

    def _prepare(self) -> None:
        with self._collection.catalog.reading() as db:
            ready = entries.has_tables(db)
            lost = entries.without_text(db) if ready else []
        if not ready or lost:
            with self._alone(), self._collection.catalog.transaction() as db:
                entries.create_tables(db)
                entries.remove(db, lost)
        self._collection.catalog.settle_identity(identity_of(self._embedder))

    @property
    def is_there(self) -> bool:
        """Whether its folder is still the one that was opened: another process may have restored or dropped it."""
        return self._collection.is_there

    def close(self) -> None:
        """Let go of the files; what was acknowledged is on disk."""
        self._collection.close()

    def __enter__(self) -> MemoryStore:
        """The store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """`close`."""
        self.close()

    # -- write -------------------------------------------------------------------------------------------

    def add(
        self,
        text: str,
        *,
        tier: str = "short_term",
        importance: float = 0.5,
        source: str = gate.USER,
        tags: Sequence[str] = (),
    ) -> Stored:
        """Remember a text, if the gate lets it; durable and searchable when this returns.

        `importance` is 0 to 1. A full tier lets its least relevant entry go. Raises `InputError`, changing nothing.
        """
        self._check(text, tier, importance)
        ((vector, signs),) = self._embedded([text])
        statement = Statement(text)
        draft = Draft(statement, vector, signs, tier, importance, source, tuple(tags))
        with self._adding, self._writing():
            now_s = self._clock()
            dense = self._collection.snapshot().dense
            with self._changing() as db:
                ours = gate.is_answer(gate.pair_hashes(statement), writing.answers(db))
                near = recalling.near(db, dense, statement, vector, now_s)
                verdict = gate.judge(statement, source, near, ours=ours)
                entries.remove(db, entries.expired(db, now_s))
                stored = writing.carry_out(db, verdict, draft, self.policy, now_s)
            self._collection.follow_changes()
            seal_tail(self._collection)
        return stored

    def take_over(
        self,
        texts: Sequence[str],
        *,
        tier: str = "long_term",
        importance: float = 0.5,
        sources: Sequence[str] | None = None,
    ) -> list[str]:
        """Add texts as they are, past the gate, in one transaction; their ids. For another tool's store: see `audit`.

        Raises `InputError`, changing nothing, also when the tier has no room for all of them.
        """
        for text in texts:
            self._check(text, tier, importance)
        embedded = self._embedded(texts)
        sources = [gate.USER] * len(texts) if sources is None else sources
        with self._adding, self._writing():
            now_s = self._clock()
            with self._changing() as db:
                entries.remove(db, entries.expired(db, now_s))
                room = self.policy.tier(tier).capacity - entries.count(db, tier, now_s)
                if len(texts) > room:
                    raise InputError(f"{len(texts):,} entries, but {tier} has room for {room:,}")
                ids = [
                    writing.insert(
                        db,
                        Draft(Statement(text), vector, signs, tier, importance, source, ()),
                        self.policy,
                        now_s,
                    )
                    for text, (vector, signs), source in zip(texts, embedded, sources, strict=True)
                ]
            self._collection.follow_changes()
            seal_tail(self._collection)
        return [entries.entry_id(id_) for id_ in ids]

    def note_answer(self, text: str) -> None:
        """Take note of an answer of ours, as hashes, so that the gate knows it when it comes back as a fact."""
        hashes = gate.pair_hashes(Statement(text))
        if not len(hashes):
            return
        with self._writing(), self._changing() as db:
            writing.note_answer(db, hashes)

    def promote(self, entry_id: str, to_tier: str) -> bool:
        """Move an entry up to a tier; False when that is full. One transaction, and its life is never shortened.

        Raises `NotFoundError` for an unknown entry, `InputError` for an unknown tier or one that is not higher.
        """
        rank = self.policy.rank(to_tier)
        with self._changing() as db:
            now_s = self._clock()
            entry = entries.by_id(db, entry_id, now_s)
            if entry is None:
                raise _unknown([entry_id])
            if rank <= self.policy.rank(entry.tier):
                raise InputError(f"{to_tier} is not above {entry.tier}, where {entry_id} is")
            return promotion.promote(db, entry, to_tier, self.policy, now_s)

    def consolidate(self) -> Consolidated:
        """One pass: what deserves it goes one tier up, all in one transaction."""
        started_s = time.perf_counter()
        with self._changing() as db:
            promoted, no_room = promotion.consolidate(db, self.policy, self._clock())
        return Consolidated(tuple(promoted), no_room, time.perf_counter() - started_s)

    def cleanup_expired(self) -> int:
        """Remove what has expired; how many. Their text leaves the files with the next `forget`."""
        with self._writing():
            with self._changing() as db:
                removed = entries.remove(db, entries.expired(db, self._clock()))
            if removed:
                self._collection.follow_changes()
                if self._collection.compaction_due():
                    self._collection.compact()
        return removed

    def forget(self, entry_ids: Sequence[str]) -> int:
        """Remove entries so that no file holds a byte of their text; how many. Rewrites the memory's files.

        What has expired goes with them. Raises `NotFoundError` for an unknown id and then removes none, `StoreError`
        while another process reads an older state.
        """
        wanted = list(dict.fromkeys(entry_ids))
        with self._adding, self._writing():
            with self._changing(forgetting=True) as db:
                now_s = self._clock()
                found = [entries.by_id(db, entry, now_s) for entry in wanted]
                unknown = [id_ for id_, entry in zip(wanted, found, strict=True) if entry is None]
                if unknown:
                    raise _unknown(unknown)
                doomed = [entry for entry in found if entry is not None]
                for entry in doomed:
                    writing.drop_answers(db, gate.pair_hashes(Statement(entry.text)))
                removed = entries.remove(db, [entry.document_id for entry in doomed])
                entries.remove(db, entries.expired(db, now_s))
            self._leave_no_trace()
        return removed

    # -- read --------------------------------------------------------------------------------------------

    def recall(
        self, query: str, *, tier: str | None = None, limit: int = 5, min_importance: float = 0.0
    ) -> list[Recalled]:
        """The entries that fit a query best, best first, ties by age; each is counted as recalled.

        `score` is cosine × importance, halved for what a newer statement supersedes; exact over all live entries.
        Raises `InputError`.
        """
        recalling.check_query(query, limit)
        now_s = self._clock()
        among = self._field(now_s, tier, min_importance)
        if not len(among.chunks):
            return []
        dense = recalling.built(self._collection.snapshot().dense)
        ranked = recalling.by_meaning(dense, self._embedder.embed_query(query), among, limit)
        chunks = ranked.ids.tolist()
        with self._changing() as db:
            found = entries.by_chunks(db, chunks, now_s)
            entries.touch(db, [entry.document_id for entry in found.values()], now_s)
            return recalling.recalled(ranked, entries.by_chunks(db, chunks, now_s))

    def search(
        self,
        query: str,
        *,
        tier: str | None = None,
        limit: int = 10,
        min_importance: float = 0.0,
        mode: SearchMode = "hybrid",
    ) -> list[Recalled]:
        """The entries that fit a query by meaning and words, best first; counts nothing.

        `score` is that of the search × importance, halved for what is superseded, among the best 100 of each source.
        Raises `InputError`.
        """
        recalling.check_query(query, limit)
        now_s = self._clock()
        among = self._field(now_s, tier, min_importance)
        snapshot = self._collection.snapshot()
        if not len(among.chunks):
            return []
        asked = recalling.asked(query, mode, self._embedder)
        ranked = recalling.by_search(snapshot, asked, among, limit, load_signs=self._signs)
        with self._reading() as db:
            return recalling.recalled(ranked, entries.by_chunks(db, ranked.ids.tolist(), now_s))

    def count_recall(self, recalled: Sequence[Recalled]) -> None:
        """Count entries that `search` found as recalled, because they were used."""
        with self._changing() as db:
            entries.touch(db, [item.entry.document_id for item in recalled], self._clock())

    def entry(self, entry_id: str) -> MemoryEntry:
        """A live entry. Raises `NotFoundError`."""
        with self._reading() as db:
            found = entries.by_id(db, entry_id, self._clock())
        if found is None:
            raise _unknown([entry_id])
        return found

    def entries(self, *, tier: str | None = None) -> list[MemoryEntry]:
        """Every live entry, oldest first. Raises `InputError` for an unknown tier."""
        if tier is not None:
            self.policy.tier(tier)
        with self._reading() as db:
            return entries.live(db, self._clock(), tier=tier)

    def vectors_of(self, listed: Sequence[MemoryEntry]) -> Matrix:
        """(n, dim) float32 unit vectors of entries; rows of NaN for those removed meanwhile."""
        dense = self._collection.snapshot().dense
        if dense is None:
            return np.full((len(listed), self._embedder.dim), np.nan, np.float32)
        return dense.vectors(np.array([entry.chunk_id for entry in listed], np.int64))

    def audit(self) -> Audit:
        """Every entry with why it is kept, and its faults; changes nothing. 10,000 entries take seconds."""
        listed = self.entries()
        return audit(listed, self.vectors_of(listed), self.policy, self._clock())

    def candidates(self, tier: str) -> list[MemoryEntry]:
        """The entries of a tier that deserve the next higher one, most relevant first. Raises `InputError`."""
        return promotion.candidates(self.entries(tier=tier), self.policy, self._clock())

    def relevance(self, entry: MemoryEntry) -> float:
        """What an entry is worth keeping for now, 0 to 1."""
        return promotion.relevance(entry, self.policy, self._clock())

    def now_s(self) -> float:
        """The memory's clock, Unix seconds."""
        return self._clock()

    # -- parts -------------------------------------------------------------------------------------------

    @contextmanager
    def _changing(self, *, forgetting: bool = False) -> Iterator[apsw.Connection]:
        """One durable transaction on the rows; `forgetting`: no copy may keep a byte of what it removes."""
        with self._collection.catalog.transaction() as db:
            yield db

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        """The rows as they are now."""
        with self._collection.catalog.reading() as db:
            yield db

    def _leave_no_trace(self) -> None:
        """Write the files anew without what was removed."""
        self._collection.purge()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Change texts and vectors, one process at a time. Raises `LockedError`."""
        with self._alone():
            yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the collection's lock, waiting for another process's short write. Raises `LockedError`."""
        give_up_s = time.monotonic() + LOCK_WAIT_S
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(self._collection.writing())
                    break
                except LockedError:
                    if time.monotonic() > give_up_s:
                        raise
                    time.sleep(_LOCK_POLL_S)
            yield

    def _check(self, text: str, tier: str, importance: float) -> None:
        self.policy.tier(tier)
        if not text.strip():
            raise InputError("the text is empty", hint="there is nothing to remember")
        if len(text) > MAX_CHARS:
            raise InputError(
                f"the text has {len(text):,} characters, the limit is {MAX_CHARS:,}",
                hint="index long documents, or cut it",
            )
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise InputError("the text holds half a character (a lone surrogate)")
        if not 0 <= importance <= 1:  # NaN is not either
            raise InputError(f"importance is {importance}, the range is 0 to 1")

    def _signs(self, chunks: Ids) -> list[bytes]:
        with self._reading() as db:
            return vectors.token_signs(db, chunks.tolist())

    def _embedded(self, texts: Sequence[str]) -> list[tuple[Vector, bytes]]:
        """Each text's unit vector and the signs of its tokens (empty where the model gives none)."""
        if isinstance(self._embedder, TokenEmbedder):
            matrix, signs = self._embedder.embed_documents_and_tokens(list(texts))
            return list(zip(matrix, signs, strict=True))
        return [(vector, b"") for vector in self._embedder.embed_documents(list(texts))]

    def _field(self, now_s: float, tier: str | None, min_importance: float) -> recalling.Field:
        if tier is not None:
            self.policy.tier(tier)
        with self._reading() as db:
            known = self._columns
            if known is None or entries.changes(db) != known.changes:
                known = self._columns = recalling.columns(db, self.policy)
        return recalling.field(known, now_s, tier=tier, min_importance=min_importance)


def _unknown(entry_ids: Sequence[str]) -> NotFoundError:
    return NotFoundError(
        f"no memory {', '.join(entry_ids)}; nothing was changed",
        hint="`ragstone memory audit` lists what there is",
    )
