"""How far a long piece of work is: noted from the thread that does it, read from any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ragstone.wire import Json

# Stages overlap (files are read while chunks are embedded); the earliest unfinished one leads.
ORDER = ("scan", "read", "embed", "seal", "names")


@dataclass(frozen=True, slots=True)
class _Stage:
    """How far one stage is; `since_s` is the clock's time of its first report."""

    done: int
    total: int
    since_s: float
    first_done: int


class Progress:
    """Stages of one piece of work. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._stages: dict[str, _Stage] = {}
        self._item: str | None = None

    def note(self, stage: str, done: int, total: int, item: str | None = None) -> None:
        """`done` of `total` (0 while unknown) in the stage's own unit; `item` is what has just been dealt with."""
        with self._lock:
            known = self._stages.get(stage)
            since_s, first_done = (known.since_s, known.first_done) if known else (self._clock(), done)
            self._stages[stage] = _Stage(done, total, since_s, first_done)
            self._item = item or self._item

    def json(self) -> Json:
        """`{"stage","done","total","per_second","seconds_left","uri"}` of the stage that leads.

        Files for `scan` and `read`, chunks for `embed`, documents for `names`, settings for `tune`. `seconds_left` is
        null while the total or the rate is unknown.
        """
        with self._lock:
            name, stage = self._leading()
            elapsed_s = self._clock() - stage.since_s
            rate = (stage.done - stage.first_done) / elapsed_s if elapsed_s > 0 else 0.0
            left = stage.total - stage.done
            return {
                "stage": name,
                "done": stage.done,
                "total": stage.total,
                "per_second": round(rate, 1) if rate else None,
                "seconds_left": round(left / rate, 1) if rate and stage.total else None,
                "uri": self._item,
            }

    def _leading(self) -> tuple[str | None, _Stage]:
        for name in ORDER:
            stage = self._stages.get(name)
            if stage is not None and stage.done < stage.total:
                return name, stage
        last = next(reversed(self._stages.items()), None)
        return last or (None, _Stage(0, 0, self._clock(), 0))
