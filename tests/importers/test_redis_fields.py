"""Fields are found by name or by what they hold, and the type of the numbers by whether they make sense."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.errors import InputError
from ragstone.importers.records import Losses
from ragstone.importers.redis_fields import VECTOR_TYPES, Fields, fields_of, metadata_of, type_of, vector_of
from ragstone.types import Matrix

ANY: dict[str, Any] = {"text": None, "vector": None, "vector_type": None}


def stored_as(rows: np.ndarray, name: str) -> list[bytes]:
    """Vectors as Redis has them."""
    if name == "bfloat16":
        return [(row.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes() for row in rows]
    return [row.astype(np.dtype(name).newbyteorder("<")).tobytes() for row in rows]


@given(
    seed=st.integers(0, 1 << 32),
    dim=st.sampled_from([8, 384, 1536, 3072]),
    scale=st.sampled_from(["unit", 0.1, 1.0, 5.0]),
    name=st.sampled_from(VECTOR_TYPES),
    computed_in=st.sampled_from(["float16", "float32", "float64"]),
)
def test_the_type_of_the_numbers_is_seen_from_a_sample_and_they_are_read_in_it(
    seed: int, dim: int, scale: str | float, name: str, computed_in: str
) -> None:
    rows = np.random.default_rng(seed).standard_normal((20, dim))
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) if isinstance(scale, str) else rows * scale
    stored = stored_as(rows.astype(computed_in).astype(np.float64), name)
    assert type_of(stored) == name
    read: Matrix = np.array([vector_of(value, name) for value in stored])
    np.testing.assert_allclose(read, rows, rtol=1e-2, atol=1e-5)


def test_sparse_vectors_of_round_numbers_keep_their_type() -> None:
    rows = np.zeros((50, 64))
    rows[:, ::9] = 0.5  # a sparse one: most numbers are zero, the others round
    for name in ("float32", "float64"):
        assert type_of(stored_as(rows, name)) == name


def test_bytes_that_are_no_numbers_have_no_type_and_the_error_says_how_to_name_one() -> None:
    noise = [np.random.default_rng(n).bytes(64) for n in range(20)]
    assert type_of(noise) is None
    with pytest.raises(InputError, match="numbers of no known type") as error:
        fields_of([{"text": b"a", "vector": value} for value in noise], **ANY)
    assert "--vector-type" in error.value.hint


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(InputError, match="no type of numbers 'int8'"):
        fields_of([{"text": b"a"}], text=None, vector=None, vector_type="int8")


def test_float32_that_begin_and_end_like_a_list_are_numbers() -> None:
    row = np.array([1.0, 2.0], "<f4")
    value = b"[" + row.tobytes()[1:-1] + b"]"
    found = vector_of(value, "float32")
    assert found is not None
    assert found.tobytes() == value


def test_a_list_of_words_is_no_vector() -> None:
    assert vector_of(b'["a", "b"]', None) is None
    assert vector_of(["a"], None) is None
    assert vector_of([True, False], None) is None
    assert vector_of([10**400], None) is None


@given(st.binary(max_size=40), st.sampled_from([None, *VECTOR_TYPES]))
def test_any_bytes_are_read_or_refused_without_an_error(value: bytes, name: str | None) -> None:
    found = vector_of(value, name)
    assert found is None or found.dtype == np.float32


def test_the_usual_names_win_and_among_them_the_one_most_entries_have() -> None:
    row = stored_as(np.ones((1, 8)) / 3, "float32")[0]
    entries: list[dict[str, Any]] = [
        {"content": b"a", "content_vector": row, "other": row},
        {"content": b"b", "content_vector": row, "text": b"x"},
    ]
    assert fields_of(entries, **ANY) == Fields("content", "content_vector", "float32")


def test_fields_that_cannot_be_told_apart_are_named_in_the_error() -> None:
    row = stored_as(np.ones((1, 8)) / 3, "float32")[0]
    with pytest.raises(InputError, match="several fields look like vectors: left, right"):
        fields_of([{"text": b"a", "left": row, "right": row}], **ANY)
    with pytest.raises(InputError, match="no field is known to hold the texts; there are words, left"):
        fields_of([{"words": b"a", "left": row}], **ANY)
    with pytest.raises(InputError, match="no field 'right' for the vector; there are left"):
        fields_of([{"words": b"a", "left": row}], text="words", vector="right", vector_type=None)
    found = fields_of([{"words": b"a", "left": row}], text="words", vector=None, vector_type=None)
    assert found == Fields("words", "left", "float32")


def test_metadata_are_taken_where_they_have_their_types_and_binary_values_are_counted() -> None:
    losses = Losses()
    entry = {
        "text": b"a",
        "year": b"1987",
        "tags": "ü".encode(),
        "thumb": b"\x89PNG\0",
        "more": [0.5] * 100,
        "_metadata_json": json.dumps({"year": 1987}).encode(),
    }
    assert metadata_of(entry, Fields("text", None, None), losses) == {"year": 1987, "tags": "ü"}
    assert losses.parts == {"binary values (thumb)": 1, "further vectors (more)": 1}


@pytest.mark.parametrize(
    "broken",
    [
        b"{",
        b"[1]",
        b"7",
        b'{"metadata": 1}',
        b'{"relationships": 3}',
        b'{"text_resource": 5}',
        b"\xff",
        b"[" * 99_999,
    ],
)
def test_a_tools_own_field_that_cannot_be_read_is_passed_over(broken: bytes) -> None:
    for name in ("_node_content", "_metadata_json"):
        entry = {"text": b"a", "year": b"1987", name: broken}
        assert metadata_of(entry, Fields("text", None, None), Losses())["year"] == b"1987".decode()
