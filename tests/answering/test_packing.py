"""Packing: the best sources first, never over the budget, cut instead of dropped, nothing twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from samples import FERRY, LIGHTHOUSE, WordEmbedder, hit

from ragstone.answering.packing import pack
from ragstone.types import Hit

WORDS = "amber basin cable delta ember fjord grain harbor island jetty kelp lagoon marsh north".split()  # noqa: SIM905


def tokens(text: str) -> int:
    return len(WordEmbedder().token_spans(text))


def packed(hits: list[Hit], budget: int) -> tuple[Hit, ...]:
    return pack(hits, budget=budget, count_tokens=tokens, overhead=lambda h: h.title + "\n")


texts = st.lists(
    st.tuples(
        st.lists(st.sampled_from(WORDS), max_size=80).map(" ".join), st.integers(0, 2), st.integers(0, 50)
    ),
    max_size=8,
)


@given(texts, st.integers(-10, 300))
def test_never_over_the_budget_and_every_text_is_a_stretch_of_its_hit(
    drawn: list[tuple[str, int, int]], budget: int
) -> None:
    hits = [hit(text, n=i + 1, uri=f"/d{doc}", start=start) for i, (text, doc, start) in enumerate(drawn)]
    chosen = packed(hits, budget)
    assert sum(tokens(h.title + "\n" + h.text) for h in chosen) <= max(budget, 0)
    by_id = {h.id: h for h in hits}
    for h in chosen:
        original = by_id[h.id]
        assert original.text[h.start - original.start : h.end - original.start] == h.text
        assert h.text
    assert [h.id for h in chosen] == sorted(h.id for h in chosen)


def test_what_does_not_fit_is_cut_at_a_word_not_dropped() -> None:
    first, second = hit(LIGHTHOUSE, n=1), hit(FERRY, n=2)
    one, two = packed([first, second], tokens("Notes" + LIGHTHOUSE) + 30)
    assert one == first
    assert FERRY.startswith(two.text + " ")
    assert two.end - two.start == len(two.text) < len(FERRY)


def test_text_without_spaces_is_cut_between_characters() -> None:
    (only,) = packed([hit("岛" * 500)], 40)
    assert 100 < len(only.text) < 500  # the sample tokenizer takes six characters as one token


def test_the_same_text_from_two_documents_is_packed_once() -> None:
    assert [h.id for h in packed([hit(FERRY, n=1), hit(FERRY, n=2)], 1000)] == [1]


def test_nearly_the_same_text_is_packed_once() -> None:
    assert [h.id for h in packed([hit(FERRY, n=1), hit(FERRY.replace("12", "13"), n=2)], 1000)] == [1]


def test_text_contained_in_a_packed_one_is_left_out() -> None:
    inner = FERRY[20:120]
    assert [h.id for h in packed([hit(FERRY, n=1), hit(inner, n=2)], 1000)] == [1]


def test_overlapping_stretches_of_one_document_are_trimmed_to_what_is_new() -> None:
    document = LIGHTHOUSE + " " + FERRY
    a = hit(document[:200], n=1, uri="/d", start=0)
    b = hit(document[120:], n=2, uri="/d", start=120)
    one, two = packed([a, b], 1000)
    assert one == a
    assert two.start >= 200
    assert document[two.start : two.end] == two.text


def test_the_order_of_hits_is_kept() -> None:
    assert [h.id for h in packed([hit(FERRY, n=9), hit(LIGHTHOUSE, n=3)], 1000)] == [9, 3]
