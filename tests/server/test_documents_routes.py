"""Documents in and out over HTTP: uploads, texts, folders, collections."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.errors import CancelledError, NotFoundError
from ragstone.server import uploads
from ragstone.server.access import Caller
from ragstone.server.changes import Changes
from ragstone.server.job import Job
from ragstone.server.jobs import Jobs
from ragstone.settings import Settings
from server.live import LiveService, running, wait_until
from server.uploading import BOUNDARY, ended, finished, multipart, upload

TOWER = b"# The tower\n\nSmeaton finished the third lighthouse in 1759.\n"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Ragstone]:
    settings = Settings(data_dir=tmp_path / "data", max_file_bytes=20_000, max_upload_bytes=50_000)
    with Ragstone(settings=settings, embedder=HashingEmbedder()) as opened:
        yield opened


@pytest.fixture
def service(engine: Ragstone) -> Iterator[LiveService]:
    with running(engine) as live:
        yield live


def kept_files(engine: Ragstone) -> list[Path]:
    return [path for path in (engine.settings.data_dir / uploads.FOLDER).rglob("*") if path.is_file()]


def test_an_uploaded_file_is_found_under_its_name_and_leaves_no_copy(
    service: LiveService, engine: Ragstone
) -> None:
    job = finished(service, upload(service, {"tower.md": TOWER}))
    assert (job["state"], job["kind"], job["label"]) == ("done", "upload", "tower.md")
    assert job["result"]["documents"] == {"indexed": 1, "unchanged": 0, "removed": 0, "failed": 0}
    hit = service.get("/api/search?q=lighthouse").json()["hits"][0]
    assert (hit["uri"], hit["title"]) == ("upload:tower.md", "The tower")
    wait_until(lambda: kept_files(engine) == [], "nothing is left of it")


def test_a_document_without_a_title_is_called_after_the_users_file(service: LiveService) -> None:
    finished(service, upload(service, {"keeper notes.txt": b"oil and wicks"}))
    (listed,) = service.get("/api/documents").json()["documents"]
    assert (listed["uri"], listed["title"]) == ("upload:keeper notes.txt", "keeper notes")


def test_the_same_name_again_replaces_the_document(service: LiveService) -> None:
    finished(service, upload(service, {"a.txt": b"granite"}))
    finished(service, upload(service, {"a.txt": b"limestone"}))
    assert service.get("/api/documents").json()["total"] == 1
    assert service.get("/api/document?uri=upload%3Aa.txt").json()["text"] == "limestone"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("../../etc/passwd.txt", "passwd.txt"),
        ("C:\\x\\y.txt", "y.txt"),
        ("tab\there.txt", "tabhere.txt"),
        ("..keep", "..keep"),
    ],
)
def test_a_users_file_name_is_a_label_and_never_a_path(
    service: LiveService, engine: Ragstone, name: str, label: str
) -> None:
    job = finished(service, upload(service, {name: b"some words"}))
    assert job["result"]["uris"] == [f"upload:{label}"]
    assert not (engine.settings.data_dir.parent / "etc").exists()


def test_what_cannot_be_read_is_refused_before_or_told_after(service: LiveService, engine: Ragstone) -> None:
    refused = upload(service, {"fine.txt": b"words", "film.mp4": b"\0\0"})
    assert (refused.status, refused.json()["code"]) == (422, "unsupported")
    wait_until(lambda: kept_files(engine) == [], "nothing is left of it")
    job = finished(service, upload(service, {"broken.pdf": b"%PDF-1.7 and nothing"}))
    assert job["state"] == "done"
    assert [failure["path"] for failure in job["result"]["failures"]] == ["upload:broken.pdf"]


@pytest.mark.parametrize("files", [{"big.txt": b"a" * 20_001}, {f"{n}.txt": b"a" * 15_000 for n in range(4)}])
def test_too_large_a_file_or_upload_is_refused_and_leaves_nothing(
    service: LiveService, engine: Ragstone, files: dict[str, bytes]
) -> None:
    reply = upload(service, files)
    assert (reply.status, reply.json()["code"]) == (413, "too_large")
    wait_until(lambda: kept_files(engine) == [], "nothing is left of it")
    assert service.get("/api/jobs").json()["jobs"] == []


def test_a_body_in_chunks_is_counted_while_it_comes(service: LiveService) -> None:
    """No Content-Length announces this one."""
    body = multipart({f"{n}.txt": b"a" * 15_000 for n in range(4)})
    with closing(service.connect()) as connection:
        connection.putrequest("POST", "/api/documents")
        connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        try:
            for start in range(0, len(body), 1_000):
                piece = body[start : start + 1_000]
                connection.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            connection.send(b"0\r\n\r\n")
        except OSError:
            pass  # refused already
        assert connection.getresponse().status == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing of the sort",
        multipart({}),
        multipart({"a.txt": b"words"})[:-30],
        multipart({"": b"words"}),
    ],
)
def test_a_body_that_is_no_whole_upload_is_refused(
    service: LiveService, engine: Ragstone, body: bytes
) -> None:
    reply = service.request(
        "POST", "/api/documents", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    )
    assert (reply.status, reply.json()["code"]) == (422, "invalid_input")
    wait_until(lambda: kept_files(engine) == [], "nothing is left of it")


def test_an_upload_whose_client_leaves_is_removed(service: LiveService, engine: Ragstone) -> None:
    body = multipart({"a.txt": b"a" * 10_000})
    with closing(service.connect()) as connection:
        connection.putrequest("POST", "/api/documents")
        connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:5_000])
        wait_until(lambda: bool(kept_files(engine)), "the first half is there")
    wait_until(lambda: kept_files(engine) == [], "it has been removed")


def test_an_acknowledged_upload_survives_the_end_of_its_process(tmp_path: Path) -> None:
    """The job is stopped by the service's end before it has begun; the next service does it."""
    settings = Settings(data_dir=tmp_path / "data")
    with Ragstone(settings=settings, embedder=HashingEmbedder()) as engine:
        with running(engine) as first:
            first.wait_ready()
            first.app.state.service.jobs.add(Job("index", "default", "", until_stopped))
            assert upload(first, {"tower.md": TOWER}).status == 202
        stranger = settings.data_dir / uploads.FOLDER / "default" / "half"
        stranger.mkdir()
        (stranger / "abc.txt").write_text("never listed")
        assert "collections" not in {path.name for path in settings.data_dir.iterdir()}
        with running(engine) as second:
            second.wait_ready()
            wait_until(lambda: bool(second.get("/api/jobs").json()["jobs"]), "the upload is a job again")
            (job,) = second.get("/api/jobs").json()["jobs"]
            assert ended(second, job["id"])["state"] == "done"
            assert second.get("/api/search?q=lighthouse").json()["hits"][0]["uri"] == "upload:tower.md"
        wait_until(lambda: kept_files(engine) == [], "nothing is left of it")


