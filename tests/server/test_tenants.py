"""Keys bound to collections: nothing of another's comes back by any route, in a body, a header, a stream or the log."""

from __future__ import annotations

import io
import logging
import random
from collections.abc import Iterator

import pytest

from load.tenants import Tenants, leaks
from ragstone.logs import JsonFormatter, set_levels
from restored_logging import restored_logging


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    with Tenants(tmp_path_factory.mktemp("tenants")) as service:
        yield service


def test_random_traffic_leaks_nothing(tenants: Tenants) -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter())
    with restored_logging():
        logging.getLogger().addHandler(handler)
        set_levels("debug", {})
        answered = tenants.traffic(300, random.Random(20))
        logging.getLogger().removeHandler(handler)
        logging.getLogger("ragstone").setLevel(logging.NOTSET)
    assert answered > 100  # of requests for one's own
    assert not leaks(out.getvalue(), tenants.words)
    assert out.getvalue().count("/api/") >= 250


def test_a_leak_would_be_seen(tenants: Tenants) -> None:
    own, other, _ = tenants.words
    assert leaks(f"so {tenants.words[other][0]} it is", {other: tenants.words[other]})
    unbound = tenants.service.key("sees everything")
    reply = tenants.service.get(f"/api/search?q=the+passage&collection={other}&collection={own}", unbound)
    assert leaks(reply.body.decode(), {other: tenants.words[other]})
