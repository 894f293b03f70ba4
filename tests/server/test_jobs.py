"""The lane of jobs: one at a time, bounded, followed, cancelled, ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_clock import FakeClock
from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.errors import CancelledError, InputError
from ragstone.server.job import Job
from ragstone.server.jobs import KEPT, Jobs
from ragstone.server.problems import QueueFullError
from ragstone.server.progress import Progress
from server.live import LiveService, parse_event, running, wait_until
from server.uploading import ended

LIMIT_S = 10.0


@pytest.fixture
def lane() -> Iterator[Jobs]:
    jobs = Jobs(max_waiting=3)
    jobs.start()
    yield jobs
    jobs.stop()
    assert jobs.join(LIMIT_S)


def job(work: Callable[[Job], dict[str, Any]] = lambda job: {}, **options: Any) -> Job:
    return Job("index", "default", "label", work, **options)


def wait_for_cancel(job: Job) -> dict[str, Any]:
    wait_until(job.cancelled, "the job is told to stop")
    raise CancelledError("stopped")


def over(job: Job) -> str:
    done = threading.Event()
    leave = job.listen(lambda: done.set() if job.state in {"done", "failed", "cancelled"} else None)
    if job.state not in {"done", "failed", "cancelled"}:
        assert done.wait(LIMIT_S)
    leave()
    return job.state


def test_jobs_run_one_after_the_other_in_their_order(lane: Jobs) -> None:
    at_work = threading.Semaphore(1)
    order: list[str] = []

    def work(job: Job) -> dict[str, Any]:
        assert at_work.acquire(blocking=False), "two jobs at once"
        order.append(job.id)
        at_work.release()
        return {"of": job.id}

    jobs = [lane.add(job(work)) for _ in range(3)]
    assert [over(each) for each in jobs] == ["done"] * 3
    assert order == [each.id for each in jobs]
    assert jobs[0].snapshot()["result"] == {"of": jobs[0].id}
    assert [each.id for each in lane.every()] == order[::-1]


def test_a_full_queue_refuses_and_takes_again_when_there_is_room(lane: Jobs) -> None:
    running_ = lane.add(job(wait_for_cancel))
    wait_until(lambda: running_.state == "running", "the first runs")
    waiting = [lane.add(job()) for _ in range(3)]
    with pytest.raises(QueueFullError):
        lane.add(job())
    lane.cancel(waiting[0])
    assert waiting[0].state == "cancelled"
    lane.add(job())
    lane.cancel(running_)
    assert (over(running_), over(waiting[2])) == ("cancelled", "done")


def test_what_a_job_raises_is_its_error_and_the_next_one_runs(lane: Jobs) -> None:
    def refuse(job: Job) -> dict[str, Any]:
        raise InputError("no documents", hint="name a folder")

    def break_(job: Job) -> dict[str, Any]:
        raise ZeroDivisionError("secret detail")

    refused, broken, fine = lane.add(job(refuse)), lane.add(job(break_)), lane.add(job())
    assert [over(each) for each in (refused, broken, fine)] == ["failed", "failed", "done"]
    assert refused.snapshot()["error"] == {
        "code": "invalid_input",
        "message": "no documents",
        "hint": "name a folder",
    }
    assert "secret" not in str(broken.snapshot()["error"])


def test_stopping_ends_the_running_job_and_those_that_wait() -> None:
    jobs = Jobs()
    ended_: list[tuple[str, bool]] = []

    def note(job: Job) -> None:
        ended_.append((job.state, job.interrupted))

    first, second = (
        jobs.add(job(wait_for_cancel, on_end=note)),
        jobs.add(job(on_end=note)),
    )
    jobs.start()
    wait_until(lambda: first.state == "running", "the first runs")
    jobs.stop()
    assert jobs.join(LIMIT_S)
    assert (first.state, second.state) == ("cancelled", "cancelled")
    assert ended_ == [("cancelled", True)] * 2
    with pytest.raises(QueueFullError):
        jobs.add(job())


def tuning(work: Callable[[Job], dict[str, Any]]) -> Job:
    return Job("tune", "default", "label", work)


def test_a_tuning_job_holds_no_other_up_and_tuning_jobs_run_one_after_the_other(lane: Jobs) -> None:
    first, second = lane.add(tuning(wait_for_cancel)), lane.add(tuning(lambda job: {}))
    wait_until(lambda: first.state == "running", "it measures")
    assert over(lane.add(job())) == "done"
    assert (first.state, second.state) == ("running", "queued")
    lane.cancel(first)
    assert (over(first), over(second)) == ("cancelled", "done")


def test_a_tuning_job_applies_in_its_turn_right_after_the_job_that_writes(lane: Jobs) -> None:
    order: list[str] = []
    may_end, asked = threading.Event(), threading.Event()

    def write(job: Job) -> dict[str, Any]:
        assert may_end.wait(LIMIT_S)
        order.append("write")
        return {}

    def apply(job: Job) -> dict[str, Any]:
        asked.set()
        with lane.turn(job):
            assert writing.state == "done"
            assert waiting.state == "queued"
            order.append("apply")
        return {}

    writing = lane.add(job(write))
    wait_until(lambda: writing.state == "running", "one writes")
    applying = lane.add(tuning(apply))
    waiting = lane.add(job(lambda job: order.append("next") or {}))  # type: ignore[func-returns-value]
    assert asked.wait(LIMIT_S)
    wait_until(lambda: lane._writing.held, "it waits for its turn")
    may_end.set()
    assert [over(each) for each in (writing, applying, waiting)] == ["done"] * 3
    assert order == ["write", "apply", "next"]


def test_a_tuning_job_that_waits_for_its_turn_can_be_cancelled(lane: Jobs) -> None:
    def apply(job: Job) -> dict[str, Any]:
        with lane.turn(job):
            raise AssertionError("it was cancelled")

    writing = lane.add(job(wait_for_cancel))
    wait_until(lambda: writing.state == "running", "one writes")
    applying = lane.add(tuning(apply))
    wait_until(lambda: lane._writing.held, "it waits for its turn")
    lane.cancel(applying)
    assert over(applying) == "cancelled"
    lane.cancel(writing)
    assert over(lane.add(job())) == "done"


def test_only_the_latest_ended_jobs_are_kept(lane: Jobs) -> None:
    for _ in range(KEPT + 5):
        over(lane.add(job()))
    assert len(lane.every()) <= KEPT + 1


def test_progress_speaks_of_the_earliest_unfinished_stage_and_its_rate() -> None:
    clock = FakeClock()
    progress = Progress(clock)
    assert progress.json()["stage"] is None
    progress.note("read", 0, 100)
    progress.note("embed", 5, 10)
    clock.advance(2.0)
    progress.note("read", 50, 100, "b.txt")
    assert progress.json() == {
        "stage": "read",
        "done": 50,
        "total": 100,
        "per_second": 25.0,
        "seconds_left": 2.0,
        "uri": "b.txt",
    }
    progress.note("read", 100, 100)
    assert progress.json()["stage"] == "embed"


# -- over HTTP -----------------------------------------------------------------------------------------------


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LiveService]:
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as engine, running(engine) as live:
        live.wait_ready()
        yield live


def start_job(service: LiveService, work: Callable[[Job], dict[str, Any]]) -> str:
    started: Job = service.app.state.service.jobs.add(Job("index", "default", "label", work))
    return started.id


def test_events_tell_the_progress_and_end_with_done(service: LiveService) -> None:
    seen, may_end = threading.Event(), threading.Event()

    def work(job: Job) -> dict[str, Any]:
        job.note("read", 1, 2, "a.txt")
        seen.set()
        assert may_end.wait(LIMIT_S)
        return {"documents": 2}

    id_ = start_job(service, work)
    assert seen.wait(LIMIT_S)
    connection = service.connect()
    connection.request("GET", f"/api/jobs/{id_}/events")
    response = connection.getresponse()
    assert response.getheader("content-type") == "text/event-stream; charset=utf-8"
    first = parse_event((response.readline() + response.readline()).decode().rstrip("\n"))
    assert (first[0], first[1]["progress"]["done"]) == ("progress", 1)
    may_end.set()
    rest = response.read().decode()
    last = parse_event(rest.strip("\n").rsplit("\n\n", 1)[-1])
    assert (last[0], last[1]["result"]) == ("done", {"documents": 2})
    connection.close()
    assert service.app.state.service.jobs.find(id_)._listeners == []


def test_a_cancelled_job_ends_its_events_with_an_error(service: LiveService) -> None:
    id_ = start_job(service, wait_for_cancel)
    reply = service.request("DELETE", f"/api/jobs/{id_}")
    assert reply.status == 202
    name, data = service.get(f"/api/jobs/{id_}/events").events()[-1]
    assert (name, data["state"]) == ("error", "cancelled")
    again = service.request("DELETE", f"/api/jobs/{id_}")
    assert (again.status, again.json()["state"]) == (202, "cancelled")


def test_a_listener_that_leaves_is_forgotten(service: LiveService) -> None:
    id_ = start_job(service, wait_for_cancel)
    found: Job = service.app.state.service.jobs.find(id_)
    connection = service.connect()
    connection.request("GET", f"/api/jobs/{id_}/events")
    response = connection.getresponse()
    response.readline()
    wait_until(lambda: len(found._listeners) == 1, "somebody listens")
    response.close()
    connection.close()
    wait_until(lambda: found._listeners == [], "nobody does")
    service.request("DELETE", f"/api/jobs/{id_}")
    assert ended(service, id_)["state"] == "cancelled"


def test_too_many_jobs_are_429_with_a_time_to_come_back(service: LiveService) -> None:
    service.post("/api/texts", {"texts": [{"text": "words"}]})
    ids = [start_job(service, wait_for_cancel)]
    wait_until(lambda: service.get(f"/api/jobs/{ids[0]}").json()["state"] == "running", "the lane is taken")
    replies = [service.post("/api/tune/rollback", {}) for _ in range(33)]
    assert [reply.status for reply in replies] == [202] * 32 + [429]
    assert (replies[-1].json()["code"], replies[-1].headers["retry-after"]) == ("queue_full", "1")
    writing = service.request("DELETE", "/api/collections/default?confirm=default")
    assert (writing.status, writing.json()["code"]) == (409, "locked")


def test_an_unknown_job_is_not_found(service: LiveService) -> None:
    for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
        reply = service.request(method, f"/api/jobs/x{path}")
        assert (reply.status, reply.json()["code"]) == (404, "not_found")
