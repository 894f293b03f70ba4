"""What can be found by which words: languages without spaces, names in code, quoted phrases."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragstone.store.analysis import QUERY_TERMS_MAX, analyse, analyse_query, prepare, text_analyzer
from ragstone.store.keyword import KeywordIndex
from ragstone.store.keyword_tail import KeywordEntry


def best(folder: Path, texts: list[str], query: str) -> list[int]:
    index = KeywordIndex.open(folder, writable=True)
    index.apply(add=[KeywordEntry(i, i, t) for i, t in enumerate(texts) if i], delete=[], sequence=1)
    return [int(i) for i in index.reader().search(query, top_k=10)[0]]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("我们研究信息检索系统的评估方法。", "信息检索"),
        ("我们研究信息检索系统的评估方法。", "评"),
        ("第三章:水", "水"),
        ("情報検索システムの評価", "検索"),
        ("カタカナとひらがな", "ひらがな"),
        ("ｶﾀｶﾅ", "カタカナ"),
        ("정보검색을 연구한다", "검색"),
        ("ระบบค้นคืนสารสนเทศ", "สารสนเทศ"),
        ("सूचना की खोज", "खोज"),
        ("Die Straße nach Süden", "straße süden"),
        ("cafe\u0301 society", "café"),
        ("the ｆｕｌｌ width", "full"),
        ("مُحَمَّد", "محمد"),
    ],
)
def test_text_of_any_script_is_found(tmp_path: Path, text: str, query: str) -> None:
    assert best(tmp_path, ["", "something else", text], query) == [2]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Call useEffect after rendering.", "useEffect"),
        ("Call useEffect after rendering.", "effect"),
        ("Call useEffect after rendering.", "useeffect"),
        ("class HTMLParser(base)", "parser"),
        ("The --web.listen-address flag", "--web.listen-address"),
        ("The --web.listen-address flag", "listen-address"),
        ("The --web.listen-address flag", "address"),
        ("read_csv_file(path)", "csv"),
        ("std::vector<int>", "vector"),
        ("mRNA levels", "mRNA"),
        (
            "digest 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ),
    ],
)
def test_a_name_is_found_whole_and_by_its_parts(tmp_path: Path, text: str, query: str) -> None:
    assert best(tmp_path, ["", "something else", text], query) == [2]


def test_the_exact_name_ranks_above_its_scattered_parts(tmp_path: Path) -> None:
    texts = [
        "",
        "join a path, an os, and more",
        "use os.path.join here",
        *["path os join", "join os path"] * 3,
    ]
    assert best(tmp_path, texts, "os.path.join")[0] == 2


def test_a_quoted_phrase_ranks_above_its_scattered_words(tmp_path: Path) -> None:
    texts = ["", "shock wave, boundary layer", "layer of the boundary: the wave, a shock, then more words"]
    assert best(tmp_path, texts, "boundary layer") == [1, 2]
    texts = [
        "",
        "layer of the shock at a boundary",
        "the boundary layer is long here and there are more words",
    ]
    assert best(tmp_path / "quoted", texts, '"boundary layer"') == [2, 1]


def test_humps_split_only_where_words_meet() -> None:
    assert analyse("getElementById") == ["getelementbyid", "get", "element", "byid"]
    assert analyse("XMLHttpRequest") == ["xmlhttprequest", "xml", "http", "request"]
    for whole in ("mRNA", "pH", "iPhone", "DNA", "McCoy", "RNAs", "ABCd"):
        assert len(analyse(whole)) == 1, whole


@given(st.text(max_size=300))
def test_a_query_never_fails_and_never_grows_beyond_its_limit(query: str) -> None:
    terms = analyse_query(query)
    assert len(terms.words) <= QUERY_TERMS_MAX
    assert all(len(phrase) > 1 for phrase in terms.phrases)


@given(st.text(max_size=200))
def test_a_text_is_found_by_its_own_words(text: str) -> None:
    assert list(analyse_query(text).words) == analyse(text)[:QUERY_TERMS_MAX]


@pytest.mark.parametrize(
    "unit", ["a", "aB", "aaAa", "a.", '"', "“", "中", "é", "é\u0301", "AAaa", "aaA", "a::"]
)
def test_hostile_text_is_analysed_in_linear_time(unit: str) -> None:
    def seconds(count: int) -> float:
        start = time.process_time()
        analyse_query(unit * count)
        return time.process_time() - start

    seconds(1000)
    assert seconds(200_000) < 2.0  # a quadratic pattern would need minutes


_LETTERS = " \t\nabcXYZ.-_/0189"


@given(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.text(st.sampled_from(_LETTERS + "検索カキก\u0301\u0308\u00a8\u3000")),
        st.text(st.sampled_from(_LETTERS + "“”’–—…·→\u00a0\u200b│")),
        st.text(st.characters(codec="ascii")),
    )
)
@example("XMLHttpRequest,useEffect(" + "a" * 70 + ").caf\u00e9Bar")
def test_words_analysed_one_by_one_give_the_terms_that_the_index_sees(text: str) -> None:
    assert analyse(text) == text_analyzer().analyze(prepare(text).words)
