"""Five sources asked at once, over made-up data of an island ferry line.

    python examples/parallel_sources.py [--locale de] [FOLDER]

Without a folder the data are made in a temporary one. Nothing is asked of any network.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ragstone import ParallelRetriever, Ragstone, Settings
from ragstone.memory.opening import open_memory, settings_embedder
from ragstone.parallel.cross_analysis import CrossAnalysis, Rule
from ragstone.parallel.graph import GraphAnswer, GraphNode, GraphSource
from ragstone.parallel.passages import DomainSource, PassageSource
from ragstone.parallel.persona import PersonaSource

# What masters of the line used to say: the corpus.
SAYINGS = (
    ("en", "Ada Thorne", "A timetable is a promise to the island, and the weather signs it too."),
    (
        "en",
        "Jon Reve",
        "In fog go slowly, sound the horn, and trust the other ship to be where you least want her.",
    ),
    ("en", "Ada Thorne", "Nobody was ever late for a crossing that waited for the swell to go down."),
    (
        "en",
        "Mira Holt",
        "A passenger who knows where the life jackets hang sleeps better than the one who paid more.",
    ),
    (
        "en",
        "Jon Reve",
        "The sea keeps no grudge, but it keeps appointments: the tide will not wait for the mail.",
    ),
    ("en", "Mira Holt", "Fear of the crossing is cured on deck, looking at the horizon, never below."),
    ("de", "Ada Thorne", "Ein Fahrplan ist ein Versprechen an die Insel, und das Wetter unterschreibt mit."),
    ("de", "Mira Holt", "Gegen Seekrankheit hilft der Blick auf den Horizont, an Deck, nie unten."),
)
# What is known by theme: a collection each.
DOMAINS: Mapping[str, Sequence[str]] = {
    "safety": (
        "In a swell above 1.5 m the outer deck is closed and children stay inside.",
        "Life jackets hang under the seats of the saloon; there are 110 for 96 passengers.",
        "In a gale, force 8 and above, no ferry leaves Sandwick.",
    ),
    "comfort": (
        "Seats amidships, low and near the middle, move least in a swell.",
        "Ginger biscuits are free at the bar when the swell is above one metre.",
    ),
}
# What the passenger told us on earlier trips: the persona, by trait.
MEMORIES = (
    ("health", "I get seasick in any swell."),
    ("health", "Ginger helps me when the ferry rolls."),
    ("habits", "I like to stand on the outer deck during the crossing."),
    ("habits", "I always take the first ferry to Skell Landing."),
    ("plans", "I visit my aunt on Skell every November."),
)
# Places and ships, and what ties them: the graph.
NODES: Mapping[str, tuple[str, str]] = {
    "sandwick": ("Sandwick", "harbour"),
    "skell": ("Skell Landing", "harbour"),
    "orra-light": ("Orra Light", "ship"),
    "route-3": ("route 3", "route"),
    "outer-deck": ("outer deck", "part"),
}
TIES = (
    ("route-3", "leads from", "sandwick"),
    ("route-3", "leads to", "skell"),
    ("orra-light", "sails", "route-3"),
    ("orra-light", "has an", "outer-deck"),
)
TIE_RULES = (
    ("route-3", "Route 3 is sailed in a swell of 2.5 m at most."),
    ("orra-light", "The Orra Light goes at half speed in a swell above 1.5 m."),
)
# What follows from several of them together.
RULES = (
    Rule(
        {"other_facts": "swell", "persona": "seasick", "domain": "amidships"},
        {
            "en": "This passenger gets seasick and there is a swell: offer a seat amidships, and ginger.",
            "de": "Wer seekrank wird, sitzt bei Dünung mittschiffs; Ingwer anbieten.",
        },
    ),
    Rule(
        {"other_facts": "swell", "persona": "outer deck", "graph": "outer deck"},
        {
            "en": "The favourite place, the outer deck, may be closed today: say so before boarding.",
            "de": "Der Lieblingsplatz, das Außendeck, ist heute vielleicht gesperrt: vorher sagen.",
        },
    ),
    Rule(
        {"other_facts": "gale", "facts": "route 3"},
        {"en": "Route 3 does not sail today.", "de": "Route 3 fällt aus."},
    ),
)
THEMES = {"safety": "life jackets closed deck", "comfort": "seasick seat amidships swell"}

PASSENGER = {"trip": {"route": "route 3", "from": "Sandwick", "to": "Skell Landing"}, "ship": "Orra Light"}
WEATHER = {"sea": {"state": "swell", "height_m": 1.8}, "wind": {"name": "fresh breeze", "force": 5}}


@dataclass(frozen=True)
class HarbourGraph:
    """A small graph: finds the nodes that a query names, then their neighbours."""

    nodes: Mapping[str, tuple[str, str]]
    ties: Sequence[tuple[str, str, str]]
    rules: Sequence[tuple[str, str]]

    def search(self, query: str, top_k: int) -> GraphAnswer:
        """Named nodes score 1, their neighbours a half; ties by id."""
        scores = {
            node: 1.0
            for node, (name, _) in self.nodes.items()
            if re.search(rf"\b{re.escape(name)}\b", query, re.IGNORECASE)
        }
        for one, _, other in self.ties:
            if scores.get(one) == 1.0:
                scores.setdefault(other, 0.5)
            if scores.get(other) == 1.0:
                scores.setdefault(one, 0.5)
        best = sorted(scores, key=lambda node: (-scores[node], node))[:top_k]
        said = [
            f"{self._name(a)} {tie} {self._name(b)}." for a, tie, b in self.ties if a in best and b in best
        ]
        return GraphAnswer(
            [GraphNode(node, self._name(node), scores[node], {"kind": self.nodes[node][1]}) for node in best],
            " ".join(said),
            [rule for node, rule in self.rules if node in best],
        )

    def _name(self, node: str) -> str:
        return self.nodes[node][0]


@contextmanager
def sample_retriever(folder: Path) -> Iterator[ParallelRetriever]:
    """Make the data in `folder`, where they are not there, and open a retriever over all five sources and one model."""
    settings = Settings(data_dir=folder, collection="sayings")
    embedder = settings_embedder(settings)
    engine = Ragstone(settings=settings, embedder=embedder)
    engine.add(
        [text for _, _, text in SAYINGS],
        uris=[f"saying:{number}" for number in range(len(SAYINGS))],
        metadata=[{"locale": locale, "author": author} for locale, author, _ in SAYINGS],
    )
    for theme, texts in DOMAINS.items():
        with Ragstone(settings=settings, collection=theme, embedder=embedder) as domain:
            domain.add(texts, uris=[f"{theme}:{number}" for number in range(len(texts))])
    memory = open_memory(settings, embedder=embedder)
    for trait, text in MEMORIES:
        memory.add(text, tier="semantic", tags=[trait])
    with ParallelRetriever(
        [
            GraphSource(HarbourGraph(NODES, TIES, TIE_RULES), version=lambda: "made once"),
            # The query lists names and words in English; a saying, German ones above all, shares few of them.
            PassageSource(engine, locale_field="locale", min_score=0.05),
            PersonaSource(memory, version=lambda: engine.version(["sayings.memory"])),
            DomainSource(engine, by_theme={theme: theme for theme in DOMAINS}),
        ],
        analysis=CrossAnalysis(RULES),
        themes=THEMES,
        owned=[memory, engine, embedder],
    ) as retriever:
        yield retriever


def main() -> None:
    """Ask once and print what came, as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--locale", default="en")
    parser.add_argument("--theme", default="comfort")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as temporary,
        sample_retriever(arguments.folder or Path(temporary)) as retriever,
    ):
        fetched = retriever.fetch(PASSENGER, WEATHER, arguments.theme, arguments.locale)
    print(json.dumps(fetched.to_dict(), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
