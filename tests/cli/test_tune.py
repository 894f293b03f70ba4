"""`tune` and `recommend` on a small collection of made-up vectors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from cli.shells import Run, Shell
from ragstone import Ragstone
from ragstone.index.synthetic import clustered_vectors
from ragstone.index.tuning_results import TuningResult

COUNT, DIM = 1_200, 16
ON = ("--collection", "points")


@pytest.fixture(scope="module")
def points(indexed: Shell) -> None:
    """A collection of vectors beside the two documents."""
    vectors = clustered_vectors(COUNT, DIM, seed=9)
    names = [f"point-{row}" for row in range(COUNT)]
    with Ragstone(indexed.data_dir, collection="points") as engine:
        engine.add(names, uris=names, vectors=vectors, model="made-up")


def test_recommend_explains_itself_for_a_stated_size(here: Run) -> None:
    lines = here("recommend", "--vectors", "1000000", "--dim", "384", "--memory-mb", "100").out.splitlines()
    assert lines[0] == "PQ,FastScan (n_subquantizers=192) for 1,000,000 vectors of 384 numbers"
    assert lines[1] == "- IVF,PQ,FastScan would take 110.1 MB, over the 100 MB allowed"
    found = here("recommend", "--vectors", "50000", "--json").json
    assert found["index_type"] == "PQ,FastScan"
    assert found["memory_bytes"] == 50_000 * 96
    assert found["reasons"]


def test_recommend_looks_at_the_collection_where_no_size_is_stated(here: Run) -> None:
    assert here("recommend", "--json").json["dim"] == 384
    empty = here("recommend", "--collection", "nothing")
    assert empty.status == 2
    assert "ragstone recommend --vectors" in empty.err


@pytest.mark.parametrize("command", ["tune", "recommend"])
def test_help_fits_a_screen_and_shows_an_example(here: Run, command: str) -> None:
    lines = here(command, "--help").out.splitlines()
    assert len(lines) <= 30
    assert any(line.strip().startswith(f"Example: ragstone {command}") for line in lines)


@pytest.mark.usefixtures("points")
def test_tune_names_a_setting_that_meets_the_targets_and_writes_both_files(here: Run, indexed: Shell) -> None:
    arguments = ("--recall", "0.95", "--p95-ms", "50", "--memory-mb", "5", "--budget", "2")
    done = here("tune", *ON, *arguments, "--out", "run.json", "--picture", "front.svg", "--json")
    assert done.status == 0, done.err
    best = TuningResult.from_json(done.json["best"])
    assert best.recall_10 >= 0.95
    assert best.p95_ms <= 50
    assert best.memory_bytes <= 5_000_000
    assert done.json["applied"] is False
    assert done.json["queries"] == "held out"
    assert all(plan["reason"] for plan in done.json["skipped"])
    saved = json.loads((indexed.folder / "run.json").read_text())
    assert TuningResult.from_json(saved) == best
    assert (indexed.folder / "front.svg").read_text().startswith("<svg ")


@pytest.mark.usefixtures("points")
def test_tune_prints_the_setting_first_and_the_front_below(here: Run) -> None:
    lines = here("tune", *ON, "--budget", "1").out.splitlines()
    assert lines[1].startswith("p95 ") and "recall@10" in lines[1]
    assert "settings that none beats in p95, memory and recall together:" in lines
    assert lines[-1].startswith(tuple("123456789")) and "cannot be built" in lines[-1]


@pytest.mark.usefixtures("points")
def test_a_target_nothing_meets_ends_in_status_1_and_applies_nothing(here: Run) -> None:
    done = here("tune", *ON, "--p95-ms", "0.00001", "--budget", "0.5", "--apply")
    assert done.status == 1
    assert "misses its target: p95 is" in done.out
    assert done.out.splitlines()[-1] == "not applied: it misses a target"


@pytest.mark.usefixtures("points")
def test_real_query_vectors_are_used_and_others_refused(here: Run, indexed: Shell) -> None:
    np.save(indexed.folder / "queries.npy", clustered_vectors(20, DIM, seed=10))
    done = here("tune", *ON, "--queries", "queries.npy", "--budget", "0.5", "--json")
    assert (done.json["queries"], done.json["n_queries"]) == ("given", 20)
    (indexed.folder / "words.npy").write_text("how are backups made?")
    wrong = here("tune", *ON, "--queries", "words.npy")
    assert wrong.status == 2
    assert "words.npy is no file of vectors" in wrong.err


def test_a_handful_of_chunks_is_tuned_too(here: Run) -> None:
    best: dict[str, Any] = here("tune", "--budget", "0.5", "--json").json["best"]
    assert best["recall_10"] == 1.0


def test_an_empty_collection_is_told_what_to_do(here: Run) -> None:
    done = here("tune", "--collection", "nothing")
    assert done.status == 2
    assert "Traceback" not in done.err


def test_a_plan_is_applied_searched_with_and_rolled_back(here: Run, indexed: Shell) -> None:
    vectors = clustered_vectors(COUNT, DIM, seed=11)
    names = [f"row-{row}" for row in range(COUNT)]
    with Ragstone(indexed.data_dir, collection="switched") as engine:
        engine.add(names, uris=names, vectors=vectors, model="made-up")
        before = engine.stats().index_types
    # Memory that the exact vectors exceed: another plan than theirs has to be applied.
    done = here(
        "tune", "--collection", "switched", "--memory-mb", "0.03", "--budget", "1", "--apply", "--json"
    )
    assert done.status == 0, done.err
    assert done.json["applied"] is True
    best = TuningResult.from_json(done.json["best"])
    with Ragstone(indexed.data_dir, collection="switched") as engine:
        (applied,) = engine.stats().index_types
        assert applied.startswith(best.plan.index_type)
    assert here("tune", "--collection", "switched", "--rollback").status == 0
    with Ragstone(indexed.data_dir, collection="switched") as engine:
        assert engine.stats().index_types == before
    again = here("tune", "--collection", "switched", "--rollback")
    assert again.status == 2
