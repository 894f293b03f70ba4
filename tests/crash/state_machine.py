"""The state machine of `tests/test_state_machine.py`, long: random lives of a store equal a dictionary (A9).

    python -m tests.crash.state_machine [--tries 10000] [--steps 50] [--seed S]

Each try is one life of up to so many steps, against brute force after each; a failing one is made smaller and printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from crash.children import Board, in_child
from crash.command import Attempt, Try, main
from test_state_machine import Store

LIVES = 20  # in one process: leaks would be seen, and its start costs little
LIMIT_S = 1_800.0


def prepare(shared: Path, given: argparse.Namespace) -> Attempt:
    """A try is a process with some lives."""
    lives, steps = min(LIVES, given.tries), given.steps
    given.tries = -(-given.tries // lives)

    def attempt(one: Try) -> Iterable[str]:
        chosen = settings(
            max_examples=lives,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )

        def work(_: Board) -> None:
            number = one.choice.randrange(2**31)

            life = seed(number)(type("Life", (Store,), {}))
            run_state_machine_as_test(life, settings=chosen)

        in_child(work, limit_s=LIMIT_S).checked("a life")
        return ["lives"] * lives

    return attempt


def add_options(parser: argparse.ArgumentParser) -> None:
    """How long a life is."""
    parser.add_argument("--steps", type=int, default=50)


if __name__ == "__main__":
    sys.exit(main(__doc__, prepare, tries=10_000, add_options=add_options))
