"""Reading a JSON file value by value gives what reading it whole gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.errors import DamagedError
from ragstone.importers import json_stream
from ragstone.importers.json_stream import JsonStream

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)


@settings(max_examples=80, deadline=None)
@given(
    content=st.dictionaries(st.text(), _values), window=st.integers(1, 40), spaces=st.sampled_from([None, 1])
)
def test_members_read_one_by_one_are_those_of_the_whole(
    content: dict[str, Any], window: int, spaces: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    path.write_text(
        json.dumps(content, indent=spaces, ensure_ascii=False), encoding="utf-8", errors="surrogatepass"
    )
    whole = json.loads(path.read_text(errors="surrogatepass")) if path.read_bytes() else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_WINDOW_CHARS", window)  # so that every boundary falls somewhere
        with JsonStream(path) as stream:
            assert {key: stream.value() for key in stream.members()} == whole
        with JsonStream(path) as stream:
            seen = []
            for key in stream.members():
                seen.append(key)
                stream.skip()
            assert seen == list(whole)


def test_vectors_are_the_nearest_float32_of_their_numbers(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((50, 300))
    path = tmp_path / "value.json"
    path.write_text(json.dumps({str(number): row.tolist() for number, row in enumerate(rows)}))
    with JsonStream(path) as stream:
        for key in stream.members():
            np.testing.assert_array_equal(stream.vector(), rows[int(key)].astype(np.float32))


@pytest.mark.parametrize("value", ["[1, [2]]", '["1"]', "null", "3", '"text"', "{}"])
def test_what_is_not_a_list_of_numbers_is_passed_over(value: str, tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    path.write_text(f'{{"a": {value}, "b": [1, 2]}}')
    with JsonStream(path) as stream:
        assert [None if (row := stream.vector()) is None else row.tolist() for _ in stream.members()] == [
            None,
            [1.0, 2.0],
        ]


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a"', '{"a":', '{"a": [1, 2', '{"a": 1 "b": 2}', '{"a": tru}', '{"a": [1,,2]}', "[1]", "{'a': 1}",
     '{"a": "\\x"}', '{"a": ' + "[" * 5000, '{"a": "' + "x" * 3000],
)  # fmt: skip
def test_what_is_not_json_names_the_file_and_the_place(text: str, tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    path.write_text(text)
    for read in (JsonStream.value, JsonStream.vector, JsonStream.skip):
        with (
            pytest.raises(DamagedError, match=r"value\.json is damaged at character \d"),
            JsonStream(path) as stream,
        ):
            for _ in stream.members():
                read(stream)


def test_memory_follows_the_largest_value_not_the_file(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "value.json"
    line = json.dumps([0.12345678901234567] * 1024)
    with path.open("w") as file:
        file.write("{" + ",".join(f'"{number}":{line}' for number in range(1_200)) + "}")
    tracemalloc.start()
    with JsonStream(path) as stream:
        for _ in stream.members():
            stream.vector()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 20_000_000
    assert peak_bytes < 8_000_000
