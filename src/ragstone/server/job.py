"""One piece of long work: indexing folders, reading an upload, tuning; its life, and how far it is.

Does not know in which lane it runs, nor where it is recorded.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, StringConstraints

from ragstone import wire
from ragstone.errors import CancelledError, RagstoneError
from ragstone.server.progress import Progress

logger = logging.getLogger("ragstone.server")

Kind: TypeAlias = Literal["index", "upload", "tune", "apply", "rollback"]
State: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED: frozenset[State] = frozenset({"done", "failed", "cancelled"})

JobId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]

Work: TypeAlias = Callable[["Job"], wire.Json]
"""Does a job in the lane's thread: notes progress, raises `CancelledError` once `job.cancelled()`; its result."""

Record: TypeAlias = Callable[["Job", wire.Json | None], None]
"""Takes down a job's snapshot; None: it was interrupted, and stays as it was taken down last."""


class JobRecord(BaseModel):
    """What outlives the process of a job: its last snapshot, and the `request` from which it can be done again."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    id: JobId
    kind: Kind
    collection: str
    label: str
    state: State
    created_s: float
    started_s: float | None
    ended_s: float | None
    progress: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, str] | None
    request: dict[str, Any] | None
    begun: int = 0


class Job:
    """One piece of work and how far it is; `snapshot` may be called from any thread."""

    def __init__(
        self,
        kind: Kind,
        collection: str,
        label: str,
        work: Work,
        *,
        id: JobId | None = None,  # noqa: A002 - what it is called in every answer
        request: wire.Json | None = None,
        on_end: Callable[[Job], None] = lambda job: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`request` is all that it takes to do the work again; None: a restart does not."""
        self.id = id or secrets.token_hex(8)
        self.kind = kind
        self.collection = collection
        self.label = label
        self.request = request
        self.begun = 0  # how often, in all processes
        self.progress = Progress()
        self.record: Record = lambda job, snapshot: None
        self._lane_stopped = False
        self._progress_then: wire.Json | None = None  # of a job of an earlier process
        self._work = work
        self._on_end = on_end
        self._clock = clock
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self._ending = False
        self._state: State = "queued"
        self._created_s = clock()
        self._started_s: float | None = None
        self._ended_s: float | None = None
        self._result: wire.Json | None = None
        self._error: wire.Json | None = None

    @classmethod
    def ended(cls, record: JobRecord) -> Job:
        """A job of an earlier process that has come to its end, to look at."""
        job = cls(record.kind, record.collection, record.label, lambda job: {}, id=record.id)
        job._ending, job._state, job._created_s = True, record.state, record.created_s
        job._started_s, job._ended_s = record.started_s, record.ended_s
        job._result, job._error, job._progress_then = record.result, record.error, record.progress
        return job

    def taken_up(self, record: JobRecord) -> Job:
        """This job, which an earlier process had not brought to its end, with the time at which it was asked for."""
        self._created_s, self.begun = record.created_s, record.begun
        return self

    @property
    def state(self) -> State:
        """Where in its life it is."""
        return self._state

    @property
    def interrupted(self) -> bool:
        """Whether it ended because the service stops, and not because it was through or somebody wished it."""
        return self._lane_stopped and self._state == "cancelled"

    def cancelled(self) -> bool:
        """Whether it is to stop; the work asks now and then."""
        return self._cancelled.is_set()

    def note(self, stage: str, done: int, total: int, item: str | None = None) -> None:
        """Say how far the work is; see `Progress.note`."""
        self.progress.note(stage, done, total, item)
        self._tell()

    def snapshot(self) -> wire.Json:
        """`{"id","kind","collection","label","state","created_s","started_s","ended_s","progress","result","error"}`.

        `result` is there once it is `done`, `error` (`{"code","message","hint"}`) once it has `failed`.
        """
        with self._lock:
            return self._snapshot()

    def _snapshot(self) -> wire.Json:
        return {
            "id": self.id,
            "kind": self.kind,
            "collection": self.collection,
            "label": self.label,
            "state": self._state,
            "created_s": self._created_s,
            "started_s": self._started_s,
            "ended_s": self._ended_s,
            "progress": self._progress_then or self.progress.json(),
            "result": self._result,
            "error": self._error,
        }

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener`, from any thread, when something has changed; the function returned ends that."""
        with self._lock:
            self._listeners.append(listener)

        def leave() -> None:
            with self._lock:
                self._listeners.remove(listener)

        return leave

    def run(self) -> None:
        """Do the work, in the lane's thread; never raises."""
        if self.cancelled():
            self.end("cancelled")
        with self._lock:
            if self._ending or self._state != "queued":
                return
            self._state, self._started_s = "running", self._clock()
            self.begun += 1
        self.record(self, self.snapshot())
        self._tell()
        try:
            result = self._work(self)
        except CancelledError:
            self.end("cancelled")
        except RagstoneError as error:
            logger.error("%s failed: %s", self.kind, error)  # noqa: TRY400 - expected, needs no traceback
            self.end("failed", error=wire.error_json(error))
        except Exception:
            logger.exception("%s failed", self.kind)
            told = {"code": "internal", "message": f"The {self.kind} job failed.", "hint": "See the log."}
            self.end("failed", error=told)
        else:
            self.end("done", result=result)

    def cancel(self, *, lane_stopped: bool = False) -> None:
        """Ask it to stop; what was acknowledged is kept. One that has not begun ends at once."""
        if not self.cancelled():  # whoever wished it first
            self._lane_stopped = lane_stopped
        self._cancelled.set()
        with self._lock:
            waiting = self._state == "queued"
        if waiting:
            self.end("cancelled")

    def end(self, state: State, *, result: wire.Json | None = None, error: wire.Json | None = None) -> None:
        """Come to an end, once. It is recorded before anybody is told, and before what it worked on is removed."""
        with self._lock:
            if self._ending:
                return
            self._ending = True
            ended_s = self._clock()
            last = {**self._snapshot(), "state": state, "ended_s": ended_s, "result": result, "error": error}
        self.record(self, None if self._lane_stopped and state == "cancelled" else last)
        with self._lock:
            self._state, self._ended_s, self._result, self._error = state, ended_s, result, error
        try:
            self._on_end(self)
        except Exception:
            logger.exception("after the %s job something failed", self.kind)
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener()
