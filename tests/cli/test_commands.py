"""What each command prints and how it ends, in a pipe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from cli.shells import COMMAND, FERRY, KEEPER, Run, Shell, write_documents
from ragstone.cli.doctor import STATUS
from reranking.overlap_model import make_folder

COMMANDS = (
    "index", "search", "ask", "chat", "serve", "list", "delete", "verify", "stats", "doctor", "config", "eval",
    "import", "rollback", "support", "explain", "bench", "backup", "restore", "watch",
)  # fmt: skip
SUBCOMMANDS = {"config": ["show"], "support": ["bundle"]}


def test_indexing_prints_each_document_then_one_line_of_result(shell: Shell) -> None:
    write_documents(shell.folder / "docs")
    done = shell.run("index", "docs")
    lines = done.out.splitlines()
    docs = shell.folder / "docs"
    assert sorted(lines[:-1]) == [f"indexed {docs / 'ferry.md'}", f"indexed {docs / 'keeper.txt'}"]
    assert lines[-1].startswith("2 indexed, 0 unchanged, 0 removed · ")
    assert (done.status, done.err) == (0, "")


def test_indexing_again_finds_nothing_to_do_and_removes_what_is_gone(shell: Shell) -> None:
    write_documents(shell.folder / "docs")
    shell.run("index", "docs")
    again = shell.run("index", "docs", "--json").json
    assert again["documents"] == {"indexed": 0, "unchanged": 2, "removed": 0, "failed": []}
    assert again["embedded"] == 0
    (shell.folder / "docs" / "ferry.md").unlink()
    assert shell.run("index", "docs").out.startswith("0 indexed, 1 unchanged, 1 removed")
    assert "Aurelia" not in shell.run("search", "ferry Aurelia", "--json").out


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_indexed(shell: Shell) -> None:
    write_documents(shell.folder / "docs")
    (shell.folder / "docs" / "broken.pdf").write_bytes(b"%PDF-1.4 broken")
    done = shell.run("index", "docs")
    assert done.status == 1
    assert "2 indexed, 0 unchanged, 0 removed, 1 failed" in done.out
    assert "failed malformed: docs/broken.pdf: " in done.err
    report = shell.run("index", "docs", "--json")
    (failed,) = report.json["documents"]["failed"]
    assert (report.status, failed["code"]) == (1, "malformed")
    assert failed["path"] == str(shell.folder / "docs" / "broken.pdf")


def test_search_shows_title_place_and_snippet(here: Run) -> None:
    done = here("search", "who signs the maintenance log")
    first = done.out.splitlines()[2:5]
    assert first[0].startswith("1  Ferry handbook")
    assert first[1] == "   docs/ferry.md"
    assert "Mara Lindqvist" in first[2]


def test_search_lets_the_reranker_judge_unless_told_not_to(here: Run, tmp_path: Path) -> None:
    folder = {"RAGSTONE_RERANKER": str(make_folder(tmp_path / "tiny"))}
    judged = here("search", "ferry boat", "--json", env=folder).json
    assert all("reranker" in hit["sources"] for hit in judged["hits"])
    plain = here("search", "ferry boat", "--json", "--no-rerank", env=folder).json
    assert not any("reranker" in hit["sources"] for hit in plain["hits"])
    refused = here("search", "ferry boat", "--rerank")
    assert refused.status != 0
    assert "there is no reranker" in refused.err


def test_search_as_json_has_the_documented_names(here: Run) -> None:
    found = here("search", "lighthouse keeper", "-k", "1", "--mode", "keyword", "--json").json
    assert set(found) >= {"hits", "degraded", "timings_ms"}
    (hit,) = found["hits"]
    assert set(hit) >= {"id", "uri", "title", "text", "score", "page", "start", "end", "sources"}
    assert hit["uri"].endswith("/docs/keeper.txt")


def test_search_says_which_words_were_added(shell: Shell) -> None:
    (shell.folder / "docs").mkdir()
    (shell.folder / "docs" / "a.txt").write_text("The Harbour Radar Unit (HRU) turns.\n")
    (shell.folder / "docs" / "b.txt").write_text("The steamer passes the Harbour Radar Unit.\n")
    (shell.folder / "words.txt").write_text("ferry = steamer\n")
    shell.run("index", "docs")
    synonyms = {"RAGSTONE_SYNONYMS": str(shell.folder / "words.txt")}
    lines = shell.run("search", "ferry HRU", env=synonyms).out.splitlines()
    assert lines[1:3] == [
        "also: steamer, for ferry (in your synonyms)",
        "also: Harbour Radar Unit, for HRU (as the documents define it)",
    ]
    assert shell.run("search", "ferry HRU", "--json", env=synonyms).json["expansions"] == [
        {"written": "ferry", "added": "steamer", "origin": "synonyms"},
        {"written": "HRU", "added": "Harbour Radar Unit", "origin": "collection"},
    ]


def test_indexing_says_when_the_chat_model_gave_no_names(shell: Shell) -> None:
    write_documents(shell.folder / "docs")
    none = shell.run("index", "docs", "--llm")
    assert (none.status, "by a chat model, and none is set" in none.err) == (2, True)
    nobody = {"RAGSTONE_CHAT_MODEL": "tiny", "RAGSTONE_CHAT_BASE_URL": "http://127.0.0.1:9/v1"}
    done = shell.run("index", "docs", "--llm", env=nobody)
    assert (done.status, done.out.splitlines()[-1][:9]) == (0, "2 indexed")
    assert "without names: 2 of 2 documents keep the names that they had: " in done.err
    again = shell.run("index", "docs", "--llm", "--json", env=nobody).json
    assert [part["source"] for part in again["degraded"]] == ["names"]
    assert shell.run("index", "docs", "--json", env=nobody).json["degraded"] == []


def test_an_answer_quotes_its_sources(here: Run, indexed: Shell) -> None:
    done = here("ask", "Who signs off the maintenance log?")
    assert "Mara Lindqvist" in done.out
    assert "[1] docs/ferry.md\n    “" in done.out
    answer = here("ask", "Who signs off the maintenance log?", "--json").json
    assert set(answer) >= {"answer", "citations", "grounded", "hits", "degraded", "timings_ms"}
    text = (indexed.folder / "docs" / "ferry.md").read_text()
    for citation in answer["citations"]:
        assert text[citation["start"] : citation["end"]] == citation["quote"]


def test_a_question_the_documents_do_not_answer_is_refused_without_a_failure(here: Run) -> None:
    done = here("ask", "What is the capital of Peru?", "--json")
    assert (done.status, done.json["grounded"], done.json["citations"]) == (0, False, [])


def test_chat_answers_one_line_after_the_other(indexed: Shell) -> None:
    questions = "Who signs off the maintenance log?\n\n/new\nWhat is the keeper called?\n/exit\nnot asked\n"
    done = indexed.run("chat", stdin=questions)
    assert done.status == 0
    assert done.out.index("Mara Lindqvist") < done.out.index("Tom Arkwright")
    as_json = indexed.run("chat", "--json", stdin=questions)
    assert len(as_json.out.splitlines()) == 2


def test_list_gives_programs_tabs_and_whole_paths(here: Run, indexed: Shell) -> None:
    rows = [line.split("\t") for line in here("list").out.splitlines()]
    assert [(row[0], row[1]) for row in rows] == [
        (str(indexed.folder / "docs" / "ferry.md"), "markdown"),
        (str(indexed.folder / "docs" / "keeper.txt"), "text"),
    ]
    listed = here("list", "--filter", "type:text", "--json").json["documents"]
    assert [document["uri"] for document in listed] == [rows[1][0]]


def test_a_document_is_deleted_by_path_and_the_file_stays(shell: Shell) -> None:
    write_documents(shell.folder / "docs")
    shell.run("index", "docs")
    wrong = shell.run("delete", "docs/fery.md", "docs/keeper.txt")
    assert (wrong.status, "did you mean docs/ferry.md?" in wrong.err) == (2, True)
    assert len(shell.run("list").out.splitlines()) == 2
    done = shell.run("delete", "docs/ferry.md", "./docs/ferry.md")
    assert done.out == "1 document removed from the index\n"
    assert ".ragstoneignore" in done.err
    assert (shell.folder / "docs" / "ferry.md").exists()
    assert shell.run("search", "Aurelia", "--mode", "keyword", "--json").json["hits"] == []


def test_stats_has_the_documented_names(here: Run) -> None:
    found = here("stats", "--json").json
    names = {"documents", "chunks", "segments", "bytes", "model", "index_types", "latencies_ms", "caches"}
    assert set(found) >= names
    assert found["documents"] == 2
    assert here("stats").out.startswith("default: 2 documents, ")


def test_verify_passes_then_finds_damage_and_doctor_mends_it(shell: Shell) -> None:
    write_documents(shell.folder / "docs")
    shell.run("index", "docs")
    keyword = shell.data_dir / "collections" / "default" / "keyword"
    store = max(
        (path for path in keyword.iterdir() if path.suffix == ".store"), key=lambda p: p.stat().st_size
    )
    content = bytearray(store.read_bytes())
    content[len(content) // 2] ^= 0xFF
    store.write_bytes(content)
    damaged = shell.run("verify", "--json")
    assert (damaged.status, damaged.json["ok"]) == (1, False)
    assert damaged.json["problems"][0]["code"] == "keyword_damaged"
    assert "doctor --repair" in shell.run("verify").err
    assert shell.run("doctor").status == 15
    assert shell.run("doctor", "--repair").status == 0
    assert shell.run("verify").status == 0
    assert "Mara" in shell.run("search", "maintenance log", "--json").out


def test_doctor_names_each_check_and_the_first_failed_one_is_its_status(shell: Shell) -> None:
    good = shell.run("doctor", "--json").json
    checks = [check["check"] for check in good["checks"]]
    assert checks == list(STATUS)
    assert good["ok"]
    wrong = shell.run("doctor", env={"RAGSTONE_PORT": "x"})
    assert (wrong.status, "failed  settings  port = 'x'" in wrong.out) == (2, True)
    blocked = shell.folder / "file"
    blocked.write_text("")
    folder = shell.run("doctor", "--data-dir", blocked / "data")
    assert (folder.status, "failed  folder" in folder.out) == (11, True)


def test_config_show_names_origins_and_masks_secrets(shell: Shell) -> None:
    (shell.folder / "ragstone.toml").write_text("top_k = 7\n")
    (shell.folder / ".env").write_text("OPENAI_API_KEY=sk-hush\n")
    done = shell.run("config", "show", "--collection", "papers")
    rows = {line.split()[0]: line for line in done.out.splitlines()}
    assert rows["top_k"].endswith("/ragstone.toml")
    assert rows["chat_api_key"].split()[1] == "********"
    assert rows["chat_api_key"].endswith(".env line 1 (OPENAI_API_KEY)")
    assert rows["collection"].split()[1:] == ["papers", "argument"]
    as_json = shell.run("config", "show", "--json")
    assert "hush" not in done.out + as_json.out
    assert {row["name"]: row["origin"] for row in as_json.json["settings"]}["port"] == "default"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen_and_shows_an_example(here: Run, command: str) -> None:
    done = here(command, *SUBCOMMANDS.get(command, ()), "--help")
    lines = done.out.splitlines()
    assert done.status == 0
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80
    assert any(line.strip().startswith(f"Example: ragstone {command}") for line in lines)


def test_global_options_work_before_and_after_the_command(here: Run, indexed: Shell) -> None:
    other = {"RAGSTONE_DATA_DIR": "/nowhere"}
    before = here("--data-dir", indexed.data_dir, "stats", "--json", env=other)
    after = here("stats", "--json", f"--data-dir={indexed.data_dir}", env=other)
    assert before.json["documents"] == after.json["documents"] == 2
    literal = here("search", "--json", "--", "--collection")
    assert (literal.status, "hits" in literal.json) == (0, True)


def test_version_is_there_at_once(indexed: Shell) -> None:
    assert indexed.run("--version").out == "ragstone 0.1.0\n"
    code = "import sys; import ragstone.cli.app; print(*sys.modules)"
    loaded = subprocess.run(
        [Path(COMMAND).with_name("python"), "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "faiss", "onnxruntime", "tantivy", "fastapi", "pydantic", "rich.console"} & set(
        loaded
    )


def test_a_reader_that_goes_away_is_no_error(indexed: Shell) -> None:
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [COMMAND, "list"],
        cwd=indexed.folder,
        env=indexed.environment(),
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(read_end)
    os.close(write_end)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, "")


def test_ctrl_c_keeps_what_was_acknowledged_and_the_same_command_goes_on(shell: Shell) -> None:
    folder = shell.folder / "docs"
    folder.mkdir()
    for number in range(600):  # several batches: the first is acknowledged long before the last
        (folder / f"{number:03}.md").write_text(
            f"# Note {number}\n\nThe harbour of island {number} is deep.\n" * 2
        )
    process = shell.start("index", "docs")
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command goes on from there" in err
    acknowledged = {
        line.split(" ", 1)[1] for line in (first + out).splitlines() if line.startswith("indexed ")
    }
    kept = {line.split("\t")[0] for line in shell.run("list").out.splitlines()}
    assert acknowledged <= kept
    report = shell.run("index", "docs", "--json").json["documents"]
    assert report["indexed"] + report["unchanged"] == 600
    assert report["unchanged"] >= len(acknowledged)
    assert shell.run("stats", "--json").json["unembedded"] == 0


def test_serve_says_its_address_and_stops_with_ctrl_c(indexed: Shell) -> None:
    process = indexed.start("serve", "--port", "0", "--json")
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith('{"url":"http://127.0.0.1:')
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, err


def test_serve_refuses_an_address_that_others_reach(here: Run) -> None:
    done = here("serve", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - refused is what is tested
    assert done.status == 2
    assert done.err.startswith("error: ")
    assert "hint: " in done.err


def test_eval_prints_a_table_and_the_documented_json(shell: Shell) -> None:
    dataset = shell.folder / "harbours"
    (dataset / "qrels").mkdir(parents=True)
    rows = [{"_id": "a", "title": "Ferry", "text": FERRY}, {"_id": "b", "title": "Keeper", "text": KEEPER}]
    (dataset / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (dataset / "queries.jsonl").write_text('{"_id": "1", "text": "Who lights the lamp?"}\n')
    (dataset / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\tb\t1\n")
    report = shell.run("eval", "harbours", "--json").json
    assert (report["dataset"], report["queries"]) == ("harbours", 1)
    assert list(report["modes"]) == ["hybrid", "dense", "keyword"]
    for scores in report["modes"].values():
        assert set(scores) == {"ndcg@10", "recall@5", "recall@10", "recall@100", "mrr@10", "p50_ms", "p95_ms"}
        assert scores["ndcg@10"] == 1.0
    table = shell.run("eval", "harbours", "--modes", "keyword").out.splitlines()
    assert [line.split()[0] for line in table] == ["harbours:", "mode", "keyword"]
    assert shell.run("eval", "harbours", "--modes", "psychic").status == 2
    assert shell.run("eval", "harbours", "--split", "train").status == 2


def test_a_vote_is_given_listed_and_taken_back(shell: Shell) -> None:
    write_documents(shell.folder / "docs")
    assert shell.run("index", "docs").status == 0
    given = shell.run("vote", "when does the ferry leave", "--hit", "1")
    assert given.status == 0 and "vote 1 for" in given.out, given.err
    listed = json.loads(shell.run("votes", "--json").out)["votes"]
    assert [(vote["value"], vote["query"]) for vote in listed] == [(1.0, "when does the ferry leave")]
    assert (
        "votes"
        in json.loads(shell.run("search", "when does the ferry leave", "--json").out)["hits"][0]["sources"]
    )
    assert shell.run("votes", "--undo", "1").status == 0
    assert shell.run("votes", "--undo", "1").status == 1
    beyond = shell.run("vote", "when does the ferry leave", "--hit", "90")
    assert beyond.status == 2 and "nothing was changed" in beyond.err
