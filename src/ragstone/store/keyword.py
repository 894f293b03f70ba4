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
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tantivy

from ragstone.errors import LockedError, NotFoundError, StoreError
from ragstone.store.analysis import prepare, text_analyzer
from ragstone.store.keyword_reader import CHUNK_FIELD, DOCUMENT_FIELD, KeywordReader, damage_reported
from ragstone.store.keyword_tail import FIELDS, KeywordEntry, KeywordTail
from ragstone.trust import is_trusted, trust
from ragstone.types import Ids

_WORDS, _CHARACTERS = FIELDS
_SEQUENCE, _HIGHEST = "sequence", "highest"
_STATE_CHUNK = 0  # chunk ids are > 0: this one is the record of sequence and highest chunk id

# 64 MB of postings in memory before a segment is written; 15 MB is the least tantivy takes.
_WRITER_HEAP_BYTES = 64_000_000
# One indexing thread: 27k passages/s, far ahead of embedding, and fewer segments to search.
_WRITER_THREADS = 1
_IDS_AT_ONCE = 65_536

_META, _META_NOTE = "meta.json", "meta.note"
_WAITING_NOTE = ".waiting"  # advisory: unreadable, it says nothing
_META_ATTEMPTS = 3
_META_PAUSE_S = 0.02  # a commit replaces meta.json and its note within 5 ms of each other

# Last 8 bytes of every tantivy file: length of the JSON footer and a magic number, little endian.
_FOOTER_TAIL = struct.Struct("<II")
_FOOTER_MAGIC = 1337


class KeywordState(NamedTuple):
    """One durable commit: what searches it, the catalog's sequence number that it stands for (0 when new), and the
    highest chunk id in it."""

    searcher: tantivy.Searcher
    sequence: int
    highest: int


class KeywordIndex:
    """The files of one collection's index: written here, searched by the readers it gives. Thread-safe; writers take
    turns."""

    def __init__(self, index: tantivy.Index, folder: Path) -> None:
        self._index = index
        self._folder = folder
        self._schema = index.schema
        self._leftovers = True  # a writer before us may have been killed
        self._state = self._read_state()

    @classmethod
    def open(cls, folder: Path, *, writable: bool) -> KeywordIndex:
        """The index in `folder`; created empty where there is none and `writable`.

        Raises `NotFoundError` if there is none and not `writable`, `DamagedError` if it cannot be opened.
        """
        with damage_reported(folder):
            exists = folder.is_dir() and tantivy.Index.exists(str(folder))
            if exists:
                _check_sizes(folder)
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
        return self._state.sequence

    @property
    def state(self) -> KeywordState:
        """The last durable commit that this object sees."""
        return self._state

    def reader(self, state: KeywordState | None = None, tail: KeywordTail | None = None) -> KeywordReader:
        """What searches a state (None: the newest seen) and the changes that it lacks."""
        return KeywordReader((state or self._state).searcher, self._schema, tail or KeywordTail())

    def note_waiting(self, sequence: int) -> None:
        """Remember, without waiting for the disk, that changes up to `sequence` are in the catalog and not yet here.

        A catalog that knows less, later, has lost commits: its log was removed or cut.
        """
        with suppress(OSError):  # advisory: a full disk loses nothing but the warning
            (self._folder / _WAITING_NOTE).write_text(f"{sequence} {zlib.crc32(str(sequence).encode())}")

    def waiting_noted(self) -> int:
        """The newest change noted or committed; one that is being written just now may be passed over."""
        try:
            sequence, checksum = (self._folder / _WAITING_NOTE).read_text("ascii").split()
            if zlib.crc32(sequence.encode()) == int(checksum):
                return max(int(sequence), self.sequence)
        except (OSError, ValueError):
            pass
        return self.sequence

    @property
    def count(self) -> int:
        """Chunks at the last durable commit that this object sees."""
        documents: int = self._state.searcher.num_docs
        return documents - 1 if documents else 0  # one record is the state's

    def chunk_ids(self) -> Ids:
        """The ids of all chunks, ascending; 0.6 s a million."""
        searcher, _, highest = self._state
        found = [np.empty(0, np.int64)]
        start, width = _STATE_CHUNK + 1, _IDS_AT_ONCE  # in slices: a list of a million hits would take 150 MB
        while start <= highest:
            ends = start, min(start + width - 1, highest)
            query = tantivy.Query.range_query(self._schema, CHUNK_FIELD, tantivy.FieldType.Integer, *ends)
            hits = searcher.search(query, _IDS_AT_ONCE, count=False).hits
            if len(hits) == _IDS_AT_ONCE < width:  # there may be more
                width = _IDS_AT_ONCE
                continue
            addresses = [address for _, address in hits]
            found.append(np.sort(np.array(searcher.fast_field_values(CHUNK_FIELD, addresses), np.int64)))
            start += width
            width = _IDS_AT_ONCE if hits else 2 * width  # a damaged id may be the highest there is
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
                writer.delete_documents_by_term(CHUNK_FIELD, chunk_id)
            known = highest = self._state.highest
            for entry in add:
                if entry.chunk_id <= known:  # a replay: ids ascend, so a new one is above all known
                    writer.delete_documents_by_term(CHUNK_FIELD, entry.chunk_id)
                writer.add_document(_document(entry))
                highest = max(highest, entry.chunk_id)
            writer.delete_documents_by_term(CHUNK_FIELD, _STATE_CHUNK)
            writer.add_document(_state(sequence, highest))
            writer.commit()
            self._leftovers = False
        except ValueError as error:
            raise StoreError(f"the keyword index could not be written: {error}") from error
        finally:
            writer.wait_merging_threads()  # also gives the writer's lock back
            _note_commit(self._folder)
        self.refresh()

    def refresh(self) -> None:
        """See the commits of other processes; 0.2 ms."""
        self._index.reload()
        self._state = self._read_state()

    def _writer(self) -> tantivy.IndexWriter:
        try:
            return self._index.writer(_WRITER_HEAP_BYTES, _WRITER_THREADS)
        except ValueError as error:
            if "Lock" not in str(error):
                raise StoreError(f"the keyword index cannot be written: {error}") from error
            raise LockedError(
                "another writer is at work on the keyword index", hint="wait until it is done"
            ) from error

    def _read_state(self) -> KeywordState:
        searcher = self._index.searcher()
        query = tantivy.Query.term_query(self._schema, CHUNK_FIELD, _STATE_CHUNK)
        hits = searcher.search(query, 1, count=False).hits
        if not hits:
            return KeywordState(searcher, 0, 0)
        addresses = [address for _, address in hits]
        sequence = int(searcher.fast_field_values(_SEQUENCE, addresses)[0] or 0)
        return KeywordState(searcher, sequence, int(searcher.fast_field_values(_HIGHEST, addresses)[0] or 0))


