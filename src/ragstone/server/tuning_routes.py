"""Which index suits a collection: recommended by rule, or measured by a job and applied."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from ragstone import wire
from ragstone.errors import InputError
from ragstone.index.plans import plan_from_json
from ragstone.index.recommending import recommend as recommended
from ragstone.index.tuner import TuningProgress
from ragstone.index_tuning import recommendation_json, tune_collection
from ragstone.server.access import TheCaller, policy
from ragstone.server.change_requests import InCollection, RecommendRequest, TuneRequest
from ragstone.server.jobs import Job
from ragstone.server.jobs_routes import accepted
from ragstone.server.more_replies import Recommendation
from ragstone.server.replies import Job as JobReply
from ragstone.server.replying import PROBLEMS, TheService, described, reply

tuning = APIRouter(prefix="/api", responses=PROBLEMS)


@tuning.post(
    "/tune", summary="Measure indexes; a job does it", status_code=202, responses=described(JobReply, 202)
)
@policy("admin")
async def tune(body: TuneRequest, service: TheService, caller: TheCaller) -> Response:
    """On the collection's own vectors; searches go on meanwhile, other jobs wait. The result names the best setting.

    With `apply` the collection is switched to it, if it meets the targets.
    """
    name = await service.existing(body.collection, caller)
    engine = service.engine

    def work(job: Job) -> wire.Json:
        def note(moment: TuningProgress) -> None:
            job.note("tune", moment.done, moment.total, moment.plan)

        tuned = tune_collection(engine, body.wish(), collection=name, progress=note, cancelled=job.cancelled)
        apply = body.apply and not tuned.best.missed and not tuned.run.stopped
        if apply:
            engine.apply_plan(tuned.best.plan, recall=body.recall, collection=name)
        found: wire.Json = wire.plain_json(tuned.to_json())
        return {**found, "applied": apply, "recall": body.recall}

    return accepted(service.changes.job("tune", name, f"recall {body.recall:g}", work))


@tuning.post(
    "/tune/{job_id}/apply",
    summary="Switch to what a tuning job found; a job does it",
    status_code=202,
    responses=described(JobReply, 202),
)
@policy("admin")
async def apply(job_id: str, service: TheService, caller: TheCaller) -> Response:
    """The new index is built beside the old one, measured, and only then swapped in."""
    tuned = service.jobs.find(job_id)
    caller.check([tuned.collection])
    result = tuned.snapshot()["result"]
    if tuned.kind != "tune" or result is None:
        raise InputError(f"job {job_id!r} has no tuning result", hint="start one with: POST /api/tune")
    best = result["best"]
    plan = plan_from_json(best, dim=best["dim"])
    switch = partial(service.engine.apply_plan, plan, recall=result["recall"], collection=tuned.collection)

    def work(job: Job) -> wire.Json:
        switch()
        return {"plan": plan.to_json()}

    return accepted(service.changes.job("apply", tuned.collection, str(plan), work))


@tuning.post(
    "/tune/rollback",
    summary="Undo the last switch; a job does it",
    status_code=202,
    responses=described(JobReply, 202),
)
@policy("admin")
async def roll_back(body: InCollection, service: TheService, caller: TheCaller) -> Response:
    """To the plan before, or to what the collection's size asks for."""
    name = await service.existing(body.collection, caller)

    def work(job: Job) -> wire.Json:
        plan = service.engine.rollback_plan(collection=name)
        return {"plan": None if plan is None else plan.to_json()}

    return accepted(service.changes.job("rollback", name, "", work))


@tuning.get("/recommend", summary="The index that suits a size, by rule", responses=described(Recommendation))
@policy("read")
async def recommend(
    asked: Annotated[RecommendRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """And why; measures nothing. Without `vectors`, for the collection as it is."""
    vectors, dim = asked.vectors, asked.dim
    if vectors is None:
        stats = await service.stats(caller, asked.collection)
        if not stats.chunks or stats.dim is None:
            raise InputError(f"the collection {stats.collection} is empty", hint="give vectors and dim")
        vectors, dim = stats.chunks, stats.dim
    found = recommended(vectors, dim, asked.memory_mb, asked.recall)
    return reply(wire.plain_json(recommendation_json(found, vectors, dim)))
