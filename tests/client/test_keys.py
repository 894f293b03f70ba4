"""Both clients before a service that asks for keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.conftest import Either
from ragstone.client.errors import ServiceError
from server.keyed import fill, keyed


def test_a_key_opens_the_service_until_it_is_revoked(either: Either, tmp_path: Path) -> None:
    fill(tmp_path, {"papers": ["The observatory opens at nine."]})
    with keyed(tmp_path) as service:
        secret = service.key("laptop", only=["papers"])
        client = either(service.live.url, key=secret)
        assert client.call("search", "observatory", collections=["papers"]).hits[0].uri == "papers/0"
        service.keys.revoke("laptop")
        for refused_one in (client, either(service.live.url)):
            with pytest.raises(ServiceError) as refused:
                refused_one.call("search", "observatory", collections=["papers"])
            assert (refused.value.status, refused.value.code) == (401, "key_required")
            assert refused.value.request_id
            assert secret not in str(refused.value)


def test_who_asks_too_often_is_told_how_long_to_wait(either: Either, tmp_path: Path) -> None:
    fill(tmp_path, {"papers": ["The observatory opens at nine."]})
    with keyed(tmp_path, rate_per_minute=1.0, rate_burst=1) as service:
        client = either(service.live.url, key=service.key("laptop"))
        client.call("search", "observatory", collections=["papers"])
        with pytest.raises(ServiceError) as refused:  # a minute: too long to wait without being asked to
            client.call("search", "observatory", collections=["papers"])
        assert refused.value.status == 429
        assert refused.value.retry_after_s is not None
        assert 20 < refused.value.retry_after_s <= 60
