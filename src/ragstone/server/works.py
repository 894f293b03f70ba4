"""What jobs do, each from a collection and a request of plain JSON: a restart begins it again from the same.

Uploads are in `changes`: their files are the request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ragstone import wire
from ragstone.engine import Ragstone
from ragstone.errors import InputError
from ragstone.index.plans import plan_from_json
from ragstone.index.tuner import TuningProgress
from ragstone.index_tuning import tune_collection
from ragstone.server.change_requests import TuneRequest
from ragstone.server.job import Job, Kind, Work
from ragstone.server.jobs import Jobs
from ragstone.types import IndexProgress, IndexReport

SHOWN_FAILURES = 100  # of one job

# What was begun so often and never came to its end may be what ends the service.
BEGUN_MAX = 5
# Done twice they are not what was asked for: what they began is looked at by a person.
ONCE: frozenset[Kind] = frozenset({"apply", "rollback"})


def work_of(kind: Kind, collection: str, request: wire.Json, *, engine: Ragstone, jobs: Jobs) -> Work:
    """The work of a job. Raises `InputError` for a request that is none of its kind's."""
    try:
        match kind:
            case "index":
                return index_work([Path(path) for path in request["paths"]], collection, engine)
            case "tune":
                return _tune_work(TuneRequest.model_validate(request), collection, engine, jobs)
            case "apply":
                return _apply_work(request, collection, engine)
            case "rollback":
                return _rollback_work(collection, engine)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"the {kind} job's request cannot be read: {error}") from error
    raise InputError(f"a job of the kind {kind} cannot be begun again")


def index_work(roots: Sequence[Path], collection: str, engine: Ragstone) -> Work:
    """Bring a collection in step with files and folders."""

    def work(job: Job) -> wire.Json:
        report = engine.index(roots, collection=collection, progress=noting(job), cancelled=job.cancelled)
        return report_json(report)

    return work


def _tune_work(asked: TuneRequest, collection: str, engine: Ragstone, jobs: Jobs) -> Work:
    """Measure, on a copy of the vectors; then apply, in a turn among the jobs that write."""

    def work(job: Job) -> wire.Json:
        def note(moment: TuningProgress) -> None:
            job.note("tune", moment.done, moment.total, moment.plan)

        tuned = tune_collection(
            engine, asked.wish(), collection=collection, progress=note, cancelled=job.cancelled
        )
        apply = asked.apply and not tuned.best.missed and not tuned.run.stopped
        if apply:
            with jobs.turn(job):
                engine.apply_plan(tuned.best.plan, recall=asked.recall, collection=collection)
        found: wire.Json = wire.plain_json(tuned.to_json())
        return {**found, "applied": apply, "recall": asked.recall}

    return work


def _apply_work(request: wire.Json, collection: str, engine: Ragstone) -> Work:
    plan, recall = plan_from_json(request["plan"], dim=int(request["dim"])), float(request["recall"])

    def work(job: Job) -> wire.Json:
        engine.apply_plan(plan, recall=recall, collection=collection)
        return {"plan": plan.to_json()}

    return work


def _rollback_work(collection: str, engine: Ragstone) -> Work:
    def work(job: Job) -> wire.Json:
        plan = engine.rollback_plan(collection=collection)
        return {"plan": None if plan is None else plan.to_json()}

    return work


def noting(job: Job) -> Callable[[IndexProgress], None]:
    """What tells a job how far indexing is."""
    return lambda progress: job.note(progress.stage, progress.done, progress.total, progress.uri)


def report_json(report: IndexReport) -> wire.Json:
    """The report with the number of failures, and the first of them beside it."""
    summary = wire.index_json(report)
    failures = summary["documents"]["failed"]
    summary["documents"]["failed"] = len(failures)
    return {**summary, "failures": failures[:SHOWN_FAILURES]}
