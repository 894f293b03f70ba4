"""Keeping recall where it was asked for while data and questions drift: one step at a time, on measured searches.

A collection's searches aim at a recall that its segments were calibrated for when they were sealed. Questions that lie
further from the documents find less than that. This looks at what sampled searches really found and says what to aim
at next. It decides, and changes nothing itself: who applies a step logs it, and undoes it by going back to `before`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from ragstone.errors import InputError

# A mean of 100 recalls that vary by .1 is known to ± .02 (two standard errors).
SAMPLES_MIN = 100
_STANDARD_ERRORS = 2.0
# Each step up halves the share that may be lost; after eight, .95 is .9998. An index that was never measured to find
# so much is scanned exactly then. To aim at 1 is left to people: exact searches show nothing of what others would find.
_STEPS = 8


@dataclass(frozen=True, slots=True)
class Retuning:
    """One step: aim at `after` instead of `before`, 0 to 1, and the reason in words."""

    before: float
    after: float
    reason: str


def retune(aim: float, target: float, recalls: Sequence[float]) -> Retuning | None:
    """The step that measured `recalls` ask for; None where they ask for none or are too few to tell.

    `recalls` are shares found by sampled searches at `aim`, since it was last changed. Up when they are surely below
    `target`; down again, never below `target`, when they surely keep what `aim` promises, so that the cause has gone.
    Between the two nothing moves. Raises `InputError` unless 0 < target ≤ aim ≤ 1 and recalls are within 0 and 1.
    """
    if not 0 < target <= aim <= 1:
        raise InputError(f"aim {aim} for a target of {target}", hint="0 < target ≤ aim ≤ 1")
    if any(not 0 <= recall <= 1 for recall in recalls):
        raise InputError("a recall outside 0 and 1")
    if len(recalls) < SAMPLES_MIN:
        return None
    mean = fmean(recalls)
    error = _STANDARD_ERRORS * stdev(recalls) / math.sqrt(len(recalls))
    seen = f"{len(recalls)} searches found {mean:.3f} ± {error:.3f} of the nearest"
    ladder = [target, *(1 - (1 - target) / 2**step for step in range(1, _STEPS + 1))]
    if mean + error < target:
        above = [rung for rung in ladder if rung > aim]
        return Retuning(aim, above[0], f"{seen}, below the {target:g} asked for") if above else None
    if mean - error >= aim > target:
        below = [rung for rung in ladder if rung < aim]
        return Retuning(aim, below[-1], f"{seen}, all that was aimed at")
    return None
