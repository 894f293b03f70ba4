"""What lines are: the forms that readers leave, Markdown, reStructuredText, plain text; and anything at all."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.answering.lines import cells, fields
from ragstone.answering.structure import Role, Stretch, stretches


def read(text: str, *, opens: bool = True) -> list[tuple[str, str, str]]:
    """(role, words, header) of each stretch."""
    return [(s.role.value, text[s.start : s.end], _header(text, s)) for s in stretches(text, opens=opens)]


def _header(text: str, stretch: Stretch) -> str:
    return text[slice(*stretch.header)] if stretch.header else ""


def standing(text: str) -> list[str]:
    """What may be an answer by itself."""
    return [
        text[s.start : s.end] for s in stretches(text, opens=True) if s.role not in {Role.LABEL, Role.ABOUT}
    ]


def test_prose_is_its_sentences() -> None:
    assert read("One. Two is\nmore.") == [("sentence", "One.", ""), ("sentence", "Two is\nmore.", "")]


def test_front_matter_says_something_about_the_document_only_at_its_beginning() -> None:
    text = "---\ntitle: Tides\n---\n\nHigh at six."
    assert read(text) == [("about", "title: Tides", ""), ("sentence", "High at six.", "")]
    assert ("about", "title: Tides", "") not in read(text, opens=False)


def test_the_head_of_a_mail_is_about_it_and_the_same_words_further_down_are_not() -> None:
    text = "From: Ruth\nSubject: Ramp\n\nIt broke.\n\nFrom: Hollin\nTo: Skell"
    assert read(text)[:2] == [("about", "From: Ruth", ""), ("about", "Subject: Ramp", "")]
    assert read(text)[-1] == ("field", "To: Skell", "")


@pytest.mark.parametrize(
    "text",
    [
        "# Wind\n\nIt blows.",
        "Wind\n====\n\nIt blows.",
        "====\nWind\n====\n\nIt blows.",
        "Wind\n\nIt blows.",
        "2. Wind\n\nIt blows.",
        "Route 1: Wind\n\nIt blows.",
    ],
)
def test_a_heading_labels_the_sentence_below_it(text: str) -> None:
    (label, words, _), (sentence, blows, header) = read(text)
    assert (label, sentence, blows, header) == ("label", "sentence", "It blows.", words)
    assert words.endswith("Wind")


def test_a_comment_in_code_is_a_sentence() -> None:
    assert ("sentence", "# At least 12 minutes.", "") in read(
        "import x\nGAP = 1\n# At least 12 minutes.\nGAP = 12"
    )


def test_rows_of_a_table_stand_under_the_names_of_its_columns() -> None:
    markdown = "| a | b |\n|---|--:|\n| c | 1 |\n| d | 2 |"
    plain = "a | b\nc | 1\nd | 2"
    drawn = "=====  =====\na      b\n=====  =====\nc      1\nd      2\n=====  ====="
    for text in (markdown, plain, drawn):
        roles = [(role, cells(words), cells(header) if header else []) for role, words, header in read(text)]
        assert roles == [
            ("label", ["a", "b"], []),
            ("row", ["c", "1"], ["a", "b"]),
            ("row", ["d", "2"], ["a", "b"]),
        ]


GRID = """+-----+----------+
| Key | Meaning  |
+=====+==========+
| ESC | stops    |
|     | it all   |
+-----+----------+
| TAB | moves on |
+-----+----------+"""


def test_a_row_drawn_over_several_lines_is_one_row() -> None:
    found = [(role, cells(words), header) for role, words, header in read(GRID)]
    assert found == [
        ("label", ["Key", "Meaning"], ""),
        ("row", ["ESC", "stops it all"], "| Key | Meaning  |"),
        ("row", ["TAB", "moves on"], "| Key | Meaning  |"),
    ]
    rest = GRID[GRID.index("| ESC") :]
    assert [header for _, _, header in read(rest)] == ["", ""]  # a border of = alone stands below names


@pytest.mark.parametrize(
    "code",
    [
        "for ship in ships:\n    if ship.late():\n        wait(ship)\n    else:\n        sail(ship)",
        "$ cat ships | grep Skua",
        "value ::= digit | letter",
    ],
)
def test_lines_of_a_program_are_no_rows_or_fields_to_answer_with(code: str) -> None:
    assert {role for role, _, _ in read(f"It runs so.\n\n{code}")} <= {"sentence", "label"}
    assert any(code.startswith(words[:7]) for words in standing(f"{code}\n\nIt runs so."))


def test_the_first_row_of_a_table_that_began_in_another_chunk_names_no_columns() -> None:
    assert read("roof | Colm\nyard | Miriam", opens=False) == [
        ("row", "roof | Colm", ""),
        ("row", "yard | Miriam", ""),
    ]


def test_records_on_a_line_are_never_divided_and_stand_under_the_field_that_names_them() -> None:
    text = "name: Kittiwake\n\nday: Monday; note: Late. Very late.\nday: Friday; note: "
    assert read(text) == [
        ("field", "name: Kittiwake", ""),
        ("row", "day: Monday; note: Late. Very late.", "name: Kittiwake"),
        ("row", "day: Friday; note:", "name: Kittiwake"),
    ]
    assert [text[17:][a:b] for a, b in fields(text[17:52])] == ["day: Monday", "note: Late. Very late."]


def test_forms_are_read_field_by_field() -> None:
    for text in (
        "Built: 1994\nCars: 12",
        ":Built: 1994\n:Cars: 12",
        "====  ====\nBuilt  1994\nCars  12\n====  ====",
    ):
        assert [role for role, _, _ in read(text)] == ["field", "field"]


def test_lines_broken_on_purpose_are_read_one_by_one_and_wrapped_ones_are_not() -> None:
    recipe = "6 kg potatoes, floury\n4 kg haddock\n9 litres of the best milk\n12 onions"
    assert len(standing(recipe)) == 4
    wrapped = "They sailed from Hollin to\nSandwick and back again in\nthe dark of the night and"
    assert len(standing(wrapped)) == 1


def test_a_question_heads_its_answer_and_not_what_comes_after() -> None:
    interview = "Are you well?\nYes. Thank you.\nNow to the boats, that is to say."
    assert read(interview)[1:] == [
        ("sentence", "Yes.", "Are you well?"),
        ("sentence", "Thank you.", "Are you well?"),
        ("sentence", "Now to the boats, that is to say.", ""),
    ]


def test_an_introduction_heads_its_list() -> None:
    assert read("Done so far:\n- pins replaced\n- hammer bought") == [
        ("label", "Done so far:", ""),
        ("sentence", "- pins replaced", "Done so far:"),
        ("sentence", "- hammer bought", "Done so far:"),
    ]


@pytest.mark.parametrize(
    "label",
    [
        "Home | Fares | Timetable",
        "© 2026 Varrow Line. All rights reserved.",
        "Page 3 of 9",
        "Dear Ruth,",
        ".. note::",
    ],
)
def test_navigation_boilerplate_salutations_and_directives_are_no_answers(label: str) -> None:
    assert standing(f"The boat sails at six.\n\n{label}\n\nShe is late.") == [
        "The boat sails at six.",
        "She is late.",
    ]


def test_a_short_text_alone_is_not_a_label() -> None:
    assert standing("Paris is the capital of France") == ["Paris is the capital of France"]
    assert standing("Paris\nFrance") == ["Paris\nFrance"]


@pytest.mark.parametrize(
    "text",
    [
        "The forest (Spanish: Selva; French: Forêt; Dutch: Woud) is wet. It is large.",
        "Vote: five in favour; note: one against, who spoke. " + "He said much more than this. " * 20,
        "He wrote a | b in " + "words of his own " * 30 + ". So it was.",
    ],
)
def test_prose_with_names_or_bars_in_it_stays_prose(text: str) -> None:
    assert {role for role, _, _ in read(text)} == {"sentence"}
    assert len(read(text)) > 1


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="ab1 .?\n|:;-=#*。猫", max_size=400), opens=st.booleans())
def test_stretches_ascend_and_hold_every_letter(*, text: str, opens: bool) -> None:
    found = stretches(text, opens=opens)
    position = 0
    for stretch in found:
        assert position <= stretch.start < stretch.end
        assert text[stretch.start : stretch.end].strip() == text[stretch.start : stretch.end]
        assert stretch.header is None or stretch.header[1] <= stretch.start
        assert not any(c.isalnum() for c in text[position : stretch.start])
        position = stretch.end
    assert not any(c.isalnum() for c in text[position:])


@pytest.mark.parametrize(
    "unit", ["a: b; ", "| ", "a | ", "= ", "- ", "# a\n", "a:\n", "a?\n", "a\n\n", "a.b ", "::", "---\n"]
)
def test_no_text_takes_more_than_linear_time(unit: str) -> None:
    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        start = time.process_time()
        stretches(text, opens=True)
        return time.process_time() - start

    seconds(1_000)
    # eight times the text: quadratic work would take 64 times as long
    assert min(seconds(80_000) for _ in range(2)) < 24 * min(seconds(10_000) for _ in range(2)) + 0.02
