"""A key for some collections can neither change nor see what is in others, by any of the routes."""

from __future__ import annotations

from pathlib import Path

from server.keyed import fill, keyed
from server.uploading import BOUNDARY, multipart

TEXTS = {"texts": [{"text": "words"}]}


def test_a_bound_key_changes_and_sees_only_its_own(tmp_path: Path) -> None:
    fill(tmp_path / "data", {"default": ["The office opens at nine."], "secret": ["The vault opens at ten."]})
    with keyed(tmp_path / "data") as service:
        bound = service.key("bound", may="write", only=["default"])
        headers = {"Authorization": f"Bearer {bound}"}

        def status(method: str, path: str, body: object = None) -> int:
            if method == "POST":
                return service.post(path, body or {}, bound).status
            return service.live.request(method, path, headers=headers).status

        for method, path, body in (
            ("POST", "/api/texts", {**TEXTS, "collection": "secret"}),
            ("POST", "/api/texts", {**TEXTS, "collection": "new"}),
            ("POST", "/api/index", {"collection": "secret"}),
            ("POST", "/api/index", {"paths": [str(tmp_path)]}),  # not below what the service was started with
            ("POST", "/api/memory", {"text": "A statement.", "collection": "secret"}),
            ("POST", "/api/feedback", {"query": "vault", "id": 1, "collection": "secret"}),
            ("POST", "/api/retrieve", {"facts": "vault"}),  # its sources look into all collections
            ("DELETE", "/api/documents?uri=secret/0&collection=secret", None),
            ("GET", "/api/stats?collection=secret", None),
            ("GET", "/api/documents?collection=secret", None),
            ("GET", "/api/explain?q=vault&uri=secret/0&collection=secret", None),
            ("GET", "/api/feedback?collection=secret", None),
            ("GET", "/api/memory?collection=secret", None),
            ("GET", "/api/recommend?collection=secret", None),
        ):
            assert status(method, path, body) == 404, (method, path)
        sent = {**headers, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        form = multipart({"a.txt": b"words"})
        refused = service.live.request("POST", "/api/documents?collection=secret", form, sent)
        assert refused.status == 404
        assert not (tmp_path / "data" / "uploads").exists()

        admin = service.key("admin", may="admin")
        (tmp_path / "vault.txt").write_text("The vault opens at eleven.")
        vault = {"paths": [str(tmp_path / "vault.txt")], "collection": "secret"}
        hidden = service.post("/api/index", vault, admin).json()["id"]
        for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
            assert status(method, f"/api/jobs/{hidden}{path}") == 404
        assert service.get("/api/jobs", bound).json()["jobs"] == []
        listed = service.get("/api/collections", bound).json()["collections"]
        assert [each["name"] for each in listed] == ["default"]
        assert status("DELETE", "/api/collections/default?confirm=default") == 403
        assert status("POST", "/api/tune", {}) == 403
        assert status("POST", "/api/texts", TEXTS) == 200
