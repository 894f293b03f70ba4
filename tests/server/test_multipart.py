"""A multipart body gives the same parts however it is cut."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.errors import InputError
from ragstone.server.multipart import MAX_HEADER_BYTES, MultipartReader, Part, PartEnd, boundary_of
from server.uploading import BOUNDARY, multipart

CONTENTS = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [b"", b"\r\n", b"\r\n--", f"\r\n--{BOUNDARY[:-1]}".encode(), b"--" + BOUNDARY.encode()[:9]]
    ),
)


def parts_of(body: bytes, cuts: list[int]) -> list[tuple[str | None, bytes, bool]]:
    """(file name, content, complete) of every part, the body fed in pieces cut at `cuts`."""
    reader = MultipartReader(BOUNDARY.encode())
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    found: list[tuple[str | None, bytes, bool]] = []
    for start, end in itertools.pairwise(edges):
        for event in reader.feed(body[start:end]):
            if isinstance(event, Part):
                found.append((event.filename, b"", False))
            elif isinstance(event, PartEnd):
                found[-1] = (found[-1][0], found[-1][1], True)
            else:
                found[-1] = (found[-1][0], found[-1][1] + event, False)
    assert reader.is_complete
    return found


@given(st.lists(CONTENTS, min_size=1, max_size=4), st.lists(st.integers(0, 2_000), max_size=12))
def test_every_cut_gives_the_same_parts(contents: list[bytes], cuts: list[int]) -> None:
    files = {f"{number}.txt": content for number, content in enumerate(contents)}
    assert parts_of(multipart(files), cuts) == [(name, content, True) for name, content in files.items()]


@given(st.binary(max_size=400))
def test_nonsense_is_refused_or_ignored_and_never_complete(body: bytes) -> None:
    reader = MultipartReader(BOUNDARY.encode())
    list(reader.feed(body))
    assert not reader.is_complete


@given(st.binary(max_size=300))
def test_nonsense_after_a_boundary_is_an_input_error_at_worst(body: bytes) -> None:
    reader = MultipartReader(BOUNDARY.encode())
    with contextlib.suppress(InputError):
        list(reader.feed(f"--{BOUNDARY}\r\n".encode() + body))


def test_endless_headers_are_refused_while_they_come() -> None:
    reader = MultipartReader(BOUNDARY.encode())
    list(reader.feed(f"--{BOUNDARY}\r\n".encode()))
    with pytest.raises(InputError, match="headers"):
        for _ in range(3):
            list(reader.feed(b"x" * (MAX_HEADER_BYTES // 2)))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('form-data; name="file"; filename="a;b.txt"', "a;b.txt"),
        ('form-data; name="file"; filename="say \\"hi\\".txt"', 'say "hi".txt'),
        ('form-data; name="file"; filename="C:\\temp\\a.txt"', "C:\\temp\\a.txt"),
        ("form-data; name=file; filename=plain.txt", "plain.txt"),
        ('form-data; name="file"; filename="x"; filename*=UTF-8\'\'na%C3%AFve.txt', "naïve.txt"),
        ('form-data; name="field"', None),
    ],
)
def test_file_names_are_read_as_clients_write_them(header: str, name: str | None) -> None:
    body = f"--{BOUNDARY}\r\nContent-Disposition: {header}\r\n\r\nx\r\n--{BOUNDARY}--".encode()
    assert parts_of(body, []) == [(name, b"x", True)]


@pytest.mark.parametrize(
    "header", ["multipart/form-data", 'multipart/form-data; boundary=""', f"x; boundary={'b' * 71}"]
)
def test_a_content_type_without_a_boundary_is_refused(header: str) -> None:
    with pytest.raises(InputError, match="boundary"):
        boundary_of(header)
