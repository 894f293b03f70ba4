"""The canonical operations on a small store that has everything: a fast index, tombstones, a tail, two
collections.

Each says what the store holds before and after it; a fault anywhere inside leaves each document in one of the
two states, and in the second one where the operation had returned.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from crash.children import Board, in_child
from crash.command import BrokenPromiseError
from damage import replace_bytes
from hashing_embedder import HashingEmbedder
from importers.foreign_stores import entries_of, vectors_of, write_llamaindex
from ragstone import Ragstone
from ragstone.errors import RagstoneError
from ragstone.importers.formats import open_foreign
from ragstone.importers.rollback import roll_back
from ragstone.importers.run import Options, already_moved, run_import
from ragstone.index.plans import make_plan
from ragstone.store import vectors
from ragstone.types import Precision, SearchMode

Texts = Mapping[str, str]

MODES: tuple[SearchMode, ...] = ("dense", "keyword", "hybrid")
EVERYWHERE = "harbour lantern"  # words of every text
IMPORTED = 12  # records of the foreign store
OTHER = "imported"  # the collection they go to
RECALL = 0.5  # what an applied plan has to reach here: any does
_DIM = 32
_LETTERS = str.maketrans("0123456789", "bcdfghjklm")


def word(name: str, version: int = 0) -> str:
    """A word of one version of one document, that no stemmer changes."""
    return (
        "z" + f"{sum(map(ord, name))}x{name.rsplit(':', maxsplit=1)[-1]}x{version}".translate(_LETTERS) + "q"
    )


def text_of(name: str, version: int = 0) -> str:
    """The text of one version of a document."""
    own = word(name, version)
    filler = " ".join(random.Random(own).choices(("violin", "copper", "meadow", "thunder", "orchid"), k=8))
    return f"{own} {EVERYWHERE} {filler}. {EVERYWHERE} watch (HLW)."


def _named(prefix: str, count: int, version: int = 0) -> dict[str, str]:
    return {f"{prefix}:{n}": text_of(f"{prefix}:{n}", version) for n in range(count)}


SEALED, TAIL = _named("old", 24), _named("tail", 6)
DELETED = ("old:0", "old:1", "old:2")
BEFORE: Texts = {name: text for name, text in (SEALED | TAIL).items() if name not in DELETED}


@contextmanager
def opened(folder: Path, collection: str = "default") -> Iterator[Ragstone]:
    """An engine on the store of a folder."""
    with Ragstone(folder / "data", collection=collection, embedder=HashingEmbedder(dim=_DIM)) as engine:
        yield engine


def put(engine: Ragstone, texts: Texts) -> None:
    """Add or replace documents."""
    engine.add(list(texts.values()), uris=list(texts), titles=list(texts))  # titles are names in the graph


def build(folder: Path, *, precision: Precision = "float16") -> None:
    """The store before, and the foreign store beside it."""
    write_llamaindex(folder / "foreign", entries_of(IMPORTED), vectors_of(IMPORTED))
    with opened(folder) as engine:
        if precision == "float32":  # decided by the first write, which brings its own vectors
            embedder = HashingEmbedder(dim=_DIM)
            rows = embedder.embed_documents(list(SEALED.values()))
            model = embedder.model_id
            engine.add(
                list(SEALED.values()), uris=list(SEALED), vectors=rows, model=model, precision=precision
            )
        else:
            put(engine, SEALED)
        # One index in a file of its own, one with its lists in a second.
        plan = make_plan("HNSW,SQ8", dim=_DIM, m=8)
        if precision == "float32":
            plan = make_plan("IVF,PQ,FastScan", dim=_DIM)
        engine.apply_plan(plan, recall=RECALL)
        engine.delete(DELETED)
        put(engine, TAIL)


def _import(folder: Path) -> None:
    if already_moved(folder / "data", OTHER, folder / "foreign") is not None:
        return
    with opened(folder, OTHER) as engine:
        run_import(
            engine,
            open_foreign("auto", folder / "foreign"),
            Options(in_place=True, backup=True),
            data_dir=folder / "data",
        )


def _seal(engine: Ragstone) -> None:
    collection = engine._collection()
    with collection.writing():
        collection.seal()


def _wait_with_more(folder: Path) -> None:
    """As many vectors that wait as the segment has: sealed, they are merged with it."""
    with opened(folder) as engine:
        put(engine, _MORE)


def _break(folder: Path) -> None:
    """What kills and a bad disk leave: a draft, a damaged segment, a keyword index that is behind."""
    home = folder / "data" / "collections" / "default"
    (keyword := folder / "keyword").mkdir()
    shutil.copytree(home / "keyword", keyword, dirs_exist_ok=True)
    with opened(folder) as engine:
        put(engine, {"behind:0": text_of("behind:0")})
    shutil.rmtree(home / "keyword")
    keyword.rename(home / "keyword")
    (draft := home / "segments" / "0123.draft").mkdir()
    (draft / "index.faiss").write_bytes(b"half")
    for path in home.glob("segments/*/fast.faiss"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        replace_bytes(path, data)


def _recover(engine: Ragstone) -> None:
    engine.search(EVERYWHERE)
    engine.embed_waiting()
    engine.repair()


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: what it does, what the default collection holds after it, and what is prepared before it."""

    act: Callable[[Ragstone, Path], object]
    after: Texts = field(default_factory=lambda: BEFORE)
    before: Texts = field(default_factory=lambda: BEFORE)
    prepare: Callable[[Path], None] = lambda _: None


