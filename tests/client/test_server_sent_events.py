"""Events are the same however their bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.client.errors import ClientError
from ragstone.client.server_sent_events import EVENT_BYTES_MAX, EventParser, ServerEvent

TEXT = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), max_size=20)
LINE_END = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[ServerEvent]]:
    """A stream, and the events in it."""
    end = draw(LINE_END)
    written, expected = [draw(st.sampled_from(["", "\ufeff"]))], []
    for _ in range(draw(st.integers(0, 4))):
        name = draw(TEXT.filter(lambda text: not text.startswith(" ")))
        data = draw(st.lists(TEXT, min_size=1, max_size=3))
        written += [f"event: {name}{end}", f": remark{end}", *(f"data: {line}{end}" for line in data), end]
        expected.append(ServerEvent(name or "message", "\n".join(data)))
    written.append(f"event: never ended{end}:")  # a last \r waits for what follows it
    return "".join(written).encode(), expected


@given(streams(), st.data())
def test_any_cut_gives_the_same_events(made: tuple[bytes, list[ServerEvent]], data: st.DataObject) -> None:
    sent, expected = made
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    parser = EventParser()
    found: list[ServerEvent] = []
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        found += parser.feed(sent[start:end])
    assert found == expected


def test_an_endless_event_is_refused() -> None:
    parser, piece = EventParser(), b"data: " + b"x" * (1 << 20)
    with pytest.raises(ClientError, match="longer"):
        for _ in range(EVENT_BYTES_MAX // len(piece) + 1):
            list(parser.feed(piece))
