"""Keys bound to collections, under random traffic: 0 leaks (RELIABILITY C7).

Each collection has words that stand nowhere else. Whatever a key of one collection gets back, by any route, may not
hold a word of another, and what it is refused reads like what does not exist.

    python -m tests.load.tenants [--tries 100000] [--seed 1]
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

from ragstone.server.access import policy_of
from server.keyed import Keyed, fill, keyed
from server.live import DrippingModel, Reply

COLLECTIONS = ("default", "second", "third")
DOCUMENTS = 12


def leaks(text: str, words: Mapping[str, Sequence[str]]) -> list[str]:
    """The words of those collections in a text."""
    return [word for word in itertools.chain.from_iterable(words.values()) if word in text]


class Tenants:
    """A service over three collections with a key for each, and one for two of them."""

    def __init__(self, folder: Path) -> None:
        self.words = {name: [f"{name}zq{number}" for number in range(DOCUMENTS)] for name in COLLECTIONS}
        texts = {
            name: [f"The passage about {word} opens at nine. {word} is the word." for word in words]
            for name, words in self.words.items()
        }
        fill(folder, texts)
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Tenants:
        model = DrippingModel(text="The passage opens at nine [1].", pause_s=0.0)
        self.service: Keyed = self._stack.enter_context(
            keyed(self._folder, chat_model=model, search_cache=50)
        )
        bound = {name: (name,) for name in COLLECTIONS} | {"two": ("default", "third")}
        self.bound: dict[str, tuple[str, ...]] = {}
        for name, only in bound.items():
            self.bound[self.service.key(name, may="admin", only=only)] = only
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def traffic(self, tries: int, choice: random.Random) -> int:
        """Send so many requests; how many were answered. Raises `AssertionError` at the first leak."""
        answered = 0
        plain = [
            route.path
            for route in self.service.live.app.state.declared_routes
            if "GET" in getattr(route, "methods", ())
            and "{" not in route.path
            and policy_of(route).needs != "open"
        ]
        for _ in range(tries):
            secret, own = choice.choice(list(self.bound.items()))
            asked = choice.choice([*COLLECTIONS, "absent"])
            reply = self._request(choice, secret, asked, plain)
            others = {name: words for name, words in self.words.items() if name not in own}
            echoed = self._sent_words
            found = [word for word in leaks(_whole(reply), others) if word not in echoed]
            assert not found, (own, asked, reply.status, found)
            assert asked in own or reply.status != 200 or not self._asked_for_collection
            answered += reply.status == 200
        return answered

    def _request(self, choice: random.Random, secret: str, asked: str, plain: Sequence[str]) -> Reply:
        """One random request; a query's own words may be echoed, a word of a neighbour is only ever in documents."""
        word = choice.choice(self.words.get(asked, ["absent"]))
        question = choice.choice(["The passage opens at nine", "Which passage opens at nine?", "the word"])
        self._sent_words: set[str] = set()
        self._asked_for_collection = True
        match choice.randrange(6):
            case 0:
                mode = choice.choice(["hybrid", "dense", "keyword"])
                query = {"q": question, "mode": mode, "collection": asked, "k": 20}
                return self.service.get(f"/api/search?{urlencode(query)}", secret)
            case 1:
                return self.service.post("/api/ask", {"question": question, "collection": asked}, secret)
            case 2:
                return self.service.post(
                    "/api/ask/stream", {"question": question, "collection": asked}, secret
                )
            case 3:
                uri = f"{asked}/{choice.randrange(DOCUMENTS)}"
                return self.service.get(
                    f"/api/document?{urlencode({'uri': uri, 'collection': asked})}", secret
                )
            case 4:
                self._asked_for_collection = False
                self._sent_words = {word}
                return self.service.get(f"/api/search?{urlencode({'q': word})}", secret)
            case _:
                self._asked_for_collection = False
                path = choice.choice(plain)
                return self.service.get(f"{path}?{urlencode({'q': question})}", secret)


def _whole(reply: Reply) -> str:
    return reply.body.decode("utf-8", "replace") + " ".join(
        f"{name}: {value}" for name, value in reply.headers.items()
    )


def main() -> int:
    """Run; 1 if something leaked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Tenants(Path(folder)) as tenants:
        answered = tenants.traffic(given.tries, random.Random(given.seed))
    print(f"{given.tries} tries, {answered} answered, 0 leaks (seed {given.seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
