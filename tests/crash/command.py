"""The frame of each command: numbered tries, each with its own seed and folder, counted, and the failures
kept.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

SHOWN_FAILURES = 20  # with their traces; the others are counted
REPORT_EVERY_S = 60.0


class BrokenPromiseError(Exception):
    """Something that must not be."""


@dataclass(frozen=True, slots=True)
class Try:
    """One try: its number, its own random choices, and an empty folder that is kept if it fails."""

    number: int
    choice: random.Random
    folder: Path


Attempt = Callable[[Try], Iterable[str]]


def main(
    description: str | None,
    prepare: Callable[[Path, argparse.Namespace], Attempt],
    *,
    tries: int,
    add_options: Callable[[argparse.ArgumentParser], None] = lambda _: None,
) -> int:
    """Parse the command line, try, print `tries, failures, facts`; 1 if any try failed.

    `prepare` gets a folder for what the tries share. An attempt returns facts to count, and raises where a promise
    is broken. `tries` is the default; where an attempt's `points` is set, there are no more than so many.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=tries)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--only", type=int, default=None, help="the number of one try, to see it again")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no try after so long")
    parser.add_argument("--json", action="store_true", dest="as_json")
    add_options(parser)
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="ragstone-crash-"))
    (home / "shared").mkdir()
    attempt = prepare(home / "shared", given)
    numbers = range(given.tries) if given.only is None else range(given.only, given.only + 1)
    done, failures, facts, seconds = _run(attempt, home, numbers, seed=given.seed, limit_s=given.seconds)
    if given.as_json:
        print(json.dumps({"tries": done, "failures": failures, "seed": given.seed, "facts": dict(facts)}))
    else:
        counted = ", ".join(f"{name} {count}" for name, count in sorted(facts.items()))
        print(f"{done} tries, {failures} failures, {seconds:.0f} s (seed {given.seed}): {counted}")
    if not failures:
        shutil.rmtree(home)
    return 1 if failures else 0


def _run(
    attempt: Attempt, home: Path, numbers: range, *, seed: int, limit_s: float
) -> tuple[int, int, Counter[str], float]:
    facts: Counter[str] = Counter()
    failures = done = 0
    started_s = reported_s = time.monotonic()
    for number in numbers:
        if time.monotonic() - started_s > limit_s:
            break
        folder = home / f"try{number}"
        folder.mkdir()
        try:
            facts.update(attempt(Try(number, random.Random(f"{seed}:{number}"), folder)))
            shutil.rmtree(folder)
        except Exception:  # noqa: BLE001  - a failure is counted, shown and kept; the next try has its own folder
            failures += 1
            if failures <= SHOWN_FAILURES:
                print(f"try {number} of seed {seed}, kept at {folder}:", file=sys.stderr)
                traceback.print_exc()
        done += 1
        if time.monotonic() - reported_s > REPORT_EVERY_S:
            reported_s = time.monotonic()
            print(f"{done} tries, {failures} failures so far", file=sys.stderr, flush=True)
    return done, failures, facts, time.monotonic() - started_s
