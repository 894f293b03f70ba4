"""Citations: what holds stays with a verbatim quote, what does not is removed and named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import FERRY, LIGHTHOUSE, WordEmbedder, hit

from ragstone.answering.citations import CheckedText, check_citations

SOURCES = [hit(LIGHTHOUSE, n=1, title="Skerry Point", start=100), hit(FERRY, n=2, title="Ferry", page=3)]


def check(text: str) -> CheckedText:
    return check_citations(text, SOURCES, embedder=WordEmbedder())


def test_a_true_citation_quotes_the_sentence_it_rests_on() -> None:
    checked = check("The lighthouse is 41 metres tall [1].")
    assert checked.text == "The lighthouse is 41 metres tall [1]."
    (citation,) = checked.citations
    assert citation.quote == "It is 41 metres tall and its lamp is seen for 19 nautical miles."
    assert LIGHTHOUSE[citation.start - 100 : citation.end - 100] == citation.quote
    assert checked.removed == ()


def test_the_page_of_the_source_goes_with_the_citation() -> None:
    (citation,) = check("A return ticket costs 12 euros [2].").citations
    assert (citation.page, citation.uri) == (3, "/docs/2.md")


@pytest.mark.parametrize("marker", ["[1, 2]", "[1,2]", "[1][2]", "[1] [2]", "【1、2】", "[1; 2]"])
def test_several_sources_of_one_statement_are_each_checked(marker: str) -> None:
    checked = check(f"Anna Berg built the lighthouse on Skerry Point in 1888 {marker}.")
    assert [c.n for c in checked.citations] == [1]
    assert "[2]" not in checked.text.replace(" ", "")
    assert "[1]" in checked.text
    assert len(checked.removed) == 1


@pytest.mark.parametrize("n", [0, 3, 9999])
def test_a_number_without_a_source_is_removed_and_named(n: int) -> None:
    checked = check(f"The lighthouse is 41 metres tall [{n}].")
    assert checked.text == "The lighthouse is 41 metres tall."
    assert checked.citations == ()
    assert f"[{n}] names no source" in checked.removed[0]


def test_a_made_up_number_is_not_supported() -> None:
    checked = check("The lighthouse is 52 metres tall [1].")
    assert checked.citations == ()
    assert checked.text == "The lighthouse is 52 metres tall."
    assert "does not hold" in checked.removed[0]


def test_a_statement_about_something_else_is_not_supported() -> None:
    assert check("The harbour master collects stamps from Brazil [2].").citations == ()


def test_number_words_digits_and_separators_are_the_same_number() -> None:
    assert check("The ferry Solveig crosses the sound 4 times a day [2].").citations
    assert check("The lighthouse was built in 1,888 by Anna Berg [1].").citations


def test_each_sentence_is_checked_against_its_own_citation() -> None:
    checked = check(
        "Dogs travel free of charge. [2] The lighthouse has 999 steps. [1] It was automated in 1973 [1]."
    )
    assert (
        checked.text
        == "Dogs travel free of charge. [2] The lighthouse has 999 steps. It was automated in 1973 [1]."
    )
    assert [c.n for c in checked.citations] == [2, 1]


def test_the_number_of_a_list_item_is_no_statement() -> None:
    checked = check("1. Anna Berg built the lighthouse in 1888 [1].\n2. Dogs travel free of charge [2].")
    assert [c.n for c in checked.citations] == [1, 2]


def test_brackets_in_code_are_not_citations() -> None:
    text = "Use `items[1]` here.\n```\nx[2]\n```"
    assert check(text).text == text


def test_a_statement_over_two_sentences_is_quoted_with_both() -> None:
    (citation,) = check("A return ticket costs 12 euros and dogs travel free of charge [2].").citations
    assert citation.quote == "A return ticket costs 12 euros. Dogs travel free of charge."


def test_the_same_passage_cited_twice_is_one_citation() -> None:
    checked = check("Dogs travel free of charge [2]. Free of charge travel the dogs [2].")
    assert len(checked.citations) == 1
    assert checked.text.count("[2]") == 2


@given(st.text(alphabet="ab [](),.1230【】`\n", max_size=200))
def test_whatever_the_model_writes_every_quote_is_verbatim_and_every_number_valid(text: str) -> None:
    checked = check(text)
    for citation in checked.citations:
        source = SOURCES[citation.n - 1]
        assert source.text[citation.start - source.start : citation.end - source.start] == citation.quote
        assert f"[{citation.n}]" in checked.text
