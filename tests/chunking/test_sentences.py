"""Facts about where sentences end, in the languages and text forms that documents come in."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.chunking.sentences import sentences


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


# Each entry is one text, given as the sentences it consists of.
PROSE = {
    "plain": ["The ferry leaves.", "Is it late?", "Hurry!", "Done."],
    "titles and initials": ["Dr. Smith met J. R. R. Tolkien, Prof. Ames and Mrs. Hale.", "They left."],
    "decimals and money": ["It cost $3.50, i.e. 3.2 % more.", "Pi is 3.14.", "So it goes."],
    "addresses": ["See https://example.com/a.b?c=d.", "Write to a.b@example.com.", "Open notes.txt now."],
    "dotted": ["The U.S. Army came from Washington, D.C. on Jan. 5.", "It left at 5 p.m. on Feb. 3."],
    "dotted at the end": [
        "It happened in the U.S.",
        "The end came at 5 p.m.",
        "They sold ropes, etc.",
        "We left.",
    ],
    "references": ["See Fig. 3, p. 12 and Smith et al. (2020).", "Next comes Sec. 4 vs. Eq. 5."],
    "quotes": ['"Stop!" he said.', '"Why?"', "She said “No.”", "He left."],
    "brackets": ["He died (of cold).", "(It was late.)", "Nobody knew.[1]", "Everybody cared.[2][3]", "So."],
    "ellipsis": ["She left... then came back.", "Well…", "That was it."],
    "versions": ["Version 2.0 uses Node.js and .NET.", "Install v1.2.3 first."],
    "companies": ["Apple Inc. CEO Tim Cook spoke.", "He joined Acme Corp.", "The rest is known."],
    "single letters": ["Take vitamin C.", "The other is Plan B.", "It works."],
    "German": [
        "Das ist z.B. am 3. Oktober so.",
        "Der 2. Weltkrieg endete im 20. Jahrhundert.",
        "Hr. Dr. Maier ging.",
    ],
    "German end on a number": ["Es waren 19.", "Die anderen blieben usw.", "Das war es."],
    "French quotes": ["« Bonjour. »", "Il partit."],
    "German quotes": ["Er kam.", "»Komm!«", "Sie ging."],
}


@pytest.mark.parametrize("expected", PROSE.values(), ids=PROSE.keys())
def test_prose_is_split_at_its_sentences(expected: list[str]) -> None:
    assert split(" ".join(expected)) == expected
    assert split("\n".join(expected)) == expected


@pytest.mark.parametrize(
    "expected",
    [
        ["我爱北京。", "你好！", "真的吗？", "价格是3.5元。"],
        ["他说：“很好。”", "然后走了。"],
        ["船は出ます。", "「急いで！」", "はい。"],
        ["यह एक नाव है।", "वह चली गई।"],
        ["هل وصلت السفينة؟", "نعم۔"],
    ],
    ids=["Chinese", "Chinese quotes", "Japanese", "Hindi", "Arabic"],
)
def test_scripts_with_their_own_stops_need_no_spaces(expected: list[str]) -> None:
    assert split("".join(expected)) == expected


def test_blank_lines_lists_headings_and_rows_end_sentences() -> None:
    text = "# A title\nFirst line\nwraps. Second\n\nThird\n- one\n- two. More\n1. first\n2) second\n"
    text += "| a | b. C |\n| d |\nend"
    assert split(text) == [
        "# A title", "First line\nwraps.", "Second", "Third", "- one", "- two.", "More", "1. first", "2) second",
        "| a | b. C |", "| d |", "end",
    ]  # fmt: skip


@given(
    st.text(alphabet=st.sampled_from("aA1 .!?。\n\t-#|\"')[]…ß\u2028\x1c"), max_size=60)
    | st.text(max_size=60)
)
def test_sentences_hold_all_text_once_and_in_order(text: str) -> None:
    position = 0
    for start, end in sentences(text):
        assert position <= start < end
        assert not text[position:start].strip()
        assert text[start:end] == text[start:end].strip()
        position = end
    assert not text[position:].strip()


_UNITS = [
    ".",
    ". ",
    "a. ",
    "1. ",
    "!?",
    '("',
    ".)",
    "。！",
    "[1]",
    ".[1",
    ". »",
    " ",
    "\n ",
    "\n",
    "* ",
    "e.g. ",
    "\n# ",
]


@pytest.mark.parametrize("unit", _UNITS)
def test_splitting_takes_linear_time(unit: str) -> None:
    start = time.process_time()
    sentences(unit * 100_000 + "x")
    assert time.process_time() - start < 4  # 0.3 s at most on an idle machine; a quadratic step takes minutes
