"""A reader of Prometheus's text format, written from its specification alone: refuses what that does not allow."""

from __future__ import annotations

from dataclasses import dataclass, field

Labels = frozenset[tuple[str, str]]


@dataclass
class Family:
    """What a parser knows of one name."""

    kind: str
    help: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)


def parse(text: str) -> dict[str, Family]:
    """Strict: refuses what the format does not allow, samples outside their family, and series that stand twice."""
    assert text.endswith("\n")
    families: dict[str, Family] = {}
    open_help = ""
    current = ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, _, open_help = line[7:].partition(" ")
            assert name not in families
            current = name
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name == current
            assert kind in {"counter", "gauge", "histogram"}
            families[name] = Family(kind, unescaped(open_help))
        else:
            name, labels, value = sample(line)
            suffix = name.removeprefix(current)
            family = families[current]
            allowed = {"_bucket", "_sum", "_count"} if family.kind == "histogram" else {""}
            assert name.startswith(current) and suffix in allowed, line
            assert (suffix, labels) not in family.samples, line
            family.samples[suffix, labels] = value
    return families


def sample(line: str) -> tuple[str, Labels, float]:
    end = min(place for place in (line.find("{"), line.find(" ")) if place >= 0)
    name, rest, labels = line[:end], line[end:], []
    assert name.replace("_", "a").replace(":", "a").isalnum() and not name[0].isdigit()
    if rest.startswith("{"):
        place = 1
        while rest[place] != "}":
            equals = rest.index("=", place)
            label, place = rest[place:equals], equals + 2
            assert rest[equals + 1] == '"'
            start = place
            while rest[place] != '"':
                place += 2 if rest[place] == "\\" else 1
            labels.append((label, unescaped(rest[start:place])))
            place += 1
            if rest[place] == ",":
                place += 1
        rest = rest[place + 1 :]
    assert rest[0] == " " and len({label for label, _ in labels}) == len(labels)
    return name, frozenset(labels), float(rest[1:].replace("Inf", "inf"))


def unescaped(text: str) -> str:
    out, rest = "", iter(text)
    for character in rest:
        out += {"n": "\n", "\\": "\\", '"': '"'}[next(rest)] if character == "\\" else character
    return out
