"""Acronyms where texts define them: which are found, which are none, and that time grows with the text only."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.vocabulary.acronyms import (
    DEFINITIONS_MAX,
    LONG_CHARS_MAX,
    Definition,
    definitions,
    is_short_form,
    singular,
)

FOUND = [
    ("We use optical character recognition (OCR) for old books.", "OCR", "optical character recognition"),
    ("We use OCR (optical character recognition) for old books.", "OCR", "optical character recognition"),
    ("Patients with chronic kidney disease (CKD; stage 3)", "CKD", "chronic kidney disease"),
    ("the “World Health Organization” (“WHO”)", "WHO", "World Health Organization"),
    ("serious adverse events (SAEs) were rare", "SAEs", "serious adverse events"),
    ("short interfering RNA (siRNA)", "siRNA", "short interfering RNA"),
    ("protein kinase Cβ (PKC-β)", "PKC-β", "protein kinase Cβ"),
    ("Transmission Control Protocol/Internet Protocol (TCP/IP)", "TCP/IP", None),
    ("The sensor (SLR) is a single-lens reflex (SLR) one.", "SLR", "single-lens reflex"),
    ("University of California, Los Angeles (UCLA)", "UCLA", "University of California, Los Angeles"),
    ("die Datenschutz-Grundverordnung (DSGVO) gilt", "DSGVO", "Datenschutz-Grundverordnung"),
    ("DSGVO (Datenschutz-Grundverordnung)", "DSGVO", "Datenschutz-Grundverordnung"),
    ("光学字符识别 optical character recognition（OCR）", "OCR", "optical character recognition"),
    ("poly(ADP-ribose) polymerase (PARP)", "PARP", "poly(ADP-ribose) polymerase"),
    ("interleukin 2 (IL-2)", "IL-2", "interleukin 2"),
    ("Old. New sentence about random access memory (RAM)", "RAM", "random access memory"),
]


@pytest.mark.parametrize(("text", "short", "long"), FOUND)
def test_a_definition_is_found_in_either_order(text: str, short: str, long: str | None) -> None:
    long = long or text.partition(" (")[0]
    assert definitions(text) == [Definition(short, long)]


@pytest.mark.parametrize(
    "text",
    [
        "The river (see map) floods.",
        "He was late (2009) again.",
        "The meeting (Monday) is off.",
        "nothing here has such letters (OCR)",
        "in the (OCR) of old",
        "The ship. (OCR)",
        "optical character recognition. A new sentence (OCR)",
        "a word (a)",
        "OCR (see chapter 4)",
        "the OCR system (OCR)",
        "the chain (see note) of reading (CSR)",
        "chromatin (ChIP) and sequencing (ChIP-seq)",
        "The figure (Fig) and the table (Tab)",
        "unclosed (OCR",
        "",
    ],
)
def test_what_is_no_definition_is_left_alone(text: str) -> None:
    assert definitions(text) == []


def test_a_pair_is_given_once_and_white_space_is_one_space() -> None:
    text = "optical  character\trecognition (OCR). Optical things. optical character recognition (OCR)"
    assert definitions(text) == [Definition("OCR", "optical character recognition")]


def test_a_short_form_that_the_text_has_in_small_letters_is_a_word_too() -> None:
    text = "The Clean Air Transport (CAT) has a cat. The Harbour Radar Unit (HRU) has none."
    assert definitions(text) == [
        Definition("CAT", "Clean Air Transport", also_a_word=True),
        Definition("HRU", "Harbour Radar Unit", also_a_word=False),
    ]


def test_the_plurals_letter_is_no_letter_of_the_words() -> None:
    assert (singular("PCRs"), singular("PCR"), singular("GPS"), singular("mRNAs")) == (
        "PCR",
        "PCR",
        "GPS",
        "mRNAs",
    )
    assert definitions("point of sale terminals (POSTs)")[0].long == "point of sale terminals"


def test_short_forms_have_two_capitals_or_one_and_a_digit() -> None:
    assert all(map(is_short_form, ["OCR", "mRNA", "IL-2", "Th2", "TCP/IP", "R&D", "3D", "PM2.5"]))
    assert not any(map(is_short_form, ["Fig", "see", "2009", "A", "OCR,", "TWELVELETTERS", "O C"]))


def test_a_glossary_gives_no_more_than_the_limit() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    lines = [
        f"{a}lpha {b}eta {c}amma ({a.upper()}{b.upper()}{c.upper()})"
        for a in letters
        for b in letters
        for c in "xy"
    ]
    assert len(definitions(". ".join(lines))) == DEFINITIONS_MAX


@given(st.text('aAbB (),.;\n（）"-XYs2é', max_size=300))
def test_every_definition_stands_in_the_text(text: str) -> None:
    flat = " ".join(text.split())
    for short, long, _ in definitions(text):
        assert short in text
        assert long in flat
        assert len(long) <= LONG_CHARS_MAX
        assert is_short_form(short)


@pytest.mark.parametrize("unit", ["(", "a ", "((A", "AB (", ") ", "a b c d (ABCD) ", "(AB"])
def test_time_grows_with_the_length_of_the_text(unit: str) -> None:
    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        started = time.process_time()
        definitions(text)
        return time.process_time() - started

    assert seconds(400_000) < max(0.5, 40 * seconds(40_000))  # 100 would be the square's
