"""`bench` as a person and a program see it."""

from __future__ import annotations

from cli.shells import Run, Shell

QUERY = "who lights the lamp of the lighthouse"


def test_bench_prints_latencies_throughput_recall_memory_and_the_monitors_figures(here: Run) -> None:
    out = here("bench", "--seconds", "0.5", "--threads", "2").out
    lines = out.splitlines()
    assert lines[0].startswith("default: 2 documents, 2 chunks, ")
    named = {line.split("  ")[0].strip() for line in lines}
    assert {"hybrid", "dense", "keyword", "2 threads"} <= named
    for start in (
        "throughput ",
        "recall@10 ",
        "first search ",
        "memory ",
        "measured ",
        "performance over ",
        "search: ",
    ):
        assert any(line.startswith(start) for line in lines), start


def test_bench_as_json_uses_the_queries_given_and_measures_a_fresh_process(here: Run, indexed: Shell) -> None:
    (indexed.folder / "asked.txt").write_text(f"{QUERY}\n\n  when was the ferry launched \n")
    found = here("bench", "--seconds", "0.5", "--queries", "asked.txt", "--json").json
    assert found["queries"] == 2
    assert set(found["latencies_ms"]) == {"hybrid", "dense", "keyword"}
    assert found["latencies_ms"]["hybrid"]["search.embed"]["p50"] > 0
    assert found["cold"]["process_ms"] > found["cold"]["search_ms"] > 0
    assert found["recall"].pop("samples") in {1, 2}  # a busy machine has time for one
    assert found["recall"] == {"mean": 1.0, "top_k": 10, "of": "queries"}
    assert found["changed"] is False
    assert found["monitor"]["operations"]["search"]["errors"] == 0


def test_bench_says_what_is_wrong_with_a_file_or_a_collection(here: Run, indexed: Shell) -> None:
    (indexed.folder / "empty.txt").write_text("\n\n")
    (indexed.folder / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("empty.txt", "bytes.txt", "nowhere.txt"):
        done = here("bench", "--queries", name)
        assert (done.status, name in done.err) == (2, True)
    assert here("bench", "--collection", "nothing").status != 0