def _check_sizes(folder: Path) -> None:
    """Raise `ValueError` unless what tantivy maps and allocates before it looks at a checksum holds: a wrong size ends
    the process. That is `meta.json`, and the stores of documents."""
    if not _meta_holds(folder):
        raise ValueError("meta.json fails its checksum")
    _check_stores(folder)


def _check_stores(folder: Path) -> None:
    """Raise `ValueError` unless each store of documents holds. They are empty, 4 bytes a chunk: 3 ms a million."""
    stores = [path for path in _files(folder) if path.suffix == ".store" and path.exists()]
    if not is_trusted(folder, stores):
        for path in stores:
            if not _checksum_holds(path) and path.exists():  # a writer removes what it has merged
                raise ValueError(f"{path.name} fails its checksum")
        trust(folder, stores)


def damaged_files(folder: Path) -> list[Path]:
    """Files of the keyword index in `folder` whose checksum is wrong, or that are listed but missing.

    Reads every byte: about 30 ms for 110k passages. Empty when all is well.
    """
    try:
        files = _files(folder)
    except (OSError, ValueError):
        return [folder / _META]
    if not _meta_holds(folder):
        return [folder / _META]
    return [path for path in files if not _checksum_holds(path)]


def _files(folder: Path) -> list[Path]:
    """The files that `meta.json` lists. Raises `OSError` or `ValueError` if it cannot be read."""
    names = []
    try:
        for segment in json.loads((folder / _META).read_bytes())["segments"]:
            name = segment["segment_id"].replace("-", "")
            names += [f"{name}.{part}" for part in ("fast", "fieldnorm", "idx", "pos", "store", "term")]
            if segment.get("deletes"):
                names.append(f"{name}.{segment['deletes']['opstamp']}.del")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"meta.json does not list the segments: {error}") from error
    return [folder / name for name in names]


def _note_commit(folder: Path) -> None:
    """Record the checksum of `meta.json`, the one file that tantivy gives none, beside its commit number, and that the
    stores hold, so that whoever opens the index to read it writes nothing.

    A process killed before this leaves a note of an older commit, which `_meta_holds` accepts.
    """
    with suppress(OSError, ValueError):  # a full disk: the older note stays and the next commit notes again
        data = (folder / _META).read_bytes()
        note = {"opstamp": json.loads(data)["opstamp"], "sha256": hashlib.sha256(data).hexdigest()}
        draft = folder / f"{_META_NOTE}.draft"
        draft.write_text(json.dumps(note))
        draft.replace(folder / _META_NOTE)
        _check_stores(folder)  # all: one may have been damaged since it was opened, and must not be trusted


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


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(_WORDS, tokenizer_name="ragstone", index_option="position")
    builder.add_text_field(_CHARACTERS, tokenizer_name="whitespace", index_option="freq")
    # Signed: the binding turns the value of a delete into a signed term, which matches no unsigned field.
    builder.add_integer_field(CHUNK_FIELD, indexed=True, fast=True)
    builder.add_integer_field(DOCUMENT_FIELD, indexed=True, fast=True)
    builder.add_integer_field(_SEQUENCE, fast=True)
    builder.add_integer_field(_HIGHEST, fast=True)
    return builder.build()


def _document(entry: KeywordEntry) -> tantivy.Document:
    prepared = prepare(entry.text)
    document = tantivy.Document()
    document.add_text(_WORDS, prepared.words)
    if prepared.characters:
        document.add_text(_CHARACTERS, prepared.characters)
    document.add_integer(CHUNK_FIELD, entry.chunk_id)
    document.add_integer(DOCUMENT_FIELD, entry.document_id)
    return document


def _state(sequence: int, highest: int) -> tantivy.Document:
    document = tantivy.Document()
    document.add_integer(CHUNK_FIELD, _STATE_CHUNK)
    document.add_integer(_SEQUENCE, sequence)
    document.add_integer(_HIGHEST, highest)
    return document
