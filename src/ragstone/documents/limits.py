"""The limits one file is read under. Plain numbers: the child imports this too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """What reading one file may cost; beyond it the file is refused and the next one goes on.

    `cpu_s` and `wall_s` grow by `*_s_per_mb` for each megabyte of the file: a small file that takes long is
    hostile, a large one is large.
    """

    file_bytes: int = 50_000_000  # R33: 50 MB
    memory_bytes: int = 1 << 30  # C2: child ≤ 1 GB (address space, so resident memory is below it)
    # 7 s and one whole second of rounding stay under the 10 s of C2; the slowest real file measured, a
    # 117-page PDF of 1.8 MB, takes 0.9 s.
    cpu_s: int = 7
    cpu_s_per_mb: float = 0.5
    # Three times the CPU limit: on a machine whose cores are all embedding, a child gets a third of one.
    wall_s: float = 21.0
    wall_s_per_mb: float = 1.5
    text_chars: int = 50_000_000  # a text file at the size limit still passes
    # A block costs the parent some 200 bytes; beyond this, neighbours of one kind are merged.
    blocks: int = 100_000
    # Of an archive's own directory, before anything is unpacked. Largest real ratio seen in Office files and
    # books: 30 (a spreadsheet of repeated rows); deflate cannot exceed 1,032.
    archive_entries: int = 20_000
    archive_bytes: int = 500_000_000
    archive_ratio: int = 150
    archive_ratio_from_bytes: int = 10_000_000  # below this the ratio does not matter
    pages: int = 20_000
    # Of elements in XML and HTML, of values in JSON. Real documents stay below 60.
    depth: int = 500
    open_files: int = 64  # the interpreter and its libraries keep fewer than 20 open
