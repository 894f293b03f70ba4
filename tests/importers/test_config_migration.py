"""The documented examples of earlier services, before and after."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.errors import InputError
from ragstone.importers.config_migration import IndexType, Kind, kind_of, migrate, migrate_file
from ragstone.settings import Settings

GOLDEN = Path(__file__).with_name("golden")
EXAMPLES: list[tuple[str, Kind, int]] = [
    ("env", "env", 3),
    ("python", "python", 1),
    ("yaml", "yaml", 3),
    ("helm", "yaml", 3),
    ("service-env", "env", 4),
    ("toml", "toml", 3),
]


@pytest.mark.parametrize(("name", "kind", "changes"), EXAMPLES)
def test_a_documented_example_migrates_to_its_golden_file(name: str, kind: Kind, changes: int) -> None:
    before, after = ((GOLDEN / f"{name}.{side}").read_text() for side in ("before", "after"))
    migrated = migrate(before, kind)
    assert migrated.after == after
    assert len(migrated.changes) == changes
    assert migrate(after, kind).changes == ()


def test_the_memory_saving_type_can_be_chosen() -> None:
    chosen: IndexType = "OPQ+HNSW"
    assert migrate("FAISS_INDEX_TYPE=IVF\n", "env", index_type=chosen).after == "FAISS_INDEX_TYPE=OPQ+HNSW\n"


def test_comments_quotes_and_everything_unknown_stay() -> None:
    before = '# ours\nexport FAISS_INDEX_TYPE="IVF"  # old\nOTHER=1\n'
    assert migrate(before, "env").after == '# ours\nexport FAISS_INDEX_TYPE="HNSW"  # old\nOTHER=1\n'
    other = "milvus:\n  nlist: 100\nfaiss:\n  index_type: Flat\nnprobe: 3\n"
    assert migrate(other, "yaml").after == other


def test_a_migrated_env_file_is_one_that_settings_accept(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text((GOLDEN / "service-env.after").read_text())
    assert Settings.load(environ={"HOME": str(tmp_path)}, working_dir=tmp_path).port == 8000


def test_a_migrated_toml_file_is_one_that_settings_accept(tmp_path: Path) -> None:
    after = (GOLDEN / "toml.after").read_text()
    assert tomllib.loads(after) == {}
    (tmp_path / "ragstone.toml").write_text(after)
    Settings.load(environ={"HOME": str(tmp_path)}, working_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [(".env", "env"), (".env.production", "env"), ("prod.env", "env"), ("values.yaml", "yaml"), ("a.toml", "toml"),
     ("index.py", "python")],
)  # fmt: skip
def test_a_file_is_known_by_its_name(name: str, kind: Kind) -> None:
    assert kind_of(Path(name)) == kind


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no configuration file"):
        kind_of(Path("notes.txt"))
    with pytest.raises(InputError, match="cannot be read"):
        migrate_file(tmp_path / "absent.env")
    with pytest.raises(InputError, match="not Python"):
        migrate("def (", "python")


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=200), kind=st.sampled_from(["env", "yaml", "toml"]))
def test_migrating_twice_changes_nothing_more(text: str, kind: Kind) -> None:
    once = migrate(text, kind).after
    assert migrate(once, kind).after == once