def until_stopped(job: Job) -> dict[str, Any]:
    wait_until(job.cancelled, "the job is told to stop")
    raise CancelledError("stopped")


def test_another_process_does_not_take_an_upload_for_left_over(
    service: LiveService, engine: Ragstone
) -> None:
    receiver = uploads.Receiver(
        engine.settings.data_dir, "default", BOUNDARY.encode(), max_file_bytes=1000, max_bytes=1000
    )
    receiver.feed(multipart({"a.txt": b"words"}))
    assert list(uploads.leftovers(engine.settings.data_dir)) == []
    upload_ = receiver.finish()
    assert list(uploads.leftovers(engine.settings.data_dir)) == []
    upload_.release()
    (left,) = uploads.leftovers(engine.settings.data_dir)
    assert left.files == upload_.files
    left.discard()


def test_texts_are_added_searchable_and_deleted(service: LiveService) -> None:
    texts = [
        {"text": "Dovetail joints in granite", "uri": "note:1", "metadata": {"year": 1759}},
        {"text": "Oil lamps"},
    ]
    added = service.post("/api/texts", {"texts": texts})
    assert added.status == 200
    uris = added.json()["uris"]
    assert uris[0] == "note:1"
    assert service.get("/api/search?q=granite&filter=year:1759").json()["hits"][0]["uri"] == "note:1"
    query = "&".join(f"uri={quote(uri)}" for uri in uris)
    unknown = service.request("DELETE", f"/api/documents?{query}&uri=nothing")
    assert (unknown.status, service.get("/api/documents").json()["total"]) == (404, 2)
    assert service.request("DELETE", f"/api/documents?{query}").json() == {"removed": 2}
    assert service.get("/api/documents").json()["total"] == 0


