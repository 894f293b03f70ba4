"""Pickles are read as data: what is innocent equals what Python's own unpickler gives, what is not is refused."""

from __future__ import annotations

import os
import pickle
import sys
from collections import OrderedDict, defaultdict
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importers.foreign_stores import entries_of, vectors_of, write_langchain
from ragstone.errors import DamagedError
from ragstone.importers import pickles
from ragstone.importers.formats import open_foreign
from ragstone.importers.pickles import read_pickle

_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
_keys = st.text() | st.integers(-(2**60), 2**60) | st.none()
_values = st.recursive(_scalars, lambda inner: st.lists(inner) | st.dictionaries(_keys, inner), max_leaves=20)


def _read(path: Path, data: bytes) -> Any:
    path.write_bytes(data)
    return read_pickle(path)


@settings(max_examples=60, deadline=None)
@given(value=_values, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_are_read_as_pythons_own_reader_reads_them(
    value: Any, protocol: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if protocol < 3 and "bytes" in repr(type(value)):
        protocol = 3
    data = pickle.dumps(value, protocol=protocol)
    # Bytes in old protocols are a call, also those without a byte.
    if protocol < 3 and (b"codecs" in data or b"__builtin__\nbytes" in data):
        return
    assert _read(tmp_path_factory.getbasetemp() / "value.pkl", data) == value


def test_the_values_that_metadata_holds_come_as_text(tmp_path: Path) -> None:
    value = {
        "when": datetime(2024, 5, 6, 7, 8, 9),
        "day": date(2024, 5, 6),
        "id": UUID(int=7),
        "path": PurePosixPath("/docs/a.pdf"),
        "order": OrderedDict(a=1),
        "tags": {"x"},
        "pair": (1, 2),
    }
    assert _read(tmp_path / "value.pkl", pickle.dumps(value)) == {
        "when": "2024-05-06T07:08:09",
        "day": "2024-05-06",
        "id": str(UUID(int=7)),
        "path": "/docs/a.pdf",
        "order": {"a": 1},
        "tags": ["x"],
        "pair": [1, 2],
    }


class _Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def _malicious() -> dict[str, bytes]:
    mark = "touch " + os.devnull
    wide: list[Any] = ["x" * 1000]
    for _ in range(40):
        wide = [wide, wide]
    default = defaultdict(list)
    default["a"].append(_Call(os.system, mark))
    return {
        "os.system": pickle.dumps(_Call(os.system, mark)),
        "os.system, protocol 0": pickle.dumps(_Call(os.system, mark), protocol=0),
        "eval": pickle.dumps(_Call(eval, "1")),
        "exec": pickle.dumps(_Call(exec, "1")),
        "__import__": pickle.dumps(_Call(__import__, "os")),
        "getattr": pickle.dumps(_Call(getattr, "x", "y")),
        "nested in a dict": pickle.dumps({"a": [1, {"b": _Call(os.system, mark)}]}),
        "inside a defaultdict": pickle.dumps(default),
        "calling an innocent type": pickle.dumps(_Call(int, "7")),
        "a global hidden in the memo": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93\x94\x8c\x01x\x85R.",
        "INST": b"(S'true'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'true'\no.",
        "a persistent id": b"Pwhere\n.",
        "an extension": b"\x80\x02\x82\x01.",
        "an out-of-band buffer": b"\x80\x05\x97.",
        "nested too deeply": b"\x80\x02" + b"]" * 500 + b"a" * 499 + b".",
        "a billion laughs": pickle.dumps(wide),
        "a list inside itself": b"\x80\x02]q\x00h\x00a.",
        "a key that collides": pickle.dumps({2**61 + 1: 1}),
    }


@pytest.mark.parametrize("name", _malicious())
def test_a_pickle_that_is_more_than_data_is_refused_and_nothing_of_it_runs(name: str, tmp_path: Path) -> None:
    loaded = []
    sys.addaudithook(lambda event, _: loaded.append(event) if event == "pickle.find_class" else None)
    with pytest.raises(DamagedError, match="is refused") as error:
        _read(tmp_path / "value.pkl", _malicious()[name])
    assert error.value.code == "unsafe_pickle"
    assert "nothing in it was run" in error.value.hint
    assert loaded == []


def test_a_store_whose_pickle_is_malicious_is_refused(tmp_path: Path) -> None:
    source = write_langchain(tmp_path / "s", entries_of(3), vectors_of(3))
    flag = tmp_path / "ran"
    (source / "index.pkl").write_bytes(pickle.dumps((_Call(os.system, f"touch {flag}"), {0: "a"})))
    with pytest.raises(DamagedError, match=r"names posix\.system"):
        open_foreign("auto", source)
    assert not flag.exists()


def test_too_many_opcodes_or_containers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps([{} for _ in range(2_000)])
    monkeypatch.setattr(pickles, "MAX_CONTAINERS", 1_000)
    with pytest.raises(DamagedError, match="more than 1,000 lists and dicts"):
        _read(tmp_path / "value.pkl", data)
    monkeypatch.setattr(pickles, "MAX_OPCODES", 100)
    with pytest.raises(DamagedError, match="more than 100 opcodes"):
        _read(tmp_path / "value.pkl", data)
    monkeypatch.setattr(pickles, "MAX_BYTES", 10)
    with pytest.raises(DamagedError, match="the limit is 10"):
        _read(tmp_path / "value.pkl", data)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_coded_error(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.pkl"
    try:
        _read(path, data)
    except DamagedError as error:
        assert error.code in {"damaged", "unsafe_pickle"}
