"""Each claim of a client assertion is checked on its own."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from freezegun import freeze_time

from mpac.stack.keys import new_private_key, public_key
from workflows.devices.client_assertions import TOKEN_PATH, Assertion, Assertions, check_signature
from workflows.errors import NotAuthenticated
from workflows.settings import Settings

NOW = datetime(2026, 1, 28, 3, 0, tzinfo=UTC)
KEY = new_private_key()
URL = "https://pay.example:8443"
GOOD = {"iss": "cli_1", "sub": "cli_1", "aud": URL + TOKEN_PATH, "exp": NOW + timedelta(seconds=60), "jti": "one"}


def _assertions(**rest: Any) -> Assertions:
    nowhere = {"database_url": "postgresql://nobody@127.0.0.1:1/none", "broker_url": "redis://127.0.0.1:1/0"}
    return Assertions(Settings(**{**nowhere, "secret_key": "s", "public_url": URL, **rest}))


def _made(*, key: Any = KEY, algorithm: str = "ES256", **claims: Any) -> str:
    body = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    return jwt.encode(body, key, algorithm=algorithm)


def _verified(assertion: str, **settings: Any) -> Assertion:
    with freeze_time(NOW):
        read = _assertions(**settings).read(assertion)
    check_signature(assertion, public_key_pem=public_key(KEY))
    return read


def _refusal(assertion: str, **settings: Any) -> str:
    with pytest.raises(NotAuthenticated) as caught:
        _verified(assertion, **settings)
    assert [detail.field for detail in caught.value.details] == ["client_assertion"]
    return caught.value.details[0].issue


def test_valid_assertion_yields_client_id_and_how_long_to_store_its_jti() -> None:
    assertion = _verified(_made())
    assert assertion.client_id == "cli_1"
    assert NOW + timedelta(seconds=60) <= assertion.expires_at <= NOW + timedelta(seconds=240)
    assert assertion.jti_hash != "one"
    assert assertion.jti_hash != _verified(_made(jti="two")).jti_hash


@pytest.mark.parametrize("aud", [URL, URL + "/", URL + TOKEN_PATH, ["somebody else", URL]], ids=str)
def test_our_public_address_is_the_audience(aud: Any) -> None:
    assert _verified(_made(aud=aud)).client_id == "cli_1"


@pytest.mark.parametrize(
    "aud",
    [
        "https://other.example",
        f"https://other.example{TOKEN_PATH}",
        f"http://pay.example:8443{TOKEN_PATH}",
        f"https://pay.example{TOKEN_PATH}",
        TOKEN_PATH,
        "mpac-api",
        URL.upper(),
        {URL: 1},
        [],
        [[URL]],
        5,
    ],
    ids=str,
)
def test_another_audience_is_refused_with_the_expected_audience_in_the_error(aud: Any) -> None:
    assert URL + TOKEN_PATH in _refusal(_made(aud=aud))


def test_assertions_need_the_public_address_setting() -> None:
    with pytest.raises(ValueError, match="MPAC_PUBLIC_URL"):
        _assertions(public_url=None)


@pytest.mark.parametrize(
    "url", ["pay.example", "https://", "ftp://pay.example", "https://a@b", "https://pay.example/?x"]
)
def test_invalid_public_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"https://pay\.example"):
        _assertions(public_url=url)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": None},
        {"exp": None},
        {"exp": 10**30},
        {"exp": "soon"},
        {"exp": str(int(NOW.timestamp()) + 60)},
        {"exp": True},
        {"exp": float("inf")},
        {"iat": "yesterday"},
        {"iss": "cli_2"},
        {"iss": None},
        {"sub": None},
        {"jti": None},
        {"jti": ""},
        {"jti": 5},
        {"jti": "x" * 201},
    ],
    ids=str,
)
def test_assertion_with_an_invalid_claim_is_refused(claims: dict[str, Any]) -> None:
    _refusal(_made(**claims))


@pytest.mark.parametrize("off", [-60, -6, 6, 60])
def test_a_clock_that_is_a_minute_fast_or_slow_is_tolerated(off: int) -> None:
    theirs = NOW + timedelta(seconds=off)
    claims: dict[str, Any] = {"iat": theirs, "nbf": theirs, "exp": theirs + timedelta(seconds=1)}
    assert _verified(_made(**claims))


@pytest.mark.parametrize(
    ("claims", "name", "theirs", "side"),
    [
        ({"iat": NOW + timedelta(seconds=61)}, "iat", "03:01:01", "61 s ahead of us"),
        ({"nbf": NOW + timedelta(seconds=61)}, "nbf", "03:01:01", "61 s ahead of us"),
        ({"exp": NOW - timedelta(seconds=60)}, "exp", "02:59:00", "60 s behind us"),
        (
            {"exp": NOW - timedelta(seconds=70), "iat": NOW - timedelta(seconds=130)},
            "iat",
            "02:57:50",
            "130 s behind us",
        ),
        ({"exp": NOW + timedelta(seconds=361)}, "exp", "03:06:01", "361 s ahead of us"),
    ],
)
def test_a_clock_that_is_further_off_is_refused_with_both_times_in_the_error(
    claims: dict[str, Any], name: str, theirs: str, side: str
) -> None:
    issue = _refusal(_made(**claims))
    assert f"Its {name} is 2026-01-28T{theirs}Z, our clock says 2026-01-28T03:00:00Z: {side}" in issue
    assert "60 s are tolerated" in issue


def test_the_clock_tolerance_is_a_setting() -> None:
    early = _made(iat=NOW + timedelta(seconds=6))
    assert "5 s are tolerated" in _refusal(early, device_clock_tolerance_seconds=5)
    assert _verified(early, device_clock_tolerance_seconds=6)


def test_jti_is_stored_for_longer_than_its_assertion_is_accepted() -> None:
    assertion = _made(exp=NOW + timedelta(seconds=60))
    kept_until = _verified(assertion).expires_at
    with freeze_time(kept_until - timedelta(seconds=60)), pytest.raises(NotAuthenticated, match="not accepted"):
        _assertions().read(assertion)


def test_assertion_expiring_more_than_five_minutes_ahead_is_refused() -> None:
    assert _verified(_made(exp=NOW + timedelta(minutes=5)))


def test_an_assertion_with_another_key_or_algorithm_is_refused() -> None:
    secret = "secret of thirty-two characters!"
    for forged in (
        _made(key=new_private_key()),
        _made(key=secret, algorithm="HS256"),
        _made(key=None, algorithm="none"),
    ):
        _refusal(forged)


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _forged(claims: bytes, header: bytes = b'{"alg": "ES256"}') -> str:
    return f"{_encoded(header)}.{_encoded(claims)}.c2ln"


@pytest.mark.parametrize("sub", [None, 5, "", "cli 1", "x\x00", "x" * 81, ["cli_1"]], ids=str)
def test_malformed_client_id_is_refused_before_any_lookup(sub: Any) -> None:
    claims = {**GOOD, "exp": NOW.timestamp(), "iss": sub, "sub": sub}
    _refusal(_forged(json.dumps(claims).encode()))


@pytest.mark.parametrize(
    "assertion",
    [
        "",
        "x",
        "a.b.c",
        "é.é.é",
        _forged(b'{"a":' + b"[" * 2_500),
        _forged(b"[]"),
        _forged(b"{}", b'{"alg": "ES256", "crit": ["b64"], "b64": false}'),
    ],
)
def test_an_unreadable_assertion_is_refused(assertion: str) -> None:
    assert _refusal(assertion) == "Must be a JWT"


@pytest.mark.parametrize("name", ["sub", "jti", "aud", "exp"])
def test_an_assertion_that_repeats_a_claim_is_refused(name: str) -> None:
    claims = json.dumps({**GOOD, "exp": int(NOW.timestamp()) + 60})
    assert _refusal(_forged(f'{{"{name}": 1, {claims[1:]}'.encode())) == "Must be a JWT"
