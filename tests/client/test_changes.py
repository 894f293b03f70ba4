"""What the clients' calls change in a running service: texts, files, folders, jobs, deletions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.conftest import Either
from hashing_embedder import HashingEmbedder
from ragstone.client.errors import ServiceError
from ragstone.engine import Ragstone
from ragstone.errors import CancelledError
from ragstone.server.job import Job
from ragstone.types import AnswerDone
from server.live import LiveService, running, wait_until

FERRY = "The ferry to Holm leaves at 7:40."


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LiveService]:
    """A service of this test alone, empty."""
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as engine, running(engine) as live:
        live.wait_ready()
        yield live


def uris(client: Any) -> list[str]:
    return [document.uri for document in client.call("documents").documents]


def test_a_file_is_uploaded_followed_found_and_deleted(either: Either, own: LiveService) -> None:
    client = either(own.url)
    begun = client.call("upload", "ferry times.md", f"# Ferries\n\n{FERRY}".encode())
    job = client.call("wait_for_job", begun.id)
    assert (job.id, job.state, job.members["kind"]) == (begun.id, "done", "upload")
    assert job.members["result"]["uris"] == uris(client) == ["upload:ferry times.md"]
    assert client.call("job", begun.id) == job
    assert FERRY in client.call("document", "upload:ferry times.md").text
    (hit,) = client.call("search", "ferry Holm").hits
    assert hit.uri == "upload:ferry times.md"
    assert client.call("delete", ["upload:ferry times.md"]) == 1
    assert uris(client) == []


def test_a_file_that_is_no_document_is_refused_in_the_services_words(
    either: Either, own: LiveService
) -> None:
    with pytest.raises(ServiceError) as refused:
        either(own.url).call("upload", "program.exe", b"MZ")
    assert (refused.value.status, refused.value.code) == (422, "unsupported")


def test_a_folder_is_indexed_and_what_was_left_out_is_told(
    either: Either, own: LiveService, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "ferry.md").write_text(FERRY)
    (folder / "empty.pdf").write_bytes(b"%PDF-1.7 nothing")
    client = either(own.url)
    job = client.call("wait_for_job", client.call("index", [str(folder)], collection="ferries").id)
    assert job.members["result"]["documents"]["indexed"] == 1
    assert [Path(failure["path"]).name for failure in job.members["result"]["failures"]] == ["empty.pdf"]
    assert client.call("document", str(folder / "ferry.md"), collection="ferries").text == FERRY
    with pytest.raises(ServiceError, match="no file or folder"):
        client.call("index", [str(folder / "nowhere")])


def test_a_running_job_is_cancelled(either: Either, own: LiveService) -> None:
    begun = threading.Event()

    def work(job: Job) -> dict[str, Any]:
        begun.set()
        wait_until(job.cancelled, "the job is told to stop")
        raise CancelledError("stopped")

    job: Job = own.app.state.service.jobs.add(Job("index", "default", "label", work))
    assert begun.wait(10)
    client = either(own.url)
    assert client.call("job", job.id).state == "running"
    client.call("cancel_job", job.id)
    assert client.call("wait_for_job", job.id).state == "cancelled"
    assert client.call("cancel_job", job.id).state == "cancelled"
    with pytest.raises(ServiceError) as unknown:
        client.call("cancel_job", "none")
    assert unknown.value.status == 404


def test_texts_are_added_replaced_and_deleted_all_or_none(either: Either, own: LiveService) -> None:
    client = either(own.url)
    given = client.call("add", [FERRY, "Herons nest."], uris=["a", "b"], metadata=[{"year": 2024}, {}])
    assert given == ("a", "b")
    client.call("add", ["Herons nest on the pier."], uris=["b"])
    assert client.call("document", "b").text == "Herons nest on the pier."
    with pytest.raises(ServiceError) as unknown:
        client.call("delete", ["a", "c"])
    assert (unknown.value.status, uris(client)) == (404, ["a", "b"])
    assert client.call("delete", ["a", "b"]) == 2


def test_an_answer_uses_memory_when_asked_to(either: Either, service: LiveService) -> None:
    service.post("/api/memory", {"text": "Smeaton's third lighthouse is on my stamp."})
    client = either(service.url)
    question = "Who finished the third lighthouse?"
    assert client.call("ask", question).memories == ()
    (memory,) = client.call("ask", question, memory=True).memories
    assert (memory.id, memory.text) == ("m1", "Smeaton's third lighthouse is on my stamp.")
    last = client.listen(question, memory=True)[-1]
    assert isinstance(last, AnswerDone)
    assert last.answer.memories == (memory,)
