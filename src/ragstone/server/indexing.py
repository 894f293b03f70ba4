"""Indexing beside the service: one background thread, and a snapshot of how far it is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ragstone import wire
from ragstone.engine import Ragstone
from ragstone.errors import CancelledError, RagstoneError
from ragstone.types import IndexProgress, IndexReport

logger = logging.getLogger("ragstone.server")

State: TypeAlias = Literal["idle", "running", "done", "failed", "cancelled"]

SHOWN_FAILURES = 100  # the page lists them; the command line prints every one


@dataclass(frozen=True, slots=True)
class _StageProgress:
    """How far one stage is; `since_s` is the monotonic time of its first report."""

    done: int
    total: int
    since_s: float
    first_done: int


class BackgroundIndexing:
    """Indexes `paths` once in a thread of its own; `snapshot` may be called from any thread."""

    def __init__(
        self,
        engine: Ragstone,
        paths: Sequence[str | Path] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._paths = tuple(paths)
        self._clock = clock
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._thread: threading.Thread | None = None
        self._state: State = "idle"
        self._stages: dict[str, _StageProgress] = {}
        self._uri: str | None = None
        self._report: IndexReport | None = None
        self._error: wire.Json | None = None

    def start(self) -> None:
        """Begin, if there is anything to index; at most once."""
        if self._paths and self._thread is None:
            self._state = "running"
            # Not a daemon: the interpreter must not end while a transaction is being written.
            self._thread = threading.Thread(target=self._run, name="ragstone-indexing")
            self._thread.start()

    def cancel(self) -> None:
        """Ask the run to stop; what was acknowledged is kept and the next start resumes."""
        self._cancelled.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the run to end; False when it is still going after `timeout_s`."""
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def snapshot(self) -> wire.Json:
        """`{"state","stage","done","total","per_second","seconds_left","uri","failures","report","error"}`.

        `stage` is the earliest unfinished one; its unit is files for `scan` and `read`, chunks for
        `embed`. `seconds_left` is null while the total or the rate is unknown.
        """
        with self._lock:
            name, stage = self._current_stage()
            rate = self._rate(stage)
            left = stage.total - stage.done
            failures = self._report.failed if self._report else ()
            return {
                "state": self._state,
                "stage": name,
                "done": stage.done,
                "total": stage.total,
                "per_second": round(rate, 1) if rate else None,
                "seconds_left": round(left / rate, 1) if rate and stage.total else None,
                "uri": self._uri,
                "failed": len(failures),
                "failures": [wire.failed_json(failed) for failed in failures[:SHOWN_FAILURES]],
                "report": self._summary(),
                "error": self._error,
            }

    def _run(self) -> None:
        try:
            report = self._engine.index(self._paths, progress=self._note, cancelled=self._cancelled.is_set)
        except CancelledError:
            self._finish("cancelled")
        except RagstoneError as error:
            logger.error("indexing stopped: %s", error)  # noqa: TRY400 - an expected error needs no traceback
            self._finish("failed", error=wire.error_json(error))
        except Exception:
            logger.exception("indexing failed")
            internal = {"code": "internal", "message": "Indexing failed.", "hint": "See the log."}
            self._finish("failed", error=internal)
        else:
            self._finish("done", report=report)

    def _finish(
        self, state: State, *, report: IndexReport | None = None, error: wire.Json | None = None
    ) -> None:
        with self._lock:
            self._state, self._report, self._error = state, report, error

    def _note(self, progress: IndexProgress) -> None:
        with self._lock:
            known = self._stages.get(progress.stage)
            since_s, first_done = (
                (known.since_s, known.first_done) if known else (self._clock(), progress.done)
            )
            self._stages[progress.stage] = _StageProgress(
                done=progress.done, total=progress.total, since_s=since_s, first_done=first_done
            )
            self._uri = progress.uri or self._uri

    def _current_stage(self) -> tuple[str | None, _StageProgress]:
        """Stages overlap (files are read while chunks are embedded); the earliest unfinished one leads."""
        unfinished = [
            (name, self._stages[name])
            for name in ("scan", "read", "embed", "seal", "names")
            if name in self._stages and self._stages[name].done < self._stages[name].total
        ]
        if unfinished:
            return unfinished[0]
        last = next(reversed(self._stages.items()), None)
        return last or (None, _StageProgress(done=0, total=0, since_s=self._clock(), first_done=0))

    def _rate(self, stage: _StageProgress) -> float:
        """Units per second since the stage's first report; 0 while nothing can be said."""
        elapsed_s = self._clock() - stage.since_s
        return (stage.done - stage.first_done) / elapsed_s if elapsed_s > 0 else 0.0

    def _summary(self) -> wire.Json | None:
        """The report without its failures, which stand beside it, capped."""
        if self._report is None:
            return None
        summary = wire.index_json(self._report)
        summary["documents"]["failed"] = len(self._report.failed)
        return summary
