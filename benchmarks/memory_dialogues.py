"""Dialogues with questions about single turns: LoCoMo in BEIR layout, and FriendsQA as its authors publish it."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said; `session` is equal for what was said on one occasion."""

    id: str
    session: str
    text: str


@dataclass(slots=True)
class Dialogue:
    """Turns in order, questions by id, and for each the turns that answer it with their grades."""

    turns: list[Turn] = field(default_factory=list)
    questions: dict[str, str] = field(default_factory=dict)
    relevant: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))


def locomo(folder: Path) -> dict[str, Dialogue]:
    """Conversations of `locomo-ir-a`: turns `conv-26:D1:3`, questions `conv-26-q0`."""
    found: defaultdict[str, Dialogue] = defaultdict(Dialogue)
    for turn in _lines(folder / "corpus.jsonl"):
        session = turn["_id"].rsplit(":", 1)[0]
        found[turn["_id"].split(":")[0]].turns.append(Turn(turn["_id"], session, turn["text"]))
    texts = {question["_id"]: question["text"] for question in _lines(folder / "queries.jsonl")}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        question, turn_id, grade = line.split("\t")
        dialogue = found[question.split("-q")[0]]
        dialogue.questions[question] = texts[question]
        dialogue.relevant[question][turn_id] = int(grade)
    return dict(found)


def friends(folder: Path) -> dict[str, Dialogue]:
    """The scenes of a season, for each of FriendsQA's files `dat/friendsqa_{dev,tst}.json`; a scene is a session."""
    found: defaultdict[str, Dialogue] = defaultdict(Dialogue)
    for part in ("dev", "tst"):
        scenes = json.loads((folder / "dat" / f"friendsqa_{part}.json").read_text(encoding="utf-8"))["data"]
        for scene in sorted(scenes, key=lambda each: str(each["title"])):
            session, paragraph = f"{part}:{scene['title']}", scene["paragraphs"][0]
            dialogue = found[f"{part}-{scene['title'][:3]}"]
            ids = set()
            for said in paragraph["utterances:"]:
                if said["utterance"].strip():
                    ids.add(f"{session}:{said['uid']}")
                    dialogue.turns.append(
                        Turn(
                            f"{session}:{said['uid']}", session, _spoken(said["speakers"], said["utterance"])
                        )
                    )
            for asked in paragraph["qas"]:
                answers = {f"{session}:{answer['utterance_id']}" for answer in asked["answers"]} & ids
                if answers:
                    question = f"{part}:{asked['id']}"
                    dialogue.questions[question] = _untokenised(asked["question"])
                    dialogue.relevant[question] = dict.fromkeys(answers, 1)
    return dict(found)


def _spoken(speakers: list[str], words: str) -> str:
    """`Ross: Hi.`, with first names; stage directions have no speaker."""
    names = " and ".join(name.split()[0] for name in speakers if name != "#NOTE#")
    return f"{names}: {_untokenised(words)}" if names else _untokenised(words)


def _untokenised(words: str) -> str:
    text = words.strip()
    for mark in (".", ",", "?", "!", "'", ")", "]", "n't", ":"):
        text = text.replace(f" {mark}", mark)
    return text.replace("( ", "(").replace("[ ", "[")


def _lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
