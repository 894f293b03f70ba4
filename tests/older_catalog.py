"""Catalogs as an older ragstone left them: the newest migrations undone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw

from ragstone.store.schema import (
    MIGRATIONS,
    m003_token_signs,
    m004_names,
    m005_votes,
    m006_acronyms_extractions,
)

Migration = Callable[[apsw.Connection], None]

_UNDO: dict[Migration, str] = {
    m003_token_signs: "DROP TABLE token_signs",
    m004_names: "DROP TABLE names; DELETE FROM counters WHERE name = 'names_version'",
    m005_votes: "DROP TABLE votes; DELETE FROM counters WHERE name = 'vote_changes'",
    m006_acronyms_extractions: (
        "DROP TABLE acronyms; DROP TABLE extractions; DELETE FROM counters WHERE name = 'acronyms_version'"
    ),
}


def set_back_before(catalog: Path, migration: Migration) -> None:
    """Undo that migration of a closed catalog and those after it."""
    first = MIGRATIONS.index(migration)
    db = apsw.Connection(str(catalog))
    for newer in reversed(MIGRATIONS[first:]):
        db.execute(_UNDO[newer])
    db.pragma("user_version", first)
    db.close()
