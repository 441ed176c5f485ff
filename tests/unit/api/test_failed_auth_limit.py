"""Failed authentication attempts are counted per network, and the number of counters is bounded."""

from typing import Any

import pytest

from api import failed_auth_limit
from api.failed_auth_limit import FailedAuthLimit
from workflows.errors import RateLimitExceeded
from workflows.settings import Settings


def _settings(**changed: Any) -> Settings:
    nowhere = {"database_url": "postgresql://nobody@127.0.0.1:1/none", "broker_url": "redis://127.0.0.1:1/0"}
    return Settings.model_validate({**nowhere, "secret_key": "s", "rate_limit_unknown_per_address": 3, **changed})


def _scope(peer: str | None, *forwarded: str) -> Any:
    return {
        "client": (peer, 1) if peer else None,
        "headers": [(b"x-forwarded-for", one.encode()) for one in forwarded],
    }


def _attempts_left(counted: FailedAuthLimit, scope: Any) -> int:
    """Fail until the caller is limited, and return the number of attempts that were left."""
    for attempts in range(100):
        try:
            counted.count(scope)
        except RateLimitExceeded:
            return attempts
    raise AssertionError("there is no limit")


@pytest.fixture(autouse=True)
def minute(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the clock of the counters, and return the list that holds its seconds."""
    at = [1_000_000.0]
    monkeypatch.setattr("api.failed_auth_limit.time.monotonic", lambda: at[0])
    return at


SAME = [
    ("192.0.2.1", "192.0.2.1"),
    ("192.0.2.1", "::ffff:192.0.2.1"),
    ("2001:db8:1:2::1", "2001:DB8:1:2:ffff:ffff:ffff:ffff"),
    ("unix", ""),
]
OTHER = [
    ("192.0.2.1", "192.0.2.2"),
    ("2001:db8:1:2::1", "2001:db8:1:3::1"),
    ("::1", "127.0.0.1"),
    ("unix", "192.0.2.1"),
]


@pytest.mark.parametrize(("one", "another", "left"), [*((*pair, 0) for pair in SAME), *((*pair, 3) for pair in OTHER)])
def test_refused_attempts_are_counted_per_address(one: str, another: str, left: int) -> None:
    counted = FailedAuthLimit(_settings())
    assert _attempts_left(counted, _scope(one)) == 3
    assert _attempts_left(counted, _scope(another)) == left


def test_forwarded_header_from_an_untrusted_peer_is_ignored() -> None:
    counted = FailedAuthLimit(_settings())
    assert _attempts_left(counted, _scope("192.0.2.1")) == 3
    assert _attempts_left(counted, _scope("192.0.2.1", "198.51.100.7")) == 0


@pytest.mark.parametrize(
    ("forwarded", "found"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["1.1.1.1, 198.51.100.7"], "198.51.100.7"),  # the caller wrote the first address itself
        (["1.1.1.1", "198.51.100.7"], "198.51.100.7"),
        (["1.1.1.1, 198.51.100.7, 10.0.0.9"], "198.51.100.7"),  # two of our proxies
        (["198.51.100.7:4711"], "198.51.100.7"),
        (["[2001:db8::7]:4711"], "20010db800000000/64"),
        (["2001:db8::7"], "20010db800000000/64"),
        ([], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["unknown"], "10.0.0.1"),
        (["198.51.100.7, unknown"], "10.0.0.1"),
        (["198.51.100.7, １.１.１.１"], "10.0.0.1"),
        (["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
    ],
    ids=str,
)
def test_behind_trusted_proxies_the_last_untrusted_address_is_counted(forwarded: list[str], found: str) -> None:
    counted = FailedAuthLimit(_settings(trusted_proxies="10.0.0.0/8, ::1"))
    counted.count(_scope("10.0.0.1", *forwarded))
    assert list(counted._counts) == [found]


def test_count_of_refused_attempts_restarts_each_minute(minute: list[float]) -> None:
    counted = FailedAuthLimit(_settings())
    assert _attempts_left(counted, _scope("192.0.2.1")) == 3
    minute[0] += 60
    assert _attempts_left(counted, _scope("192.0.2.1")) == 3


def test_number_of_counted_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_auth_limit, "MAX_ADDRESSES", 10)
    counted = FailedAuthLimit(_settings())
    refused = 0
    for number in range(1_000):
        try:
            counted.count(_scope(f"192.0.{number // 250}.{number % 250}"))
        except RateLimitExceeded:
            refused += 1
    assert len(counted._counts) == 11
    assert refused == 1_000 - 10 - 3
    assert _attempts_left(counted, _scope("192.0.0.0")) == 2  # a network that was counted before keeps its counter


def test_a_limit_of_zero_disables_the_counting_of_refused_attempts() -> None:
    counted = FailedAuthLimit(_settings(rate_limit_unknown_per_address=0))
    for _ in range(1_000):
        counted.count(_scope("192.0.2.1"))


@pytest.mark.parametrize("value", ["10.0.0.0/33", "proxy.example", "10.0.0.1;10.0.0.2", "*"])
def test_invalid_proxy_addresses_stop_the_start(value: str) -> None:
    with pytest.raises(ValueError, match="addresses and networks"):
        _settings(trusted_proxies=value)
