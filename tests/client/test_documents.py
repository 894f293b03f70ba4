"""What the document calls send and read, byte for byte, against a server that plays the service's answers."""

from __future__ import annotations

import pytest

from client.conftest import Either
from client.scripted import ScriptedServer, json_response
from ragstone.client.errors import ClientError
from ragstone.errors import InputError


def sent(scripted: ScriptedServer) -> tuple[str, bytes]:
    """The last request's first line and body."""
    head, _, body = scripted.requests[-1].partition(b"\r\n\r\n")
    return head.decode().partition(" HTTP")[0], body


def test_texts_go_with_what_is_said_of_them(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(json_response({"uris": ["a", "text:9"]}))
    client = either(scripted.url)
    assert client.call("add", ["one", "two"]) == ("a", "text:9")
    assert sent(scripted) == ("POST /api/texts", b'{"texts": [{"text": "one"}, {"text": "two"}]}')
    client.call("add", ["é"], uris=["a"], titles=["A"], metadata=[{"year": 2024}], collection="papers")
    assert sent(scripted)[1] == (
        b'{"texts": [{"text": "\\u00e9", "uri": "a", "title": "A", "metadata": {"year": 2024}}], '
        b'"collection": "papers"}'
    )
    with pytest.raises(InputError, match="1 texts and 2 uris"):
        client.call("add", ["one"], uris=["a", "b"])


def test_a_file_goes_as_a_form(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(json_response({"id": "j1", "state": "queued", "kind": "upload"}, status=202))
    job = either(scripted.url).call("upload", "a report.pdf", b"%PDF \r\n\x00", collection="papers")
    assert (job.id, job.ended, job.members["kind"]) == ("j1", False, "upload")
    line, body = sent(scripted)
    assert line == "POST /api/documents?collection=papers"
    boundary = body.partition(b"\r\n")[0]
    assert body == (
        boundary + b'\r\nContent-Disposition: form-data; name="file"; filename="a report.pdf"\r\n'
        b"Content-Type: application/pdf\r\n\r\n%PDF \r\n\x00\r\n" + boundary + b"--\r\n"
    )
    assert b"content-type: multipart/form-data; boundary=" + boundary[2:] in scripted.requests[0].lower()
    with pytest.raises(InputError, match="file name"):
        either(scripted.url).call("upload", 'a"\r\nb', b"")


def test_documents_are_removed_by_uri(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(json_response({"removed": 2}))
    assert either(scripted.url).call("delete", ["a b", "c"], collection="papers") == 2
    assert sent(scripted)[0] == "DELETE /api/documents?uri=a+b&uri=c&collection=papers"


def test_a_job_is_waited_for_until_it_has_ended(either: Either, scripted: ScriptedServer) -> None:
    states = ["queued", "running", "done"]
    scripted.plays(*(json_response({"id": "j/1", "state": state}) for state in states))
    assert either(scripted.url).call("wait_for_job", "j/1").state == "done"
    assert sent(scripted)[0] == "GET /api/jobs/j%2F1"
    assert len(scripted.requests) == 3


def test_a_job_that_does_not_end_is_given_up(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(json_response({"id": "j", "state": "running"}))
    with pytest.raises(ClientError, match="not ended") as late:
        either(scripted.url).call("wait_for_job", "j", timeout_s=0.05)
    assert late.value.code == "timeout"


def test_a_job_is_begun_and_cancelled(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(json_response({"id": "j", "state": "cancelled"}, status=202))
    client = either(scripted.url)
    assert client.call("index", ["/papers"]).id == "j"
    assert sent(scripted) == ("POST /api/index", b'{"paths": ["/papers"]}')
    assert client.call("cancel_job", "j").ended
    assert sent(scripted)[0] == "DELETE /api/jobs/j"
