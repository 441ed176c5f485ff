"""Client assertions: each claim by itself decides."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from freezegun import freeze_time

from mpac.stack.keys import new_private_key, public_key
from workflows.devices.assertions import TOKEN_PATH, Assertion, audiences, claimed_client, verify_assertion
from workflows.errors import NotAuthenticated

NOW = datetime(2026, 1, 28, 3, 0, tzinfo=UTC)
KEY = new_private_key()
ACCEPTED = audiences("pay.example:8800")
GOOD = {"iss": "cli_1", "sub": "cli_1", "aud": TOKEN_PATH, "exp": NOW + timedelta(seconds=60), "jti": "one"}


def _made(*, key: Any = KEY, algorithm: str = "ES256", **claims: Any) -> str:
    body = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    return jwt.encode(body, key, algorithm=algorithm)


def _verified(assertion: str) -> Assertion:
    with freeze_time(NOW):
        return verify_assertion(assertion, public_key_pem=public_key(KEY), client_id="cli_1", accepted=ACCEPTED)


def test_a_good_one_says_whose_it_is_and_how_long_its_jti_is_to_be_remembered() -> None:
    assertion = _verified(_made())
    assert assertion.client_id == "cli_1"
    assert NOW + timedelta(seconds=60) <= assertion.expires_at <= NOW + timedelta(seconds=70)
    assert assertion.jti_hash != "one"
    assert assertion.jti_hash != _verified(_made(jti="two")).jti_hash


@pytest.mark.parametrize(
    "aud",
    [
        "mpac-api",
        TOKEN_PATH,
        f"http://pay.example:8800{TOKEN_PATH}",
        f"https://pay.example:8800{TOKEN_PATH}",
        "https://pay.example:8800",
        ["somebody else", TOKEN_PATH],
    ],
)
def test_these_audiences_are_ours(aud: Any) -> None:
    assert _verified(_made(aud=aud)).client_id == "cli_1"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://other.example"},
        {"aud": f"https://other.example{TOKEN_PATH}"},
        {"aud": None},
        {"aud": 5},
        {"exp": None},
        {"exp": NOW - timedelta(seconds=6)},
        {"exp": NOW + timedelta(seconds=306)},
        {"exp": 10**30},
        {"exp": "soon"},
        {"exp": float("inf")},
        {"nbf": NOW + timedelta(minutes=1)},
        {"iat": NOW + timedelta(minutes=1)},
        {"iss": "cli_2"},
        {"iss": None},
        {"sub": None},
        {"jti": None},
        {"jti": ""},
        {"jti": "x" * 201},
    ],
    ids=str,
)
def test_a_claim_that_is_not_good_refuses_the_whole(claims: dict[str, Any]) -> None:
    with pytest.raises(NotAuthenticated) as refused:
        _verified(_made(**claims))
    assert [detail.field for detail in refused.value.details] == ["client_assertion"]


def test_five_minutes_ahead_is_the_most() -> None:
    assert _verified(_made(exp=NOW + timedelta(minutes=5)))


def test_another_key_or_algorithm_is_refused() -> None:
    for forged in (_made(key=new_private_key()), _made(key="secret of thirty-two characters!", algorithm="HS256")):
        with pytest.raises(NotAuthenticated):
            _verified(forged)


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


@pytest.mark.parametrize("sub", [None, 5, "", "cli 1", "x\x00", "x" * 81, ["cli_1"]], ids=str)
def test_a_client_that_could_not_exist_is_not_even_looked_for(sub: Any) -> None:
    claims = _encoded(json.dumps({"sub": sub}).encode())
    with pytest.raises(NotAuthenticated):
        claimed_client(_forged(claims))


def _forged(claims: str) -> str:
    header = _encoded(json.dumps({"alg": "ES256"}).encode())
    return f"{header}.{claims}.c2ln"


@pytest.mark.parametrize("assertion", ["", "x", "a.b.c", "é.é.é", _forged(_encoded(b'{"a":' + b"[" * 2_500))])
def test_what_cannot_be_read_is_refused(assertion: str) -> None:
    with pytest.raises(NotAuthenticated):
        claimed_client(assertion)