_NEW, _UPDATED = _named("new", 4), {name: text_of(name, 1) for name in ("old:3", "old:9", "tail:0")}
_GONE = ("old:4", "tail:1", "old:5")
_WITHOUT_GONE = {name: text for name, text in BEFORE.items() if name not in _GONE}
_MORE = _named("more", 12)
_BEHIND = {**BEFORE, "behind:0": text_of("behind:0")}

OPERATIONS: Mapping[str, Operation] = {
    "create": Operation(
        lambda engine, _: put(engine, _NEW),
        after=_NEW,
        before={},
        prepare=lambda folder: shutil.rmtree(folder / "data"),
    ),
    "add": Operation(lambda engine, _: put(engine, _NEW), after={**BEFORE, **_NEW}),
    "update": Operation(lambda engine, _: put(engine, _UPDATED), after={**BEFORE, **_UPDATED}),
    "delete": Operation(lambda engine, _: engine.delete(_GONE), after=_WITHOUT_GONE),
    "seal": Operation(lambda engine, _: _seal(engine)),
    "merge": Operation(
        lambda engine, _: _seal(engine),
        after={**BEFORE, **_MORE},
        before={**BEFORE, **_MORE},
        prepare=_wait_with_more,
    ),
    "compact": Operation(lambda engine, _: engine.compact()),
    "apply_plan": Operation(
        lambda engine, _: engine.apply_plan(make_plan("IVF,PQ,FastScan", dim=_DIM), recall=RECALL)
    ),
    "rollback_plan": Operation(lambda engine, _: engine.rollback_plan()),
    "purge": Operation(lambda engine, _: engine.purge()),
    "import": Operation(lambda _, folder: _import(folder)),
    "recover": Operation(lambda engine, _: _recover(engine), after=_BEHIND, before=_BEHIND, prepare=_break),
}


def templates(shared: Path) -> dict[str, Path]:
    """A folder per operation with the store it starts from; each is copied for a try."""
    found = {}
    for name, operation in OPERATIONS.items():
        folder = found[name] = shared / name

        def make(_: Board, folder: Path = folder, operation: Operation = operation) -> None:
            folder.mkdir()
            build(folder)
            operation.prepare(folder)

        in_child(make).checked(f"the store for {name}")
    return found


# -- afterwards -------------------------------------------------------------------------------------------------


