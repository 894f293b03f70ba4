"""The graph of names in an engine: walked in searches, kept in step with documents, checked and mended."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashing_embedder import HashingEmbedder
from older_catalog import set_back_before
from ragstone import Ragstone
from ragstone.collection import Collection
from ragstone.graph.names import name_key
from ragstone.links import BEARERS_MAX, NameLinks
from ragstone.queries import Query
from ragstone.searching import search_collection
from ragstone.store.schema import m004_names
from ragstone.types import SearchMode

# A question whose answer stands in a document that only the first one names.
QUESTION = "in which year was the band of the drummer Emil Krantz founded"
KRANTZ = "Emil Krantz is the drummer of the band Velvet Harbour, and plays the viola."
HARBOUR = "Four friends began to rehearse in a boat house. 1987 saw their debut."
DISTRACTORS = {
    f"band:{n}": f"The band number {n} was founded in the year {1950 + n}; its drummer is another."
    for n in range(30)
}


def add_story(engine: Ragstone) -> None:
    engine.add(
        [KRANTZ, HARBOUR, *DISTRACTORS.values()],
        uris=["krantz", "harbour", *DISTRACTORS],
        titles=["Emil Krantz", "Velvet Harbour (band)", *(f"Number {n}" for n in range(30))],
    )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Ragstone]:
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as opened:
        add_story(opened)
        yield opened


def edges(engine: Ragstone) -> set[tuple[int, str]]:
    """Which name leads to which document, by uri."""
    with engine._collection().catalog.reading() as db:
        found = db.execute("SELECT n.name, d.uri FROM names n LEFT JOIN documents d ON d.id = n.document_id")
        return {(int(str(name)), str(uri)) for name, uri in found}


def uris(engine: Ragstone, *, graph: bool | None = None, top_k: int = 10) -> list[str]:
    return [hit.uri for hit in engine.search(QUESTION, graph=graph, top_k=top_k).hits]


def test_the_second_of_two_facts_is_found_over_the_name_in_the_first(engine: Ragstone) -> None:
    assert "harbour" not in uris(engine, graph=False)[:5]
    result = engine.search(QUESTION)
    assert [hit.uri for hit in result.hits][:2] == ["krantz", "harbour"]
    assert 0 < result.hits[1].sources["graph"] < 1
    assert result.timings_ms["graph"] > 0
    followed = [(name.name, name.from_chunk) for name in result.names]
    assert followed == [("Emil Krantz", None), ("Velvet Harbour", result.hits[0].id)]
    assert result.names[1].chunk_ids == (result.hits[1].id,)


def test_scores_stay_in_range_and_only_those_of_named_documents_differ(engine: Ragstone) -> None:
    plain = {hit.uri: hit.score for hit in engine.search(QUESTION, graph=False, top_k=50).hits}
    for hit in engine.search(QUESTION, graph=True, top_k=50).hits:
        assert 0 <= hit.score <= 1
        assert ("graph" in hit.sources) == (hit.uri in {"krantz", "harbour"})
        assert hit.score > plain[hit.uri] if "graph" in hit.sources else hit.score == plain[hit.uri]


def test_only_hybrid_search_walks(engine: Ragstone) -> None:
    modes: tuple[SearchMode, ...] = ("dense", "keyword")
    for mode in modes:
        result = engine.search(QUESTION, mode=mode, graph=True)
        assert not result.names
        assert "graph" not in result.timings_ms


def test_graph_search_gives_what_names_lead_to_and_nothing_else(engine: Ragstone) -> None:
    result = engine.graph_search(QUESTION)
    assert [hit.uri for hit in result.hits] == ["krantz", "harbour"]
    assert [name.name for name in result.names] == ["Emil Krantz", "Velvet Harbour"]
    engine.delete(["harbour", "krantz"])
    assert engine.graph_search(QUESTION).hits == ()


def test_a_filter_holds_for_what_the_graph_leads_to(engine: Ragstone) -> None:
    for graph in (False, True):
        hits = engine.search(QUESTION, filter="-uri:harbour", graph=graph, top_k=50).hits
        assert {hit.uri for hit in hits} == {"krantz", *DISTRACTORS}
    assert [hit.uri for hit in engine.graph_search(QUESTION, filter="uri:krantz").hits] == ["krantz"]


def test_a_name_counts_the_moment_its_document_is_there_and_no_longer(engine: Ragstone) -> None:
    engine.delete(["harbour"])
    assert engine.graph_search(QUESTION).hits[-1].uri == "krantz"
    engine.add([HARBOUR], uris=["later"], titles=["Velvet Harbour"])  # named by a text that was there before
    assert engine.graph_search(QUESTION).hits[-1].uri == "later"
    engine.add([HARBOUR], uris=["later"], titles=["The Gulls"])
    assert {hit.uri for hit in engine.graph_search(QUESTION).hits} == {"krantz"}


def test_a_chinese_document_is_found_over_its_name(tmp_path: Path) -> None:
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as engine:
        texts = ["李明毕业于滨海大学。", "一九五二年成立于江边。", "猫在屋顶上睡觉。"]
        engine.add(texts, uris=["li", "university", "cat"], titles=["李明", "滨海大学", "猫"])
        assert [hit.uri for hit in engine.graph_search("李明的母校是哪一年成立的").hits] == [
            "li",
            "university",
        ]


def test_a_name_that_too_many_documents_bear_leads_nowhere(tmp_path: Path) -> None:
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as engine:
        many = BEARERS_MAX + 1
        vectors = HashingEmbedder().embed_documents([f"page {n}" for n in range(many)])
        given = {"uris": [f"p{n}" for n in range(many)], "vectors": vectors, "model": "hashing-32"}
        engine.add([f"page {n}" for n in range(many)], titles=["Introduction"] * many, **given)  # type: ignore[arg-type]
        assert engine.graph_search("introduction").names == ()
        engine.delete(["p0"])
        assert len(engine.graph_search("introduction").names[0].chunk_ids) == BEARERS_MAX


def test_the_setting_switches_the_graph_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_GRAPH", "false")
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as engine:
        add_story(engine)
        assert uris(engine) == uris(engine, graph=False)
        assert uris(engine, graph=True)[:2] == ["krantz", "harbour"]


def test_adding_and_deleting_100_documents_leaves_the_graph_of_a_fresh_one(tmp_path: Path) -> None:
    choice = random.Random(1)
    kept = {f"kept:{n}": f"Kept Number {n} (page)" for n in range(50)}
    passing = {f"passing:{n}": choice.choice([f"Passing {n}", "Kept Number 7", ""]) for n in range(100)}
    with Ragstone(tmp_path / "lived", embedder=HashingEmbedder()) as lived:
        lived.add(["old text"] * 50, uris=list(kept), titles=["Older Title"] * 50)
        lived.add([f"text of {uri}" for uri in kept], uris=list(kept), titles=list(kept.values()))
        before = edges(lived)
        lived.add([f"text of {uri}" for uri in passing], uris=list(passing), titles=list(passing.values()))
        assert lived.stats().graph_edges == len(edges(lived)) > len(before)
        for uri in choice.sample(sorted(passing), k=60):
            lived.delete([uri])
        lived.delete([info.uri for info in lived.documents() if info.uri in passing])
        with Ragstone(tmp_path / "fresh", embedder=HashingEmbedder()) as fresh:
            fresh.add([f"text of {uri}" for uri in kept], uris=list(kept), titles=list(kept.values()))
            assert edges(lived) == before == edges(fresh)
            assert (
                lived.graph_search("kept number 7").hits[0].uri
                == fresh.graph_search("kept number 7").hits[0].uri
            )
            assert (fresh.stats().graph_nodes, fresh.stats().graph_edges) == (100, 100)


def test_folders_are_linked_and_followed_too(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.md").write_text(f"# Emil Krantz\n\n{KRANTZ}\n")
    (notes / "b.md").write_text(f"# Velvet Harbour\n\n{HARBOUR}\n")
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as engine:
        engine.index([notes])
        assert [Path(hit.uri).name for hit in engine.graph_search(QUESTION).hits] == ["a.md", "b.md"]
        (notes / "b.md").unlink()
        engine.index([notes])
        assert engine.stats().graph_edges == 1
        assert engine.verify().ok


@pytest.mark.parametrize(
    "spoil",
    [
        "DELETE FROM names WHERE document_id = 1",
        f"INSERT INTO names VALUES ({name_key('stranger')}, 2)",
        "UPDATE names SET document_id = 3 WHERE document_id = 2",
        "UPDATE counters SET value = 0 WHERE name = 'names_version'",
    ],
)
def test_a_graph_that_disagrees_is_seen_and_mended(engine: Ragstone, spoil: str) -> None:
    wanted = edges(engine)
    with engine._collection().catalog.transaction() as db:
        db.execute(spoil)
    found = engine.verify()
    assert [problem.code for problem in found.problems] == ["graph_differs"]
    assert found.problems[0].repairable
    report = engine.repair()
    assert report.ok
    assert [problem.code for problem in report.repaired] == ["graph_differs"]
    assert edges(engine) == wanted


def test_the_names_of_an_older_collection_are_collected_when_it_is_first_searched(
    engine: Ragstone, tmp_path: Path
) -> None:
    wanted = edges(engine)
    engine.close()
    set_back_before(tmp_path / "data" / "collections" / "default" / "catalog.sqlite", m004_names)
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as reopened:
        result = reopened.search(QUESTION)
        assert [hit.uri for hit in result.hits][:2] == ["krantz", "harbour"]
        assert not result.degraded
        assert edges(reopened) == wanted
        assert reopened.verify().ok


HOLDS_THE_LOCK = """
import sys
from pathlib import Path
from ragstone.store.lock import WriterLock
with WriterLock(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_search_goes_on_without_the_graph_while_another_process_writes(
    engine: Ragstone, tmp_path: Path
) -> None:
    engine.close()
    set_back_before(tmp_path / "data" / "collections" / "default" / "catalog.sqlite", m004_names)
    lock = tmp_path / "data" / "collections" / "default" / "lock"
    command = [sys.executable, "-c", HOLDS_THE_LOCK, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as reopened:
            result = reopened.search(QUESTION, top_k=50)
            assert len(result.hits) == 32
            assert [entry.source for entry in result.degraded] == ["graph", "acronyms"]
            plain = reopened.search(QUESTION, graph=False)
            assert [entry.source for entry in plain.degraded] == ["acronyms"]
            assert reopened.stats().degraded == {"graph": 1, "acronyms": 2}
        holder.communicate()


def test_a_graph_that_fails_is_reported_and_the_other_sources_answer(
    engine: Ragstone, tmp_path: Path
) -> None:
    collection = engine._collection()
    other = Collection(tmp_path / "other")
    other.close()
    shutil.rmtree(tmp_path / "other")  # whoever reads from it now gets a StoreError
    snapshot = collection.snapshot()
    broken = NameLinks(other.catalog, snapshot.keyword)
    collection._snapshot = type(snapshot)(
        snapshot.identity, snapshot.dense, snapshot.keyword, broken, snapshot.terms, snapshot.degraded
    )
    asked = Query.checked(QUESTION, top_k=10, mode="hybrid", filter=None, vector=None, recall=1.0, graph="on")
    result = search_collection(
        collection, asked, engine.embedder, engine._open.recall_keeper("default"), engine._models.reranker
    )
    assert [hit.uri for hit in result.hits] == uris(engine, graph=False)
    assert [entry.source for entry in result.degraded] == ["graph"]
    assert "cannot be opened" in result.degraded[0].reason
