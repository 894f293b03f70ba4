"""`ragstone memory …` and `chat --memory` as a user types them."""

from __future__ import annotations

import json

import pytest

from cli.shells import Run, Shell, write_documents
from memory.test_store import files_with


def test_a_statement_is_remembered_found_audited_and_forgotten(here: Run, indexed: Shell) -> None:
    added = here(
        "--collection",
        "first",
        "memory",
        "add",
        "The boiler was serviced by Brillig in May.",
        "--importance",
        "0.9",
    )
    assert (added.status, added.out) == (0, "added m1: it is new\n")
    assert here(
        "--collection", "first", "memory", "add", "the boiler was serviced by brillig in may"
    ).out.startswith("refreshed m1")
    refused = here(
        "--collection",
        "first",
        "memory",
        "add",
        "As I said, the boiler was serviced by Brillig in May.",
        "--json",
    ).json
    assert (refused["outcome"], refused["id"]) == ("refused", None)
    found = here("--collection", "first", "memory", "search", "when was the heating checked?", "--json").json[
        "memories"
    ]
    assert [(item["id"], item["tier"], item["importance"]) for item in found] == [("m1", "long_term", 0.9)]
    assert set(found[0]) >= {"text", "score", "sources", "expires_s", "access_count", "superseded_by"}
    shown = here("--collection", "first", "memory", "search", "boiler").out
    assert "memory m1" in shown and "The boiler was serviced by Brillig in May." in shown
    audit = here("--collection", "first", "memory", "audit").out
    assert audit.startswith("1 entries, 0 duplicates, 0 loops, 0 superseded, 0 expiring\nm1 ")
    assert "long_term for 29 days more, relevance 0.75, said again 1 time, said by user" in audit
    assert files_with(indexed.data_dir, b"Brillig")
    assert (
        here("--collection", "first", "memory", "forget", "m1").out
        == "1 forgotten; no file holds them any more\n"
    )
    assert files_with(indexed.data_dir, b"Brillig") == []
    assert here("--collection", "first", "memory", "search", "boiler").out == "nothing found\n"


def test_contradictions_are_shown_and_entries_promoted(here: Run) -> None:
    for text in ("Anna lives in Berlin.", "Anna lives in Munich."):
        here("--collection", "second", "memory", "add", text, "--importance", "1")
    faults = here("--collection", "second", "memory", "audit", "--faults", "--json").json
    assert faults["counts"]["superseded"] == 1
    assert [(line["id"], line["superseded_by"]) for line in faults["memories"]] == [("m1", "m2")]
    assert "superseded by m2" in here("--collection", "second", "memory", "audit").out
    done = here("--collection", "second", "memory", "consolidate")
    assert done.out == "1 promoted, 0 expired\nm2     long_term → episodic\n"
    report = here("--collection", "second", "memory", "consolidate", "--json").json
    assert (report["promoted"], report["no_room"], report["expired"]) == (
        [{"id": "m2", "from_tier": "episodic", "to_tier": "semantic"}],
        0,
        0,
    )
    assert here("--collection", "second", "memory", "forget", "--all", "--json").json == {"forgotten": 2}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("memory", "search", "boiler"), "nothing has been remembered for 'third'"),
        (("memory", "forget"), "say which memories to forget"),
        (("memory", "forget", "m1", "--all"), "say which memories to forget"),
        (("memory", "add", "boiler", "--tier", "eternal"), "no tier 'eternal'"),
        (("memory", "add", "boiler", "--importance", "2"), "importance is 2.0"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(here: Run, command: tuple[str, ...], message: str) -> None:
    done = here("--collection", "third", *command)
    assert done.status == 2
    assert done.err.startswith("error: ") and message in done.err


def test_a_threshold_from_the_documented_table_is_used(shell: Shell) -> None:
    (shell.folder / "ragstone.toml").write_text(
        "[memory]\nconsolidation_threshold = 0.5\ncleanup_interval = 60\n"
    )
    shell.run("memory", "add", "Herons nest on the pier.", "--importance", "0.5")
    assert shell.run("memory", "consolidate").out.startswith("1 promoted")
    (shell.folder / "ragstone.toml").write_text("[memory]\nconsolidation_treshold = 0.5\n")
    done = shell.run("memory", "consolidate")
    assert done.status == 2 and "memory_consolidation_threshold" in done.err


def test_chat_shows_memories_apart_from_citations_and_knows_its_own_answers(shell: Shell) -> None:
    write_documents(shell.folder / "docs")
    shell.run("index", "docs")
    question = "Who signs off the maintenance log?"
    lines = f"/remember Mara Lindqvist is on leave until June.\n{question}\n"
    plain = shell.run("chat", "--memory", stdin=lines)
    assert plain.status == 0, plain.err
    assert "added m1: it is new" in plain.out
    assert "[1] docs/ferry.md" in plain.out
    after_sources = plain.out[plain.out.index("[1] docs/ferry.md") :]
    assert "Mara Lindqvist is on leave" not in plain.out[: plain.out.index("[1] docs/ferry.md")]
    told = shell.run("chat", "--memory", "--json", stdin="Is Mara Lindqvist on leave?\n")
    answer = json.loads(told.out.splitlines()[0])
    assert [item["text"] for item in answer["memories"]] == ["Mara Lindqvist is on leave until June."]
    assert all("on leave" not in citation["quote"] for citation in answer["citations"])
    assert answer["memories"][0]["id"] == "m1"
    without = json.loads(shell.run("chat", "--json", stdin=f"{question}\n").out)
    assert without["memories"] == []
    said = without["answer"].split("[")[0].strip()
    stored = shell.run("memory", "add", said, "--source", "agent", "--json").json
    assert stored["outcome"] == "refused", (said, after_sources)


def test_memories_of_collections_are_apart(here: Run) -> None:
    here("memory", "add", "Herons nest on the pier.", "--collection", "papers")
    assert here("memory", "search", "herons", "--collection", "papers", "--json").json["memories"]
    assert here("memory", "search", "herons").status == 2
