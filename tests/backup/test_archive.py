"""An archive from elsewhere writes nothing but a collection's own files, whatever it says."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
from ragstone.backup import archive as archive_module
from ragstone.errors import DamagedError, MismatchError, NotFoundError, RagstoneError

SEGMENT = "segments/" + "0" * 32
Entry = tuple[str, bytes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of one small collection."""
    home = tmp_path_factory.mktemp("whole")
    with Ragstone(home / "data", embedder=HashingEmbedder()) as engine:
        engine.add(["amber fjord"], uris=["a"])
        engine.compact()
        engine.backup(home / "copy.tar")
    return home / "copy.tar"


def entries_of(path: Path) -> list[Entry]:
    with tarfile.open(path) as tar:
        found = [(info.name, tar.extractfile(info)) for info in tar]
        return [(name, file.read()) for name, file in found if file is not None]


def written(
    path: Path,
    entries: list[Entry],
    *,
    manifest: Callable[[dict[str, Any]], None] = lambda _: None,
    header: Callable[[tarfile.TarInfo], None] = lambda _: None,
) -> Path:
    """A backup of these files with checksums that fit; `manifest` and `header` (of the last file) are changed first."""
    fields = json.loads(entries[0][1])
    manifest(fields)
    files = [("manifest.json", json.dumps(fields).encode()), *entries[2:]]
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files)
    files.insert(1, ("SHA256SUMS", sums.encode()))
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if name == files[-1][0]:
                header(info)
            tar.addfile(info, io.BytesIO(data))
    return path


def refused(path: Path, tmp_path: Path, kind: type[RagstoneError], match: str) -> None:
    before = set(tmp_path.rglob("*"))
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as engine:
        with pytest.raises(kind, match=match):
            engine.restore(path)
        assert engine.collections() == []
    left = {path.relative_to(tmp_path) for path in set(tmp_path.rglob("*")) - before}
    assert left <= {Path("data"), Path("data/collections")}


def test_tar_reads_a_backup_and_an_archive_written_by_tar_is_one(whole: Path, tmp_path: Path) -> None:
    again = written(tmp_path / "again.tar", entries_of(whole))
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as engine:
        engine.restore(again)
        assert [info.uri for info in engine.documents()] == ["a"]


@pytest.mark.parametrize(
    "name",
    [
        "../../outside",
        "/srv/outside",
        "segments/../../outside",
        f"{SEGMENT}/../../../outside",
        f"{SEGMENT}/outside",
        f"{SEGMENT}/index.faiss/x",
        "lock",
        "keyword/meta.json",
        "catalog.sqlite-wal",
        "catalog.sqlite\n",
        "segments/" + "A" * 32 + "/index.faiss",
    ],
)
def test_a_name_that_is_none_of_a_collections_files_is_refused(
    whole: Path, tmp_path: Path, name: str
) -> None:
    entries = [*entries_of(whole), (f"0/{name}", b"x")]

    def announce(fields: dict[str, Any]) -> None:
        fields["collections"][0]["files"][name] = 1

    path = written(tmp_path / "hostile.tar", entries, manifest=announce)
    refused(path, tmp_path, DamagedError, "is no backup, or a damaged one")


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "..", ".hidden", "", 7, None, "x.memory.memory"])
def test_a_collection_whose_name_is_none_is_refused(whole: Path, tmp_path: Path, name: object) -> None:
    def rename(fields: dict[str, Any]) -> None:
        fields["collections"][0]["name"] = name

    path = written(tmp_path / "hostile.tar", entries_of(whole), manifest=rename)
    if name == "x.memory.memory":  # odd, but inside
        with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as engine:
            engine.restore(path)
        return
    refused(path, tmp_path, DamagedError, "is no backup, or a damaged one")


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, b"x"],
)
def test_only_plain_files_are_taken(whole: Path, tmp_path: Path, kind: bytes) -> None:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, "/etc/passwd"

    path = written(tmp_path / "hostile.tar", entries_of(whole), header=change)
    refused(path, tmp_path, DamagedError, "should begin|is no header")


def _newer_format(fields: dict[str, Any]) -> None:
    fields["format"] = archive_module.FORMAT + 1


def _newer_schema(fields: dict[str, Any]) -> None:
    fields["collections"][0]["schema"] = 999


@pytest.mark.parametrize("change", [_newer_format, _newer_schema])
def test_what_a_newer_ragstone_wrote_is_refused(
    whole: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    path = written(tmp_path / "newer.tar", entries_of(whole), manifest=change)
    refused(path, tmp_path, MismatchError, "was written by a newer ragstone")


def _huge(fields: dict[str, Any]) -> None:
    fields["collections"][0]["files"]["catalog.sqlite"] = 1 << 60


def _negative(fields: dict[str, Any]) -> None:
    fields["collections"][0]["files"]["catalog.sqlite"] = -512


def _twice(fields: dict[str, Any]) -> None:
    fields["collections"] *= 2


def _many(fields: dict[str, Any]) -> None:
    fields["collections"] *= archive_module.MAX_COLLECTIONS + 1


def _no_catalog(fields: dict[str, Any]) -> None:
    del fields["collections"][0]["files"]["catalog.sqlite"]


@pytest.mark.parametrize("change", [_huge, _negative, _twice, _many, _no_catalog])
def test_a_manifest_that_cannot_be_true_is_refused(
    whole: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    path = written(tmp_path / "hostile.tar", entries_of(whole), manifest=change)
    refused(path, tmp_path, DamagedError, "is no backup, or a damaged one")


def test_a_manifest_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "hostile.tar"
    info = tarfile.TarInfo("manifest.json")
    info.size = 1 << 50
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    refused(path, tmp_path, DamagedError, "the limit is")


def test_a_nested_manifest_is_refused(whole: Path, tmp_path: Path) -> None:
    entries = entries_of(whole)
    deep = b"[" * 1_000_000
    sums = f"{hashlib.sha256(deep).hexdigest()}  manifest.json\n".encode()
    path = tmp_path / "hostile.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("manifest.json", deep), ("SHA256SUMS", sums), entries[2]):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    refused(path, tmp_path, DamagedError, "its manifest cannot be read")


def test_an_archive_cut_off_anywhere_is_refused(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    content_end = len(data) - 2 * tarfile.BLOCKSIZE - tarfile.BLOCKSIZE  # before the last padding and the end
    path = tmp_path / "cut.tar"
    for length in (0, 1, 511, 512, 700, 2_000, len(data) // 2, content_end):
        path.write_bytes(data[:length])
        refused(path, tmp_path, DamagedError, "is no backup, or a damaged one")


def test_checksums_that_fit_do_not_make_a_catalog(whole: Path, tmp_path: Path) -> None:
    """Somebody may write the sums anew: the collection is opened and compared with itself all the same."""
    entries = entries_of(whole)
    name, data = entries[2]
    assert name == "0/catalog.sqlite"
    entries[2] = (name, b"x" * len(data))
    refused(written(tmp_path / "hostile.tar", entries), tmp_path, DamagedError, "damaged")


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.tar", tmp_path, NotFoundError, "cannot be read: No such file")
