"""The keyword index of a collection: BM25 over chunks, kept by tantivy in one folder.

Derived data: everything in it can be built again from the catalog. It does not know the catalog; it only
keeps the catalog's sequence number, written in the same commit as the chunks it stands for, so the
two cannot disagree after a crash.
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tantivy

from ragstone.errors import DamagedError, LockedError, NotFoundError, StoreError
from ragstone.store.analysis import QueryTerms, analyse_query, prepare, text_analyzer
from ragstone.types import Ids

Scores = npt.NDArray[np.float32]  # (n,)

# tantivy's k1 is 1.2 and not adjustable: one term adds at most (k1 + 1)·idf to a score.
BM25_TERM_MAX = 2.2

_WORDS, _CHARACTERS = "words", "characters"
_CHUNK, _DOCUMENT, _SEQUENCE, _HIGHEST = "chunk", "document", "sequence", "highest"
_STATE_CHUNK = 0  # chunk ids are > 0: this one is the record of sequence and highest chunk id

# 64 MB of postings in memory before a segment is written; 15 MB is the least tantivy takes.
_WRITER_HEAP_BYTES = 64_000_000
# One indexing thread: 27k passages/s, far ahead of embedding, and fewer segments to search.
_WRITER_THREADS = 1
# Up to here a filter becomes a term set inside the query (2.8 ms at 110k passages); above, asking for more
# hits than needed and dropping those outside is cheaper.
_TERM_SET_MAX = 1000
_OVERFETCH_MAX = 8192
_IDS_AT_ONCE = 65_536

_META, _META_NOTE = "meta.json", "meta.note"
_META_ATTEMPTS = 3
_META_PAUSE_S = 0.02  # a commit replaces meta.json and its note within 5 ms of each other

# Last 8 bytes of every tantivy file: length of the JSON footer and a magic number, little endian.
_FOOTER_TAIL = struct.Struct("<II")
_FOOTER_MAGIC = 1337


@dataclass(frozen=True, slots=True)
class KeywordEntry:
    """A chunk to index; `text` is all it should be found by (title, headings, body)."""

    chunk_id: int
    document_id: int
    text: str


@dataclass(frozen=True, slots=True)
class WeighedQuery:
    """A query as the index sees it: analysed words in order (repeats kept), the idf (n,) of each, and `bound`,
    the highest BM25 that a chunk could reach; 0 for a query without terms."""

    words: tuple[str, ...]
    idf: Scores
    bound: float


class KeywordIndex:
    """BM25 over the chunks of one collection. Searching is thread-safe and lock-free; writers take turns."""

    def __init__(self, index: tantivy.Index, folder: Path) -> None:
        self._index = index
        self._folder = folder
        self._schema = index.schema
        self._leftovers = True  # a writer before us may have been killed
        self._sequence, self._highest = self._read_state()

    @classmethod
    def open(cls, folder: Path, *, writable: bool) -> KeywordIndex:
        """The index in `folder`; created empty where there is none and `writable`.

        Raises `NotFoundError` if there is none and not `writable`, `DamagedError` if it cannot be opened.
        """
        with _damage_reported(folder):
            exists = folder.is_dir() and tantivy.Index.exists(str(folder))
            if exists:
                if not _meta_holds(
                    folder
                ):  # before tantivy maps what it says: a wrong size crashes the process
                    raise ValueError("meta.json fails its checksum")
                index = tantivy.Index.open(str(folder))
            elif writable:
                folder.mkdir(parents=True, exist_ok=True)
                index = tantivy.Index(_schema(), path=str(folder))
            else:
                raise NotFoundError(f"no keyword index in {folder}", hint="index something first")
            index.config_reader("manual", 0)  # no watcher thread; `refresh` says when
            index.register_tokenizer("ragstone", text_analyzer())
            index.reload()
            return cls(index, folder)

    @property
    def sequence(self) -> int:
        """The catalog's sequence number at the last durable commit that this object sees; 0 when new."""
        return self._sequence

    @property
    def count(self) -> int:
        """Chunks at the last durable commit that this object sees."""
        documents: int = self._index.searcher().num_docs
        return documents - 1 if documents else 0  # one record is the state's

    def chunk_ids(self) -> Ids:
        """The ids of all chunks, ascending; 0.6 s a million."""
        searcher = self._index.searcher()
        found = [np.empty(0, np.int64)]
        # In slices: a list of a million hits would take 150 MB.
        for start in range(_STATE_CHUNK + 1, self._highest + 1, _IDS_AT_ONCE):
            ends = start, start + _IDS_AT_ONCE - 1
            query = tantivy.Query.range_query(self._schema, _CHUNK, tantivy.FieldType.Integer, *ends)
            hits = searcher.search(query, _IDS_AT_ONCE, count=False).hits
            addresses = [address for _, address in hits]
            found.append(np.sort(np.array(searcher.fast_field_values(_CHUNK, addresses), np.int64)))
        return np.concatenate(found)

    def apply(self, *, add: Iterable[KeywordEntry], delete: Iterable[int], sequence: int) -> None:
        """Delete and add chunks and record `sequence`, all in one durable commit.

        An added chunk replaces the one of the same id, so applying the same changes twice changes nothing.
        Raises `LockedError` if another writer is at work; on any error nothing of this call is kept.
        """
        writer = self._writer()
        try:
            if self._leftovers:  # files of a commit that never was: one of a name we need stops every commit
                writer.garbage_collect_files()
            self._leftovers = True
            for chunk_id in delete:
                writer.delete_documents_by_term(_CHUNK, chunk_id)
            highest = self._highest
            for entry in add:
                if entry.chunk_id <= self._highest:  # a replay: ids ascend, so a new one is above all known
                    writer.delete_documents_by_term(_CHUNK, entry.chunk_id)
                writer.add_document(_document(entry))
                highest = max(highest, entry.chunk_id)
            writer.delete_documents_by_term(_CHUNK, _STATE_CHUNK)
            writer.add_document(_state(sequence, highest))
            writer.commit()
            self._leftovers = False
        except ValueError as error:
            raise StoreError(f"the keyword index could not be written: {error}") from error
        finally:
            writer.wait_merging_threads()  # also gives the writer's lock back
            _note_meta(self._folder)
        self.refresh()

    def refresh(self) -> None:
        """See the commits of other processes; 0.2 ms."""
        self._index.reload()
        self._sequence, self._highest = self._read_state()

    def search(self, query: str, *, top_k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        """Chunk ids (≤ top_k,) and BM25 scores > 0, best first, ties by id.

        `allowed` holds sorted document ids; top_k results come back whenever top_k chunks of them match.
        """
        words = self._query(analyse_query(query))
        if words is None or top_k < 1 or (allowed is not None and allowed.size == 0):
            return _nothing()
        searcher = self._index.searcher()
        if allowed is None:
            return self._hits(searcher, words, top_k)
        if allowed.size > _TERM_SET_MAX:
            limit = 4 * top_k  # 4: one round is enough when a quarter of the collection is allowed
            while limit <= _OVERFETCH_MAX:
                ids, scores, documents = self._hits_with_documents(searcher, words, limit)
                keep = np.isin(documents, allowed, assume_unique=False)
                if keep.sum() >= top_k or ids.size < limit:
                    return ids[keep][:top_k], scores[keep][:top_k]
                limit *= 8
        return self._hits(searcher, self._within(words, _DOCUMENT, allowed), top_k)

    def score(self, query: str, ids: Ids) -> Scores:
        """BM25 (n,) of the chunks `ids`, in their order; 0 where no term matches or the chunk is unknown."""
        scores = np.zeros(ids.size, np.float32)
        words = self._query(analyse_query(query))
        if words is None or ids.size == 0:
            return scores
        found, values = self._hits(self._index.searcher(), self._within(words, _CHUNK, ids), ids.size)
        order = np.argsort(found)
        place = np.searchsorted(found, ids, sorter=order)
        place[place == found.size] = 0
        if found.size:
            known = found[order[place]] == ids
            scores[known] = values[order[place[known]]]
        return scores

    def weigh(self, query: str) -> WeighedQuery:
        """The terms of `query` with their inverse document frequencies, and the highest BM25 within reach."""
        terms = analyse_query(query)
        searcher = self._index.searcher()
        idf = dict(zip(terms.words, _idf(searcher, _WORDS, terms.words), strict=True))
        characters = _idf(searcher, _CHARACTERS, terms.characters)
        phrases = sum(idf[word] for phrase in terms.phrases for word in phrase if word in idf)
        weights = np.array([idf[word] for word in terms.words], np.float32)
        return WeighedQuery(
            words=terms.words,
            idf=weights,
            bound=BM25_TERM_MAX * float(weights.sum() + characters.sum() + phrases),
        )

    def idf(self, terms: Sequence[str]) -> Scores:
        """Inverse document frequency (n,) of analysed words."""
        return _idf(self._index.searcher(), _WORDS, terms)

    def close(self) -> None:
        """Nothing to flush: `apply` is durable when it returns. The files are unmapped with the object."""

    def _writer(self) -> tantivy.IndexWriter:
        try:
            return self._index.writer(_WRITER_HEAP_BYTES, _WRITER_THREADS)
        except ValueError as error:
            if "Lock" not in str(error):
                raise StoreError(f"the keyword index cannot be written: {error}") from error
            raise LockedError(
                "another writer is at work on the keyword index", hint="wait until it is done"
            ) from error

    def _read_state(self) -> tuple[int, int]:
        searcher = self._index.searcher()
        query = tantivy.Query.term_query(self._schema, _CHUNK, _STATE_CHUNK)
        hits = searcher.search(query, 1, count=False).hits
        if not hits:
            return 0, 0
        addresses = [address for _, address in hits]
        sequence = searcher.fast_field_values(_SEQUENCE, addresses)[0]
        return int(sequence or 0), int(searcher.fast_field_values(_HIGHEST, addresses)[0] or 0)

    def _query(self, terms: QueryTerms) -> tantivy.Query | None:
        """Any of the terms; a repeated term counts as often as it is asked for."""
        should = tantivy.Occur.Should
        term_query, schema = tantivy.Query.term_query, self._schema
        clauses = [(should, term_query(schema, _WORDS, word, "freq")) for word in terms.words]
        clauses += [(should, term_query(schema, _CHARACTERS, char, "freq")) for char in terms.characters]
        clauses += [(should, tantivy.Query.phrase_query(schema, _WORDS, list(p))) for p in terms.phrases]
        return tantivy.Query.boolean_query(clauses) if clauses else None

    def _within(self, query: tantivy.Query, field: str, ids: Ids) -> tantivy.Query:
        members = tantivy.Query.term_set_query(self._schema, field, ids.tolist())
        must = tantivy.Occur.Must
        return tantivy.Query.boolean_query(
            [(must, tantivy.Query.const_score_query(members, 0.0)), (must, query)]
        )

    def _hits(self, searcher: tantivy.Searcher, query: tantivy.Query, limit: int) -> tuple[Ids, Scores]:
        ids, scores, _ = self._hits_with_documents(searcher, query, limit, documents=False)
        return ids, scores

    def _hits_with_documents(
        self, searcher: tantivy.Searcher, query: tantivy.Query, limit: int, *, documents: bool = True
    ) -> tuple[Ids, Scores, Ids]:
        with _damage_reported(None):
            hits = searcher.search(query, limit, count=False).hits
            addresses = [address for _, address in hits]
            ids = np.array(searcher.fast_field_values(_CHUNK, addresses), np.int64)
            owners = searcher.fast_field_values(_DOCUMENT, addresses) if documents else []
        scores = np.array([score for score, _ in hits], np.float32)
        order = np.lexsort((ids, -scores))
        return ids[order], scores[order], np.array(owners, np.int64)[order] if documents else ids[:0]


def damaged_files(folder: Path) -> list[Path]:
    """Files of the keyword index in `folder` whose checksum is wrong, or that are listed but missing.

    Reads every byte: about 30 ms for 110k passages. Empty when all is well.
    """
    try:
        meta = json.loads((folder / _META).read_bytes())
        segments = [segment["segment_id"].replace("-", "") for segment in meta["segments"]]
        deletes = {
            segment["segment_id"].replace("-", ""): segment["deletes"]["opstamp"]
            for segment in meta["segments"]
            if segment.get("deletes")
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [folder / _META]
    if not _meta_holds(folder):
        return [folder / _META]
    names = [f"{s}.{part}" for s in segments for part in ("fast", "fieldnorm", "idx", "pos", "store", "term")]
    names += [f"{segment}.{opstamp}.del" for segment, opstamp in deletes.items()]
    return [folder / name for name in names if not _checksum_holds(folder / name)]


def _note_meta(folder: Path) -> None:
    """Record the checksum of `meta.json`, the one file that tantivy gives none, beside its commit number.

    A process killed before this leaves a note of an older commit, which `_meta_holds` accepts.
    """
    with suppress(OSError, ValueError):  # a full disk: the older note stays and the next commit notes again
        data = (folder / _META).read_bytes()
        note = {"opstamp": json.loads(data)["opstamp"], "sha256": hashlib.sha256(data).hexdigest()}
        draft = folder / f"{_META_NOTE}.draft"
        draft.write_text(json.dumps(note))
        draft.replace(folder / _META_NOTE)


def _meta_holds(folder: Path) -> bool:
    """Whether `meta.json` is what the last noted commit left, or belongs to a newer one."""
    for attempt in range(_META_ATTEMPTS):  # a writer may replace either file between our two reads
        if attempt:
            time.sleep(_META_PAUSE_S)
        try:
            note = json.loads((folder / _META_NOTE).read_bytes())
        except OSError:
            return True  # never committed by us, or the note was lost: tantivy's own checks have to do
        except ValueError:  # it is replaced whole: what cannot be read was damaged
            continue
        try:
            data = (folder / _META).read_bytes()
            if json.loads(data)["opstamp"] > note["opstamp"]:
                return True
            if hashlib.sha256(data).hexdigest() == note["sha256"]:
                return True
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return False


def _checksum_holds(path: Path) -> bool:
    try:
        data = path.read_bytes()
        length, magic = _FOOTER_TAIL.unpack_from(data, len(data) - _FOOTER_TAIL.size)
        end = len(data) - _FOOTER_TAIL.size - length
        footer = json.loads(data[end : end + length])
        return bool(magic == _FOOTER_MAGIC and end >= 0 and zlib.crc32(data[:end]) == footer["crc"])
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return False


def _idf(searcher: tantivy.Searcher, field: str, terms: Sequence[str]) -> Scores:
    """ln(1 + (N - n + ½)/(n + ½)), as tantivy weighs a term (Robertson and Zaragoza 2009)."""
    found = np.array([searcher.doc_freq(field, term) for term in terms], np.float64)
    total = np.maximum(searcher.num_docs, found)
    return np.log1p((total - found + 0.5) / (found + 0.5)).astype(np.float32)


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(_WORDS, tokenizer_name="ragstone", index_option="position")
    builder.add_text_field(_CHARACTERS, tokenizer_name="whitespace", index_option="freq")
    # Signed: the binding turns the value of a delete into a signed term, which matches no unsigned field.
    builder.add_integer_field(_CHUNK, indexed=True, fast=True)
    builder.add_integer_field(_DOCUMENT, indexed=True, fast=True)
    builder.add_integer_field(_SEQUENCE, fast=True)
    builder.add_integer_field(_HIGHEST, fast=True)
    return builder.build()


def _document(entry: KeywordEntry) -> tantivy.Document:
    prepared = prepare(entry.text)
    document = tantivy.Document()
    document.add_text(_WORDS, prepared.words)
    if prepared.characters:
        document.add_text(_CHARACTERS, prepared.characters)
    document.add_integer(_CHUNK, entry.chunk_id)
    document.add_integer(_DOCUMENT, entry.document_id)
    return document


def _state(sequence: int, highest: int) -> tantivy.Document:
    document = tantivy.Document()
    document.add_integer(_CHUNK, _STATE_CHUNK)
    document.add_integer(_SEQUENCE, sequence)
    document.add_integer(_HIGHEST, highest)
    return document


def _nothing() -> tuple[Ids, Scores]:
    return np.empty(0, np.int64), np.empty(0, np.float32)


@contextmanager
def _damage_reported(folder: Path | None) -> Iterator[None]:
    """Turn what tantivy raises on files it cannot read, a Rust panic included, into `DamagedError`."""
    place = f" in {folder}" if folder else ""
    try:
        yield
    except (ValueError, OSError) as error:
        raise DamagedError(
            f"the keyword index{place} cannot be read: {error}", hint="it is rebuilt from the catalog"
        ) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a BaseException that the binding does not export
            raise
        raise DamagedError(
            f"the keyword index{place} is damaged: {error}", hint="it is rebuilt from the catalog"
        ) from error
