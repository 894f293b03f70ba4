"""A support bundle says how things are, and holds no secret, no document and no question."""

from __future__ import annotations

import json
import stat
import string
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from hashing_embedder import HashingEmbedder
from ragstone import support
from ragstone.engine import Ragstone
from ragstone.errors import InputError, StoreError
from ragstone.importers.journal import Journal, SourceFile, folder_of, write
from ragstone.settings import Settings
from ragstone.version import __version__

FINDING = {
    "check": "disk",
    "ok": False,
    "message": "full: /home/mara/data",
    "hint": "make room",
    "status": 12,
}
ENVIRON = {"HOME": "/home/mara", "GITHUB_TOKEN": "ghp-in-the-environment", "EDITOR": "vim"}
LOG = """2026-11-21 WARNING ragstone: chat at https://mara:wine-red@chat.example failed with sk-0123456789abcdef
2026-11-21 WARNING ragstone: Authorization: Bearer rgs_0123456789ab_abcdefghijklmnopqrstuvwxyz
2026-11-21 WARNING ragstone: {"api_key": "k-written-out", "password":"p-written-out"} ghp-in-the-environment
2026-11-21 WARNING ragstone: AUTH failed for redis-password
2026-11-21 WARNING ragstone: /home/mara/notes/old.pdf is encrypted
"""
SECRETS = (
    "wine-red", "sk-0123456789abcdef", "rgs_0123456789ab", "k-written-out", "p-written-out", "ghp-in-the-environment",
    "chat-key-itself", "redis-password", "/home/mara",
)  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data directory with a document, an import, a log, and secrets in the settings."""
    data_dir = tmp_path / "data"
    with Ragstone(data_dir, embedder=HashingEmbedder()) as engine:
        engine.add(["The vault's number is nine."], uris=["secret-plan.md"])
    files = (SourceFile("a.index", 70, "0"), SourceFile("b.pkl", 30, "0"))
    write(
        folder_of(data_dir, "default", "mark"),
        Journal("default", "faiss", "mark", "/home/mara/old", "/home/mara", files, True, "done", 1.0),
    )
    (data_dir / "logs").mkdir()
    (data_dir / "logs" / "ragstone.log").write_text(LOG)
    return Settings(
        data_dir=data_dir,
        chat_api_key=SecretStr("chat-key-itself"),
        cache_redis_url=SecretStr("redis://:redis-password@127.0.0.1:1/0"),
    )


def test_it_says_how_things_are(settings: Settings) -> None:
    files = support.contents(settings, [FINDING], environ=ENVIRON, clock=lambda: 0.0)
    made = {name: json.loads(text) for name, text in files.items() if name.endswith(".json")}
    assert made["summary.json"]["ragstone"] == __version__
    assert made["summary.json"]["made"] == "1970-01-01T00:00:00Z"
    assert made["doctor.json"][0]["check"] == "disk"
    assert made["collections.json"]["default"]["documents"] == 1
    (imported,) = made["imports.json"]
    assert (imported["state"], imported["files"], imported["bytes"]) == ("done", 2, 100)
    assert made["settings.json"]["chat_api_key"]["value"] == "********"
    assert any(file["path"].endswith("catalog.sqlite") for file in made["files.json"])
    assert "old.pdf is encrypted" in files["logs/ragstone.log"]
    assert set(files) == {*made, "logs/ragstone.log", "README.txt"}


def test_no_secret_document_or_title_is_in_it(settings: Settings) -> None:
    files = support.contents(settings, [FINDING], environ=ENVIRON)
    whole = "\n".join(files.values())
    for secret in (*SECRETS, "vault", "secret-plan"):
        assert secret not in whole, secret
    assert "~/notes/old.pdf" in whole
    assert "7 secret-looking values" in files["README.txt"]


@given(
    st.text(string.ascii_letters + string.digits + "_-", min_size=20, max_size=40),
    st.sampled_from(
        [
            "key {}",
            "sk-{}",
            "rgs_{}",
            "Bearer {}",
            "token={}",
            '"api_key": "{}"',
            "redis://u:{}@host/0",
            "password: '{}'",
        ]
    ),
    st.text(max_size=19),
)
def test_whatever_its_form_and_place_a_secret_is_removed(secret: str, form: str, around: str) -> None:
    known = [secret] if form == "key {}" else []
    text = f"{around} {form.format(secret)} {around}"
    assert secret not in support.Redactor(known).text(text)


def test_a_text_without_secrets_stays_as_it_is() -> None:
    redactor = support.Redactor(["a-long-secret"], home="/")
    for text in (
        "500 tokens: fine",
        "https://example.org/a@b",
        "the monkey: 3",
        "keyword index rebuilt, 4 segments",
    ):
        assert redactor.text(text) == text
    assert redactor.removed == 0


def test_broken_settings_and_a_broken_store_still_give_a_bundle(settings: Settings) -> None:
    assert set(support.contents(None, [FINDING], environ={})) == {"summary.json", "doctor.json", "README.txt"}
    (settings.data_dir / "collections" / "default" / "catalog.sqlite").write_bytes(b"nothing" * 1000)
    made = json.loads(support.contents(settings, [], environ={})["collections.json"])
    assert "error" in made["default"]


def test_long_logs_are_cut_at_a_line(settings: Settings) -> None:
    lines = [f"line {n}" for n in range(60_000)]
    (settings.data_dir / "logs" / "ragstone.log").write_text("\n".join(lines) + "\n")
    log = support.contents(settings, [], environ={})["logs/ragstone.log"]
    assert 0 < len(log) <= support.LOG_BYTES
    assert log.splitlines() == lines[-len(log.splitlines()) :]


def test_the_file_is_its_owners_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    support.write(path, {"a.json": "{}", "logs/b": "é"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with zipfile.ZipFile(path) as bundle:
        assert bundle.testzip() is None
        assert {name: bundle.read(name).decode() for name in bundle.namelist()} == {
            "a.json": "{}",
            "logs/b": "é",
        }
    with pytest.raises(InputError, match="exists"):
        support.write(path, {})
    with pytest.raises(StoreError, match="cannot be written"):
        support.write(tmp_path / "nowhere" / "bundle.zip", {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle.zip"]