def require(condition: object, message: str) -> None:
    """Raise `BrokenPromiseError` unless."""
    if not condition:
        raise BrokenPromiseError(message)


def present(engine: Ragstone) -> dict[str, str]:
    """The documents that a collection holds, with their texts."""
    if engine.stats().collection not in engine.collections():
        return {}
    return {info.uri: engine.document(info.uri)[1] for info in engine.documents()}


def check_search(engine: Ragstone, texts: Texts) -> None:
    """Every mode finds every document, with its text, and nothing else."""
    for mode in MODES:
        result = engine.search(EVERYWHERE, mode=mode, top_k=1000)
        require(not result.degraded, f"{mode} says it is degraded: {result.degraded}")
        found = {hit.uri: hit.text for hit in result.hits}
        require(found == dict(texts), f"{mode} finds {sorted(found)}, there are {sorted(texts)}")


def check_after(folder: Path, operation: Operation, *, finished: bool) -> list[str]:
    """It opens, each document is as before or after, every mode finds it, all parts agree, it can be written."""
    facts = []
    with opened(folder) as engine:
        held = present(engine)
        for name in held.keys() | operation.before.keys() | operation.after.keys():
            after = operation.after.get(name)
            allowed = {after} if finished else {after, operation.before.get(name)}
            require(held.get(name) in allowed, f"{name} is {held.get(name)!r}, not one of {allowed}")
        if held:
            engine.embed_waiting()
            if not (report := engine.verify()).ok:
                facts += [f"mended_{problem.code}" for problem in report.problems]
                require((report := engine.repair()).ok, f"repair leaves {report.problems}")
            check_search(engine, held)
        put(engine, {"after:0": text_of("after:0")})
        check_search(engine, {**held, "after:0": text_of("after:0")})
        require((report := engine.verify()).ok, f"{report.problems}")
        collection = engine._collection()
        with collection.writing(), collection.catalog.reading() as db:
            named = {row.name for row in vectors.segments(db)}
        there = {path.name for path in (collection.folder / "segments").iterdir() if path.is_dir()}
        require(
            {name for name in there if ".damaged" not in name} == named, f"{there} on disk, {named} named"
        )
    return facts


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_import(folder: Path, shared: Path, *, finished: bool) -> None:
    """The source is whole wherever it is; the same command completes the import, which can be undone."""
    original = tree(shared / "foreign")
    source, moved = folder / "foreign", folder / "foreign_backup_json"
    require(tree(source if source.exists() else moved) == original, "the source has changed")
    with opened(folder, OTHER) as engine:
        held = present(engine)
        require(len(held) == IMPORTED or not finished, f"{len(held)} records of {IMPORTED} were imported")
    _import(folder)
    with opened(folder, OTHER) as engine:
        require(len(present(engine)) == IMPORTED, "the second run does not complete the import")
        require(engine.verify().ok, "the imported collection does not agree with itself")
        require(roll_back(engine, data_dir=folder / "data").source_intact, "the source does not come back")
    require(tree(source) == original, "the source that came back has changed")


def doing(
    folder: Path, operation: Operation, then: Callable[[Ragstone, Board], None] = lambda *_: None
) -> Callable[[Board], None]:
    """The operation as work of a child, which says `finished` when it has returned; `then` on the same engine."""

    def work(board: Board) -> None:
        with opened(folder) as engine:
            try:
                operation.act(engine, folder)
            except RagstoneError as error:
                board.say(f"refused {type(error).__name__} {error}")
            else:
                board.say("finished")
            then(engine, board)

    return work


def checking(folder: Path, name: str, shared: Path, *, finished: bool) -> list[str]:
    """Check a store in a child of its own; facts to count."""

    def work(board: Board) -> None:
        for fact in check_after(folder, OPERATIONS[name], finished=finished):
            board.say(fact)
        if name == "import":
            check_import(folder, shared, finished=finished)

    return in_child(work).checked(f"the check after {name}")
