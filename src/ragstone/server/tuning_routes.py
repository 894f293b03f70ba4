"""Which index suits a collection: recommended by rule, or measured by a job and applied."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from ragstone import wire
from ragstone.errors import InputError, NotFoundError
from ragstone.index.plans import plan_from_json
from ragstone.index.recommending import recommend as recommended
from ragstone.index_tuning import recommendation_json
from ragstone.server.access import TheCaller, policy
from ragstone.server.change_requests import InCollection, RecommendRequest, TuneRequest
from ragstone.server.jobs_routes import accepted
from ragstone.server.more_replies import Recommendation
from ragstone.server.replies import Job as JobReply
from ragstone.server.replying import PROBLEMS, TheService, described, reply
from ragstone.server.service import Service

tuning = APIRouter(prefix="/api", responses=PROBLEMS)


@tuning.post(
    "/tune", summary="Measure indexes; a job does it", status_code=202, responses=described(JobReply, 202)
)
@policy("admin")
async def tune(body: TuneRequest, service: TheService, caller: TheCaller) -> Response:
    """On the collection's own vectors; searches and other jobs go on meanwhile. The result names the best setting.

    With `apply` the collection is switched to it, if it meets the targets, once the job that writes is through.
    """
    name = await service.existing(body.collection, caller)
    label = f"recall {body.recall:g}"
    return accepted(await service.changes.job("tune", name, label, body.model_dump(exclude_defaults=True)))


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
    request = {"plan": plan.to_json(), "dim": best["dim"], "recall": result["recall"]}
    return accepted(await service.changes.job("apply", tuned.collection, str(plan), request))


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
    return accepted(await service.changes.job("rollback", name, "", {}))


async def tuning_json(service: Service, collection: str) -> wire.Json:
    """`{"applied","measured"}`: the plan in force, null where size decides, and what the latest tuning found.

    `measured` is `{"job","ended_s","recall","best","front"}`, null where none is known: the last hundred are.
    """

    def applied() -> wire.Json | None:
        try:
            plan = service.engine.applied_plan(collection=collection)
        except NotFoundError:  # the service's own before its first document
            return None
        return None if plan is None else plan.to_json()

    found = (
        job.snapshot() for job in service.jobs.every() if job.kind == "tune" and job.collection == collection
    )
    latest = next((job for job in found if job["state"] == "done"), None)
    measured = latest and {
        "job": latest["id"],
        "ended_s": latest["ended_s"],
        **{name: latest["result"][name] for name in ("recall", "best", "front")},
    }
    return {"applied": await service.read(applied), "measured": measured}


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
