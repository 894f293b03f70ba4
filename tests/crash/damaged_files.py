"""Files of a store damaged by chance: never a crash, a hang or a wrong answer that nobody is told of (A5).

    python -m tests.crash.damaged_files [--tries N] [--files derived|catalog|all] [--seed S]

Each try damages one file (a bit flipped, a sector zeroed or overwritten, cut, grown, sectors exchanged,
removed, in the catalog also values of a type that its schema forbids) and opens the store in a process of its
own with a time limit. What is derived must be mended: after `repair` every answer is the one before the
damage, and until then an answer is right, says that it is degraded, or is an error of ours. A damaged catalog
cannot be mended: answers are right, or an error names the next step, or `verify` reports the damage.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from crash.children import Board, in_child
from crash.command import Attempt, BrokenPromiseError, Try, main
from crash.operations import EVERYWHERE, MODES, SEALED, TAIL, build, opened, present, put, text_of, word
from damage import KINDS, break_schema, damage, forbidden_values
from ragstone import Ragstone
from ragstone.errors import RagstoneError

LIMIT_S = 60.0
ROUNDING = 3  # decimals of a score: a rewritten segment adds up in another order
QUERIES = (EVERYWHERE, word("old:7"), "violin orchid", word("tail:2"), word("old:1"))


def answers(engine: Ragstone) -> dict[str, object]:
    """What the store says: its documents, and for each query and mode which chunks with which text.

    By meaning in their order with scores; by keyword as a set, because a rebuilt index weighs words anew.
    """
    found: dict[str, object] = {"documents": present(engine)}
    about = [(i.uri, i.title, i.format, i.chunks, sorted(i.metadata.items())) for i in engine.documents()]
    found["about"] = sorted(about)
    for query in QUERIES:
        hits = engine.search(query, mode="dense", top_k=100).hits
        found[f"dense {query}"] = sorted([hit.uri, round(hit.score, ROUNDING), hit.text] for hit in hits)
        hits = engine.search(query, mode="keyword", top_k=100).hits
        found[f"keyword {query}"] = sorted([hit.uri, hit.text] for hit in hits)
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]  # as it comes from the board


def _judge(folder: Path, wanted: dict[str, object], *, is_catalog: bool) -> Callable[[Board], None]:
    def work(board: Board) -> None:
        try:
            with opened(folder) as engine:
                _use(engine, wanted, board, is_catalog=is_catalog)
        except RagstoneError as error:
            board.say(f"refused {json.dumps([type(error).__name__, error.hint, traceback.format_exc()])}")

    return work


def _use(engine: Ragstone, wanted: dict[str, object], board: Board, *, is_catalog: bool) -> None:
    degraded: list[object] = []
    try:
        degraded = [entry for mode in MODES for entry in engine.search(EVERYWHERE, mode=mode).degraded]
        first = answers(engine)
    except RagstoneError as error:
        board.say(f"error_at_first {error.hint}")
        first = wanted
    report = engine.verify()
    if first != wanted and not degraded:
        board.say("wrong" if report.ok else "wrong_until_checked")
        board.say(f"detail {_difference(first, wanted)}")
    elif degraded:
        board.say("said_degraded")
    if not report.ok:
        board.say("damage_reported")
        report = engine.repair()
    if is_catalog:
        board.say("intact" if report.ok and first == wanted else "catalog_reported")
        return
    if not report.ok:
        board.say(f"not_mended {report.problems}")
    engine.embed_waiting()
    if (last := answers(engine)) != wanted:
        board.say(f"not_mended {_difference(last, wanted)}")
    board.say("answers_right")


def _difference(found: dict[str, object], wanted: dict[str, object]) -> str:
    key = next((key for key in wanted if found.get(key) != wanted[key]), "")
    return f"{key!r}: {str(found.get(key))[:300]} instead of {str(wanted.get(key))[:300]}"


def _stores(shared: Path) -> list[tuple[Path, dict[str, object]]]:
    """Half and single precision, closed and with a log that was never folded in; each with its answers."""
    found = []
    for precision in ("float16", "float32"):
        for with_log in (False, True):
            folder = shared / f"{precision}{'_log' if with_log else ''}"

            def make(board: Board, folder: Path = folder) -> None:
                folder.mkdir()
                build(folder, precision="float32" if "32" in folder.name else "float16")
                with opened(folder) as engine:
                    _second_segment(engine)
                    put(engine, {"last:0": text_of("last:0")})
                    if "log" in folder.name:
                        shutil.copytree(folder / "data", folder / "copy")
                if "log" in folder.name:
                    shutil.rmtree(folder / "data")
                    (folder / "copy").rename(folder / "data")

            def ask(board: Board, folder: Path = folder) -> None:
                shutil.copytree(folder, folder.with_suffix(".asked"))
                with opened(folder.with_suffix(".asked")) as engine:
                    board.say(json.dumps(answers(engine)))

            in_child(make).checked("the store to damage")
            (line,) = in_child(ask).checked("the answers before the damage")
            found.append((folder, json.loads(line)))
    return found


def _second_segment(engine: Ragstone) -> None:
    collection = engine._collection()
    put(engine, {name: text_of(name, 3) for name in (*list(SEALED)[10:13], *TAIL)})
    with collection.writing():
        collection.seal()


def prepare(shared: Path, given: argparse.Namespace) -> Attempt:
    """Build the stores; a try damages one file of one of them."""
    stores = _stores(shared)

    def attempt(one: Try) -> Iterable[str]:
        origin, wanted = one.choice.choice(stores)
        folder = one.folder / "store"
        shutil.copytree(origin, folder)
        home = folder / "data" / "collections" / "default"
        files = [path for path in sorted(home.rglob("*")) if path.is_file() and path.name != "lock"]
        in_catalog = [path for path in files if path.name.startswith("catalog")]
        if given.files != "all":
            files = in_catalog if given.files == "catalog" else [p for p in files if p not in in_catalog]
        path = one.choice.choice(files)
        kind = one.choice.choice((*KINDS, "value") if path.name == "catalog.sqlite" else KINDS)
        if kind == "remove" and path in in_catalog and path.name == "catalog.sqlite":
            kind = "zero"  # without its catalog there is no collection, which is not damage
        if kind == "value":
            table, column, value = one.choice.choice(forbidden_values(path))
            changed = break_schema(path, table, column, value)
        else:
            changed = damage(path, kind, one.choice)
        ended = in_child(_judge(folder, wanted, is_catalog=path in in_catalog), limit_s=LIMIT_S)
        where = f"{kind} {path.relative_to(home)} of {origin.name}"
        facts = [line.split()[0] for line in ended.checked(where) if not line.startswith("detail")]
        for line in ended.said:
            if line.startswith(("wrong", "not_mended")) and (line != "wrong_until_checked"):
                raise BrokenPromiseError(f"{where}: {ended.said}")
            if line.startswith("refused"):
                _, hint, _ = json.loads(line.split(maxsplit=1)[1])
                if not hint or path not in in_catalog:
                    raise BrokenPromiseError(f"{where}: {line}")
        part = (
            path.name if path in in_catalog else path.parent.name if "keyword" in str(path) else path.suffix
        )
        if "wrong_until_checked" in facts:
            facts.append(f"wrong_until_checked:{part}")
        return [f"file:{part}", f"kind:{kind}", "changed" if changed else "same", *facts]

    return attempt


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which files."""
    parser.add_argument("--files", choices=["all", "derived", "catalog"], default="all")


if __name__ == "__main__":
    sys.exit(main(__doc__, prepare, tries=10_000, add_options=add_options))
