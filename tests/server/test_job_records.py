"""Jobs outlive their process: what was not through is taken up, what ended is listed, damage costs one record."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.errors import CancelledError
from ragstone.server.job import Job, JobRecord
from ragstone.server.job_records import DAMAGED_KEPT, JobRecords
from ragstone.server.jobs import KEPT, Jobs
from ragstone.server.works import BEGUN_MAX
from ragstone.settings import Settings
from server.live import LiveService, running, wait_until
from server.uploading import ended, finished, upload

SERVE = Path(__file__).with_name("serving_slowly.py")
FILES = 120


@pytest.fixture
def records(tmp_path: Path) -> Iterator[JobRecords]:
    opened = JobRecords(tmp_path)
    yield opened
    opened.close()


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "jobs").iterdir())


def kept(records: JobRecords, **options: Any) -> Job:
    job = Job("index", "default", "label", lambda job: {"n": 1}, request={"paths": []}, **options)
    records.keep(job, job.snapshot())
    job.record = records.keep
    return job


def states(records: JobRecords) -> dict[str, str]:
    return {record.id: record.state for record in records.left()}


def test_a_job_that_a_process_holds_is_not_taken_for_left_over(records: JobRecords, tmp_path: Path) -> None:
    waiting, done = kept(records), kept(records)
    done.run()
    other = JobRecords(tmp_path)
    assert states(other) == {done.id: "done"}
    records.close()
    assert states(other) == {waiting.id: "queued", done.id: "done"}
    assert states(JobRecords(tmp_path)) == {done.id: "done"}  # now the other one holds it
    other.close()


def test_a_record_says_what_the_job_said(records: JobRecords) -> None:
    job = kept(records)
    job.note("read", 3, 4, "a.txt")
    job.run()
    (record,) = records.left()
    assert Job.ended(record).snapshot() == job.snapshot()


def test_what_was_interrupted_stays_as_it_was_and_what_was_cancelled_does_not(
    records: JobRecords, tmp_path: Path
) -> None:
    jobs, begun = Jobs(records), threading.Event()

    def until_stopped(job: Job) -> dict[str, Any]:
        begun.set()
        wait_until(job.cancelled, "it is told to stop")
        raise CancelledError("stopped")

    running_, waiting, unwanted, unwritten = (
        jobs.add(Job("index", "default", name, until_stopped, request=request))
        for name, request in (("a", {}), ("b", {}), ("c", {}), ("d", None))
    )
    jobs.start()
    assert begun.wait(10)
    jobs.cancel(unwanted)
    jobs.stop()
    assert jobs.join(10)
    records.close()
    assert states(JobRecords(tmp_path)) == {
        running_.id: "running",
        waiting.id: "queued",
        unwanted.id: "cancelled",
    }
    assert unwritten.state == "cancelled"


def test_one_whose_cancelling_was_wished_is_not_taken_up_because_the_service_stops_too(
    records: JobRecords,
) -> None:
    job = kept(records)
    job._work = lambda job: job.cancel() or job.cancel(lane_stopped=True) or _stopped()  # type: ignore[func-returns-value]
    job.run()
    assert (states(records), job.interrupted) == ({job.id: "cancelled"}, False)


def _stopped() -> dict[str, Any]:
    raise CancelledError("stopped")


def test_many_ended_jobs_leave_as_many_records_as_are_shown(records: JobRecords, tmp_path: Path) -> None:
    jobs = Jobs(records)
    jobs.show([])
    tuned = Job("tune", "default", "", lambda job: {}, request={})
    for job in (tuned, *(Job("index", "default", "", lambda job: {}, request={}) for _ in range(KEPT + 3))):
        job.record = records.keep
        job.run()
        jobs.show([job])
    assert len(files(tmp_path)) == len(jobs.every()) == KEPT + 1
    assert jobs.find(tuned.id) is tuned  # uploads do not push it out


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\x00" * 4096,
        b"[]",
        b'{"id": "0123456789abcdef"}',
        b"x" * (5 << 20),
    ],
)
def test_a_damaged_record_is_set_aside_with_a_warning(
    records: JobRecords, tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    fine, broken = kept(records), kept(records)
    for job in (fine, broken):
        job.run()
    (tmp_path / "jobs" / f"{broken.id}.json").write_bytes(damage)
    with caplog.at_level(logging.WARNING, "ragstone.server"):
        assert states(JobRecords(tmp_path)) == {fine.id: "done"}
    assert "damaged" in caplog.text
    assert files(tmp_path) == sorted([f"{fine.id}.json", f"{broken.id}.damaged"])


def test_a_record_under_another_jobs_name_and_a_link_are_not_read(
    records: JobRecords, tmp_path: Path
) -> None:
    job = kept(records)
    job.run()
    folder = tmp_path / "jobs"
    (folder / f"{job.id}.json").rename(folder / "0123456789abcdef.json")
    (tmp_path / "elsewhere").write_text("{}")
    (folder / "fedcba9876543210.json").symlink_to(tmp_path / "elsewhere")
    assert states(records) == {}
    assert (tmp_path / "elsewhere").read_text() == "{}"


def test_damaged_and_half_written_files_do_not_pile_up(records: JobRecords, tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    for number in range(DAMAGED_KEPT + 5):
        (folder / f"{number:016x}.json").write_text("damaged")
    (folder / "old.new").write_text("half")
    os.utime(folder / "old.new", (0, 0))
    (folder / "fresh.new").write_text("half")
    assert records.left() == []
    assert len(list(folder.glob("*.damaged"))) == DAMAGED_KEPT
    assert [path.name for path in folder.glob("*.new")] == ["fresh.new"]


def test_a_disk_that_takes_nothing_costs_the_record_and_not_the_job(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "jobs").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING, "ragstone.server"):
        job = kept(JobRecords(tmp_path))
        job.run()
    assert job.state == "done"
    assert "not recorded" in caplog.text


# -- the service ---------------------------------------------------------------------------------------------


@contextmanager
def serving(data_dir: Path, **options: Any) -> Iterator[LiveService]:
    settings = Settings(data_dir=data_dir)
    with (
        Ragstone(settings=settings, embedder=HashingEmbedder()) as engine,
        running(engine, **options) as live,
    ):
        live.wait_ready()
        yield live


def test_ended_jobs_are_listed_after_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        fine = finished(first, upload(first, {"tower.md": b"Smeaton finished the tower in 1759."}))
        failed = finished(first, first.post("/api/tune/rollback", {}))
        listed = first.get("/api/jobs").json()
    assert failed["state"] == "failed"
    with serving(tmp_path) as second:
        assert second.get("/api/jobs").json() == listed
        assert second.get(f"/api/jobs/{fine['id']}").json() == fine
        name, data = second.get(f"/api/jobs/{fine['id']}/events").events()[-1]
        assert (name, data) == ("done", fine)


def left_behind(data_dir: Path, *jobs: dict[str, Any]) -> None:
    """Records as a process leaves them that is killed."""
    folder = data_dir / "jobs"
    folder.mkdir(parents=True)
    for number, job in enumerate(jobs):
        record = JobRecord(
            **{
                "id": f"{number:016x}",
                "collection": "default",
                "label": "",
                "state": "running",
                "created_s": float(number),
                "started_s": None,
                "ended_s": None,
                "progress": {},
                "result": None,
                "error": None,
                "request": {},
                **job,
            }
        )
        (folder / f"{record.id}.json").write_text(record.model_dump_json())


def test_what_cannot_be_done_twice_is_told_and_the_rest_taken_up(tmp_path: Path) -> None:
    (tmp_path / "ferry.md").write_text("The ferry leaves at 7:40.")
    data = tmp_path / "data"
    with serving(data) as service:
        service.post("/api/texts", {"texts": [{"text": "words"}]})
    left_behind(
        data,
        {"kind": "rollback", "begun": 1},
        {"kind": "rollback", "state": "queued"},  # it had not begun
        {"kind": "upload"},  # its files are gone
        {"kind": "index", "request": {"paths": [str(tmp_path / "ferry.md")]}},
        {"kind": "index", "request": {"folders": 1}},
        {"kind": "tune", "request": {"budget_s": 1}, "begun": BEGUN_MAX - 1},
        {"kind": "index", "request": {"paths": [str(tmp_path / "ferry.md")]}, "begun": BEGUN_MAX},
    )
    with serving(data, paths=[tmp_path / "ferry.md"]) as service:
        jobs = [ended(service, f"{number:016x}") for number in range(7)]
        states = [job["state"] for job in jobs]
        assert states == ["failed", "failed", "failed", "done", "failed", "done", "failed"]
        codes = [job["error"]["code"] for job in jobs if job["error"]]
        assert codes == ["interrupted", "invalid_input", "interrupted", "interrupted", "interrupted"]
        assert jobs[3]["created_s"] == 3.0
        assert service.get("/api/search?q=ferry&mode=keyword").json()["hits"]
    with serving(data) as service:  # nothing is left to do
        assert {job["state"] for job in service.get("/api/jobs").json()["jobs"]} <= {"failed", "done"}


def test_a_killed_service_takes_up_what_it_was_asked_to_index(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number}.md").write_text(f"Keeper {number} polished lens {number * 7}.")
    (tmp_path / "second.md").write_text("The second job waits behind the first.")
    with served(tmp_path, "0.05") as (process, url):
        first = posted(f"{url}api/index", {"paths": [str(folder)]})
        second = posted(f"{url}api/index", {"paths": [str(tmp_path / "second.md")], "collection": "other"})
        wait_until(lambda: read(f"{url}api/jobs/{first['id']}")["progress"]["done"] > 3, "it is under way")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    for record in (tmp_path / "data" / "jobs").glob("*.json"):
        assert json.loads(record.read_text())["begun"] == (record.stem == first["id"])
    with served(tmp_path, "0") as (_, url):
        for begun in (first, second):
            address = f"{url}api/jobs/{begun['id']}"
            wait_until(lambda address=address: read(address)["state"] == "done", "it is through")  # type: ignore[misc]
            assert (read(address)["created_s"], read(address)["label"]) == (
                begun["created_s"],
                begun["label"],
            )
        assert read(f"{url}api/stats")["documents"] == FILES
        assert read(f"{url}api/stats")["unembedded"] == 0
        assert read(f"{url}api/stats?collection=other")["documents"] == 1


@contextmanager
def served(tmp_path: Path, pause_s: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, str(SERVE), str(tmp_path / "data"), pause_s]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(20)


def posted(url: str, body: object) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def read(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as response:
        return json.load(response)
