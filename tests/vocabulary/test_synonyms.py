"""A user's table of synonyms: what its lines mean, and what is said of a line that means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.errors import InputError
from ragstone.store.analysis import analyse
from ragstone.vocabulary.synonyms import FILE_BYTES_MAX, LINES_MAX, load_synonyms


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "synonyms.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_all_of_a_line_mean_the_same(tmp_path: Path) -> None:
    table = load_synonyms(
        write(tmp_path, "# ours\n\ncar = automobile, motor vehicle  # what we drive\n"), analyse
    )
    assert table == {
        ("car",): {"automobile": ("automobil",), "motor vehicle": ("motor", "vehicl")},
        ("automobil",): {"car": ("car",), "motor vehicle": ("motor", "vehicl")},
        ("motor", "vehicl"): {"car": ("car",), "automobile": ("automobil",)},
    }


def test_lines_about_the_same_word_add_up(tmp_path: Path) -> None:
    table = load_synonyms(write(tmp_path, "\ufeffcar = automobile\r\ncars = wagon\r\n"), analyse)
    assert set(table["car",]) == {"automobile", "wagon"}
    assert set(table["wagon",]) == {"cars"}


def test_forms_of_one_word_are_no_synonyms_of_each_other(tmp_path: Path) -> None:
    assert load_synonyms(write(tmp_path, "car = cars, Car"), analyse) == {("car",): {}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ok = fine\ncar automobile", "line 2: is not of the form"),
        ("car = automobile = wagon", "line 1: is not of the form"),
        ("\n\ncar = , wagon", "line 3: '' holds no word"),
        ("car = !!!", "line 1: '!!!' holds no word"),
        (
            "car = " + ", ".join(f"w{n}" for n in range(16)),
            "line 1: holds 17 words or phrases, the limit is 16",
        ),
        ("car = " + " ".join(f"w{n}" for n in range(11)), "has 11 words, the limit is 10"),
        ("a = b\n" * (LINES_MAX + 1), "10,001 lines of synonyms, the limit is 10,000"),
        (b"#" * (FILE_BYTES_MAX + 1), "larger than 1,000,000 bytes"),
        (b"car = w\xff", "is not UTF-8"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(InputError, match=r"synonyms\.txt") as error:
        load_synonyms(write(tmp_path, text), analyse)
    assert said in error.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_synonyms(tmp_path / "none.txt", analyse)
