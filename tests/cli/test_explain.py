"""`explain` as a person and a program see it."""

from __future__ import annotations

from cli.shells import Run, Shell

QUERY = "who lights the lamp of the lighthouse"


def test_a_document_that_is_found_is_said_to_be_with_every_source_and_stage(here: Run) -> None:
    done = here("explain", QUERY, "--expect", "docs/keeper.txt")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[:2] == ["docs/keeper.txt", "It is hit 1."]
    assert [line.split()[0] for line in lines[3:8]] == ["hybrid", "dense", "keyword", "meaning", "then"]
    assert "what each source gave this passage" in done.out
    assert "above it" not in done.out


def test_a_document_below_says_what_stands_above_it(here: Run, indexed: Shell) -> None:
    done = here("explain", QUERY, "--expect", "docs/ferry.md", "-k", "1")
    assert "1 were asked for" in done.out.splitlines()[1]
    assert done.out.splitlines()[-1].split()[0] == "1"
    assert done.out.splitlines()[-1].endswith("docs/keeper.txt")
    (one,) = here("explain", QUERY, "--expect", "docs/ferry.md", "-k", "1", "--json").json["explanations"]
    assert (one["reason"], one["above"][0]["uri"]) == ("below", str(indexed.folder / "docs/keeper.txt"))


def test_without_a_document_the_first_hits_are_explained(here: Run) -> None:
    hits = here("search", QUERY, "--json").json["hits"]
    told = here("explain", QUERY, "--json").json
    assert told["query"] == QUERY
    assert [one["document"]["uri"] for one in told["explanations"]] == list(
        dict.fromkeys(hit["uri"] for hit in hits)
    )
    assert told["explanations"][0]["best"]["score"] == hits[0]["score"]


def test_a_document_that_is_not_there_gets_the_nearest_name(here: Run) -> None:
    misspelt = here("explain", QUERY, "--expect", "docs/keepr.txt")
    assert misspelt.status != 0
    assert "no document docs/keepr.txt" in misspelt.err
    assert "did you mean docs/keeper.txt?" in misspelt.err
    elsewhere = here("explain", QUERY, "--expect", "/srv/archive/keeper.txt")
    assert "did you mean docs/keeper.txt?" in elsewhere.err
