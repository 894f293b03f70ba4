"""A full disk or a failing one at each call that writes, of each canonical operation and of the recovery
(A3).

    python -m tests.crash.io_errors [--tries N] [--operation NAME] [--seed S]

Each point fails with ENOSPC and with EIO, once and from there on. The operation must return or raise an error
of ours; the same process must go on searching; once the fault is over the store must agree with itself in a
fresh process, which must be able to write. Needs strace. Without `--tries` every point is taken.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from crash.calls import WRITING_CALLS, Point, broken_at, points
from crash.children import Board
from crash.command import Attempt, BrokenPromiseError, Try, main
from crash.kill_at_calls import ALL, add_options
from crash.operations import (
    BEFORE,
    EVERYWHERE,
    MODES,
    OPERATIONS,
    checking,
    doing,
    require,
    templates,
)
from ragstone import Ragstone
from ragstone.errors import StoreError

FAULTS = ("error=ENOSPC", "error=EIO", "error=ENOSPC+", "error=EIO+")


def searching_goes_on(name: str) -> Callable[[Ragstone, Board], None]:
    """Search in each mode, on the engine that met the fault and while it lasts.

    Only a store that could not even be opened, or mended, may refuse.
    """

    def search(engine: Ragstone, board: Board) -> None:
        if name in {"create", "import"}:  # there may be nothing yet to search
            return
        kept = BEFORE.keys() & OPERATIONS[name].after.keys()
        for mode in MODES:
            try:
                result = engine.search(EVERYWHERE, mode=mode, top_k=1000)
            except StoreError as error:
                mended = (
                    name != "recover"
                )  # there, what the fault keeps from being mended is what is searched
                require(not (engine._open._open and mended), f"{mode} search was refused: {error}")
                board.say("not_searched")
                return
            missing = kept - {hit.uri for hit in result.hits}
            require(not missing or result.degraded, f"{mode} misses {sorted(missing)} under the fault")
        board.say("searched")

    return search


def prepare(shared: Path, given: argparse.Namespace) -> Attempt:
    """Count the points of each operation; a try breaks one of them with one fault."""
    stores = templates(shared)
    chosen = [given.operation] if given.operation else list(OPERATIONS)
    places: list[tuple[str, Point, str]] = []
    for name in chosen:
        shutil.copytree(stores[name], shared / "counted" / name)
        work = doing(shared / "counted" / name, OPERATIONS[name])
        found = points(work, shared / f"{name}.trace", WRITING_CALLS)
        print(f"{name}: {len(found)} points × {len(FAULTS)} faults", file=sys.stderr)
        places += [(name, point, fault) for point in found for fault in FAULTS]
    random.Random(given.seed).shuffle(places)
    given.tries = min(given.tries, len(places))

    def attempt(one: Try) -> Iterable[str]:
        name, point, fault = places[one.number]
        folder = one.folder / "store"
        shutil.copytree(stores[name], folder)
        ended = broken_at(doing(folder, OPERATIONS[name], searching_goes_on(name)), point, fault)
        where = f"{name} with {fault} at {point}"
        said = ended.checked(where)
        refused = next((line for line in said if line.startswith("refused ")), None)
        if refused is None and "finished" not in said:
            raise BrokenPromiseError(f"{where} neither returned nor said why")
        try:
            facts = checking(folder, name, stores[name], finished=refused is None)
        except BrokenPromiseError as error:
            raise BrokenPromiseError(f"{where}: {error}") from error
        outcome = "returned" if refused is None else f"refused_{refused.split()[1]}"
        searched = [line for line in said if line in {"searched", "not_searched"}]
        return [name, fault.removeprefix("error="), outcome, *searched, *facts]

    return attempt


if __name__ == "__main__":
    sys.exit(main(__doc__, prepare, tries=ALL, add_options=add_options))