def test_collections_come_with_their_first_document_and_go_on_request(service: LiveService) -> None:
    for name in ("papers", "letters"):
        service.post("/api/texts", {"texts": [{"text": f"words about {name}"}], "collection": name})
    listed = service.get("/api/collections").json()["collections"]
    assert [(each["name"], each["documents"]) for each in listed] == [("letters", 1), ("papers", 1)]
    assert service.get("/api/stats?collection=papers").json()["documents"] == 1
    assert service.get("/api/documents?collection=papers").json()["total"] == 1
    assert service.get("/api/stats?collection=nowhere").status == 404
    assert service.request("DELETE", "/api/collections/papers").status == 422
    assert service.request("DELETE", "/api/collections/papers?confirm=letters").status == 422
    assert service.request("DELETE", "/api/collections/papers?confirm=papers").json() == {"removed": 1}
    assert [each["name"] for each in service.get("/api/collections").json()["collections"]] == ["letters"]
    assert service.get("/api/search?q=words&collection=papers").status == 404
    service.post("/api/texts", {"texts": [{"text": "new words"}], "collection": "papers"})
    assert service.get("/api/search?q=words&collection=papers").json()["hits"][0]["text"] == "new words"


def test_a_memory_is_no_collection_of_documents(service: LiveService) -> None:
    service.post("/api/texts", {"texts": [{"text": "a document"}]})
    service.post("/api/memory", {"text": "The boiler was serviced in May."})
    assert [each["name"] for each in service.get("/api/collections").json()["collections"]] == ["default"]
    assert service.get("/api/stats").json()["collections"] == ["default"]
    for reply in (
        service.post("/api/texts", {"texts": [{"text": "x"}], "collection": "default.memory"}),
        service.post("/api/index", {"collection": "default.memory", "paths": ["/"]}),
        upload(service, {"a.txt": b"words"}, "?collection=default.memory"),
        service.request("DELETE", "/api/collections/default.memory?confirm=default.memory"),
    ):
        assert (reply.status, "memory" in reply.json()["detail"]) == (422, True)


def test_folders_the_service_was_started_with_are_indexed_again_by_request(
    engine: Ragstone, tmp_path: Path
) -> None:
    root = tmp_path / "library"
    root.mkdir()
    (root / "a.txt").write_text("granite")
    with running(engine, paths=[root]) as service:
        service.wait_ready()
        (root / "b.txt").write_text("limestone")
        job = finished(service, service.post("/api/index", {}))
        assert job["label"] == str(root)
        assert service.get("/api/documents").json()["total"] == 2
        missing = service.post("/api/index", {"paths": [str(root / "nowhere")]})
        assert (missing.status, missing.json()["code"]) == (404, "not_found")
        assert service.post("/api/index", {"paths": ["a\0b"]}).status == 422


def test_only_an_admin_may_index_elsewhere(engine: Ragstone, tmp_path: Path) -> None:
    root, outside = tmp_path / "library", tmp_path / "private"
    for folder in (root, outside):
        folder.mkdir()
    (root / "door").symlink_to(outside)
    changes = Changes(engine, Jobs(), roots=[root])
    writer = Caller("writer", "write")
    assert changes._allowed(str(root), writer) == root
    for path in (outside, root / ".." / "private", root / "door", Path("/etc")):
        with pytest.raises(NotFoundError):
            changes._allowed(str(path), writer)
        assert changes._allowed(str(path), Caller("admin", "admin")).exists()
    changes.close()


def test_an_unknown_type_of_body_is_refused(service: LiveService) -> None:
    reply = service.request(
        "POST", "/api/documents", json.dumps({}).encode(), {"Content-Type": "application/json"}
    )
    assert reply.status == 415
