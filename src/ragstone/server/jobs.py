"""Long work beside the service: one lane, one thread, a bounded queue, and the latest results to look at.

Whatever writes for longer than a request may take is a job: indexing folders, reading uploads, tuning. Jobs run one
after the other, so that they share neither the cores nor the collection's turns at writing.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal, TypeAlias

from ragstone import wire
from ragstone.errors import CancelledError, NotFoundError, RagstoneError
from ragstone.server.problems import QueueFullError
from ragstone.server.progress import Progress

logger = logging.getLogger("ragstone.server")

Kind: TypeAlias = Literal["index", "upload", "tune", "apply", "rollback"]
State: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED: frozenset[State] = frozenset({"done", "failed", "cancelled"})

MAX_WAITING = 32  # of uploads of 500 MB each that is 16 GB of disk at the most
KEPT = 100  # ended jobs to look at; with their lists of failures some MB

Work: TypeAlias = Callable[["Job"], wire.Json]
"""Does a job in the lane's thread: notes progress, raises `CancelledError` once `job.cancelled()`; its result."""


class Job:
    """One piece of work and how far it is; `snapshot` may be called from any thread."""

    def __init__(
        self,
        kind: Kind,
        collection: str,
        label: str,
        work: Work,
        *,
        on_end: Callable[[Job], None] = lambda job: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.kind = kind
        self.collection = collection
        self.label = label
        self.progress = Progress()
        self.lane_stopped = False  # ended because the service stops, not because somebody wished it
        self._work = work
        self._on_end = on_end
        self._clock = clock
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self._state: State = "queued"
        self._created_s = clock()
        self._started_s: float | None = None
        self._ended_s: float | None = None
        self._result: wire.Json | None = None
        self._error: wire.Json | None = None

    @property
    def state(self) -> State:
        """Where in its life it is."""
        return self._state

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
            return {
                "id": self.id,
                "kind": self.kind,
                "collection": self.collection,
                "label": self.label,
                "state": self._state,
                "created_s": self._created_s,
                "started_s": self._started_s,
                "ended_s": self._ended_s,
                "progress": self.progress.json(),
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
        with self._lock:
            if self._state != "queued":
                return
            self._state, self._started_s = "running", self._clock()
        self._tell()
        try:
            if self.cancelled():
                raise CancelledError("stopped before it began")
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
        self.lane_stopped = lane_stopped
        self._cancelled.set()
        with self._lock:
            waiting = self._state == "queued"
        if waiting:
            self.end("cancelled")

    def end(self, state: State, *, result: wire.Json | None = None, error: wire.Json | None = None) -> None:
        """Come to an end, once."""
        with self._lock:
            if self._state in ENDED:
                return
            self._state, self._result, self._error = state, result, error
            self._ended_s = self._clock()
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


class Jobs:
    """The lane. `start` it once, `stop` and `join` it at the end."""

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._known: dict[str, Job] = {}  # oldest first
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin with what waits; called again, it does nothing."""
        with self._changed:
            if self._thread is None and not self._stopping:
                # Not a daemon: the interpreter must not end while a transaction is being written.
                self._thread = threading.Thread(target=self._run, name="ragstone-jobs")
                self._thread.start()

    def add(self, job: Job) -> Job:
        """Queue a job. Raises `QueueFullError` when too many wait, or the service is stopping."""
        with self._changed:
            self.require_room()
            self._waiting.append(job)
            self._known[job.id] = job
            ended = [known for known in self._known.values() if known.state in ENDED]
            for old in ended[: max(0, len(ended) - KEPT)]:
                del self._known[old.id]
            self._changed.notify()
        return job

    def require_room(self) -> None:
        """Raise `QueueFullError` where `add` would."""
        if self._stopping or len(self._waiting) >= self._max_waiting:
            raise QueueFullError(
                f"{len(self._waiting)} jobs wait already, as many as may.",
                hint="Try again when some are done: GET /api/jobs",
            )

    def every(self) -> list[Job]:
        """The jobs that are known, newest first."""
        with self._changed:
            return list(reversed(self._known.values()))

    def find(self, job_id: str) -> Job:
        """The job of that id. Raises `NotFoundError`."""
        with self._changed:
            if job_id not in self._known:
                raise NotFoundError(f"no job {job_id!r}", hint="list them with: GET /api/jobs")
            return self._known[job_id]

    def cancel(self, job: Job) -> None:
        """Stop a job; a queued one leaves the queue."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
        job.cancel()

    def stop(self) -> None:
        """Take no more jobs and ask the running one to end; those that wait end without having begun."""
        with self._changed:
            self._stopping = True
            waiting, running = list(self._waiting), self._running
            self._waiting.clear()
            self._changed.notify()
        for job in [*waiting, *([running] if running is not None else [])]:
            job.cancel(lane_stopped=True)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; False when it is still going after `timeout_s`."""
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return
                job = self._running = self._waiting.popleft()
            job.run()
            with self._changed:
                self._running = None
