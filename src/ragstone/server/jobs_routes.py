"""Jobs: what runs, waits and has ended; followed by events, and cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from fastapi import APIRouter
from starlette.responses import Response

from ragstone import wire
from ragstone.server.access import Caller, TheCaller, policy
from ragstone.server.job import ENDED, Job
from ragstone.server.progress import Progress
from ragstone.server.replies import IndexProgress, JobList
from ragstone.server.replies import Job as JobReply
from ragstone.server.replying import EVENTS, PROBLEMS, TheService, described, large_reply, reply
from ragstone.server.service import Service
from ragstone.server.streaming import KEEP_ALIVE, EventStream, frame

EVENT_PAUSE_S = 0.2  # five events a second move a bar smoothly
KEEP_ALIVE_S = 15.0  # proxies commonly close what is silent for 30 to 60 s

jobs = APIRouter(prefix="/api", responses=PROBLEMS)


def accepted(job: Job) -> Response:
    """The answer to a request that became a job."""
    return reply(job.snapshot(), status=202, headers={"Location": f"/api/jobs/{job.id}"})


@jobs.get("/jobs", summary="The latest jobs, newest first", responses=described(JobList))
@policy("read")
async def list_jobs(service: TheService, caller: TheCaller) -> Response:
    """Those of the caller's collections; of ended ones the last hundred."""
    known = [job for job in service.jobs.every() if caller.sees(job.collection)]
    return await large_reply(service, lambda: {"jobs": [job.snapshot() for job in known]})


@jobs.get("/jobs/{job_id}", summary="One job", responses=described(JobReply))
@policy("read")
async def show_job(job_id: str, service: TheService, caller: TheCaller) -> Response:
    """Its state, progress, and result or error."""
    return reply(_job(service, caller, job_id).snapshot())


@jobs.delete("/jobs/{job_id}", summary="Cancel a job", status_code=202, responses=described(JobReply, 202))
@policy("write")
async def cancel_job(job_id: str, service: TheService, caller: TheCaller) -> Response:
    """It stops at the next document or batch; what was acknowledged is kept. An ended one stays as it is."""
    job = _job(service, caller, job_id)
    # In a thread: removing a queued upload's files is work for the disk.
    await service.changes.run(lambda: service.jobs.cancel(job))
    return reply(job.snapshot(), status=202)


@jobs.get(
    "/jobs/{job_id}/events",
    summary="A job's progress as server-sent events",
    responses=EVENTS,
)
@policy("read")
async def job_events(job_id: str, service: TheService, caller: TheCaller) -> Response:
    """`progress` with the job as `GET /api/jobs/{id}` gives it; last `done`, or `error`."""
    return EventStream(_events(_job(service, caller, job_id)))


@jobs.get(
    "/index/progress",
    summary="How far the latest indexing of folders or uploads is",
    responses=described(IndexProgress),
)
@policy("read")
async def progress(service: TheService, caller: TheCaller) -> Response:
    """For the page: one object whatever there is; `/api/jobs` has them all."""
    service.check(caller)
    for job in service.jobs.every():
        if job.kind in {"index", "upload"} and caller.sees(job.collection):
            found = job.snapshot()
            report = dict(found["result"] or {})
            failures = report.pop("failures", [])
            failed = report["documents"]["failed"] if report else 0
            state = "running" if found["state"] == "queued" else found["state"]
            told = {"state": state, "report": report or None, "error": found["error"]}
            return reply({**found["progress"], **told, "failed": failed, "failures": failures})
    nothing: wire.Json = {"state": "idle", "report": None, "error": None, "failed": 0, "failures": []}
    return reply({**Progress().json(), **nothing})


def _job(service: Service, caller: Caller, job_id: str) -> Job:
    job = service.jobs.find(job_id)
    caller.check([job.collection])
    return job


async def _events(job: Job) -> AsyncGenerator[bytes, None]:
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it who listened
            loop.call_soon_threadsafe(changed.set)

    leave = job.listen(tell)
    try:
        while True:
            changed.clear()
            snapshot = job.snapshot()
            if snapshot["state"] in ENDED:
                yield frame("done" if snapshot["state"] == "done" else "error", snapshot)
                return
            yield frame("progress", snapshot)
            await asyncio.sleep(EVENT_PAUSE_S)
            while not changed.is_set():
                try:
                    async with asyncio.timeout(KEEP_ALIVE_S):
                        await changed.wait()
                except TimeoutError:
                    yield KEEP_ALIVE
    finally:
        leave()
